"""Core and namespace together: facts that one of them owned when the other did not have the inode."""

from pathlib import Path

import pytest

from gateway._core import Busy, Core
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


def test_a_mode_that_was_set_after_a_write_survives_the_replay_of_that_write(tmp_path: Path) -> None:
    """The write, which takes set-id bits away, is older than the row that recovery finds; the journal still has it."""
    harness = RealHarness(tmp_path)
    ino = harness.fs.create(1, b"f", SetAttributes(mode=0o6755), uid=1, gid=1)[0].inode
    assert harness.fs.load(ino)
    harness.core.write(ino, 0, b"hello", uid=7)
    assert harness.fs.getattr(ino).mode == 0o755
    harness.fs.setattr(ino, SetAttributes(mode=0o6711))
    before = harness.fs.getattr(ino)
    harness.settle()
    harness.crash()
    after = harness.fs.getattr(ino)
    assert (after.mode, after.change) == (0o6711, before.change)
    assert harness.read(ino) == b"hello"
    harness.core.close()


def test_the_change_attribute_is_that_of_the_last_change_and_not_of_the_flush(tmp_path: Path) -> None:
    """A flush whose row has to follow a mode that a write changed says nothing that is news to clients."""
    harness = RealHarness(tmp_path)
    ino = harness.fs.create(1, b"f", SetAttributes(mode=0o6755), uid=1, gid=1)[0].inode
    assert harness.fs.load(ino)
    written_lsn = harness.core.write(ino, 0, b"hello", uid=7)
    harness.settle()
    assert harness.fs.getattr(ino).change == written_lsn
    harness.crash()
    assert harness.fs.getattr(ino).change == written_lsn
    harness.core.close()


def test_a_setattr_that_is_told_to_come_again_has_changed_nothing(tmp_path: Path) -> None:
    """Names and size of a file are two records; where the second has no place, the first must not be there either."""
    harness = SmallHarness(tmp_path)
    fs, core = harness.fs, harness.core
    inos = [
        fs.create(1, b"%d" % number, SetAttributes(mode=0o644), uid=1, gid=1)[0].inode for number in range(9)
    ]
    for ino in inos[:8]:  # twice as many dirty files as the core keeps
        harness.write(ino, 0, b"x")
    before, last_lsn = fs.getattr(inos[8]), core.last_lsn
    with pytest.raises(Busy):
        fs.setattr(inos[8], SetAttributes(mode=0o600, size=1))
    assert core.last_lsn == last_lsn
    assert fs.getattr(inos[8]) == before
    core.close()
