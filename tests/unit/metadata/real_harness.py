"""The harness over the native core: the same file system, with a journal and packs in folders."""

import shutil
from pathlib import Path

from gateway._core import Core, JournalTail, NotResident
from gateway.metadata.namespace import Limits
from tests.unit.metadata.harness import FS_ID, FakeHarness

MIB = 1 << 20


class RealHarness(FakeHarness):
    """A crash takes what the journal's files hold at that moment, be it waited for or not."""

    def __init__(self, folder: Path, template: Path | None = None, limits: Limits | None = None) -> None:
        self.journal = folder / "journal"
        self.store = folder / "store"
        self.journal.mkdir()
        self.store.mkdir()
        super().__init__(folder, template, limits)

    def new_core(self) -> Core:
        return Core(
            fs_id=FS_ID,
            epoch=self.epoch,
            journal=[str(self.journal)],
            store_url=f"file://{self.store}",
            store_options={},
            l1_bytes=4 * MIB,
            l2_dir=None,
            l2_bytes=0,
            segment_bytes=MIB,
            journal_limit_bytes=64 * MIB,
            dirty_memory_bytes=4 * MIB,
            max_inodes=1000,
            readahead_bytes=MIB,
            pack_bytes=MIB,
            io_threads=1,
        )

    def crash(self, keep_beyond_durable: int = 0) -> int:
        """What is in the journal's files at this moment is all that is left; how much that is, is the core's affair."""
        durable_lsn = self.core.durable_lsn
        left = self.journal.with_name(f"journal-{self.epoch}")
        shutil.copytree(self.journal, left)
        self.core.close()
        self.journal = left
        self.open()
        # A journal that was trimmed to nothing has nothing to find.
        assert self.found_lsn >= durable_lsn or self.found_lsn == 0
        return self.found_lsn

    def write(self, ino: int, offset: int, data: bytes) -> int:
        assert self.fs.load(ino)
        return self.core.write(ino, offset, data)

    def read(self, ino: int) -> bytes:
        while True:
            assert self.fs.load(ino)
            try:
                return self.core.read(ino, 0, MIB)
            except NotResident:
                pass  # evicted between the two calls

    def evict(self) -> None:
        """The core drops clean files by itself."""

    def rows(self, above: int) -> list[tuple[int, bytes]]:
        tail = JournalTail([str(self.journal)], FS_ID, above + 1)
        found: list[tuple[int, bytes]] = []
        while batch := tail.next_batch(self.core.durable_lsn, MIB):
            found += batch
        return found
