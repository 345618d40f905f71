"""Byte-range locks on the wire: ranges, owners, and what is left of clients that died."""

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import (
    BADXDR,
    DENIED,
    INVAL,
    OK,
    OPENMODE,
    READ_LT,
    READW_LT,
    TO_END,
    WRITE_LT,
    WRITEW_LT,
    putfh,
)
from tests.ganesha.nfs4_session import Failed, Opened, Session, status_of
from tests.support.caudal import Caudal
from tests.support.processes import wait_until

pytestmark = pytest.mark.ganesha


@pytest.fixture
def opened(session: Session, place: bytes) -> Opened:
    session.make(place, b"file", ops.REG)
    return session.open(place, b"file")


@pytest.fixture
def theirs(other: Session, opened: Opened, place: bytes) -> Opened:
    return other.open(place, b"file")


def free(client: Session, opened: Opened, offset: int, length: int = 1, kind: int = WRITE_LT) -> bool:
    """Whether a client's new owner could take the lock."""
    status = status_of(client.test_lock, opened.handle, kind, offset, length)
    assert status in (OK, DENIED)
    return status == OK


@pytest.mark.parametrize(
    ("offset", "length", "meets"),
    [
        (0, 10, False),
        (0, 11, True),
        (10, 10, True),
        (15, 1, True),
        (19, 1, True),
        (20, 1, False),
        (0, TO_END, True),
        (19, TO_END, True),
        (20, TO_END, False),
        (2**63, 10, False),
    ],
)
def test_ranges(
    session: Session, other: Session, opened: Opened, theirs: Opened, offset: int, length: int, meets: bool
) -> None:
    session.lock(opened, WRITE_LT, 10, 10)
    for kind in (READ_LT, WRITE_LT):
        assert free(other, theirs, offset, length, kind) != meets
    for kind in (READ_LT, WRITE_LT, READW_LT, WRITEW_LT):
        if not meets:
            held = other.lock(theirs, kind, offset, length)
            other.unlock(held, offset, length)
            continue
        with pytest.raises(Failed) as failed:
            other.lock(theirs, kind, offset, length)
        assert failed.value.status == DENIED
        assert failed.value.conflict == (10, 10, WRITE_LT)


def test_shared_locks_upgrades_and_downgrades(
    session: Session, other: Session, opened: Opened, theirs: Opened
) -> None:
    mine = session.lock(opened, READ_LT, 0, 10)
    held = other.lock(theirs, READ_LT, 5, 10)
    for client, of, lock in ((session, opened, mine), (other, theirs, held)):
        assert status_of(client.lock, of, WRITE_LT, 5, 5, held=lock) == DENIED
    other.unlock(held, 5, 10)
    session.lock(opened, WRITE_LT, 0, 10, held=mine)
    assert not free(other, theirs, 0, kind=READ_LT)
    session.lock(opened, READ_LT, 0, 10, held=mine)
    assert free(other, theirs, 0, kind=READ_LT)
    assert not free(other, theirs, 0)


def test_an_unlock_splits_a_range(session: Session, other: Session, opened: Opened, theirs: Opened) -> None:
    mine = session.lock(opened, WRITE_LT, 10, 10)
    session.unlock(mine, 14, 2)
    assert [offset for offset in range(8, 22) if not free(other, theirs, offset)] == [
        10, 11, 12, 13, 16, 17, 18, 19
    ]  # fmt: skip
    session.lock(opened, READ_LT, 12, 6, held=mine)
    assert [offset for offset in range(8, 22) if not free(other, theirs, offset, kind=READ_LT)] == [
        10, 11, 18, 19
    ]  # fmt: skip
    session.unlock(mine, 0, TO_END)
    assert free(other, theirs, 0, TO_END)
    session.unlock(mine, 100, 10)  # nothing is held there


def test_owners_of_one_client_are_as_strange_to_each_other(session: Session, opened: Opened) -> None:
    first = session.lock(opened, WRITE_LT, 0, 10)
    assert status_of(session.lock, opened, WRITE_LT, 5, 1) == DENIED
    assert status_of(session.test_lock, opened.handle, WRITE_LT, 5, 1, first.owner) == OK
    second = session.lock(opened, WRITE_LT, 10, 10)
    assert status_of(session.lock, opened, READ_LT, 9, 1, held=second) == DENIED
    session.unlock(first, 0, 10)
    session.lock(opened, READ_LT, 9, 1, held=second)


