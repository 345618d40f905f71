"""Core and namespace together: facts that one of them owned when the other did not have the inode."""

from pathlib import Path

from gateway._core import Core
from gateway.metadata.attributes import SetAttributes
from tests.unit.metadata.harness import FS_ID
from tests.unit.metadata.real_harness import MIB, RealHarness


class SmallHarness(RealHarness):
    """The core keeps a handful of clean inodes only."""

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
            max_inodes=4,
            readahead_bytes=MIB,
            pack_bytes=MIB,
            io_threads=1,
        )


def test_what_was_set_on_an_evicted_file_holds_after_a_crash(tmp_path: Path) -> None:
    harness = SmallHarness(tmp_path)
    fs = harness.fs
    ino = fs.create(1, b"f", SetAttributes(mode=0o644), uid=1, gid=1)[0].inode
    harness.write(ino, 0, b"hello")
    batch = harness.core.flush_take(inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=MIB)
    assert batch is not None
    batch.write()
    fs.flush_commit(batch)
    for number in range(500):
        if harness.core.attributes(ino) is None:
            break
        assert fs.load(fs.create(1, b"%d" % number, SetAttributes(mode=0o644), uid=1, gid=1)[0].inode)
    assert harness.core.attributes(ino) is None
    fs.setattr(ino, SetAttributes(mode=0o600))
    fs.link(ino, 1, b"g")
    assert harness.core.attributes(ino) is None
    before = fs.getattr(ino)
    assert (before.mode, before.nlink) == (0o600, 2)
    harness.crash()
    after = harness.fs.getattr(ino)
    assert (after.mode, after.nlink, after.size, after.change) == (0o600, 2, 5, before.change)
    live = harness.core.attributes(ino)
    assert live is None or (live.mode, live.nlink) == (0o600, 2)
    assert harness.read(ino) == b"hello"
    harness.core.close()
