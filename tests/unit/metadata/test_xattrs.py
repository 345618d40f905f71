"""Extended attributes: bounds, what a change moves, cold reads, the checkpoint's side, and memory."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from gateway.data import fsck
from gateway.metadata.errors import FsError
from gateway.metadata.namespace import Limits, Namespace
from gateway.metadata.rows import DropXattr, PutXattr, encode
from gateway.metadata.tables import xattr
from gateway.metadata.xattrs import Xattrs
from tests.unit.metadata.audit import audit
from tests.unit.metadata.fake_core import Busy
from tests.unit.metadata.harness import FakeHarness

OWNER = {"uid": 10, "gid": 20}
NAME = b"user.colour"


def made(harness: FakeHarness, name: bytes = b"file") -> int:
    return harness.fs.create(1, name, **OWNER)[0].inode


REFUSALS: list[tuple[str, int, Callable[[Namespace, int], Any]]] = [
    ("nameless", errno.EINVAL, lambda fs, ino: fs.setxattr(ino, b"", b"")),
    ("only a prefix", errno.EINVAL, lambda fs, ino: fs.setxattr(ino, b"user.", b"")),
    ("NUL", errno.EINVAL, lambda fs, ino: fs.setxattr(ino, b"user.a\0b", b"")),
    ("long name", errno.ENAMETOOLONG, lambda fs, ino: fs.setxattr(ino, b"user." + b"x" * 251, b"")),
    ("large value", errno.E2BIG, lambda fs, ino: fs.setxattr(ino, NAME, bytes(65537))),
    ("create what is there", errno.EEXIST, lambda fs, ino: fs.setxattr(ino, b"user.old", b"", create=True)),
    ("replace what is not", errno.ENODATA, lambda fs, ino: fs.setxattr(ino, NAME, b"", replace=True)),
    ("get what is not", errno.ENODATA, lambda fs, ino: fs.getxattr(ino, NAME)),
    ("remove what is not", errno.ENODATA, lambda fs, ino: fs.removexattr(ino, NAME)),
    ("of a symbolic link", errno.EPERM, lambda fs, ino: fs.setxattr(ino + 2, NAME, b"")),
    ("set on nothing", errno.ESTALE, lambda fs, _: fs.setxattr(99, NAME, b"")),
    ("get from nothing", errno.ESTALE, lambda fs, _: fs.getxattr(99, NAME)),
    ("list nothing", errno.ESTALE, lambda fs, _: fs.listxattr(99)),
    ("remove from nothing", errno.ESTALE, lambda fs, _: fs.removexattr(99, NAME)),
]


@pytest.mark.parametrize(("code", "operation"), [case[1:] for case in REFUSALS], ids=[c[0] for c in REFUSALS])
def test_refusals_change_nothing(harness: FakeHarness, code: int, operation: Callable[..., Any]) -> None:
    fs = harness.fs
    ino = made(harness)
    assert fs.symlink(1, b"link", b"file", **OWNER).inode == ino + 2
    fs.setxattr(ino, b"user.old", b"1")
    before, lsn = fs.getattr(ino), harness.core.last_lsn
    with pytest.raises(FsError) as caught:
        operation(fs, ino)
    assert caught.value.errno == code
    assert (fs.getattr(ino), harness.core.last_lsn) == (before, lsn)
    assert fs.listxattr(ino) == [b"user.old"]


def test_largest_name_and_value_survive_a_crash_and_the_checkpoint(harness: FakeHarness) -> None:
    ino = made(harness)
    name, value = b"user." + bytes(range(1, 251)), bytes(range(256)) * 256
    harness.fs.setxattr(ino, name, value)
    harness.fs.setxattr(ino, b"user.empty", b"")
    for _ in range(2):
        harness.crash()
        assert harness.fs.getxattr(ino, name) == value
        assert harness.fs.getxattr(ino, b"user.empty") == b""
        assert harness.fs.listxattr(ino) == [name, b"user.empty"]
        harness.settle()
    with harness.database.reader() as connection:
        assert len(list(connection.execute(select(xattr)))) == 2
        audit(connection)


def test_a_change_is_one_record_and_durable(harness: FakeHarness) -> None:
    ino = made(harness)
    for operation in (
        lambda: harness.fs.setxattr(ino, NAME, b"1"),
        lambda: harness.fs.setxattr(ino, NAME, b"2", replace=True),
        lambda: harness.fs.removexattr(ino, NAME),
    ):
        lsn = harness.core.last_lsn
        operation()
        assert len(harness.rows(lsn)) == 1
        assert harness.core.durable_lsn == harness.core.last_lsn
        assert harness.fs.getattr(ino).change == harness.core.last_lsn


def test_a_live_file_moves_its_change_and_keeps_its_data(harness: FakeHarness) -> None:
    """What the core owns stays the core's: size and mtime; what a client compares, change and ctime, is told to it."""
    ino = made(harness)
    harness.core.wait_durable(harness.write(ino, 0, b"dirty"))
    before = harness.fs.getattr(ino)
    harness.fs.setxattr(ino, NAME, b"red")
    after = harness.fs.getattr(ino)
    assert after.change > before.change
    assert after.ctime_ns > before.ctime_ns
    assert (after.size, after.mtime_ns) == (5, before.mtime_ns)
    harness.crash()
    found = harness.fs.getattr(ino)
    assert (found.size, found.mtime_ns, found.change) == (5, before.mtime_ns, after.change)
    assert harness.read(ino) == b"dirty"
    assert harness.fs.getxattr(ino, NAME) == b"red"


