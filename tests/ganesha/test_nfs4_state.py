"""Opens: exclusive creates, share reservations, what is left of a client that is gone."""

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import (
    ANONYMOUS,
    BAD_STATEID,
    BYPASS,
    EXIST,
    EXPIRED,
    INVAL,
    LOCKED,
    NO_GRACE,
    OK,
    SHARE_DENIED,
    STALE,
    putfh,
)
from tests.ganesha.nfs4_session import Create, Session, status_of

pytestmark = pytest.mark.ganesha
ACCESSES = (ops.READ, ops.WRITE, ops.BOTH)
DENIALS = (ops.DENY_NONE, ops.DENY_READ, ops.DENY_WRITE, ops.DENY_BOTH)


@pytest.mark.parametrize("how", ["exclusive", "exclusive41"])
def test_an_exclusive_create_knows_its_own_repetition(session: Session, place: bytes, how: str) -> None:
    if how == "exclusive41" and not session.minor:
        make = Create.exclusive
    else:
        make = getattr(Create, how)
    first = session.open(place, b"new", create=make(b"verifier"))
    again = session.open(place, b"new", create=make(b"verifier"))
    assert again.handle == first.handle
    assert status_of(session.open, place, b"new", create=make(b"another.")) == EXIST
    assert status_of(session.open, place, b"new", create=Create.guarded()) == EXIST
    session.close_file(first)
    session.close_file(again)


def test_an_exclusive_create_of_41_takes_attributes(session: Session, place: bytes) -> None:
    if not session.minor:
        pytest.skip("4.0 has no such create")
    attributes = {ops.MODE: 0o640, ops.OWNER: "7", ops.GROUP: "8"}
    opened = session.open(place, b"new", create=Create.exclusive41(b"verifier", attributes))
    assert {ops.MODE, ops.OWNER, ops.GROUP} <= opened.attributes_set
    assert session.attributes(opened.handle, *attributes) == attributes
    for refused in ({ops.ATIME_SET: (1, 1)}, {ops.MTIME_SET: (1, 1)}):
        create = Create.exclusive41(b"verifier", refused)
        assert status_of(session.open, place, b"other", create=create) == INVAL
    session.close_file(opened)


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("deny", DENIALS)
def test_share_reservations(session: Session, other: Session, place: bytes, access: int, deny: int) -> None:
    file = session.make(place, b"file", ops.REG)
    mine = session.open(place, b"file", access, deny)
    for wanted in ACCESSES:
        for denied in DENIALS:
            expected = SHARE_DENIED if wanted & deny or denied & access else OK
            status = status_of(open_and_close, other, place, wanted, denied)
            assert status == expected, (wanted, denied)
    for operation, bit in ((ops.read(0, 1), ops.READ), (ops.write(0, b"x"), ops.WRITE)):
        assert status_of(other.run, putfh(file), operation) == (LOCKED if deny & bit else OK)
    assert status_of(other.run, putfh(file), ops.read(0, 1, BYPASS)) == OK
    size = status_of(other.run, putfh(file), ops.setattr_({ops.SIZE: 0}, ANONYMOUS))
    assert (size != OK) == bool(deny & ops.WRITE)
    session.close_file(mine)
    for wanted in ACCESSES:
        assert status_of(open_and_close, other, place, wanted, ops.DENY_BOTH) == OK


def open_and_close(client: Session, place: bytes, access: int, deny: int) -> None:
    client.close_file(client.open(place, b"file", access, deny))


def test_an_owner_opens_again_and_downgrades(session: Session, other: Session, place: bytes) -> None:
    file = session.make(place, b"file", ops.REG)
    owner = session.owner()
    first = session.open(place, b"file", ops.READ, owner=owner)
    opened = session.open(place, b"file", ops.WRITE, ops.DENY_READ, owner=owner)
    assert opened.stateid[4:] == first.stateid[4:], "one owner, one file: one state"
    assert status_of(other.open, place, b"file", ops.READ) == SHARE_DENIED
    session.run(putfh(file), ops.write(0, b"abc", opened.stateid))
    session.downgrade(opened, ops.READ, ops.DENY_NONE)
    theirs = other.open(place, b"file", ops.BOTH, ops.DENY_WRITE)
    assert session.run(putfh(file), ops.read(0, 10, opened.stateid))[-1] == (True, b"abc")
    other.close_file(theirs)
    session.close_file(opened)
    assert status_of(session.run, putfh(file), ops.read(0, 1, opened.stateid)) in (BAD_STATEID, EXPIRED)


@pytest.mark.parametrize(("access", "deny"), [(ops.BOTH, ops.DENY_NONE), (ops.READ, ops.DENY_WRITE)])
def test_a_downgrade_only_goes_down(session: Session, place: bytes, access: int, deny: int) -> None:
    session.make(place, b"file", ops.REG)
    opened = session.open(place, b"file", ops.READ)
    assert status_of(session.downgrade, opened, access, deny) == INVAL


def test_opens_of_no_access_and_unknown_denials(session: Session, place: bytes) -> None:
    session.make(place, b"file", ops.REG)
    for access, deny in ((0, 0), (4, 0), (ops.READ, 4)):
        assert status_of(session.open, place, b"file", access, deny) in (INVAL, ops.BADXDR)


def test_an_open_file_outlives_its_last_name(session: Session, other: Session, place: bytes) -> None:
    file = session.make(place, b"file", ops.REG)
    opened = session.open(place, b"file")
    session.run(putfh(file), ops.write(0, b"data", opened.stateid))
    other.run(putfh(place), ops.remove(b"file"))
    assert session.attributes(file, ops.NUMLINKS) == {ops.NUMLINKS: 0}
    session.run(putfh(file), ops.write(4, b" more", opened.stateid))
    assert session.run(putfh(file), ops.read(0, 100, opened.stateid))[-1] == (True, b"data more")
    # The name is free, and another file of it is another file.
    new = other.make(place, b"file", ops.REG)
    assert new != file
    session.close_file(opened)
    assert status_of(session.run, putfh(file), ops.getattr_(ops.TYPE)) == STALE


def test_nothing_is_reclaimed_without_a_restart(session: Session, place: bytes) -> None:
    file = session.make(place, b"file", ops.REG)
    assert status_of(session.open, file, b"", reclaim=True) == NO_GRACE
    opened = session.open(place, b"file")
    assert status_of(session.lock, opened, ops.READ_LT, 0, 1, reclaim=True) == NO_GRACE