@pytest.mark.parametrize(
    ("offset", "length", "status"),
    [
        (0, 0, INVAL),
        (5, TO_END - 1, INVAL),
        (TO_END, 1, INVAL),
        (TO_END - 1, 2, INVAL),
        (TO_END - 1, 1, OK),
        (TO_END, TO_END, OK),
        (2**63, 10, OK),
        (2**63 - 1, 10, OK),
        (100, TO_END - 100, OK),
        (100, TO_END - 99, INVAL),
    ],
)
def test_64_bits(session: Session, opened: Opened, offset: int, length: int, status: int) -> None:
    mine = session.lock(opened, WRITE_LT, 3, 1)
    for call in (session.test_lock, session.lock):
        what = (opened.handle if call == session.test_lock else opened, WRITE_LT, offset, length)
        owner = {"owner": mine.owner} if call == session.test_lock else {"held": mine}
        assert status_of(call, *what, **owner) == status
    assert status_of(session.unlock, mine, offset, length) == status


def test_locks_take_the_access_of_the_open(session: Session, place: bytes, opened: Opened) -> None:
    reads, writes = session.open(place, b"file", ops.READ), session.open(place, b"file", ops.WRITE)
    assert status_of(session.lock, reads, WRITE_LT, 0, 1) == OPENMODE
    assert status_of(session.lock, reads, READ_LT, 0, 1) == OK
    assert status_of(session.lock, writes, READ_LT, 5, 1) == OPENMODE
    assert status_of(session.lock, writes, WRITE_LT, 5, 1) == OK
    assert status_of(session.lock, opened, 7, 10, 1) in (INVAL, BADXDR)


def test_locks_are_advisory_and_their_stateids_do_for_data(
    session: Session, other: Session, opened: Opened, theirs: Opened
) -> None:
    mine = session.lock(opened, WRITE_LT, 0, 100)
    session.run(putfh(opened.handle), ops.write(0, b"abc", mine.stateid))
    other.run(putfh(opened.handle), ops.write(1, b"B", theirs.stateid))
    assert session.run(putfh(opened.handle), ops.read(0, 10, mine.stateid))[-1] == (True, b"aBc")


# Clients that die


def test_the_lease_of_a_dead_client_ends_with_all_it_held(
    session: Session, shared: Caudal, minor: int, place: bytes
) -> None:
    session.make(place, b"file", ops.REG)
    dead = Session(shared.nfs_port, b"dead-%d" % minor, minor)
    denying = dead.open(place, b"file", ops.BOTH, ops.DENY_WRITE)
    dead.lock(denying, WRITE_LT, 0, TO_END)
    mine = session.open(place, b"file", ops.READ)
    assert status_of(session.lock, mine, READ_LT, 0, 1) == DENIED
    assert status_of(session.open, place, b"file", ops.WRITE) == ops.SHARE_DENIED
    dead.close()

    def written() -> bool:
        session.renew()
        return status_of(session.open, place, b"file", ops.WRITE) == OK

    wait_until(written, "the dead client's lease ends", 60, interval_s=0.3)
    assert status_of(session.lock, mine, READ_LT, 0, 1) == OK


def test_a_client_that_starts_again_drops_what_it_held_before(
    session: Session, shared: Caudal, minor: int, place: bytes
) -> None:
    session.make(place, b"file", ops.REG)
    name = b"phoenix-%d" % minor
    before = Session(shared.nfs_port, name, minor)
    before.lock(before.open(place, b"file"), WRITE_LT, 0, 10)
    mine = session.open(place, b"file")
    assert status_of(session.lock, mine, WRITE_LT, 0, 10) == DENIED
    before.close()
    with Session(shared.nfs_port, name, minor, verifier=b"boot0002") as after:
        after.open(place, b"file")
        assert status_of(session.lock, mine, WRITE_LT, 0, 10) == OK
