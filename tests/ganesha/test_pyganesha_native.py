"""Data served by a native core through the vtable: without Python's lock, and completing later from other threads."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.nfs3_client import FILE_SYNC, JUKEBOX, STALE, UNSTABLE, Client
from tests.ganesha.pyganesha_server import FSALS, Rpcbind, Server, native_core, status_of

pytestmark = pytest.mark.ganesha
EIO = 5
LATER = 4 << 20  # from this offset on the test's core completes on another thread


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native_core(tmp_path_factory.mktemp("modules"))


@pytest.fixture
def server(tmp_path: Path, modules: Path) -> Iterator[Server]:
    with Rpcbind(), Server(tmp_path, f"{FSALS}:Native", str(tmp_path / "counts"), modules) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


def counts(server: Server, client: Client, name: bytes) -> list[int]:
    """Calls so far of read, write, commit and getattributes, asynchronous completions, operations that are not settled."""
    client.mkdir(client.root, name)
    numbers = [int(n) for n in Path(server.service.options).read_text().split()]
    return [*numbers[:5], numbers[-1]]


def test_the_core_serves_the_data(server: Server, client: Client) -> None:
    handle = client.create(client.root, b"file")
    data = os.urandom(300_000)
    assert client.write(handle, 0, data)[0] == UNSTABLE
    assert client.write(handle, 5, b"durable", FILE_SYNC)[0] == FILE_SYNC
    client.commit(handle)
    expected = data[:5] + b"durable" + data[12:]
    assert client.read(handle, 0, 400_000) == (expected, True)
    assert client.read(handle, 1, 100) == (expected[1:101], False)
    assert client.getattr(handle).size == 300_000
    reads, writes, commits, getattributes, later, begun = counts(server, client, b"count")
    assert (writes, commits, later) == (
        3,
        1,
        0,
    )  # the first write was asked twice: not resident, then after load
    assert reads == 2
    assert getattributes > 0
    assert begun == 1, "each operation was settled but for the one that asks"


def test_completion_from_another_thread(server: Server, client: Client) -> None:
    handle = client.create(client.root, b"file")
    data = os.urandom(200_000)
    client.write(handle, LATER, data)
    for _ in range(100):
        assert client.read(handle, LATER + 1000, 4096) == (data[1000:5096], False)
    assert client.read(handle, LATER, 1 << 20) == (data, True)
    for number in range(64):  # many under way at once
        client.nfs.send(6, len(handle).to_bytes(4, "big") + handle + bytes(-len(handle) % 4)
                        + (LATER + number).to_bytes(8, "big") + (100).to_bytes(4, "big"))  # fmt: skip
    for _ in range(64):
        assert client.nfs.receive().u32() == 0
    assert status_of(client.read, handle, 8 << 20, 100) == 5
    assert status_of(client.write, handle, 8 << 20, b"x") == 27
    assert counts(server, client, b"count")[4] >= 166


def test_failures_of_the_core(server: Server, client: Client) -> None:
    handle = client.create(client.root, b"file")
    client.write(handle, 0, b"x")
    client.mkdir(client.root, b"fail-commits")
    assert status_of(client.commit, handle) == JUKEBOX


def test_an_operation_that_cannot_be_made_durable_fails(server: Server, client: Client) -> None:
    client.mkdir(client.root, b"before")
    assert status_of(client.mkdir, client.root, b"fail-settles") == EIO
    assert status_of(client.create, client.root, b"file") == EIO


def test_an_inode_that_load_does_not_find_is_stale(tmp_path: Path, modules: Path) -> None:
    with Rpcbind(), Server(tmp_path, f"{FSALS}:StaleCore", path=modules) as server, server.client() as client:
        handle = client.create(client.root, b"file")
        assert status_of(client.read, handle, 0, 10) == STALE


def test_data_flows_while_python_is_locked(server: Server, client: Client) -> None:
    handle = client.create(client.root, b"file")
    client.write(handle, 0, bytes(100_000))
    client.write(handle, LATER, bytes(100_000))
    assert client.getattr(handle).size == LATER + 100_000
    client.mkdir(client.root, b"hold")
    time.sleep(0.4)
    slowest, deadline, rounds = 0.0, time.monotonic() + 1.2, 0
    while time.monotonic() < deadline:
        started = time.monotonic()
        client.write(handle, 0, b"y" * 4096)
        client.commit(handle)
        assert client.read(handle, 0, 4096)[0] == b"y" * 4096
        client.getattr(handle)
        client.read(handle, LATER, 4096)
        slowest = max(slowest, time.monotonic() - started)
        rounds += 1
    assert slowest < 0.5
    assert rounds > 20


def test_python_was_locked_indeed(server: Server, client: Client) -> None:
    """The control of the test above: a name operation does wait for the lock."""
    client.mkdir(client.root, b"hold")
    time.sleep(0.4)
    started = time.monotonic()
    client.mkdir(client.root, b"waits")
    assert time.monotonic() - started > 0.8


def test_many_clients_at_once(server: Server, client: Client) -> None:
    handle = client.create(client.root, b"file")
    client.write(handle, 0, bytes(1 << 20))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with server.client() as own:
                for step in range(100):
                    at = LATER * (step % 2) + number * 4096
                    own.write(handle, at, bytes([number]) * 4096)
                    assert own.read(handle, at, 4096)[0] == bytes([number]) * 4096
        except BaseException as failure:  # noqa: BLE001 - told to the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
