"""Disks that are full: what clients are told, what operators see, and that all goes on when there is room again."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlClient
from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs3_client import FILE_SYNC, JUKEBOX, OK, Client, NfsError
from tests.ganesha.nfs4_session import Session, status_of
from tests.support.azurite import Azurite
from tests.support.caudal import EXPORT, Caudal
from tests.support.fault_proxy import FaultProxy
from tests.support.processes import wait_until
from tests.support.small_disk import SmallDisk

MIB = 1 << 20
SMALL = (
    "--segment-bytes",
    "4M",
    "--flush-age-s",
    "0.2",
    "--checkpoint-interval-s",
    "0.1",
    "--dirty-memory-bytes",
    "16M",
    "--store-wait-s",
    "0.5",
)
Make = Callable[..., Caudal]
Disk = Callable[[str, int], SmallDisk]
Connect = Callable[[Caudal], "Files"]


@pytest.fixture
def disk(private_network: None, disk_path: Path) -> Iterator[Disk]:
    """Asked for before `caudal`: the disks stay until the servers have ended, one may hold the pids of these."""
    with ExitStack() as mounted:
        yield lambda name, size_bytes: mounted.enter_context(SmallDisk(disk_path / name, size_bytes))


@pytest.fixture
def files_on() -> Iterator[Callable[[Caudal], "Files"]]:
    """Connects to servers; disconnects at the end."""
    with ExitStack() as connected:
        yield lambda server: connected.enter_context(contextlib.closing(Files(server)))


class Files:
    """A client that writes files of a MiB each and knows what was acknowledged."""

    def __init__(self, server: Caudal) -> None:
        self.server = server
        self.control = ControlClient(server.state / "run" / "control.sock")
        self.nfs = Client(server.nfs_port, server.mountd_port, EXPORT)
        self.done: dict[bytes, bytes] = {}

    def close(self) -> None:
        self.nfs.__exit__()
        self.control.close()

    def write(self) -> int:
        """One more file; the status. It counts from when its bytes are durable."""
        name = b"f%d" % len(self.done)
        data = name.ljust(16, b".") * (MIB // 16)
        try:
            try:
                handle = self.nfs.create(self.nfs.root, name)
            except NfsError as error:
                if error.status != 17:
                    raise
                handle = self.nfs.lookup(self.nfs.root, name)
            self.nfs.write(handle, 0, data, FILE_SYNC)
        except NfsError as error:
            return error.status
        self.done[name] = data
        return OK

    def write_until_refused(self, most: int) -> int:
        for _ in range(most):
            if status := self.write():
                return status
        raise AssertionError(f"{most} MiB were written, and nothing was full")

    def read(self, name: bytes) -> bytes:
        handle, data = self.nfs.lookup(self.nfs.root, name), b""
        while True:
            piece, eof = self.nfs.read(handle, len(data), MIB)
            data += piece
            if eof:
                return data

    def status(self) -> dict[str, Any]:
        return self.control.call("status")

    def go_on(self) -> None:
        """Once there is room: writes are taken again, everything goes to the store, and all is there."""
        wait_until(lambda: self.write() == OK, "writes are taken again", timeout_s=40, interval_s=0.1)
        assert self.write() == OK
        self.control.call("flush", wait=True, timeout_s=30)
        self.control.call("cache_drop")
        for name, data in self.done.items():
            assert self.read(name) == data, name
        assert "clean" in self.server.fsck()


def test_the_journals_disk_is_full(disk: Disk, caudal: Make, files_on: Connect, azurite: Azurite) -> None:
    """Smaller than the limit that the configuration sets, with a store that is away; then another program's file on it."""
    small = disk("journal", 40 * MIB)
    with FaultProxy(azurite.port) as proxy:
        server = caudal(
            store="az://full/journal",
            options=("--journal", str(small.path / "j"), "--journal-limit-bytes", "1G", *SMALL),
            env=proxy.environment,
        )
        files = files_on(server.start())
        with proxy.down():
            assert files.write_until_refused(60) == JUKEBOX
            assert len(files.done) >= 8
            assert files.read(b"f0") == files.done[b"f0"]
            with Session(server.nfs_port, b"full", 2) as fourth:
                write = [ops.putfh(fourth.root), ops.lookup(b"f0"), ops.write(0, b"x" * MIB)]
                assert status_of(fourth.run, *write) == ops.DELAY
            assert [m["state"] for m in files.status()["journal"]["mirrors"]] == ["healthy"]
        wait_until(lambda: files.write() == OK, "writes are taken again", timeout_s=40, interval_s=0.1)
        small.fill()
        # Segments that were trimmed are used again; where they do not suffice, writes wait.
        for _ in range(30):
            if status := files.write():
                assert status == JUKEBOX
                break
        small.relieve()
        files.go_on()


