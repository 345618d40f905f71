"""What each operation refuses, and what it does besides."""

import errno
import stat
from collections.abc import Callable
from typing import Any

import pytest

from gateway.metadata.attributes import LINK_MAX, SetAttributes
from gateway.metadata.errors import FsError
from gateway.metadata.namespace import Namespace
from tests.unit.metadata.fake_core import Busy
from tests.unit.metadata.harness import FakeHarness

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


def test_an_epoch_out_of_range_is_refused(harness: FakeHarness) -> None:
    for epoch in (0, 2**23):
        with pytest.raises(ValueError, match="epoch"):
            Namespace(harness.core, harness.database, harness.clock, epoch=epoch)


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
