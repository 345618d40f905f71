"""One history: random steps of clients, upkeep and misfortune, from a seed that decides all of them.

The machine dies at any step; then it starts again, which may take several attempts, and everything is compared with the
model. At the end all is flushed and checkpointed, fsck has a look, and a last start must find the same.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway._core import SimWorld
from gateway.metadata.attributes import ROOT_INODE
from tests.simulation import shape as shapes
from tests.simulation.client import Client
from tests.simulation.ledger import Ledger
from tests.simulation.machine import Life, Machine, Spoil
from tests.simulation.upkeep import Upkeep
from tests.simulation.verify import Numbers, check_database, verify

STEPS_TO_DEATH: Final = 40
STARTS_MAX: Final = 30
LOSES_MIRROR: Final = 0.3
VERIFY_EVERY: Final = 25

Plant = Callable[[SimWorld], None]
"""Plants a fault into a world, at each start."""


class HistoryFailure(AssertionError):
    """What went wrong, in which history, and the steps that led to it."""

    def __init__(self, seed: int, error: BaseException, trace: list[str]) -> None:
        notes = "".join(f" [{note}]" for note in getattr(error, "__notes__", ()))
        super().__init__(f"history {seed}: {type(error).__name__}: {error}{notes}")
        self.seed = seed
        self.trace = trace


@dataclass(slots=True)
class Told:
    """What a history was: figures, and a digest of every step of every part."""

    seed: int
    steps: int = 0
    starts: int = 0
    deaths: int = 0
    lost_changes: int = 0
    machine_steps: int = 0
    digest: int = 0
    trace: list[str] = field(default_factory=list[str])


class History:
    """Plays one history."""

    def __init__(self, seed: int, *, plant: Plant | None = None, spoil: Spoil | None = None) -> None:
        self._rng = random.Random(seed)
        self._shape = shapes.draw(self._rng)
        self._world = SimWorld(self._rng.getrandbits(64))
        self._world.keep_trace()
        self._world.watch_failpoints()
        self._plant = plant
        self._machine = Machine(self._world, self._shape, self._rng, spoil)
        self._ledger = Ledger()
        self._numbers = Numbers()
        self._client = Client(self._machine, self._ledger, self._numbers, self._rng, self._shape)
        self._upkeep = Upkeep(self._machine, self._client, self._rng, self._shape)
        self._broken: str | None = None
        self._replaced: set[str] = set()
        self.told = Told(seed)

    def play(self) -> Told:
        """Raises HistoryFailure."""
        try:
            self._note(f"{self._shape}")
            self._start()
            for _ in range(self._shape.steps):
                self._step()
            self._finish()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise HistoryFailure(self.told.seed, error, self._trace()) from error
        finally:
            self._machine.end()
            SimWorld.unwatch_failpoints()
        self.told.machine_steps = self._world.steps
        self.told.digest = self._world.digest
        self.told.trace = self._trace()
        return self.told

    def _trace(self) -> list[str]:
        self.told.trace += self._world.take_trace()
        return self.told.trace

    def _note(self, text: str) -> None:
        self._world.note(f"# {text}")

    # Steps

    def _step(self) -> None:
        self.told.steps += 1
        self._world.advance(self._rng.choice((1, 1000, 1_000_000)))
        if self._rng.random() < self._shape.faults:
            self._misfortune()
        kinds = list(self._shape.weights)
        kind = self._rng.choices(kinds, list(self._shape.weights.values()))[0]
        self._attempt(kind)
        if self.told.steps % VERIFY_EVERY == 0:
            self._attempt("verify")

    def _attempt(self, kind: str) -> None:
        try:
            if kind == "verify":
                self._verify()
                done = kind
            elif kind in shapes.CLIENT_WEIGHTS:
                done = self._client.step(kind)
            else:
                done = self._upkeep.step(kind)
        except AssertionError:
            raise
        except Exception as error:
            if self._world.alive and not self._journal_is_lost() and not self._all_broken():
                raise
            done = f"{kind} ends in {type(error).__name__}"
        self._note(done)
        self._whole_mirrors()
        if self._world.alive:
            self._machine.publish()
        if (
            not self._world.alive
            or self._journal_is_lost()
            or (done.endswith("Error") and self._all_broken())
        ):
            self._die()

    def _journal_is_lost(self) -> bool:
        """Every mirror of the journal failed: nothing is acknowledged any more, and the server has to be started again."""
        return self._broken is not None and not self._whole_mirrors()

    def _all_broken(self) -> bool:
        return self._broken is not None and self._whole_mirrors() <= {self._broken}

    def _whole_mirrors(self) -> set[str]:
        """Those that hold everything: the journal believes it, and their disks were not replaced behind its back."""
        believed = set(self._machine.life.core.mirrors())
        self._replaced &= believed
        return believed - self._replaced

    def _misfortune(self) -> None:
        kind = self._rng.choices(list(shapes.FAULT_WEIGHTS), list(shapes.FAULT_WEIGHTS.values()))[0]
        self._note(kind)
        if kind == "die":
            self._world.die(self._rng.randint(1, STEPS_TO_DEATH), effect=self._rng.random() < 0.5)
        elif kind == "break_disk":
            if self._broken is None and not self._replaced:
                self._broken = self._rng.choice(self._shape.mirrors)
                self._world.break_disk(self._broken, after_accesses=self._rng.randint(0, 20))
        elif kind == "heal_disk":
            if self._broken is not None:
                self._world.heal_disk(self._broken)
                self._broken = None
        elif kind == "replace_disk":
            self._replace_disk()
        else:
            troubles = shapes.troubles(self._rng) if kind == "troubles" else {}
            self._world.set_troubles(**troubles)
            self._client.store_is_well = not troubles

    # Death and recovery

    def _die(self) -> None:
        self.told.deaths += 1
        if self._rng.random() < 0.5:
            # Told before it died; else what was told after the last step counts.
            self._machine.publish()
        self._lose_mirror()
        self._machine.end()
        self._client.forget()
        self._broken = None
        self._replaced.clear()
        without_power = self._rng.random() < 0.6
        self._note(f"starts again {'after a loss of power' if without_power else 'after a kill'}")
        self._machine.restart(without_power=without_power)
        self._start()

    def _lose_mirror(self) -> None:
        if self._rng.random() < LOSES_MIRROR:
            self._replace_disk()

    def _replace_disk(self) -> None:
        """A mirror may go for good where another is left that holds everything."""
        whole = self._whole_mirrors() - {self._broken}
        spare = [mirror for mirror in self._shape.mirrors if whole - {mirror}]
        if spare:
            replaced = self._rng.choice(spare)
            self._world.replace_disk(replaced)
            self._replaced.add(replaced)

    def _start(self) -> None:
        for _ in range(STARTS_MAX):
            if self._plant is not None:
                self._plant(self._world)
            if self._rng.random() < self._shape.faults:
                self._world.die(self._rng.randint(1, STEPS_TO_DEATH), effect=self._rng.random() < 0.5)
            self.told.starts += 1
            try:
                life = self._machine.start()
            except Exception as error:
                if self._world.alive:
                    raise
                self._note(f"the start ends in {type(error).__name__}")
            else:
                if self._world.alive:
                    self._recovered(life)
                    return
                self._machine.end()
                self._note("the start ends in death")
            self._machine.restart(without_power=self._rng.random() < 0.5)
        raise AssertionError("no start succeeds")

    def _recovered(self, life: Life) -> None:
        lost = self._ledger.recovered(max(life.report.last_lsn, self._checkpoint()))
        self.told.lost_changes += lost
        self._note(f"recovered {life.report}, {lost} changes are lost")
        if not self._ledger.is_founded:
            root = life.namespace.getattr(ROOT_INODE)
            self._ledger.founded(root.change, root.mtime_ns)
        self._attempt("verify")

    def _checkpoint(self) -> int:
        return self._machine.life.namespace.checkpoint_lsn

    def _verify(self) -> None:
        verify(self._machine, self._ledger.tree, self._numbers, store_is_well=self._client.store_is_well)

    def _finish(self) -> None:
        """The store is well again; then everything must be at its place, and stay there over a start."""
        self._world.set_troubles()
        self._client.store_is_well = True
        if self._broken is not None:
            self._die()
        self._world.live()
        self._verify()
        self._upkeep.settle()
        self._machine.life.core.cache_drop(True, False)
        self._verify()
        check_database(self._machine)
        self._shape.weights.clear()
        self._machine.end()
        self._client.forget()
        self._machine.restart(without_power=True)
        life = self._machine.start()
        self._ledger.recovered(max(life.report.last_lsn, self._checkpoint()))
        self._verify()


def play(seed: int, *, plant: Plant | None = None, spoil: Spoil | None = None) -> Told:
    """Plays the history of a seed. Raises HistoryFailure."""
    return History(seed, plant=plant, spoil=spoil).play()
