"""What was done and what was promised: changes with their LSNs, over the state that the last recovery found.

All records of the journal are in one order, so what a crash leaves is a beginning of it. A recovery says up to which LSN
it came; that must hold everything that was acknowledged, and the state must be exactly that of the changes up to there.
"""

from collections.abc import Sequence
from typing import Any, Final

from tests.simulation.model import DIRECTORY, ROOT, Node, Tree

Change = tuple[str, tuple[Any, ...]]
"""A method of `Tree`, and its arguments after LSN and time."""

EPOCH_SHIFT: Final = 40


class Ledger:
    def __init__(self) -> None:
        root = Node(
            DIRECTORY, 0o755, 0, 0, nlink=2, generation=1, mtime_ns=0, ctime_ns=0, change=0, parent=ROOT
        )
        self.tree = Tree({ROOT: root})
        self._base = self.tree.copy()
        self._changes: list[tuple[int, int, Change]] = []
        self.acknowledged = 0
        self.highest = 0

    def record(self, lsn: int, now_ns: int, changes: Sequence[Change]) -> None:
        """Changes that were appended one after the other, the first as `lsn`."""
        for number, change in enumerate(changes, lsn):
            assert number > self.highest, f"LSN {number:#x} was given out before"
            self.highest = number
            self._changes.append((number, now_ns, change))
            self._apply(number, now_ns, change)

    def passed(self, lsn: int) -> None:
        """Records up to here were appended, whatever they say."""
        self.highest = max(self.highest, lsn)

    def acknowledge(self, lsn: int) -> None:
        """A client was told that everything up to here holds."""
        self.acknowledged = max(self.acknowledged, lsn)

    @property
    def is_founded(self) -> bool:
        return self.tree.nodes[ROOT].change > 0

    def founded(self, lsn: int, now_ns: int) -> None:
        """The root directory was made."""
        for tree in (self.tree, self._base):
            tree.nodes[ROOT].touched(lsn, now_ns, data=True)
        self.passed(lsn)
        self.acknowledge(lsn)

    def recovered(self, lsn: int) -> int:
        """A recovery came up to `lsn`. Returns how many changes are lost."""
        assert lsn >= self.acknowledged, (
            f"LSN {self.acknowledged:#x} was acknowledged, the recovery found the journal up to {lsn:#x}"
        )
        lost = sum(number > lsn for number, _, _ in self._changes)
        if lost:
            self.tree = self._base
            for number, now_ns, change in self._changes:
                if number <= lsn:
                    self._apply(number, now_ns, change)
        self._changes.clear()
        self._base = self.tree.copy()
        return lost

    def _apply(self, lsn: int, now_ns: int, change: Change) -> None:
        name, arguments = change
        getattr(self.tree, name)(lsn, now_ns, *arguments)
