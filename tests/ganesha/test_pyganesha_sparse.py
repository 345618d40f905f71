"""SEEK, ALLOCATE, DEALLOCATE, IO_ADVISE and READ_PLUS on the wire: to a native core, and to Python's methods."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.pyganesha.serve import Service
from tests.ganesha.nfs4_client import ANONYMOUS, BOTH, DENY_READ, DENY_WRITE, LOCKED, OPENMODE, READ, WRITE
from tests.ganesha.nfs42_client import (
    DATA,
    DONTNEED,
    HOLE,
    NFS4ERR_ACCESS,
    NFS4ERR_NOSPC,
    NFS4ERR_NOTSUPP,
    NFS4ERR_NXIO,
    NFS4ERR_ROFS,
    NFS4ERR_UNION_NOTSUPP,
    OPPORTUNISTIC,
    SEQUENTIAL,
    WILLNEED,
    Client42,
)
from tests.ganesha.pyganesha_server import FSALS, MEMFS, ROOT, Rpcbind, Server, native_core, status_of

pytestmark = pytest.mark.ganesha


@pytest.fixture(scope="module", params=["Native", "Sparse"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("sparse")
    modules = native_core(tmp_path_factory.mktemp("modules"))
    factory = f"{FSALS}:{request.param}"
    with Rpcbind(), Server(directory, factory, str(directory / "counts"), modules) as running:
        yield running
        assert running.stop() == 0
        assert "unsupported FSAL" not in running.log()


@pytest.fixture
def one(server: Server) -> Iterator[Client42]:
    with Client42(server.service.port, b"one") as client:
        yield client


@pytest.fixture
def two(server: Server) -> Iterator[Client42]:
    with Client42(server.service.port, b"two") as client:
        yield client


def test_seek(one: Client42) -> None:
    file = one.open(b"seek", create=True)
    one.write(file, 0, b"data" + bytes(6) + b"more")
    one.allocate(file, 0, 20)
    assert one.seek(file, 0, DATA) == (False, 0)
    assert one.seek(file, 0, HOLE) == (False, 4)
    assert one.seek(file, 4, DATA) == (False, 10)
    assert one.seek(file, 10, HOLE) == (False, 14)
    assert one.seek(file, 14, DATA) == (True, 20)
    assert one.seek(file, 19, HOLE) == (False, 19)
    for what in (DATA, HOLE):
        assert status_of(one.seek, file, 20, what) == NFS4ERR_NXIO
        assert status_of(one.seek, file, 2**64 - 1, what) == NFS4ERR_NXIO
    assert status_of(one.seek, file, 0, 2) == NFS4ERR_UNION_NOTSUPP
    full = one.open(b"full", create=True)
    one.write(full, 0, b"x" * 10)
    assert one.seek(full, 3, HOLE) == (True, 10)


def test_allocate_and_deallocate(one: Client42) -> None:
    file = one.open(b"ranges", create=True)
    one.write(file, 0, b"0123456789")
    one.allocate(file, 5, 10)
    assert one.facts(file).size == 15
    assert one.read(file, 0, 100) == b"0123456789" + bytes(5)
    one.deallocate(file, 2, 3)
    one.deallocate(file, 12, 100)
    assert one.facts(file).size == 15
    assert one.read(file, 0, 100) == b"01" + bytes(3) + b"56789" + bytes(5)
    assert status_of(one.allocate, file, 1 << 40, 10) == NFS4ERR_NOSPC
    one.allocate(file, 100, 0)
    one.deallocate(file, 0, 0)
    assert one.facts(file).size == 15


def test_opens_and_share_reservations(one: Client42, two: Client42) -> None:
    mine = one.open(b"shared", BOTH, create=True)
    one.write(mine, 0, b"shared")
    reading = two.open(b"shared", READ)
    for change in (two.allocate, two.deallocate):
        assert status_of(change, reading, 0, 10) == OPENMODE
        change(reading, 0, 1, ANONYMOUS)
    writing = two.open(b"shared", WRITE)
    two.seek(writing, 0, DATA)
    two.close(writing)
    two.close(reading)
    one.close(mine)
    denying = one.open(b"shared", BOTH, DENY_WRITE)
    reading = two.open(b"shared", READ)
    for change in (two.allocate, two.deallocate):
        assert status_of(change, reading, 0, 10, ANONYMOUS) == LOCKED
    for change in (one.allocate, one.deallocate):
        change(denying, 0, 10)
    two.close(reading)
    one.close(denying)
    writing = two.open(b"shared", WRITE)
    denying = one.open(b"shared", READ, DENY_READ)
    assert status_of(two.seek, writing, 0, DATA) == LOCKED
    one.seek(denying, 0, DATA)


def test_another_user(server: Server, one: Client42) -> None:
    file = one.open(b"roots", create=True)
    one.write(file, 0, b"mine")
    one.set_mode(file, 0o644)
    with Client42(server.service.port, b"alice", ids=(1000, 1000)) as alice:
        theirs = alice.open(b"roots", READ)
        for change in (alice.allocate, alice.deallocate):
            assert status_of(change, theirs, 0, 10, ANONYMOUS) == NFS4ERR_ACCESS
        assert alice.seek(theirs, 0, HOLE) == (True, 4)
    assert one.read(file, 0, 10) == b"mine"


def test_advice_and_what_is_honoured_of_it(server: Server, one: Client42) -> None:
    native = "Native" in server.service.factory
    file = one.open(b"advice", create=True)
    one.write(file, 0, b"x")
    assert one.advise(file, 0, 0, WILLNEED, SEQUENTIAL, DONTNEED) == ({WILLNEED} if native else set())
    assert one.advise(file, 0, 100, OPPORTUNISTIC) == ({OPPORTUNISTIC} if native else set())
    assert one.advise(file, 0, 100, SEQUENTIAL, DONTNEED) == set()
    assert one.advise(file, 1 << 60, 100, WILLNEED) == set()  # the core refuses it: no error, not honoured


def test_read_plus_is_refused_rather_than_answered_with_nothing(one: Client42) -> None:
    """Ganesha would send an empty piece of data for it. A client that is refused reads with READ."""
    file = one.open(b"plus", create=True)
    one.write(file, 0, b"data")
    assert status_of(one.read_plus, file, 0, 10) == NFS4ERR_NOTSUPP
    assert one.read(file, 0, 10) == b"data"
    assert status_of(one.read_plus, file, 0, 10) == NFS4ERR_NOTSUPP


def test_a_core_is_asked_without_pythons_lock(tmp_path: Path) -> None:
    modules = native_core(tmp_path)
    with Rpcbind(), Server(tmp_path, f"{FSALS}:Native", str(tmp_path / "counts"), modules) as server:
        with Client42(server.service.port, b"one") as one, server.client() as v3:
            file = one.open(b"file", create=True)
            one.write(file, 0, b"data")
            one.seek(file, 0, DATA)
            holder = threading.Thread(target=v3.mkdir, args=(v3.root, b"hold"))
            holder.start()
            holder.join()
            time.sleep(0.5)  # from 0.2 s on the lock is held, for two seconds
            began = time.monotonic()
            for _ in range(20):
                one.allocate(file, 0, 100)
                one.deallocate(file, 50, 10)
                assert one.seek(file, 0, HOLE) == (False, 4)
                one.advise(file, 0, 0, WILLNEED)
            assert time.monotonic() - began < 1.2
            v3.mkdir(v3.root, b"count")
        counts = [int(n) for n in (tmp_path / "counts").read_text().split()[5:9]]
        assert counts == [21, 20, 20, 20]
        assert server.stop() == 0


def test_a_file_system_without_them(tmp_path: Path) -> None:
    with Rpcbind(), Server(tmp_path, MEMFS) as server:
        with Client42(server.service.port, b"one") as one:
            file = one.open(b"file", create=True)
            one.write(file, 0, b"data")
            assert status_of(one.seek, file, 0, DATA) == NFS4ERR_NOTSUPP
            assert status_of(one.allocate, file, 0, 10) == NFS4ERR_NOTSUPP
            assert status_of(one.deallocate, file, 0, 10) == NFS4ERR_NOTSUPP
            assert one.advise(file, 0, 0, WILLNEED) == set()
            assert one.read(file, 0, 10) == b"data"
        assert server.stop() == 0
        assert "unsupported FSAL" not in server.log()


class ReadOnly(Service):
    def configuration(self) -> str:
        return super().configuration().replace("Access_Type = RW;", "Access_Type = RO;")


def test_an_export_that_is_read_only(tmp_path: Path) -> None:
    """Ganesha checks that for WRITE, and not for these; a special stateid would get by."""
    server = Server(tmp_path, f"{FSALS}:Sparse")
    server.service = ReadOnly(f"{FSALS}:Sparse", tmp_path, bind="0.0.0.0", path=str(ROOT))
    with Rpcbind(), server, Client42(server.service.port, b"one") as one:
        file = one.open(b"old", READ)
        for change in (one.allocate, one.deallocate):
            assert status_of(change, file, 0, 10, ANONYMOUS) == NFS4ERR_ROFS
        assert one.read(file, 0, 10) == b"old"
        assert one.seek(file, 0, HOLE) == (True, 3)
