"""Metadata backups: snapshots of the database, and the journal's row transactions since, into the container.

Increments go no further than the checkpoint, and one ends exactly where a snapshot begins; each says where the one before
ended. So whoever finds a snapshot can follow from there without a gap, whatever was put twice. The owner hears how far they
got only when they are in the container, for it trims the journal on that word. A crash anywhere repeats what was not told.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from gateway._core import CorruptError
from gateway.backup_upload import Upload
from gateway.metadata import snapshot
from gateway.metadata.database import Database
from gateway.objects import backup_chain
from gateway.objects.backup_chain import NS_PER_MS, Increment, Snapshot
from gateway.objects.backup_format import IncrementHead, encode_records
from gateway.objects.backup_memo import FILE, Memo
from gateway.objects.backup_store import BackupStore

log = structlog.get_logger(__name__)

BATCH_BYTES: Final = 4 << 20
# A new snapshot is due when what came since is half as much to read as the last one, so that backups take at most
# half as much again as the rows, and a recovery hardly longer than reading them.
SNAPSHOT_SHARE: Final = 0.5
SNAPSHOT_FLOOR_BYTES: Final = 1 << 20
# And when increments are so many that finding and fetching them takes longer than the snapshot.
INCREMENTS_FLOOR: Final = 1000
BYTES_PER_INCREMENT: Final = 64 << 10
SNAPSHOT_AGE_S: Final = 86400.0
RETENTION_SHARE: Final = 1 / 7
# Of its time the steward gives to snapshots a twentieth at most, small ones apart.
REST_FACTOR: Final = 20
SMALL_S: Final = 1.0
FAILED_REST_S: Final = 60.0
EXPIRE_S: Final = 3600.0
SAMPLES_MAX: Final = 10_000
# Records that hold no rows move the chain on too, so that the journal can be trimmed; not worth an object each time.
EMPTY_S: Final = 30.0


class Tail(Protocol):
    """Reads row transactions of a live journal; see gateway._core.JournalTail."""

    def next_batch(self, durable_lsn: int, max_bytes: int) -> list[tuple[int, bytes]]: ...

    @property
    def position(self) -> int: ...

    @property
    def is_cut_off(self) -> bool: ...


class Position(NamedTuple):
    """Where the owner stands. `wanted_lsn`: somebody waits for the backup to come that far. `snapshots_wanted` above
    `snapshots_made`: a snapshot is to be made at once. `key`: seals.
    """

    epoch: int
    durable_lsn: int
    checkpoint_lsn: int
    backup_lsn: int
    wanted_lsn: int = 0
    snapshots_wanted: int = 0
    snapshots_made: int = 0
    key: str | None = None


class Owner(Protocol):
    """The process that owns the file system."""

    def backup_position(self) -> Position: ...

    def backed_up(self, lsn: int, complete_ns: int, snapshots_made: int, told: Mapping[str, object]) -> None:
        """Tells that every row transaction up to `lsn` is in the container, and what else the status shows."""
        ...

    def may_delete_backups(self) -> bool:
        """Whether its lease is valid."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """retention_s: back to when any moment can be recovered. gc_interval_s: how long dead packs may wait at least."""

    retention_s: float
    gc_interval_s: float


class Backuper:
    """Makes the backups of one file system, step by step. `step` for one thread, the properties for any.

    open_tail: reads the journal from an LSN on. folder: for snapshots on their way, and for what must be known after a
    restart. dead_waiting: whether packs that were alive at an LSN could be deleted but for the backups. reload_keys: reads
    the key file again. now_ns: since 1970. monotonic_s: for pauses. token: gives 16 hexadecimal digits never used before.
    """

    def __init__(
        self,
        database: Database,
        store: BackupStore,
        owner: Owner,
        open_tail: Callable[[int], Tail],
        folder: Path,
        settings: Settings,
        *,
        dead_waiting: Callable[[int], bool],
        reload_keys: Callable[[], None],
        now_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
        token: Callable[[], str],
        failpoint: Callable[[str], None],
    ) -> None:
        self._database = database
        self._store = store
        self._owner = owner
        self._open_tail = open_tail
        self._settings = settings
        self._dead_waiting = dead_waiting
        self._reload_keys = reload_keys
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._token = token
        self._failpoint = failpoint
        self._memo = Memo(folder / FILE, store.fs_id)
        self._file = folder / "snapshot.db"
        self._tail: Tail | None = None
        self._epoch = 0
        # LSN at which the last increment, or the snapshot of a new chain, ends; None: there is no chain to go on with.
        self._end_lsn: int | None = None
        # The chain has its snapshot: what follows in it counts.
        self._rooted = False
        self._upload: Upload | None = None
        self._upload_began_s = 0.0
        self._upload_number = 0
        self._newest: Snapshot | None = None
        self._newest_bytes = 0
        self._newest_key: str | None = None
        self._since_bytes = self._since_count = 0
        self._not_before_s = 0.0
        self._put_at_s = 0.0
        self._expire_at_s = 0.0
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES_MAX)
        self._complete_ns = 0
        self._told: dict[str, object] = {}
        self._made = 0
        self._last_told: dict[str, object] = {}
        self._oldest_lsn: int | None = None
        self._oldest_epoch = 0

    @property
    def oldest_lsn(self) -> int | None:
        """No retained backup restores to a moment before this LSN; None: not known yet, or there is none."""
        return self._oldest_lsn

    @property
    def oldest_epoch(self) -> int:
        """No retained backup was written before this epoch."""
        return self._oldest_epoch

    def reset(self) -> None:
        """After an error, or a new owner: the next step finds its place in the journal again. A snapshot that is on its way
        goes on.
        """
        self._tail = None

    def step(self) -> bool:
        """What is due; True when more waits. Raises what owner, journal, database and store raise; the caller resets and
        tries again.
        """
        asked_ns = self._now_ns()
        position = self._owner.backup_position()
        self._sample(asked_ns, position.durable_lsn)
        if position.key != self._store.key_id:
            self._reload_keys()
        if self._tail is None or position.epoch != self._epoch:
            self._begin(position)
        self._follow(position.checkpoint_lsn, boundary=self._empty_due(position))
        self._tell(position)
        if self._upload is None and self._is_due(position):
            self._begin_snapshot(position)
        if self._upload is not None and self._upload.step():
            self._finish_snapshot()
        if self._monotonic_s() >= self._expire_at_s:
            self._expire()
        self._tell(position)
        return self._upload is not None

    # The chain

    def _begin(self, position: Position) -> None:
        self._epoch = position.epoch
        self._put_at_s = self._monotonic_s()
        if self._end_lsn is None:
            self._load()
        if self._end_lsn is not None:
            self._tail = self._tail_after(self._end_lsn)
            if self._tail is None:
                log.warning("backup.journal_does_not_reach_back", lsn=self._end_lsn)
                self._end_lsn, self._rooted = None, False
                if self._upload is not None:
                    self._upload.close()
                    self._upload = None

    def _tail_after(self, lsn: int) -> Tail | None:
        """The journal after an LSN; None where it does not hold all of it, or tells another history."""
        try:
            tail = self._open_tail(lsn + 1)
        except CorruptError:
            return None
        return None if tail.is_cut_off else tail

    def _load(self) -> None:
        """Goes on with the chain of the steward before, if all of it is in the container."""
        listing = self._store.list()
        lsn = self._memo.read()
        if lsn is None or not backup_chain.reaches(listing, lsn):
            return
        self._end_lsn, self._rooted = lsn, True
        self._newest = max(snapshot for snapshot in listing.snapshots if snapshot.lsn <= lsn)
        parts = listing.parts.get(self._newest, {})
        self._newest_bytes = listing.snapshots[self._newest] + sum(parts.values())
        self._newest_key = self._store.sealed_with(self._newest)
        since = {
            step: size for step, size in listing.increments.items() if self._newest.lsn <= step.from_lsn < lsn
        }
        self._since_bytes, self._since_count = sum(since.values()), len(since)
        ended = [step.complete_ms for step in listing.increments if step.to_lsn == lsn]
        self._complete_ns = max(self._newest.complete_ms, *ended, 0) * NS_PER_MS

    def _follow(self, upto_lsn: int, *, boundary: bool = False) -> None:
        """Puts the row transactions up to an LSN. `boundary`: an increment is to end exactly there, rows or none."""
        tail = self._tail
        while tail is not None and self._end_lsn is not None:
            records = tail.next_batch(upto_lsn, BATCH_BYTES) if tail.position < upto_lsn else []
            if records:
                # The last transaction of a batch is not the end of it while records of other kinds follow.
                self._put_increment(max(tail.position, records[-1][0]), records)
            else:
                if boundary and self._end_lsn < upto_lsn:
                    self._put_increment(upto_lsn, [])
                return

    def _put_increment(self, to_lsn: int, records: list[tuple[int, bytes]]) -> None:
        assert self._end_lsn is not None
        payload = encode_records(records)
        self._complete_at(to_lsn)
        name = Increment(self._epoch, to_lsn, self._end_lsn, self._complete_ns // NS_PER_MS)
        head = IncrementHead(
            fs_id=self._store.fs_id,
            epoch=self._epoch,
            from_lsn=self._end_lsn,
            to_lsn=to_lsn,
            complete_ns=self._complete_ns,
            bytes=len(payload),
        )
        self._failpoint("backup.before_increment")
        self._since_bytes += self._store.put(name.key, head, payload)
        self._since_count += 1
        self._failpoint("backup.after_increment")
        self._end_lsn = to_lsn
        self._put_at_s = self._monotonic_s()
        if self._rooted:
            # Until this is on the disk, the next steward would put the same rows once more.
            self._memo.write(to_lsn)

    def _empty_due(self, position: Position) -> bool:
        wanted = self._end_lsn is not None and position.wanted_lsn > self._end_lsn
        return wanted or self._monotonic_s() - self._put_at_s >= EMPTY_S

    # What is complete since when

    def _sample(self, asked_ns: int, durable_lsn: int) -> None:
        if self._samples and self._samples[-1][1] == durable_lsn:
            self._samples.pop()
        self._samples.append((asked_ns, durable_lsn))

    def _complete_at(self, lsn: int) -> bool:
        """Moves the moment before which all that was acknowledged is at or below `lsn`. False: it is not known."""
        for asked_ns, durable_lsn in self._samples:
            if durable_lsn > lsn:
                break
            self._complete_ns = max(self._complete_ns, asked_ns)
        return self._complete_ns > 0

    # Snapshots

    def _is_due(self, position: Position) -> bool:
        if self._newest is None or not self._rooted:
            # The first one has to know its moment.
            return self._complete_at(position.checkpoint_lsn)
        if position.snapshots_wanted > position.snapshots_made:
            return True
        if self._newest_key != self._store.key_id:
            return True
        if self._monotonic_s() < self._not_before_s:
            return False
        age_s = (self._now_ns() / NS_PER_MS - self._newest.complete_ms) / 1000
        share_s = self._settings.retention_s * RETENTION_SHARE
        return (
            self._since_bytes > max(SNAPSHOT_FLOOR_BYTES, SNAPSHOT_SHARE * self._newest_bytes)
            or self._since_count > max(INCREMENTS_FLOOR, self._newest_bytes // BYTES_PER_INCREMENT)
            or (self._since_count > 0 and age_s > SNAPSHOT_AGE_S)
            or (
                age_s > max(self._settings.gc_interval_s, min(share_s, SNAPSHOT_AGE_S))
                and self._dead_waiting(self._newest.lsn)
            )
        )

    def _begin_snapshot(self, position: Position) -> None:
        self._upload_began_s = self._monotonic_s()
        self._not_before_s = self._upload_began_s + FAILED_REST_S
        self._upload_number = position.snapshots_wanted
        copied = snapshot.copy(self._database, self._file)
        if self._end_lsn is None:
            self._end_lsn = copied.lsn
            self._tail = self._open_tail(copied.lsn + 1)
        else:
            self._follow(copied.lsn, boundary=True)
        self._complete_at(copied.lsn)
        name = Snapshot(self._epoch, copied.lsn, self._complete_ns // NS_PER_MS, self._token())
        self._upload = Upload(self._store, self._file, copied, name, self._complete_ns, self._failpoint)
        self._since_bytes = self._since_count = 0

    def _finish_snapshot(self) -> None:
        upload = self._upload
        assert upload is not None
        assert self._end_lsn is not None
        self._upload = None
        self._newest, self._newest_bytes, self._newest_key = upload.name, upload.put_bytes, upload.key_id
        self._rooted = True
        self._memo.write(self._end_lsn)
        took_s = self._monotonic_s() - self._upload_began_s
        self._not_before_s = self._monotonic_s() + REST_FACTOR * max(0.0, took_s - SMALL_S)
        # Which wish for a snapshot was met.
        self._made = self._upload_number
        self._expire_at_s = 0.0
        log.info(
            "backup.snapshot",
            lsn=upload.copied.lsn,
            inodes=upload.copied.inodes,
            bytes=upload.put_bytes,
            seconds=round(took_s, 3),
        )

    # Retention

    def _expire(self) -> None:
        """Deletes what is older than the retention, and takes stock. Packs wait until this has succeeded."""
        listing = self._store.list()
        kept_since_ms = int(self._now_ns() / NS_PER_MS - self._settings.retention_s * 1000)
        writing = self._upload.name.token if self._upload is not None else ""
        plan = backup_chain.expired(listing, kept_since_ms=kept_since_ms, epoch=self._epoch, writing=writing)
        if plan is not None and plan.keys and self._owner.may_delete_backups():
            for key in plan.keys:
                self._failpoint("backup.before_delete")
                self._store.delete(key)
            log.info("backup.expired", objects=len(plan.keys))
            listing = self._store.list()
        self._oldest_lsn = min((snapshot.lsn for snapshot in listing.snapshots), default=None)
        writers = {entry.epoch for entry in (*listing.snapshots, *listing.increments)}
        self._oldest_epoch = min(writers, default=0)
        self._told |= {
            "snapshots": len(listing.snapshots),
            "bytes": listing.bytes,
            "oldest_lsn": self._oldest_lsn or 0,
        }
        self._expire_at_s = self._monotonic_s() + EXPIRE_S

    def _tell(self, position: Position) -> None:
        lsn = self._end_lsn
        if not self._rooted or lsn is None:
            return
        told = {**self._told, "key": self._newest_key}
        if lsn > position.backup_lsn or self._made > position.snapshots_made or told != self._last_told:
            self._owner.backed_up(lsn, self._complete_ns, self._made, told)
            self._last_told = told
