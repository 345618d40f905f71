"""`caudal up` in the foreground under a service manager: ready when NFS answers, alive as long as it does."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import rpcbind
from tests.support.caudal import PROGRAM, Caudal
from tests.support.processes import Daemon, kill, wait_until

WATCHDOG_S = 3


class Manager:
    """Hears what a service says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def next(self, timeout_s: float) -> str:
        """The next message; empty where none comes."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return ""

    def drain(self) -> None:
        while self.next(0.01):
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    heard = Manager(tmp_path / "notify")
    yield heard
    heard.close()


def test_a_server_that_hangs_is_silent_and_one_that_goes_on_is_heard(
    caudal: Callable[..., Caudal], disk_path: Path, manager: Manager
) -> None:
    server = caudal()
    server.expect(r"nfs\.silent")
    rpcbind.ensure()
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(WATCHDOG_S * 1_000_000)}
    with Daemon([PROGRAM, "up", *server.arguments()], disk_path / "up.log", env=environment) as service:
        assert manager.next(60).startswith("READY=1\nSTATUS=serving /data")
        assert manager.next(WATCHDOG_S) == "WATCHDOG=1"
        ganesha = server.pid("ganesha")
        assert ganesha is not None
        os.kill(ganesha, signal.SIGSTOP)
        try:
            manager.drain()
            # One that was under way may still arrive.
            manager.next(WATCHDOG_S)
            assert manager.next(2 * WATCHDOG_S) == ""
        finally:
            os.kill(ganesha, signal.SIGCONT)
        assert manager.next(3 * WATCHDOG_S) == "WATCHDOG=1"
        # A death is no hang: the supervisor is at it.
        kill(ganesha)
        server.wait_restarted(ganesha)
        wait_until(lambda: manager.next(5) == "WATCHDOG=1", "it is heard again", 30)
        service.process.terminate()
        wait_until(lambda: manager.next(1) == "STOPPING=1", "it says that it stops", 20)
