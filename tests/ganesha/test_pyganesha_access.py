"""Permissions on names, which Ganesha leaves to the FSAL."""

from collections.abc import Iterator

import pytest

from tests.ganesha.nfs3_client import ACCES, OK, PERM, Client
from tests.ganesha.pyganesha_server import MEMFS, Rpcbind, Server, status_of

pytestmark = pytest.mark.ganesha


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Rpcbind(), Server(tmp_path_factory.mktemp("access"), MEMFS) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def root(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def alice(server: Server) -> Iterator[Client]:
    with server.client(1000, 1000) as client:
        yield client


@pytest.fixture
def bob(server: Server) -> Iterator[Client]:
    with server.client(1001, 1001) as client:
        yield client


def test_names_in_a_directory_that_is_not_ones_own(root: Client, alice: Client) -> None:
    theirs = root.mkdir(root.root, b"theirs")
    root.create(theirs, b"file")
    directory = root.mkdir(theirs, b"directory")
    mine = root.mkdir(root.root, b"mine")
    root.setattr(mine, uid=1000)
    alice.create(mine, b"own")
    assert status_of(alice.create, theirs, b"new") == ACCES
    assert status_of(alice.mkdir, theirs, b"new") == ACCES
    assert status_of(alice.mknod, theirs, b"new", 7) == ACCES
    assert status_of(alice.link, alice.lookup(mine, b"own"), theirs, b"new") == ACCES
    assert status_of(alice.remove, theirs, b"file") == ACCES
    assert status_of(alice.rename, theirs, b"file", mine, b"file") == ACCES
    assert status_of(alice.rename, mine, b"own", theirs, b"own") == ACCES
    assert status_of(alice.rename, mine, b"own", theirs, b"file") == ACCES
    assert status_of(root.getattr, directory) == OK
    names = {name for name, _, _ in root.readdirplus(theirs)[0]}
    assert names == {b".", b"..", b"file", b"directory"}


def test_names_in_ones_own_directory(root: Client, alice: Client) -> None:
    home = root.mkdir(root.root, b"home")
    root.setattr(home, uid=1000)
    file = alice.create(home, b"file")
    assert (alice.getattr(file).uid, alice.getattr(file).gid) == (1000, 1000)
    alice.mknod(home, b"fifo", 7)
    assert status_of(alice.mknod, home, b"disk", 3) == PERM
    root.create(home, b"roots")
    alice.rename(home, b"file", home, b"renamed")
    alice.remove(home, b"roots")
    alice.remove(home, b"renamed")


def test_group_members_may_where_the_group_may(root: Client, alice: Client, bob: Client) -> None:
    shared = root.mkdir(root.root, b"shared")
    root.setattr(shared, gid=1000, mode=0o770)
    alice.create(shared, b"file")
    assert status_of(bob.create, shared, b"other") == ACCES


def test_the_sticky_bit(root: Client, alice: Client, bob: Client) -> None:
    tmp = root.mkdir(root.root, b"tmp")
    root.setattr(tmp, mode=0o1777)
    alice.create(tmp, b"alices")
    bob.create(tmp, b"bobs")
    assert status_of(bob.remove, tmp, b"alices") == PERM
    assert status_of(bob.rename, tmp, b"alices", tmp, b"taken") == PERM
    assert status_of(bob.rename, tmp, b"bobs", tmp, b"alices") == PERM
    bob.rename(tmp, b"bobs", tmp, b"free")
    alice.remove(tmp, b"alices")
    root.remove(tmp, b"free")


def test_moving_a_directory_writes_to_it(root: Client, alice: Client) -> None:
    home = root.mkdir(root.root, b"moves")
    root.setattr(home, uid=1000)
    place = alice.mkdir(home, b"place")
    foreign = root.mkdir(home, b"foreign")
    assert status_of(alice.rename, home, b"foreign", place, b"foreign") == ACCES
    alice.rename(home, b"foreign", home, b"renamed")
    root.setattr(foreign, uid=1000)
    alice.rename(home, b"renamed", place, b"foreign")


def test_set_id_bits(root: Client, alice: Client) -> None:
    home = root.mkdir(root.root, b"bits")
    root.setattr(home, uid=1000)
    file = alice.create(home, b"program")

    def mode_after(client: Client, **values: int) -> int:
        root.setattr(file, mode=0o6755)
        client.setattr(file, **values)
        return root.getattr(file).mode

    assert mode_after(alice, size=10) == 0o755
    assert mode_after(root, size=20) == 0o6755
    assert mode_after(root, uid=1000) == 0o755
    assert mode_after(root, mode=0o4711) == 0o4711
    root.setattr(file, gid=5)
    assert mode_after(alice, mode=0o2755) == 0o755
    root.setattr(file, mode=0o6755, uid=1000, gid=1000)
    alice.write(file, 0, b"x")
    assert root.getattr(file).mode == 0o755
