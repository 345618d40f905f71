"""A file system has one owner: real servers on one store, stopped, killed, frozen and cut off at each other's expense."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway._core import PackStore
from gateway.objects import core_options, open_root_store
from gateway.objects.epoch import RootRecord, read_record
from tests.support.azurite import Azurite
from tests.support.caudal import PROCESSES, Caudal, StartFailed
from tests.support.processes import kill, wait_until

LEASE_S = 3
OPTIONS = (
    *("--flush-age-s", "0.2", "--gc-interval-s", "0.5", "--gc-grace-s", "0"),
    # State directories are copied.
    *("--segment-bytes", "4MiB", "--journal-limit-bytes", "64MiB", "--l2-bytes", "0"),
)
SHORT = (*OPTIONS, "--owner-lease-s", str(LEASE_S))
# What a server says that lost its file system, and one that cannot reach its store.
FENCED = (r"start\.failed|owner\.fenced|owner\.not_ended|process\.|checkpoint|steward|flush|control",)


@pytest.fixture
def box(disk_path: Path) -> str:
    return f"file://{disk_path}/box"


def copied(server: Caudal, make: Callable[..., Caudal], **options: object) -> Caudal:
    """Another server with a copy of a state directory as it stands, on the same store."""
    other = make(**options)
    shutil.copytree(server.state, other.state, ignore=shutil.ignore_patterns("run", "lock"))
    return other


def record_of(url: str, env: dict[str, str]) -> RootRecord:
    store = open_root_store(url, env)
    found = read_record(store)
    store.close()
    assert found is not None
    return found


def packs_of(url: str, env: dict[str, str], epoch: int) -> set[tuple[int, int, float]]:
    return {pack for pack in PackStore(url, core_options(url, env)).list_packs() if pack[0] >> 40 == epoch}


def refused(server: Caudal, *more: str) -> str:
    done = server.run("up", *server.arguments(), "--detach", *more)
    assert done.returncode == 1, done.stdout
    return " ".join(done.stderr.split())


def freeze(server: Caudal, number: int) -> None:
    for name in PROCESSES:
        if pid := server.pid(name):
            kill(pid, number)


def test_a_second_server_is_refused_and_names_the_owner(caudal: Callable[..., Caudal], box: str) -> None:
    first = caudal(store=box, options=OPTIONS).start()
    before = record_of(box, {})
    second = copied(first, caudal, store=box, options=OPTIONS)
    told = refused(second)
    assert f"is owned by {os.uname().nodename}" in told
    assert f"state directory {first.state}, process {first.pid('ganesha')}" in told
    assert "--take-over" in told
    empty = caudal(store=box)
    told = refused(empty)
    assert f"caudal recover --store {box} --state NEW --take-over" in told
    assert not empty.state.exists()
    assert record_of(box, {}) == before
    assert first.status()["owner"]["lease"] == "valid"
    # Stopped in order, what is copied from then on may go on, and what was copied before may not.
    first.stop()
    assert "may lack what was acknowledged there" in refused(second)
    told = refused(empty)
    assert "--state NEW`;" in told
    moved = copied(first, caudal, store=box, options=OPTIONS).start()
    assert record_of(box, {}).epoch == before.epoch + 1
    moved.stop()
    assert "may lack" in refused(first)


def test_a_killed_owner_comes_back_at_once(caudal: Callable[..., Caudal], box: str) -> None:
    server = caudal(store=box, options=OPTIONS).start()
    server.expect(*FENCED)
    with server.connect() as client:
        client.write_file("/before", b"kept")
    server.kill_everything()
    server.start(timeout_s=25)  # its own lease runs for 30 s
    pid = server.kill_server()
    server.wait_restarted(pid, timeout_s=25)
    server.stop()
    with pytest.raises(StartFailed):
        server.start(failpoints="owner.after_swap=kill")
    server.start()
    with server.connect() as client:
        assert client.read_file("/before") == b"kept"


def test_a_running_owner_hears_of_a_take_over(caudal: Callable[..., Caudal], box: str) -> None:
    first = caudal(store=box, options=SHORT).start()
    first.expect(*FENCED)
    with first.connect() as client:
        client.write_file("/one", b"1")
    first.flush()
    second = copied(first, caudal, store=box, options=SHORT)
    writing = Writer(first)
    second.options = (*SHORT, "--take-over")
    second.start()
    # When the second one serves, the first one has stopped to answer.
    taken_s = time.monotonic()
    second.options = SHORT
    wait_until(lambda: not first.running(), "the first server has ended", 15)
    assert writing.end() < taken_s
    told = first.run("status", "--state", str(first.state)).stderr
    assert f"taken over by {os.uname().nodename}" in " ".join(told.split())
    assert str(second.state) in " ".join(told.split())
    assert f"state directory {second.state}" in refused(first)
    with second.connect() as client:
        assert client.read_file("/one") == b"1"
        client.write_file("/two", b"2")
    second.flush()
    second.fsck()


def test_a_frozen_owner_writes_and_acknowledges_nothing_after_a_take_over(
    caudal: Callable[..., Caudal], azurite: Azurite
) -> None:
    url = "az://one-owner/here"
    options = (*OPTIONS, "--owner-lease-s", "15", "--flush-age-s", "3600")
    first = caudal(store=url, env=azurite.environment, options=options).start()
    first.expect(*FENCED)
    second = copied(first, caudal, store=url, env=azurite.environment, options=options)
    writing = Writer(first)
    wait_until(lambda: writing.count > 3, "the first server acknowledges", 10)
    freeze(first, signal.SIGSTOP)
    frozen_s = time.monotonic()
    try:
        assert "is owned by" in refused(second)
        second.options = (*options, "--take-over")
        second.start()
        epoch = record_of(url, azurite.environment).epoch
        before = packs_of(url, azurite.environment, epoch - 1)
        root = record_of(url, azurite.environment)
    finally:
        freeze(first, signal.SIGCONT)
    wait_until(lambda: not first.running(), "the thawed server has ended", 15)
    assert writing.end() < frozen_s + 1
    assert packs_of(url, azurite.environment, epoch - 1) == before
    assert record_of(url, azurite.environment) == root
    second.options = options
    second.fsck()


def test_an_outage_longer_than_the_lease_stops_nobody(caudal: Callable[..., Caudal], disk_path: Path) -> None:
    box = disk_path / "box"
    server = caudal(store=f"file://{box}", options=SHORT).start()
    server.expect(*FENCED, r"lease\.|store\.")
    with server.connect() as client:
        box.rename(disk_path / "away")
        end_s = time.monotonic() + 2.5 * LEASE_S
        count = 0
        while time.monotonic() < end_s:
            client.write_file(f"/{count}", b"written in the outage")
            count += 1
            time.sleep(0.1)
        assert count > 10
        assert server.status()["owner"]["lease"] == "unconfirmed"
        if box.exists():
            shutil.rmtree(box)
        (disk_path / "away").rename(box)
        wait_until(lambda: server.status()["owner"]["lease"] == "valid", "the lease is renewed", 15)
    server.fsck()


class Writer:
    """Makes files one after the other until the server does not answer; remembers when it did last."""

    def __init__(self, server: Caudal) -> None:
        self.count = 0
        self._last_s = 0.0
        self._client = server.connect(timeout_s=60)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Ends it; the monotonic time of the last acknowledgement."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self._last_s

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._client.write_file(f"/written-{self.count}", b"x")
                self.count += 1
                self._last_s = time.monotonic()
                time.sleep(0.02)
        except OSError:
            return
