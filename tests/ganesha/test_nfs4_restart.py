"""What NFS 4 clients find after their server was killed: the grace, what they reclaim, what others cannot steal."""

from collections.abc import Callable

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs4_ops import DENIED, EXIST, GRACE, NO_GRACE, OK, RECLAIM_BAD, SHARE_DENIED, WRITE_LT
from tests.ganesha.nfs4_session import Create, Locked, Opened, Session, status_of
from tests.support.caudal import Caudal
from tests.support.processes import wait_until

pytestmark = pytest.mark.ganesha
TIMES = ("--lease-s", "5", "--grace-s", "12")


class Holder:
    """A client with an open that denies and a lock, through a restart of its server."""

    def __init__(self, server: Caudal, minor: int, name: bytes) -> None:
        self._server, self.minor, self.name = server, minor, name
        with Session(server.nfs_port, name, minor) as session:
            self.file = session.make(session.root, name, ops.REG)
            self.owner, self.lock_owner = session.owner(), session.owner()
            opened = session.open(session.root, name, ops.BOTH, ops.DENY_WRITE, owner=self.owner)
            self._lock(session, opened, reclaim=False)

    def _lock(self, session: Session, opened: Opened, *, reclaim: bool) -> Locked:
        return session.lock(opened, WRITE_LT, 0, 100, owner=self.lock_owner, reclaim=reclaim)

    def connects(self) -> Session:
        """The same client again, which has not said that it has nothing (more) to reclaim."""
        self.owner.seqid = self.lock_owner.seqid = 0
        return Session(self._server.nfs_port, self.name, self.minor, reclaims=True)

    def reclaims(self, session: Session) -> Locked:
        """The open and the lock of before."""
        opened = session.open(self.file, b"", ops.BOTH, ops.DENY_WRITE, owner=self.owner, reclaim=True)
        held = self._lock(session, opened, reclaim=True)
        if self.minor:
            session.reclaim_complete()
        return held


def test_a_kill(caudal: Callable[..., Caudal]) -> None:
    server = caudal(options=TIMES).start()
    holders = [Holder(server, minor, b"holder-%d" % minor) for minor in (0, 1)]
    gone = Holder(server, 1, b"gone")
    with Session(server.nfs_port, b"before") as before:
        before.open(before.root, b"exclusive", create=Create.exclusive(b"verifier"))
    server.kill_everything()
    server.start()
    with Session(server.nfs_port, b"thief") as thief:
        for holder in holders:
            assert status_of(thief.open, thief.root, holder.name, ops.READ) == GRACE
            stolen = status_of(thief.open, holder.file, b"", reclaim=True)
            assert stolen in (NO_GRACE, RECLAIM_BAD), "it had nothing open before"
        sessions = [holder.connects() for holder in holders]
        held = [holder.reclaims(session) for holder, session in zip(holders, sessions, strict=True)]

        def over() -> bool:
            for session in sessions:
                session.renew()
            return status_of(thief.open, thief.root, b"new", create=Create.unchecked()) == OK

        wait_until(over, "the grace ends", 60, interval_s=0.3)
        for holder, session, lock in zip(holders, sessions, held, strict=True):
            check_kept(thief, holder, session, lock)
            session.close()
        check_lost(thief, gone)
        for verifier, expected in ((b"verifier", OK), (b"another.", EXIST)):
            create = Create.exclusive(verifier)
            assert status_of(thief.open, thief.root, b"exclusive", create=create) == expected


def check_kept(thief: Session, holder: Holder, session: Session, held: Locked) -> None:
    """What was reclaimed holds against others, until it is let go; and nothing more is reclaimed."""
    assert status_of(thief.open, thief.root, holder.name, ops.WRITE) == SHARE_DENIED
    assert status_of(thief.test_lock, holder.file, WRITE_LT, 50, 1) == DENIED
    assert status_of(session.lock, held.opened, WRITE_LT, 200, 1, reclaim=True) == NO_GRACE
    assert status_of(session.lock, held.opened, WRITE_LT, 200, 1, held=held) == OK
    session.unlock(held, 0, 300)
    assert status_of(thief.test_lock, holder.file, WRITE_LT, 50, 1) == OK
    session.close_file(held.opened)
    assert status_of(thief.open, thief.root, holder.name, ops.WRITE) == OK


def check_lost(thief: Session, gone: Holder) -> None:
    """Who did not come back in time."""
    opened = thief.open(thief.root, gone.name, ops.BOTH, ops.DENY_BOTH)
    assert status_of(thief.lock, opened, WRITE_LT, 50, 1) == OK
    with gone.connects() as late:
        assert status_of(gone.reclaims, late) in (NO_GRACE, RECLAIM_BAD)
