"""What each operation refuses, and what it does besides."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.metadata.attributes import LINK_MAX, SetAttributes
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.errors import FsError, MetadataError
from gateway.metadata.namespace import Namespace
from gateway.metadata.rows import DropInode
from tests.unit.metadata.fake_core import Busy, FakeCore
from tests.unit.metadata.harness import FS_ID, FakeHarness

OWNER = {"uid": 10, "gid": 20}
LONG = b"x" * 256


class Tree:
    """/file, /link (symbolic), /dir, /dir/sub, /dir/sub/deep, /full/inside, an orphaned file, a removed directory."""

    def __init__(self, fs: Namespace) -> None:
        self.file = fs.create(1, b"file", **OWNER)[0].inode
        self.link = fs.symlink(1, b"link", b"file", **OWNER).inode
        self.dir = fs.mkdir(1, b"dir", **OWNER).inode
        self.sub = fs.mkdir(self.dir, b"sub", **OWNER).inode
        self.deep = fs.mkdir(self.sub, b"deep", **OWNER).inode
        self.full = fs.mkdir(1, b"full", **OWNER).inode
        fs.create(self.full, b"inside", **OWNER)
        self.orphan = fs.create(1, b"o", **OWNER)[0].inode
        fs.unlink(1, b"o", True)
        self.removed = fs.mkdir(1, b"r", **OWNER).inode
        fs.unlink(1, b"r", True)


REFUSALS: list[tuple[str, int, Callable[[Namespace, Tree], Any]]] = [
    ("no such name", errno.ENOENT, lambda fs, _: fs.lookup(1, b"none")),
    ("name below a file", errno.ENOTDIR, lambda fs, t: fs.lookup(t.file, b"x")),
    ("dot of a file", errno.ENOTDIR, lambda fs, t: fs.lookup(t.file, b".")),
    ("unknown directory", errno.ESTALE, lambda fs, _: fs.lookup(99, b"x")),
    ("unknown inode", errno.ESTALE, lambda fs, _: fs.getattr(99)),
    ("long name", errno.ENAMETOOLONG, lambda fs, _: fs.lookup(1, LONG)),
    ("list a file", errno.ENOTDIR, lambda fs, t: fs.readdir(t.file, 0, 5)),
    ("list nothing", errno.ESTALE, lambda fs, _: fs.readdir(99, 0, 5)),
    ("target of a file", errno.EINVAL, lambda fs, t: fs.readlink(t.file)),
    ("create what is there", errno.EEXIST, lambda fs, _: fs.create(1, b"file", guarded=True, **OWNER)),
    ("create long", errno.ENAMETOOLONG, lambda fs, _: fs.create(1, LONG, **OWNER)),
    ("create nameless", errno.ENOENT, lambda fs, _: fs.create(1, b"", **OWNER)),
    ("create with a slash", errno.EINVAL, lambda fs, _: fs.create(1, b"a/b", **OWNER)),
    ("create with NUL", errno.EINVAL, lambda fs, _: fs.create(1, b"a\0b", **OWNER)),
    ("create dot", errno.EEXIST, lambda fs, _: fs.create(1, b".", **OWNER)),
    ("create below a file", errno.ENOTDIR, lambda fs, t: fs.create(t.file, b"x", **OWNER)),
    ("create in a removed directory", errno.ENOENT, lambda fs, t: fs.create(t.removed, b"x", **OWNER)),
    ("create too large", errno.EFBIG, lambda fs, _: fs.create(1, b"n", SetAttributes(size=2**63), **OWNER)),
    ("mkdir over a file", errno.EEXIST, lambda fs, _: fs.mkdir(1, b"file", **OWNER)),
    ("mkdir dot dot", errno.EEXIST, lambda fs, _: fs.mkdir(1, b"..", **OWNER)),
    ("symlink to nothing", errno.ENOENT, lambda fs, _: fs.symlink(1, b"s", b"", **OWNER)),
    ("symlink to too much", errno.ENAMETOOLONG, lambda fs, _: fs.symlink(1, b"s", b"x" * 4097, **OWNER)),
    ("symlink with NUL", errno.EINVAL, lambda fs, _: fs.symlink(1, b"s", b"a\0", **OWNER)),
    ("mknod of a file", errno.EINVAL, lambda fs, _: fs.mknod(1, b"n", stat.S_IFREG, **OWNER)),
    (
        "mknod of a huge device",
        errno.EINVAL,
        lambda fs, _: fs.mknod(1, b"n", stat.S_IFBLK, (2**32, 0), **OWNER),
    ),
    ("link a directory", errno.EPERM, lambda fs, t: fs.link(t.dir, 1, b"n")),
    ("link over", errno.EEXIST, lambda fs, t: fs.link(t.file, 1, b"link")),
    ("link an orphan", errno.ENOENT, lambda fs, t: fs.link(t.orphan, 1, b"n")),
    ("link below a file", errno.ENOTDIR, lambda fs, t: fs.link(t.file, t.file, b"n")),
    ("link nothing", errno.ESTALE, lambda fs, _: fs.link(99, 1, b"n")),
    ("unlink nothing", errno.ENOENT, lambda fs, _: fs.unlink(1, b"none")),
    ("unlink dot", errno.EINVAL, lambda fs, t: fs.unlink(t.dir, b".")),
    ("remove a full directory", errno.ENOTEMPTY, lambda fs, _: fs.unlink(1, b"full")),
    ("unlink below a file", errno.ENOTDIR, lambda fs, t: fs.unlink(t.file, b"n")),
    ("rename nothing", errno.ENOENT, lambda fs, _: fs.rename(1, b"none", 1, b"n")),
    ("rename into itself", errno.EINVAL, lambda fs, t: fs.rename(1, b"dir", t.dir, b"n")),
    ("rename below itself", errno.EINVAL, lambda fs, t: fs.rename(1, b"dir", t.deep, b"n")),
    ("rename over an ancestor", errno.ENOTEMPTY, lambda fs, t: fs.rename(t.sub, b"deep", 1, b"dir")),
    ("rename over a full directory", errno.ENOTEMPTY, lambda fs, _: fs.rename(1, b"dir", 1, b"full")),
    ("rename a file over a directory", errno.EISDIR, lambda fs, _: fs.rename(1, b"file", 1, b"full")),
    ("rename a directory over a file", errno.ENOTDIR, lambda fs, _: fs.rename(1, b"dir", 1, b"file")),
    ("rename to dot", errno.EINVAL, lambda fs, _: fs.rename(1, b"dir", 1, b".")),
    ("rename long", errno.ENAMETOOLONG, lambda fs, _: fs.rename(1, b"dir", 1, LONG)),
    ("rename into a removed directory", errno.ENOENT, lambda fs, t: fs.rename(1, b"file", t.removed, b"n")),
    ("rename below a file", errno.ENOTDIR, lambda fs, t: fs.rename(1, b"dir", t.file, b"n")),
    ("size of a directory", errno.EISDIR, lambda fs, t: fs.setattr(t.dir, SetAttributes(size=0))),
    ("size of a link", errno.EINVAL, lambda fs, t: fs.setattr(t.link, SetAttributes(size=0))),
    ("negative size", errno.EINVAL, lambda fs, t: fs.setattr(t.file, SetAttributes(size=-1))),
    ("size too large", errno.EFBIG, lambda fs, t: fs.setattr(t.file, SetAttributes(size=2**63))),
    ("attributes of nothing", errno.ESTALE, lambda fs, _: fs.setattr(99, SetAttributes(mode=0))),
]


@pytest.mark.parametrize(("code", "operation"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_refused_operations_change_nothing(harness: FakeHarness, code: int, operation: Any) -> None:
    tree = Tree(harness.fs)
    before = len(harness.disk.journal)
    with pytest.raises(FsError) as error:
        operation(harness.fs, tree)
    assert error.value.errno == code
    assert errno.errorcode[code] in str(error.value)
    assert len(harness.disk.journal) == before
    assert harness.core.reserved == 0


@pytest.mark.parametrize(("failure", "error"), [("busy", Busy), ("fail_append", OSError)])
def test_without_room_in_the_journal_nothing_happens(
    harness: FakeHarness, failure: str, error: type[Exception]
) -> None:
    tree = Tree(harness.fs)
    before = [harness.fs.getattr(ino) for ino in (1, tree.file, tree.dir)]
    for operation in (
        lambda: harness.fs.create(1, b"n", **OWNER),
        lambda: harness.fs.rename(1, b"file", tree.dir, b"n"),
        lambda: harness.fs.unlink(1, b"file"),
        lambda: harness.fs.setattr(tree.file, SetAttributes(mode=0)),
        lambda: harness.fs.setattr(tree.file, SetAttributes(size=7)),
    ):
        setattr(harness.core, failure, 1)
        with pytest.raises(error):
            operation()
        assert harness.core.reserved == 0
    assert [harness.fs.getattr(ino) for ino in (1, tree.file, tree.dir)] == before


def test_link_counts_have_a_limit(harness: FakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.metadata.operations import create, names

    tree = Tree(harness.fs)
    monkeypatch.setattr(create, "LINK_MAX", 2)
    monkeypatch.setattr(names, "LINK_MAX", 1)
    for operation in (
        lambda: harness.fs.mkdir(1, b"n", **OWNER),
        lambda: harness.fs.link(tree.file, 1, b"n"),
        lambda: harness.fs.rename(tree.dir, b"sub", 1, b"n"),
    ):
        with pytest.raises(FsError) as error:
            operation()
        assert error.value.errno == errno.EMLINK
    assert LINK_MAX == 2**31 - 1


def test_parents_get_new_times_and_other_inodes_keep_theirs(harness: FakeHarness) -> None:
    fs = harness.fs
    tree = Tree(fs)

    def times(ino: int) -> tuple[int, int, int]:
        found = fs.getattr(ino)
        return found.mtime_ns, found.ctime_ns, found.change

    def touched(
        operation: Callable[[], Any], *, parents: list[int], ctimes: list[int], kept: list[int]
    ) -> None:
        before = {ino: times(ino) for ino in (*parents, *ctimes, *kept)}
        operation()
        for ino in parents:
            assert all(now > then for now, then in zip(times(ino), before[ino], strict=True))
        for ino in ctimes:
            assert times(ino)[0] == before[ino][0]
            assert all(now > then for now, then in zip(times(ino)[1:], before[ino][1:], strict=True))
        for ino in kept:
            assert times(ino) == before[ino]

    touched(lambda: fs.create(tree.dir, b"n", **OWNER), parents=[tree.dir], ctimes=[], kept=[1, tree.sub])
    touched(lambda: fs.link(tree.file, tree.dir, b"l"), parents=[tree.dir], ctimes=[tree.file], kept=[1])
    touched(lambda: fs.unlink(tree.dir, b"l"), parents=[tree.dir], ctimes=[tree.file], kept=[1])
    touched(
        lambda: fs.rename(tree.dir, b"sub", tree.full, b"s"),
        parents=[tree.dir, tree.full],
        ctimes=[tree.sub],
        kept=[1, tree.deep],
    )
    touched(lambda: fs.lookup(1, b"dir"), parents=[], ctimes=[], kept=[1, tree.dir])
    assert fs.lookup(tree.sub, b"..").inode == tree.full
    assert fs.lookup(1, b"..").inode == 1
    assert fs.lookup(tree.sub, b".").inode == tree.sub


def test_renaming_a_name_to_its_other_name_does_nothing(harness: FakeHarness) -> None:
    fs = harness.fs
    tree = Tree(fs)
    fs.link(tree.file, tree.dir, b"other")
    before = len(harness.disk.journal)
    fs.rename(1, b"file", tree.dir, b"other")
    fs.rename(1, b"file", 1, b"file")
    assert len(harness.disk.journal) == before
    assert fs.lookup(1, b"file") == fs.lookup(tree.dir, b"other")


def test_set_group_id_directories_hand_their_group_on(harness: FakeHarness) -> None:
    fs = harness.fs
    shared = fs.mkdir(1, b"shared", SetAttributes(mode=0o2775), uid=1, gid=77).inode
    file = fs.create(shared, b"f", SetAttributes(mode=0o640), **OWNER)[0]
    assert (file.uid, file.gid, file.mode) == (10, 77, 0o640)
    below = fs.mkdir(shared, b"d", SetAttributes(mode=0o700), **OWNER)
    assert (below.gid, below.mode) == (77, 0o2700)
    assert fs.create(shared, b"g", SetAttributes(gid=5), **OWNER)[0].gid == 5
    assert fs.create(1, b"plain", SetAttributes(uid=3), **OWNER)[0][5:7] == (3, 20)


def test_a_new_file_has_the_attributes_it_was_given(harness: FakeHarness) -> None:
    """Among them the verifier of an exclusive create, which comes as its times."""
    given = SetAttributes(mode=0o4751, size=1 << 40, atime_ns=-5, mtime_ns=2**62)
    found, made = harness.fs.create(1, b"f", given, **OWNER)
    assert made
    assert (found.mode, found.size, found.atime_ns, found.mtime_ns) == (0o4751, 1 << 40, -5, 2**62)
    assert harness.fs.create(1, b"f", SetAttributes(mode=0, size=0), **OWNER) == (found, False)
    assert found.generation == harness.epoch
    assert found.btime_ns == found.ctime_ns


def test_devices_have_numbers_and_others_none(harness: FakeHarness) -> None:
    fs = harness.fs
    assert fs.mknod(1, b"c", stat.S_IFCHR, (4, 64), **OWNER)[7:9] == (4, 64)
    assert fs.mknod(1, b"p", stat.S_IFIFO, (4, 64), **OWNER)[7:9] == (0, 0)
    assert fs.readlink(fs.symlink(1, b"s", b"x" * 4096, **OWNER).inode) == b"x" * 4096


def test_chown_clears_set_id_bits(harness: FakeHarness) -> None:
    fs = harness.fs

    def after(mode: int, changes: SetAttributes) -> int:
        ino = fs.create(1, b"f", SetAttributes(mode=mode), **OWNER)[0].inode
        fs.setattr(ino, changes)
        fs.unlink(1, b"f", True)
        return fs.getattr(ino).mode

    assert after(0o6755, SetAttributes(uid=1)) == 0o755
    assert (
        after(0o6745, SetAttributes(gid=1)) == 0o2745
    )  # without group execution the bit means mandatory locking
    assert after(0o6755, SetAttributes(uid=1, mode=0o6711)) == 0o6711
    assert after(0o755, SetAttributes(mode=0o6755)) == 0o6755


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


def test_an_epoch_out_of_range_is_refused(harness: FakeHarness) -> None:
    for epoch in (0, 2**23):
        with pytest.raises(ValueError, match="epoch"):
            Namespace(harness.core, harness.database, harness.clock, epoch=epoch)


def test_a_journal_without_its_database_is_refused(harness: FakeHarness, tmp_path: Path) -> None:
    """Beginning anew would bury the file system."""
    Tree(harness.fs)
    harness.settle()
    harness.core.trim(harness.fs.checkpoint_lsn - 3)
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
    from gateway.metadata.operations import flush

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


def test_what_was_made_a_moment_ago_is_promised_only_when_it_is_durable(harness: FakeHarness) -> None:
    """As for the second try of a client whose first try is still waiting for the disk."""
    fs = harness.fs
    wait, waited = harness.core.wait_durable, list[int]()
    harness.core.wait_durable = waited.append
    made = fs.create(1, b"f", **OWNER)[0]
    assert fs.create(1, b"f", **OWNER) == (made, False)
    assert waited == [made.change, made.change]
    wait(made.change)
    fs.create(1, b"f", **OWNER)
    assert len(waited) == 2


def test_repairs_are_transactions_like_others(harness: FakeHarness) -> None:
    fs = harness.fs
    tree = Tree(fs)
    inodes = fs.statfs().inodes
    fs.repair([DropInode(tree.orphan), DropInode(999)])
    assert fs.statfs().inodes == inodes - 1
    harness.settle()
    harness.crash()
    assert harness.fs.statfs().inodes == inodes - 1
