"""A journal, a container and an owner made of lists and dicts, and the steward's backup between them."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from gateway import backuper
from gateway._core import CorruptError, StoreError
from gateway.backuper import Backuper, Settings
from gateway.data.restore import Restored, restore
from gateway.errors import NotRunningError
from gateway.metadata import checkpoint, rows
from gateway.metadata.database import Database, read_meta, sqlite_url
from gateway.metadata.rows import DropInode, InodeRow, PutInode, PutPack, Splice
from gateway.metadata.tables import inode
from gateway.objects.backup_store import BackupStore

FS_ID = b"0123456789abcdef"
Rows = dict[int, int]
"""Mode by inode number."""


def put(ino: int, mode: int) -> rows.RowOp:
    times = (0, 0, 0, 0)
    return PutInode(InodeRow(ino, 1, stat.S_IFREG, mode, 1, 0, 0, 0, 0, 0, 0, 0, *times, 0), keep_data=False)


def spliced(ino: int, pack: int) -> list[rows.RowOp]:
    return [PutPack(pack, 4096), Splice(ino, 0, 4096, pack, 0)]


def drop(ino: int) -> rows.RowOp:
    return DropInode(ino)


class Objects:
    """A container. `fail`: the next operations that do not come through; "after": their effect is there all the same."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.fail: list[str] = []
        self.puts = 0

    def _trouble(self, when: str) -> None:
        if self.fail and self.fail[0] == when:
            self.fail.pop(0)
            raise StoreError("the store is away")

    def list_objects(self, prefix: str) -> Sequence[tuple[str, int]]:
        return [(key, len(data)) for key, data in self.data.items() if key.startswith(f"{prefix}/")]

    def put_object(self, key: str, data: bytes) -> bool:
        self._trouble("before")
        new = key not in self.data
        self.data.setdefault(key, data)
        self.puts += 1
        self._trouble("after")
        return new

    def read_object(self, key: str, max_bytes: int) -> bytes | None:
        found = self.data.get(key)
        return None if found is None else found[:max_bytes]

    def delete_object(self, key: str) -> None:
        self._trouble("before")
        self.data.pop(key, None)
        self._trouble("after")


class Journal:
    """Records in the order of LSNs. What is trimmed is gone; `base` is the LSN before the first that is kept."""

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self.records: list[tuple[int, bytes | None]] = []

    def append(self, epoch: int, payload: bytes | None) -> int:
        number = max([lsn & 0xFFFFFFFFFF for lsn, _ in self.records if lsn >> 40 == epoch], default=0)
        if self.base >> 40 == epoch:
            number = max(number, self.base & 0xFFFFFFFFFF)
        self.records.append((epoch << 40 | number + 1, payload))
        return self.records[-1][0]

    def trim(self, lsn: int) -> None:
        while self.records and self.records[0][0] <= lsn:
            self.base = self.records.pop(0)[0]

    def open(self, from_lsn: int) -> "Tail":
        return Tail(self, from_lsn - 1)


@dataclass
class Tail:
    journal: Journal
    position: int
    is_cut_off: bool = False

    def __post_init__(self) -> None:
        if self.position and self.journal.base > self.position:
            raise CorruptError("records are missing")

    def next_batch(self, durable_lsn: int, max_bytes: int) -> list[tuple[int, bytes]]:
        batch: list[tuple[int, bytes]] = []
        for lsn, payload in self.journal.records:
            if self.position < lsn <= durable_lsn and sum(len(data) for _, data in batch) < max_bytes:
                self.position = lsn
                if payload is not None:
                    batch.append((lsn, payload))
        return batch


@dataclass
class Owner:
    """What the owner's process knows and is told."""

    epoch: int
    durable_lsn: int = 0
    checkpoint_lsn: int = 0
    backup_lsn: int = 0
    wanted_lsn: int = 0
    wanted: int = 0
    made: int = 0
    away: bool = False
    valid: bool = True
    told: dict[str, object] = field(default_factory=dict[str, object])

    def backup_position(self) -> backuper.Position:
        if self.away:
            raise NotRunningError("away")
        known = (self.durable_lsn, self.checkpoint_lsn, self.backup_lsn, self.wanted_lsn)
        return backuper.Position(self.epoch, *known, self.wanted, self.made)

    def backed_up(self, lsn: int, complete_ns: int, snapshots_made: int, told: Mapping[str, object]) -> None:
        assert lsn <= self.checkpoint_lsn
        self.backup_lsn = max(self.backup_lsn, lsn)
        self.made = max(self.made, snapshots_made)
        self.told = {**told, "complete_ns": complete_ns}

    def may_delete_backups(self) -> bool:
        return self.valid


