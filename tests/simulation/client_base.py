"""What all operations of clients share: how one is performed and what may come of it, and what it is done to."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway._core import Busy, NotResident
from gateway.metadata.errors import FsError
from tests.simulation.ledger import EPOCH_SHIFT, Change, Ledger
from tests.simulation.machine import Life, Machine
from tests.simulation.model import DIRECTORY, REGULAR, ROOT, Tree
from tests.simulation.shape import Shape
from tests.simulation.verify import Numbers

NAMES: Final = (b"a", b"b", b"c", b"d", b"\xff e")
EAGAIN: Final = 11


class ClientBase:
    """Notes in the ledger what operations changed, knows what is open, and chooses what to do something to."""

    def __init__(
        self, machine: Machine, ledger: Ledger, numbers: Numbers, rng: random.Random, shape: Shape
    ) -> None:
        self._machine = machine
        self._ledger = ledger
        self._numbers = numbers
        self._rng = rng
        self._shape = shape
        self._next = ROOT + 1
        self._fill = 0
        self.open: set[int] = set()
        self.store_is_well = True

    @property
    def _tree(self) -> Tree:
        return self._ledger.tree

    @property
    def _life(self) -> Life:
        return self._machine.life

    def forget(self) -> None:
        """The server's end closes everything."""
        self.open.clear()

    # What every operation does

    def _do(
        self, what: str, changes: Sequence[Change], call: Callable[[], Any], *, durable: bool = True
    ) -> str:
        """Calls, and notes what was appended. Raises what ends the process, and AssertionError."""
        core = self._life.core
        before = max(core.last_lsn, self._life.epoch << EPOCH_SHIFT)
        now_ns = self._machine.world.now_ns
        failure: BaseException | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised below, once it is known what was appended
            failure = error
        count = max(core.last_lsn - before, 0)
        assert count <= len(changes), f"{what}: {count} records for {len(changes)} changes"
        self._ledger.record(before + 1, now_ns, changes[:count])
        if failure is None:
            assert count == len(changes), f"{what}: {count} records for {len(changes)} changes"
            if durable and count:
                self._acknowledge(before + count)
            return what
        if isinstance(failure, Busy) or (isinstance(failure, FsError) and failure.errno == EAGAIN):
            assert not count, f"{what}: told to come again, and {count} records were appended"
            return f"{what}: come again"
        failure.add_note(what)
        raise failure

    def _acknowledge(self, lsn: int) -> None:
        """The client is told, unless the machine died on the way: the dead do not answer."""
        if self._machine.world.alive:
            self._ledger.acknowledge(lsn)

    def _resident(self, inode: int, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            for _ in range(3):
                assert self._life.namespace.load(inode), f"inode {inode} is gone"
                try:
                    return call()
                except NotResident:
                    pass
            raise AssertionError(f"inode {inode} does not stay live")

        return run

    # Choices

    def _pick(self, numbers: list[int]) -> int | None:
        usable = [number for number in numbers if self._numbers.known(number)]
        return self._rng.choice(usable) if usable else None

    def _file(self) -> int | None:
        numbers = self._tree.numbers(REGULAR)
        return self._pick(
            [number for number in numbers if not self._tree.nodes[number].orphan or number in self.open]
        )

    def _directory(self) -> int:
        picked = self._pick(self._tree.numbers(DIRECTORY, orphans=False))
        assert picked is not None
        return picked

    def _free_name(self) -> tuple[int, bytes] | None:
        directory = self._directory()
        free = [name for name in NAMES if name not in self._tree.nodes[directory].entries]
        return (directory, self._rng.choice(free)) if free else None

    def _used_name(self) -> tuple[int, bytes] | None:
        directory = self._directory()
        used = [
            name
            for name, number in self._tree.nodes[directory].entries.items()
            if self._numbers.known(number)
        ]
        return (directory, self._rng.choice(used)) if used else None

    def _inode(self, number: int) -> int:
        return self._numbers.inode(number)

    def _data(self) -> bytes:
        """Bytes that tell where they come from."""
        self._fill += 1
        length = self._rng.randint(1, self._shape.largest_write)
        return (b"<%d>" % self._fill * (length // 3 + 1))[:length]