def test_the_metadata_disk_is_full(disk: Disk, caudal: Make, files_on: Connect, disk_path: Path) -> None:
    """The database cannot grow and neither can any log: clients go on until the journal is full."""
    small = disk("state0", 64 * MIB)
    server = caudal(
        store=f"file://{disk_path}/store",
        options=(
            "--journal",
            str(disk_path / "journal"),
            "--journal-limit-bytes",
            "16M",
            "--l2-bytes",
            "0",
            *SMALL,
        ),
    )
    assert server.state == small.path
    server.expect("database or disk is full", "disk I/O error", "task.failed", "Traceback")
    files = files_on(server.start())
    assert files.write() == OK
    files.control.call("flush", wait=True, timeout_s=30)
    small.fill()
    # What the database has room for already is still written.
    wait_until(
        lambda: files.write() == JUKEBOX and files.status()["checkpoint"]["error"], "writes are refused", 60
    )
    assert len(files.done) >= 8
    assert files.read(b"f0") == files.done[b"f0"]
    assert "disk is full" in files.status()["checkpoint"]["error"]
    assert files.status()["disks"]["state"]["free_bytes"] == 0
    before = files.status()["checkpoint_lsn"]
    small.relieve()
    wait_until(lambda: files.status()["checkpoint_lsn"] > before, "the checkpoint goes on", timeout_s=30)
    wait_until(lambda: files.status()["checkpoint"]["error"] is None, "the status tells so")
    files.go_on()


def test_the_disk_caches_disk_is_full(disk: Disk, caudal: Make, files_on: Connect) -> None:
    """It costs hits and no reads. That it is used again later, after a pause, the native core's tests show."""
    small = disk("l2", 64 * MIB)
    server = caudal(
        options=("--l2-dir", str(small.path / "l2"), "--l2-bytes", "48M", "--l1-bytes", "16M", *SMALL)
    )
    files = files_on(server.start())
    small.fill()
    for _ in range(30):
        assert files.write() == OK
    files.control.call("flush", wait=True, timeout_s=30)

    def read_all() -> dict[str, Any]:
        # More than memory holds: what leaves it is offered to the disk.
        for name, data in files.done.items():
            assert files.read(name) == data
        return files.status()["cache"]["l2"]

    assert wait_until(lambda: read_all()["errors"], "the cache tells of its disk")
    assert read_all()["bytes"] == 0
    refused = server.run("cache", "drop", "--state", str(server.state))
    assert refused.returncode == 1
    assert "block cache" in refused.stderr
    assert "internal" not in refused.stderr
    small.relieve()
    files.go_on()


def test_a_directory_stores_disk_is_full(disk: Disk, caudal: Make, files_on: Connect) -> None:
    small = disk("store", 24 * MIB)
    server = caudal(store=f"file://{small.path}/store", options=("--l2-bytes", "0", *SMALL))
    files = files_on(server.start())
    assert files.write() == OK
    files.control.call("flush", wait=True, timeout_s=30)
    small.fill()
    for _ in range(5):
        assert files.write() == OK
    wait_until(lambda: files.status()["store"]["state"] == "failing", "the store's state tells of it")
    assert "No space left" in files.status()["store"]["last_error"]
    files.control.call("cache_drop")
    assert files.read(b"f0") == files.done[b"f0"]
    small.relieve()
    files.go_on()