class World:
    """One machine with a file system: its journal, its database, its owner, its steward."""

    def __init__(self, folder: Path, objects: Objects, epoch: int = 1, retention_s: float = 3600.0) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.objects = objects
        self.store = BackupStore(objects, FS_ID, None)
        self.retention_s = retention_s
        self.database = Database(sqlite_url(folder / "metadata.db"), FS_ID)
        with self.database.writer() as connection:
            # Of no interest here, and it waits for the disk each time.
            base = checkpoint.checkpoint_lsn(connection)
        self.journal = Journal()
        self.owner = Owner(epoch, durable_lsn=base, checkpoint_lsn=base)
        self.time_s = 1_000_000.0
        self.fail_at = ""
        self.dead = False
        self.tokens = 0
        # Rows as of each transaction.
        self.history: dict[int, Rows] = {base: state(self.database)}
        self.backuper = self.make_backuper()

    def make_backuper(self) -> Backuper:
        def token() -> str:
            self.tokens += 1
            return f"{self.owner.epoch:08x}{self.tokens:08x}"

        def failpoint(name: str) -> None:
            if name == self.fail_at:
                self.fail_at = ""
                raise OSError(5, name)

        return Backuper(
            self.database,
            self.store,
            self.owner,
            self.journal.open,
            self.folder / "backup",
            Settings(self.retention_s, 60.0),
            dead_waiting=lambda _: self.dead,
            reload_keys=lambda: None,
            now_ns=lambda: int(self.time_s * 1e9),
            monotonic_s=lambda: self.time_s,
            token=token,
            failpoint=failpoint,
        )

    @property
    def last(self) -> Rows:
        return self.history[max(self.history)]

    def change(self, ops: Sequence[rows.RowOp]) -> int:
        """A transaction."""
        after = dict(self.last)
        for op in ops:
            if isinstance(op, PutInode):
                after[op.row.ino] = op.row.mode
            elif isinstance(op, DropInode):
                after.pop(op.ino, None)
        lsn = self.journal.append(self.owner.epoch, rows.encode(ops))
        self.history[lsn] = after
        return lsn

    def write(self) -> int:
        """Data: a record without rows."""
        lsn = self.journal.append(self.owner.epoch, None)
        self.history[lsn] = self.last
        return lsn

    def sync(self) -> None:
        self.time_s += 0.01
        self.owner.durable_lsn = max([self.owner.durable_lsn, *(lsn for lsn, _ in self.journal.records)])

    def checkpoint(self) -> None:
        upto = self.owner.durable_lsn
        tail = self.journal.open(self.owner.checkpoint_lsn + 1)
        with self.database.writer() as connection:
            checkpoint.apply(
                connection, tail.next_batch(upto, 1 << 30), upto_lsn=upto, now_s=int(self.time_s)
            )
        self.owner.checkpoint_lsn = upto

    def back_up(self, steps: int = 1) -> None:
        """Steps of the steward; what fails is tried again later."""
        for _ in range(steps):
            try:
                self.backuper.step()
            except (StoreError, NotRunningError, OSError):
                self.backuper.reset()

    def settle(self) -> None:
        """Everything durable is in the container."""
        self.sync()
        self.checkpoint()
        self.owner.wanted_lsn = self.owner.durable_lsn
        self.objects.fail.clear()
        for _ in range(60):
            self.back_up()
            if self.owner.backup_lsn == self.owner.durable_lsn and self.owner.made == self.owner.wanted:
                break
        # And what a finished snapshot makes superfluous is gone.
        self.back_up()
        assert self.owner.backup_lsn == self.owner.durable_lsn

    def trim(self) -> None:
        self.journal.trim(min(self.owner.checkpoint_lsn, self.owner.backup_lsn))

    def restart_steward(self) -> None:
        self.backuper = self.make_backuper()

    def restart_owner(self, epoch: int) -> None:
        """A crash: what was not durable has never been."""
        durable = self.owner.durable_lsn
        self.journal.records = [record for record in self.journal.records if record[0] <= durable]
        self.history = {lsn: found for lsn, found in self.history.items() if lsn <= durable}
        self.owner = Owner(epoch, durable_lsn=durable, checkpoint_lsn=self.owner.checkpoint_lsn)
        # The steward lives on; it asks the new one.
        self.backuper._owner = self.owner  # type: ignore[attr-defined]

    def close(self) -> None:
        self.database.close()


def state(database: Database) -> Rows:
    with database.reader() as connection:
        found = connection.execute(select(inode.c.ino, inode.c.mode))
        return {int(ino): int(mode) for ino, mode in found}


def restored(objects: Objects, file: Path, *, upto_ms: int | None = None) -> tuple[Restored, Rows]:
    """What a recovery finds now, on an empty machine; the database must say the LSN that the recovery says."""
    store = BackupStore(objects, FS_ID, None)
    found = restore(store, file, FS_ID, upto_ms=upto_ms, tell=lambda _: None)
    database = Database(sqlite_url(file), FS_ID)
    try:
        with database.reader() as connection:
            assert int(read_meta(connection)["checkpoint_lsn"]) == found.lsn
        return found, state(database)
    finally:
        database.close()
