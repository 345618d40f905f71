"""Flushes, orphans and recovery: what happens to files between memory, journal and SQL."""

from pathlib import Path

import pytest

from gateway.metadata.attributes import SetAttributes
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.errors import MetadataError
from gateway.metadata.namespace import Namespace
from gateway.metadata.operations import flush
from gateway.metadata.rows import DropInode
from tests.unit.metadata.fake_core import FakeCore
from tests.unit.metadata.harness import FS_ID, FakeHarness

OWNER = {"uid": 10, "gid": 20}


def test_a_write_that_clears_set_id_bits_reaches_the_row(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"f", SetAttributes(mode=0o6755), **OWNER)[0].inode
    fs.load(ino)
    harness.core.write(ino, 0, b"x", uid=10)
    assert fs.getattr(ino).mode == 0o755
    fs.link(ino, 1, b"g")
    assert fs.getattr(ino).mode == 0o755
    fs.setattr(ino, SetAttributes(mode=0o4711))
    harness.core.write(ino, 0, b"y", uid=10)
    harness.settle()
    harness.core.evict()
    assert fs.getattr(ino).mode == 0o711
    harness.open()
    assert harness.fs.getattr(ino).mode == 0o711


def test_flushed_data_is_found_before_during_and_after_its_checkpoint(harness: FakeHarness) -> None:
    """Extents come from SQL and, above what was forgotten, from memory; taking both twice changes nothing."""
    ino = harness.fs.create(1, b"f", **OWNER)[0].inode
    expected = bytearray(b"0" * 60)
    harness.write(ino, 0, bytes(expected))
    harness.settle()
    for offset in (0, 10, 20, 30, 40):
        expected[offset : offset + 5] = b"%05d" % offset
        harness.write(ino, offset, expected[offset : offset + 5])
        harness.fs.flush_commit(harness.flush())
        harness.core.wait_durable(harness.core.last_lsn)
        if offset % 20:
            harness.checkpoint()
        if offset == 30:
            harness.fs.checkpointed(harness.steward.checkpoint_lsn)
        harness.core.evict()
        assert harness.core.attributes(ino) is None
        assert harness.fs.getattr(ino).size == 60
        assert harness.read(ino) == expected
    known_lsn = harness.checkpoint()
    harness.write(ino, 50, b"later")
    harness.fs.flush_commit(harness.flush())
    harness.fs.checkpointed(known_lsn)  # of two splices one leaves memory, the other stays
    expected[50:55] = b"later"
    harness.core.evict()
    assert harness.read(ino) == expected
    harness.core.evict()
    assert harness.fs.setattr(ino, SetAttributes(mode=0o600)).size == 60
    harness.settle()
    harness.crash()
    assert harness.fs.getattr(ino).size == 60
    assert harness.read(ino) == expected


def test_an_open_victim_stays_until_it_is_released(harness: FakeHarness) -> None:
    fs = harness.fs
    victim = fs.create(1, b"victim", **OWNER)[0].inode
    harness.write(victim, 0, b"data")
    fs.create(1, b"new", **OWNER)
    fs.rename(1, b"new", 1, b"victim", True)
    assert fs.getattr(victim).nlink == 0
    assert harness.read(victim) == b"data"
    harness.crash()
    fs = harness.fs
    assert fs.orphans() == [victim]
    assert harness.read(victim) == b"data"
    inodes = fs.statfs().inodes
    fs.released(victim)
    fs.released(victim)
    fs.released(fs.lookup(1, b"victim").inode)
    assert fs.orphans() == []
    assert fs.statfs().inodes == inodes - 1
    assert not fs.load(victim)
    assert isinstance(harness.core, FakeCore)
    assert victim not in harness.core.live


def test_the_end_of_grace_drops_orphans_that_nobody_opened_again(harness: FakeHarness) -> None:
    fs = harness.fs
    inos = [fs.create(1, b"f", **OWNER)[0].inode for _ in range(3) if fs.create(1, b"f", **OWNER)[1]]
    for i in range(3):
        inos.append(fs.create(1, b"g%d" % i, **OWNER)[0].inode)
        fs.unlink(1, b"g%d" % i, True)
        if i == 0:
            harness.settle()
    orphans = fs.orphans()
    assert len(orphans) == 3
    assert fs.drop_orphans(frozenset(orphans[:1])) == 2
    assert fs.orphans() == orphans[:1]


