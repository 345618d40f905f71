"""Access control lists in the namespace: what a record holds, what survives, what is refused."""

import errno

import pytest
from sqlalchemy import text

from gateway.data import fsck
from gateway.metadata import acl
from gateway.metadata.acl import Ace
from gateway.metadata.attributes import DIRECTORY, REGULAR, XATTR_VALUES_MAX_BYTES, SetAttributes
from gateway.metadata.errors import FsError
from tests.unit.metadata.audit import audit
from tests.unit.metadata.harness import FakeHarness

OWNER = {"uid": 10, "gid": 20}
LIST = (
    Ace(acl.ALLOW, acl.USER, 0, acl.READ_DATA, 7),
    Ace(acl.ALLOW, acl.OWNER_AT, 0, acl.READ_DATA | acl.WRITE_DATA | acl.APPEND_DATA),
)
PASSED_ON = (Ace(acl.ALLOW, acl.USER, acl.FILE_INHERIT | acl.DIRECTORY_INHERIT, acl.READ_DATA, 7), *LIST[1:])


def setting(acl_: tuple[Ace, ...], mode: int | None = None) -> SetAttributes:
    return SetAttributes(mode=mode, acl=acl.encode(acl_))


def test_a_list_and_its_mode_are_one_record_and_survive(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    lsn, before = harness.core.last_lsn, fs.getattr(ino)
    after = fs.setattr(ino, setting(LIST))
    assert harness.core.last_lsn == lsn + 1
    assert after.mode == acl.MODE_ACL | 0o600
    assert after.change > before.change
    fs.setxattr(ino, b"user.colour", b"red")
    for _ in range(2):
        harness.crash()
        assert acl.decode(harness.fs.acl(ino)) == LIST
        assert harness.fs.getattr(ino).mode == after.mode
        harness.settle()
    with harness.database.reader() as connection:
        audit(connection)


def test_what_a_mode_says_is_not_kept(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    assert fs.setattr(ino, setting(acl.trivial(0o640, REGULAR))).mode == 0o640
    assert fs.listxattr(ino) == []
    assert acl.decode(fs.acl(ino)) == acl.trivial(0o640, REGULAR)
    # One that was there stays, whatever it says.
    fs.setattr(ino, setting(LIST, 0o4777))
    assert fs.getattr(ino).mode == acl.MODE_ACL | 0o4600
    assert fs.setattr(ino, setting(acl.trivial(0o640, REGULAR))).mode == acl.MODE_ACL | 0o4640


def test_chmod_changes_the_list(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    fs.setattr(ino, setting(LIST))
    assert fs.setattr(ino, SetAttributes(mode=0o2704)).mode == acl.MODE_ACL | 0o2704
    assert acl.decode(fs.acl(ino)) == acl.with_mode(LIST, 0o704, REGULAR)
    # A change of owner takes set-id bits and leaves the list.
    assert fs.setattr(ino, SetAttributes(uid=11)).mode & acl.MODE_ACL


def test_new_objects_inherit_in_the_record_that_makes_them(harness: FakeHarness) -> None:
    fs = harness.fs
    top = fs.mkdir(1, b"top", **OWNER).inode
    fs.setattr(top, setting(PASSED_ON))
    harness.crash()
    fs = harness.fs
    fs.create(top, b"first", **OWNER)
    lsn = harness.core.last_lsn
    made = fs.create(top, b"file", SetAttributes(mode=0o600), **OWNER)[0]
    assert harness.core.last_lsn == lsn + 1
    assert made.mode == acl.MODE_ACL | 0o600
    deep = fs.mkdir(top, b"deep", SetAttributes(mode=0o700), **OWNER)
    link = fs.symlink(top, b"link", b"file", **OWNER)
    asked = fs.create(top, b"asked", setting(LIST, 0o666), **OWNER)[0]
    for _ in range(2):
        assert acl.decode(harness.fs.acl(made.inode))[0] == LIST[0]._replace(flags=acl.INHERITED)
        assert acl.decode(harness.fs.acl(deep.inode))[0].flags == PASSED_ON[0].flags | acl.INHERITED
        assert acl.decode(harness.fs.acl(asked.inode)) == LIST
        assert not link.mode & acl.MODE_ACL
        harness.settle()
        harness.crash()
    harness.fs.unlink(top, b"file")
    harness.settle()
    with harness.database.reader() as connection:
        audit(connection)


def test_refusals_change_nothing(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    link = fs.symlink(1, b"link", b"file", **OWNER).inode
    before, lsn = fs.getattr(ino), harness.core.last_lsn
    for which, content, code in (
        (ino, b"", errno.EINVAL),
        (ino, acl.encode(LIST * 201), errno.ENOSPC),
        (link, acl.encode(LIST), errno.EOPNOTSUPP),
    ):
        with pytest.raises(FsError) as caught:
            fs.setattr(which, SetAttributes(acl=content))
        assert caught.value.errno == code
        with pytest.raises(FsError):
            fs.symlink(1, b"new", b"x", SetAttributes(acl=content), **OWNER)
    assert (fs.getattr(ino), harness.core.last_lsn) == (before, lsn)


def test_without_entries_nobody_may_anything(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    only_passed_on = (PASSED_ON[0]._replace(flags=acl.FILE_INHERIT | acl.INHERIT_ONLY),)
    for entries in ((), only_passed_on):
        assert fs.setattr(ino, setting(LIST)).mode == acl.MODE_ACL | 0o600
        assert fs.setattr(ino, setting(entries)).mode == acl.MODE_ACL
        assert acl.decode(fs.acl(ino)) == acl.NOBODY


def test_a_list_that_cannot_be_read_lets_nobody_in(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    fs.setattr(ino, setting(LIST))
    fs.setxattr(ino, acl.XATTR_ACL, b"\2" + acl.encode(LIST)[1:])
    for operation in (lambda: fs.acl(ino), lambda: fs.setattr(ino, SetAttributes(mode=0o777))):
        with pytest.raises(FsError) as caught:
            operation()
        assert caught.value.errno == errno.EIO


def test_a_list_that_is_missing_lets_nobody_in_until_another_is_set(harness: FakeHarness) -> None:
    """The mode alone would let in whom the list kept out."""
    fs = harness.fs
    top = fs.mkdir(1, b"top", **OWNER).inode
    fs.setattr(top, setting(PASSED_ON))
    fs.removexattr(top, acl.XATTR_ACL)
    for refused in (
        lambda: fs.acl(top),
        lambda: fs.create(top, b"file", **OWNER),
        lambda: fs.setattr(top, SetAttributes(mode=0o777)),
    ):
        with pytest.raises(FsError) as told:
            refused()
        assert told.value.errno == errno.EIO
    fs.setattr(top, setting(acl.trivial(0o750, DIRECTORY)))
    assert acl.decode(fs.acl(top)) == acl.trivial(0o750, DIRECTORY)
    fs.create(top, b"file", **OWNER)


def test_whoever_fills_the_room_for_attributes_keeps_nobody_from_setting_a_list(harness: FakeHarness) -> None:
    fs = harness.fs
    ino = fs.create(1, b"file", **OWNER)[0].inode
    room = XATTR_VALUES_MAX_BYTES // 60_000
    for number in range(room):
        fs.setxattr(ino, b"user.%d" % number, bytes(60_000))
    fs.setxattr(ino, b"user.rest", bytes(XATTR_VALUES_MAX_BYTES - room * 60_000))
    with pytest.raises(FsError) as told:
        fs.setxattr(ino, b"user.more", b"x")
    assert told.value.errno == errno.ENOSPC
    assert fs.setattr(ino, setting(LIST)).mode == acl.MODE_ACL | 0o600
    assert fs.setattr(ino, SetAttributes(mode=0o400)).mode == acl.MODE_ACL | 0o400


def test_fsck_tells_where_list_and_mode_disagree(harness: FakeHarness) -> None:
    inos = [harness.fs.create(1, name, **OWNER)[0].inode for name in (b"plain", b"listed")]
    harness.fs.setattr(inos[1], setting(LIST))
    harness.settle()

    def problems() -> list[str]:
        with harness.database.reader() as connection:
            found = fsck.check(connection, None, deep=False, settled=True, progress=lambda _: None).problems
        return [problem.text for problem in found]

    assert problems() == []
    with harness.database.writer() as connection:
        connection.execute(text(f"UPDATE inode SET mode = {0o644 | acl.MODE_ACL} WHERE ino = {inos[0]}"))
        connection.execute(text(f"UPDATE inode SET mode = {0o644} WHERE ino = {inos[1]}"))
    assert [each.split(",")[0] for each in problems()] == [
        f"inode {inos[0]} has no access control list",
        f"inode {inos[1]} has an access control list",
    ]
