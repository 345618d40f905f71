"""Opens: share reservations, and files that lose their last name while somebody has them open."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.nfs3_client import Client
from tests.ganesha.nfs4_client import (
    ANONYMOUS,
    BOTH,
    DENY_NONE,
    DENY_READ,
    DENY_WRITE,
    LOCKED,
    NFS4_STALE,
    OPENMODE,
    READ,
    SHARE_DENIED,
    WRITE,
    Client4,
)
from tests.ganesha.pyganesha_server import FSALS, JUKEBOX, Rpcbind, Server, status_of

pytestmark = pytest.mark.ganesha


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Rpcbind(), Server(tmp_path, f"{FSALS}:Faulty", str(tmp_path / "diary")) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def one(server: Server) -> Iterator[Client4]:
    with Client4(server.service.port, b"one") as client:
        yield client


@pytest.fixture
def two(server: Server) -> Iterator[Client4]:
    with Client4(server.service.port, b"two") as client:
        yield client


@pytest.fixture
def v3(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def diary(server: Server) -> list[str]:
    lines = Path(server.service.options).read_text().splitlines()
    return [line for line in lines if line.startswith(("released", "unlink"))]


def test_share_reservations(one: Client4, two: Client4, v3: Client) -> None:
    mine = one.open(b"shared", BOTH, DENY_WRITE, create=True)
    one.write(mine, 0, b"hello")
    assert status_of(two.open, b"shared", WRITE, DENY_NONE) == SHARE_DENIED
    assert status_of(two.open, b"shared", READ, DENY_WRITE) == SHARE_DENIED  # we write
    theirs = two.open(b"shared", READ, DENY_NONE)
    assert two.read(theirs, 0, 10) == b"hello"
    assert status_of(two.write, theirs, 0, b"x") == OPENMODE
    assert status_of(two.write, theirs, 0, b"x", ANONYMOUS) in {LOCKED, SHARE_DENIED}
    handle = v3.lookup(v3.root, b"shared")
    assert status_of(v3.write, handle, 0, b"x") != 0
    assert v3.read(handle, 0, 10) == (b"hello", True)
    one.close(mine)
    two.close(theirs)
    v3.write(handle, 0, b"J")
    again = two.open(b"shared", BOTH, DENY_READ | DENY_WRITE)
    assert two.read(again, 0, 10) == b"Jello"
    assert status_of(one.open, b"shared", READ, DENY_NONE) == SHARE_DENIED
    two.close(again)


def test_a_downgrade_lets_others_in(one: Client4, two: Client4) -> None:
    mine = one.open(b"shared", BOTH, DENY_NONE, create=True)
    assert status_of(two.open, b"shared", READ, DENY_WRITE) == SHARE_DENIED
    with pytest.raises(Exception, match="NFS3 status"):  # never opened with READ alone: not a downgrade
        one.downgrade(mine, READ, DENY_WRITE)
    one.close(mine)
    theirs = two.open(b"shared", READ, DENY_WRITE)
    assert status_of(one.open, b"shared", WRITE) == SHARE_DENIED
    two.close(theirs)
    one.close(one.open(b"shared", WRITE))


def test_open_and_unlinked(server: Server, one: Client4, two: Client4) -> None:
    mine = one.open(b"doomed", create=True)
    one.write(mine, 0, b"still here")
    theirs = two.open(b"doomed", READ)
    two.remove(b"doomed")
    assert diary(server) == ["unlink doomed open=True"]
    assert one.read(mine, 0, 100) == b"still here"
    assert two.read(theirs, 6, 4) == b"here"
    one.close(mine)
    assert diary(server) == ["unlink doomed open=True"]
    assert two.read(theirs, 0, 5) == b"still"
    two.close(theirs)
    assert len(diary(server)) == 2
    assert diary(server)[1].startswith("released ")
    assert status_of(two.read, mine, 0, 1, ANONYMOUS) == NFS4_STALE


def test_unlinked_while_closed(server: Server, one: Client4) -> None:
    one.close(one.open(b"closed", create=True))
    one.remove(b"closed")
    assert diary(server) == ["unlink closed open=False"]


def test_one_of_two_names_unlinked_while_open(server: Server, one: Client4, v3: Client) -> None:
    mine = one.open(b"first", create=True)
    v3.link(v3.lookup(v3.root, b"first"), v3.root, b"second")
    one.remove(b"first")
    one.close(mine)
    assert diary(server) == ["unlink first open=True"]
    assert v3.getattr(v3.lookup(v3.root, b"second")).nlink == 1


def test_replaced_by_rename_while_open(server: Server, one: Client4, two: Client4) -> None:
    victim = one.open(b"victim", create=True)
    one.write(victim, 0, b"old")
    two.close(two.open(b"new", create=True))
    two.rename(b"new", b"victim")
    assert one.read(victim, 0, 10) == b"old"
    one.close(victim)
    assert len([line for line in diary(server) if line.startswith("released")]) == 1
    assert status_of(one.read, victim, 0, 1, ANONYMOUS) == NFS4_STALE


def test_opens_of_an_unlinked_file_are_one_release(server: Server, one: Client4) -> None:
    opens = [one.open(b"many", create=True) for _ in range(5)]
    one.remove(b"many")
    for opened in opens:
        one.close(opened)
    assert len([line for line in diary(server) if line.startswith("released")]) == 1


def test_orphans_of_an_earlier_run(server: Server, one: Client4, v3: Client) -> None:
    reclaimed = one.open(b"reclaimed", create=True)
    inode = v3.getattr(v3.lookup(v3.root, b"reclaimed")).fileid
    v3.mkdir(v3.root, b"orphaned-%d" % inode)
    v3.mkdir(v3.root, b"orphaned-%d" % (inode + 1000))
    one.close(reclaimed)
    assert diary(server) == ["released? True", "released? False", f"released {inode}"]


def test_delay_reaches_the_client(v3: Client) -> None:
    assert status_of(v3.lookup, v3.root, b"delay") == JUKEBOX
