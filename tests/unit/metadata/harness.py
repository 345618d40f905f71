"""A file system under test: database, core, namespace and the steward's part, in one place that can crash and reopen."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.metadata import checkpoint
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.namespace import Limits, Namespace
from tests.unit.metadata.fake_core import Disk, FakeCore

FS_ID = bytes(range(16))


class StepClock:
    """Time that moves by a microsecond whenever somebody looks."""

    def __init__(self) -> None:
        self.at_ns = 1_000_000_000_000

    def now_ns(self) -> int:
        self.at_ns += 1000
        return self.at_ns


class Steward:
    """Reads the journal's rows from the checkpoint on and brings them into SQL, as a process of its own would."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def apply(self, records: Sequence[tuple[int, bytes]], now_s: int = 1000) -> int:
        with self.database.writer() as connection:
            return checkpoint.apply(connection, records, now_s=now_s)

    @property
    def checkpoint_lsn(self) -> int:
        with self.database.reader() as connection:
            return checkpoint.checkpoint_lsn(connection)


class FakeHarness:
    """The namespace over the plain-Python core."""

    def __init__(self, folder: Path, template: Path | None = None, limits: Limits | None = None) -> None:
        self.path = folder / "metadata.db"
        if template is not None:
            shutil.copyfile(template, self.path)
        self.database = Database(sqlite_url(self.path), FS_ID)
        self.steward = Steward(self.database)
        self.clock = StepClock()
        self.limits = limits
        self.disk = Disk()
        self.epoch = 0
        self.core: Any
        self.fs: Namespace
        self.found_lsn = 0
        self.open()

    def open(self) -> None:
        self.epoch += 1
        self.core = self.new_core()
        self.fs = Namespace(self.core, self.database, self.clock, epoch=self.epoch, limits=self.limits)
        report = self.core.replay(from_lsn=0, on_rows=self.fs.apply_replayed, load=self.fs.load_for_replay)
        self.found_lsn = report.last_lsn
        self.core.start()
        self.fs.ensure_root()

    def new_core(self) -> Any:
        return FakeCore(self.disk, self.epoch)

    def crash(self, keep_beyond_durable: int = 0) -> int:
        """Ends without a word and opens again; returns the LSN up to which the journal was found.

        Of the records that nobody waited for about `keep_beyond_durable` survive.
        """
        self.disk.crash(keep_beyond_durable)
        self.open()
        return self.found_lsn

    def write(self, ino: int, offset: int, data: bytes) -> int:
        assert self.fs.load(ino)
        return self.core.write(ino, offset, data, time_ns=self.clock.now_ns())

    def read(self, ino: int) -> bytes:
        assert self.fs.load(ino)
        return self.core.read(ino, 0, 1 << 20)

    def flush(self, inos: Sequence[int] | None = None) -> Any:
        """Takes and writes a batch; None: nothing is dirty. To be committed."""
        batch = self.core.flush_take(inodes=inos, dirty_before_ns=None, upto_lsn=None, max_bytes=1 << 30)
        if batch is not None:
            batch.write()
        return batch

    def evict(self) -> None:
        self.core.evict()

    def rows(self, above: int) -> list[tuple[int, bytes]]:
        return self.core.rows(above)

    def checkpoint(self, most: int = 1 << 30) -> int:
        """Brings at most so many records into SQL, without telling the owner."""
        return self.steward.apply(self.rows(self.steward.checkpoint_lsn)[:most])

    def settle(self) -> None:
        """Flush, checkpoint, forget: afterwards SQL holds everything."""
        batch = self.flush()
        if batch is not None:
            self.fs.flush_commit(batch)
        self.core.wait_durable(self.core.last_lsn)
        self.fs.checkpointed(self.checkpoint())

    def close(self) -> None:
        self.core.close()
        self.database.close()
