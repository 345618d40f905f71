"""The checkpoint: row transactions from the journal into the database, in batches, behind the owner's back.

It reads the journal as recovery does, but never past the LSN that the owner calls durable: what lies beyond
may be cut off by a crash and never have happened. It tells the owner how far it got only after the database's
transaction is on the disk, for the owner forgets and trims on its word. A crash anywhere repeats a batch,
which is harmless.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog
from sqlalchemy import Connection

from gateway.metadata import checkpoint
from gateway.metadata.database import Database

log = structlog.get_logger(__name__)

BATCH_BYTES = 4 << 20
# Records that hold no rows move the checkpoint too, so that the journal can be trimmed; not worth a disk
# write each second.
EMPTY_ADVANCE_S = 5.0


class Tail(Protocol):
    """Reads row transactions of a live journal; see gateway._core.JournalTail."""

    def next_batch(self, durable_lsn: int, max_bytes: int) -> list[tuple[int, bytes]]: ...

    @property
    def position(self) -> int: ...


class Position(NamedTuple):
    """How far the journal is durable, the owner knows the database to be, and somebody waits for it to be."""

    durable_lsn: int
    known_lsn: int
    wanted_lsn: int = 0


class Owner(Protocol):
    """The process that owns the file system."""

    def checkpoint_position(self) -> Position:
        """Where things stand."""
        ...

    def checkpointed(self, lsn: int) -> None:
        """Tells that every row transaction up to `lsn` is in the database."""
        ...


class Checkpointer:
    """Brings the database up to the journal, step by step. Not for several threads.

    open_tail: reads the journal from an LSN on. now_s: seconds since 1970. monotonic_s: for pauses.
    failpoint: passes a named one.
    """

    def __init__(
        self,
        database: Database,
        owner: Owner,
        open_tail: Callable[[int], Tail],
        *,
        now_s: Callable[[], float],
        monotonic_s: Callable[[], float],
        failpoint: Callable[[str], None],
    ) -> None:
        self._database = database
        self._owner = owner
        self._open_tail = open_tail
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._failpoint = failpoint
        self._tail: Tail | None = None
        self._epoch = 0
        self._reached = 0
        self._advanced_at_s = 0.0

    def reset(self) -> None:
        """Forgets the place in the journal: the next step finds it again by the database. After an error, or
        a new owner.
        """
        self._tail = None

    def step(self) -> bool:
        """One batch; True when more waits. Raises what owner, journal and database raise; the caller resets
        and tries again.
        """
        durable, known, wanted = self._owner.checkpoint_position()
        if self._tail is None or durable >> 40 != self._epoch:
            # A start of the owner cuts off what was not durable and begins a new segment.
            self._begin(durable >> 40)
        tail = self._tail
        assert tail is not None
        records = tail.next_batch(durable, BATCH_BYTES) if tail.position < durable else []
        if records or self._empty_advance_due(tail.position, wanted):
            self._commit(records, tail.position)
        if known < self._reached:
            self._owner.checkpointed(self._reached)
        return bool(records)

    def _begin(self, epoch: int) -> None:
        with self._database.reader() as connection:
            self._reached = checkpoint.checkpoint_lsn(connection)
        self._tail = self._open_tail(self._reached + 1)
        self._epoch = epoch
        self._advanced_at_s = self._monotonic_s()

    def _empty_advance_due(self, position: int, wanted: int) -> bool:
        due = wanted > self._reached or self._monotonic_s() - self._advanced_at_s >= EMPTY_ADVANCE_S
        return position > self._reached and due

    def _commit(self, records: Sequence[tuple[int, bytes]], position: int) -> None:
        with self._database.writer() as connection:
            reached = self._apply(connection, records, position)
            self._failpoint("checkpoint.before_commit")
        # Here the database is on the disk. Until the owner knows, it only keeps more than it needs.
        self._failpoint("checkpoint.after_commit")
        self._reached = reached
        self._advanced_at_s = self._monotonic_s()
        if records:
            log.debug("checkpoint.done", lsn=reached, records=len(records))

    def _apply(self, connection: Connection, records: Sequence[tuple[int, bytes]], position: int) -> int:
        return checkpoint.apply(connection, records, upto_lsn=position, now_s=int(self._now_s()))
