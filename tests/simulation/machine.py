"""The system under test on a simulated machine: every part is the real one, wired as the owner and the steward wire theirs.

Only the database differs: it is in memory, for its transactions are SQLite's own affair. What counts is when they are done.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from gateway import _core, sqlite
from gateway._core import Core, FlushBatch, JournalTail, KeyRing, ReplayReport, SimWorld
from gateway.checkpointer import Checkpointer, Position
from gateway.data.collector import Collector
from gateway.data.flusher import Flusher, FlushSettings
from gateway.journal_reader import MirroredTail
from gateway.metadata.database import Database
from gateway.metadata.namespace import Namespace
from tests.simulation.shape import MIB, Shape

FS_ID: Final = bytes(range(16))
GRACE_S: Final = 20
FLUSH_AGE_S: Final = 5.0
EPOCH_SHIFT: Final = 40
_FILE: Final = "file:simulation?mode=memory&cache=shared"


@cache
def _database() -> tuple[Database, Any, Any]:
    """The process's database, a connection without which it would end, and a copy of it as it was when it was new."""
    kept = sqlite.DRIVER.connect(_FILE, uri=True, check_same_thread=False)
    database = Database(f"sqlite:///{_FILE}&uri=true", FS_ID)
    empty = sqlite.DRIVER.connect(":memory:", check_same_thread=False)
    kept.backup(empty)
    return database, kept, empty


def new_database() -> Database:
    """An empty database; the one before ends."""
    database, kept, empty = _database()
    empty.backup(kept)
    return database


class Clock:
    """The world's time, as each part wants it."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world

    def now_ns(self) -> int:
        return self._world.now_ns

    def now_s(self) -> float:
        return self._world.now_ns / 1e9


@dataclass(slots=True)
class Life:
    """What ends with the process that owns the file system."""

    epoch: int
    core: Core
    namespace: Namespace
    eager: Flusher
    aged: Flusher
    collector: Collector
    report: ReplayReport
    batches: list[tuple[FlushBatch, bool]]

    def checkpoint_position(self) -> Position:
        return Position(self.core.durable_lsn, self.namespace.checkpoint_lsn)

    def checkpointed(self, lsn: int) -> None:
        """As the owner's control socket answers the steward."""
        if lsn > self.core.durable_lsn:
            raise ValueError(f"LSN {lsn} is above the durable {self.core.durable_lsn}")
        self.namespace.checkpointed(lsn)
        self.core.trim(lsn)


Spoil = Callable[[Namespace], None]
"""Plants a fault into a namespace before it recovers."""


class Machine:
    """Starts, dies and starts again; `life` is what runs in between."""

    def __init__(self, world: SimWorld, shape: Shape, rng: random.Random, spoil: Spoil | None = None) -> None:
        self.world = world
        self.shape = shape
        self.clock = Clock(world)
        self.database = new_database()
        self.epoch = 0
        self.published = b""
        self._rng = rng
        self._spoil = spoil
        self._life: Life | None = None
        self.steward = self._new_steward()

    @property
    def life(self) -> Life:
        assert self._life is not None, "the machine is off"
        return self._life

    def start(self) -> Life:
        """A new epoch: recovers, and serves. Raises whatever an owner's start raises."""
        self.epoch += 1
        core = self._new_core()
        namespace = Namespace(core, self.database, self.clock, epoch=self.epoch)
        try:
            if self._spoil is not None:
                self._spoil(namespace)
            report = core.replay(from_lsn=0, on_rows=namespace.apply_replayed, load=namespace.load_for_replay)
            core.start()
            namespace.ensure_root()
        except BaseException:
            # Its snapshot of the database ends with the process.
            namespace.view.reads.follow()
            core.close()
            raise
        self._life = Life(
            self.epoch,
            core,
            namespace,
            self._new_flusher(core, namespace, high_bytes=0),
            self._new_flusher(core, namespace, high_bytes=32_000),
            Collector(
                core,
                namespace,
                epoch=self.epoch,
                unnamed_grace_s=GRACE_S,
                now_s=self.clock.now_s,
                batch_bytes=20_000,
            ),
            report,
            [],
        )
        return self._life

    def end(self) -> None:
        """The process is gone, whether it died or was told to end."""
        life, self._life = self._life, None
        if life is not None:
            for batch, _ in life.batches:
                batch.abort()
            life.core.close()

    def restart(self, *, without_power: bool) -> None:
        """The machine is there again. A steward only dies with it, or by itself."""
        self.world.restart(without_power=without_power, survives=self.shape.survives)
        if without_power or self._rng.random() < 0.5:
            self.steward = self._new_steward()

    def _new_core(self) -> Core:
        shape = self.shape
        return Core(
            world=self.world,
            keys=KeyRing(FS_ID, [("simulation", bytes(32))]) if shape.sealed else None,
            fs_id=FS_ID,
            epoch=self.epoch,
            journal=list(shape.mirrors),
            membership=0,
            members=[self.published] if self.published else [],
            store_url="",
            store_options={},
            l1_bytes=shape.l1_bytes,
            l2_dir=None,
            l2_bytes=0,
            segment_bytes=shape.segment_bytes,
            journal_limit_bytes=shape.journal_limit_bytes,
            dirty_memory_bytes=shape.dirty_memory_bytes,
            max_inodes=shape.max_inodes,
            readahead_bytes=MIB,
            pack_bytes=shape.pack_bytes,
            io_threads=1,
        )

    def _new_flusher(self, core: Core, namespace: Namespace, *, high_bytes: int) -> Flusher:
        settings = FlushSettings(
            age_s=FLUSH_AGE_S, high_bytes=high_bytes, high_inodes=1000, batch_bytes=self.shape.batch_bytes
        )
        return Flusher(
            core,
            namespace,
            settings,
            journal_fill=lambda: 0.0,
            random=self._rng,
            monotonic_ns=self.clock.now_ns,
        )

    def _new_steward(self) -> Checkpointer:
        return Checkpointer(
            self.database,
            _OwnerOf(self),
            lambda from_lsn: MirroredTail(self._whole_mirrors, self._open_tail, from_lsn),
            now_s=self.clock.now_s,
            monotonic_s=self.clock.now_s,
            failpoint=_core.failpoint,
        )

    def _open_tail(self, dirs: list[str], from_lsn: int) -> JournalTail:
        return JournalTail(dirs, FS_ID, from_lsn, self.world)

    def _whole_mirrors(self) -> list[str]:
        return self.life.core.mirrors()

    def publish(self) -> None:
        """Keeps the newest list of mirrors beside the journal, as state directory, database and container do."""
        self.published = self.life.core.members()[1]


class _OwnerOf:
    """The owner as a steward finds it, in whichever life."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def checkpoint_position(self) -> Position:
        return self._machine.life.checkpoint_position()

    def checkpointed(self, lsn: int) -> None:
        self._machine.life.checkpointed(lsn)