def test_room_of_names_and_of_values_ends(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = made(harness)
    for number in range(16):
        fs.setxattr(ino, b"user.%02d" % number, bytes(65536))
    with pytest.raises(FsError) as caught:
        fs.setxattr(ino, b"user.more", b"x")
    assert caught.value.errno == errno.ENOSPC
    fs.setxattr(ino, b"user.more", b"")
    fs.setxattr(ino, b"user.00", bytes(65535))
    fs.setxattr(ino, b"user.more", b"x")
    other = fs.mkdir(1, b"dir", **OWNER).inode
    names = [b"user." + b"%03d" % number + bytes([number % 255 + 1]) * 247 for number in range(256)]
    for name in names:
        fs.setxattr(other, name, b"")
    with pytest.raises(FsError) as caught:
        fs.setxattr(other, b"user.x", b"")
    assert caught.value.errno == errno.ENOSPC
    assert fs.listxattr(other) == sorted(names)
    fs.removexattr(other, names[0])
    fs.setxattr(other, b"user.x", b"")


def test_too_much_above_the_checkpoint_is_to_be_tried_again(tmp_path: Path, template: Path) -> None:
    harness = FakeHarness(tmp_path, template, Limits(xattr_changed_bytes=20_000))
    ino = made(harness)
    for number in range(3):
        harness.fs.setxattr(ino, b"user.%d" % number, bytes(6000))
    with pytest.raises(FsError) as caught:
        harness.fs.setxattr(ino, b"user.3", bytes(6000))
    assert caught.value.errno == errno.EAGAIN
    harness.settle()
    harness.fs.setxattr(ino, b"user.3", bytes(6000))
    assert len(harness.fs.listxattr(ino)) == 4
    harness.close()


def test_no_room_in_the_journal_changes_nothing(harness: FakeHarness) -> None:
    ino = made(harness)
    harness.core.busy = 1
    with pytest.raises(Busy):
        harness.fs.setxattr(ino, NAME, b"1")
    assert harness.fs.listxattr(ino) == []


def test_they_go_with_their_inode(harness: FakeHarness) -> None:
    fs = harness.fs
    victim, orphan, kept = made(harness), made(harness, b"orphan"), made(harness, b"kept")
    directory = fs.mkdir(1, b"dir", **OWNER).inode
    for ino in (victim, orphan, kept, directory):
        fs.setxattr(ino, NAME, b"%d" % ino)
    harness.settle()
    fs.setxattr(victim, b"user.new", b"above the checkpoint")
    fs.unlink(1, b"file")
    fs.rename(1, b"kept", directory, b"moved")
    fs.unlink(1, b"orphan", True)
    assert fs.getxattr(orphan, NAME) == b"%d" % orphan
    assert fs.getxattr(kept, NAME) == b"%d" % kept
    with pytest.raises(FsError):
        fs.getxattr(victim, NAME)
    harness.crash()
    harness.fs.drop_orphans()
    harness.fs.unlink(directory, b"moved")
    harness.fs.unlink(1, b"dir")
    harness.settle()
    with harness.database.reader() as connection:
        assert list(connection.execute(select(xattr))) == []
        audit(connection)


def test_a_cold_read_that_a_checkpoint_overtakes_is_done_again(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = made(harness)
    fs.setxattr(ino, NAME, b"old")
    harness.settle()
    real = fs.view.reads.xattrs

    def slow(which: int) -> dict[bytes, bytes]:
        found = real(which)
        fs.view.reads.xattrs = real  # type: ignore[method-assign]
        fs.setxattr(ino, NAME, b"new")
        harness.settle()
        return found

    fs.view.reads.xattrs = slow  # type: ignore[method-assign]
    assert fs.getxattr(ino, NAME) == b"new"


def test_an_inode_without_any_costs_no_query(harness: FakeHarness) -> None:
    ino = made(harness)
    harness.settle()
    harness.fs.view.reads.xattrs = None  # type: ignore[assignment,method-assign]
    assert harness.fs.listxattr(ino) == []
    with pytest.raises(FsError):
        harness.fs.getxattr(ino, NAME)


def test_the_cache_is_bounded_and_the_overlay_empties() -> None:
    kept = Xattrs(10_000)
    for ino in range(100):
        kept.keep(ino, {b"n": bytes(1000)})
        assert len(kept) <= 10_000
    assert kept.clean(99) is not None
    assert kept.clean(0) is None
    for ino in range(100):
        kept.put(ino, b"n", bytes(1000), ino + 1)
        kept.put(ino, b"n", b"", ino + 1)
        kept.put(ino, b"m", None, ino + 2)
    assert kept.clean(99) is None
    assert kept.forget(0, 1) == 2
    for ino in range(0, 99, 2):
        assert kept.forget(ino, 1000) == 0
    for ino in range(1, 100, 2):
        kept.discard(ino)
    assert (kept.changed_bytes, len(kept)) == (0, 0)


def test_fsck_finds_and_mends(harness: FakeHarness) -> None:
    ino = made(harness)
    harness.fs.setxattr(ino, NAME, b"red")
    harness.settle()

    def problems() -> list[fsck.Problem]:
        with harness.database.reader() as connection:
            return fsck.check(connection, None, deep=False, settled=True, progress=lambda _: None).problems

    assert problems() == []
    with harness.database.writer() as connection:
        connection.execute(text("INSERT INTO xattr VALUES (77, x'757365722e61', x'00')"))
    (lost,) = problems()
    assert "inode 77, which does not exist" in lost.text
    assert lost.repair == (DropXattr(77, b"user.a"),)
    harness.fs.repair(lost.repair)
    harness.settle()
    assert problems() == []
    with harness.database.writer() as connection:
        connection.execute(text("UPDATE xattr SET value = x'0102'"))
    (wrong,) = problems()
    assert "of names and 2 of values, the row says" in wrong.text


def test_a_record_for_an_inode_that_is_gone_is_passed_over(harness: FakeHarness) -> None:
    ino = made(harness)
    harness.fs.unlink(1, b"file")
    lsn = harness.core.append_rows(encode([PutXattr(ino, NAME, b"1")]))
    harness.core.wait_durable(lsn)
    harness.crash()
    harness.settle()
    with harness.database.reader() as connection:
        assert list(connection.execute(select(xattr))) == []