def test_a_file_deleted_during_its_flush_is_left_out(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"f", **OWNER)[0].inode
    harness.write(ino, 0, b"data")
    batch = harness.flush()
    (pack,) = (item[0] for item in batch.packs)
    fs.unlink(1, b"f")
    fs.flush_commit(batch)
    assert fs.live_bytes(pack) == 0
    assert fs.live_bytes(pack + 1) is None
    harness.settle()
    assert fs.live_bytes(pack) == 0
    fs.drop_packs([pack])
    harness.settle()
    assert fs.live_bytes(pack) is None
    assert fs.statfs() == (1, 0)


def test_live_bytes_count_what_sql_does_not_have_yet(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"f", **OWNER)[0].inode
    harness.write(ino, 0, b"data")
    batch = harness.flush()
    fs.flush_commit(batch)
    pack = batch.packs[0][0]
    assert fs.live_bytes(pack) == 4
    harness.settle()
    assert fs.live_bytes(pack) == 4
    assert fs.statfs() == (2, 4)


def test_a_checkpoint_past_what_is_durable_is_refused(harness: FakeHarness) -> None:
    with pytest.raises(ValueError, match="durable"):
        harness.fs.checkpointed(harness.core.durable_lsn + 1)


def test_a_journal_without_its_database_is_refused(harness: FakeHarness, tmp_path: Path) -> None:
    """Beginning anew would bury the file system."""
    harness.fs.create(1, b"f", **OWNER)
    harness.fs.mkdir(1, b"d", **OWNER)
    harness.fs.unlink(1, b"f")
    harness.settle()
    harness.core.trim(harness.fs.checkpoint_lsn - 2)
    harness.database.close()
    for path in tmp_path.glob("metadata.db*"):
        path.unlink()
    harness.database = Database(sqlite_url(tmp_path / "metadata.db"), FS_ID)
    with pytest.raises(MetadataError, match="not there"):
        harness.crash()


def test_recovery_sees_one_state_of_sql_though_a_steward_goes_on(harness: FakeHarness) -> None:
    """A steward that outlived the owner before may end its transaction in the middle of the replay."""
    fs = harness.fs
    for i in range(10):
        fs.create(1, b"f%d" % i, **OWNER)
        if i == 3:
            harness.checkpoint()
    core = FakeCore(harness.disk, 2)
    recovered = Namespace(core, harness.database, harness.clock, epoch=2)
    rows = harness.rows(0)
    for lsn, payload in rows:
        if lsn == rows[6][0]:
            harness.checkpoint()
        recovered.apply_replayed(lsn, payload)
    recovered.ensure_root()
    assert recovered.statfs().inodes == 11
    assert recovered.readdir(1, 0, 100) == fs.readdir(1, 0, 100)
    recovered.checkpointed(harness.steward.checkpoint_lsn)
    assert recovered.readdir(1, 0, 100) == fs.readdir(1, 0, 100)


def test_a_large_flush_is_several_transactions(harness: FakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush, "FLUSH_STEP", 3)
    fs = harness.fs
    inos = [fs.create(1, b"f%d" % i, **OWNER)[0].inode for i in range(8)]
    for ino in inos:
        harness.write(ino, 0, b"%d" % ino)
    batch = harness.flush()
    fs.unlink(1, b"f7")
    before = len(harness.rows(0))
    lsn = fs.flush_commit(batch)
    harness.core.wait_durable(lsn)
    assert len(harness.rows(0)) == before + 3
    assert harness.core.flush_take() is None
    # A crash that keeps the first of them only flushes the others again.
    del harness.disk.journal[-2:]
    harness.disk.durable_lsn = harness.disk.journal[-1][0]
    harness.crash()
    assert sorted(item.inode for item in harness.flush().inodes) == inos[3:7]
    assert [harness.read(ino) for ino in inos[:7]] == [b"%d" % ino for ino in inos[:7]]


def test_repairs_are_transactions_like_others(harness: FakeHarness) -> None:
    fs = harness.fs
    orphan = fs.create(1, b"f", **OWNER)[0].inode
    fs.unlink(1, b"f", True)
    inodes = fs.statfs().inodes
    fs.repair([DropInode(orphan), DropInode(999)])
    assert fs.statfs().inodes == inodes - 1
    harness.settle()
    harness.crash()
    assert harness.fs.statfs().inodes == inodes - 1
