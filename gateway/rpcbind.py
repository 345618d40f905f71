"""rpcbind and rpc.statd: what NFS 3 needs beside the server.

Ganesha 4.3 dies at start when NFS 3 is on and no rpcbind answers, and has no switch for it. So one is started
where none answers; where that fails NFS 4 alone is served. rpc.statd is what NFS 3 clients' locks need.
"""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from gateway import rpc
from gateway.processes import Child, Program, wait_for
from gateway.state import StateDir

log = structlog.get_logger(__name__)

START_TIMEOUT_S: Final = 3.0
STOP_TIMEOUT_S: Final = 5.0
USERS_FILE: Final = Path("/run/caudal-rpcbind")
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Rpcbind:
    """The helpers of NFS 3. Servers on one machine share them: the last one to stop stops what any of them
    started.

    Each holds a shared lock on a file that names the helpers' processes, one for a network and mount
    namespace (it lies beside rpcbind's socket).
    """

    def __init__(self, state: StateDir, env: Mapping[str, str], users_file: Path = USERS_FILE) -> None:
        self._state = state
        self._env = env
        self._users_file = users_file
        self._users = -1
        self._started: list[Child] = []

    def ensure(self) -> str:
        """Sees to it that NFS 3 can be served: returns an empty text, or why it cannot."""
        try:
            self._users = os.open(self._users_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
        except OSError as error:
            log.warning("rpcbind.not_shared", file=str(self._users_file), why=str(error))
        if not _answers():
            why = self._start("rpcbind", ("-f",))
            if why or not wait_for(_answers, START_TIMEOUT_S, time.sleep):
                self.stop()
                return why or "rpcbind was started and does not answer"
        if rpc.STATUS not in _programs():
            why = self._start("rpc.statd", ("-F", "--no-notify"))
            if why:
                # Files are served all the same; only locks of NFS 3 clients are refused.
                log.warning("statd.missing", why=why)
        return ""

    def stop(self) -> None:
        """Leaves the helpers; stops those that were started for servers when no server is left."""
        if self._users < 0:
            return
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            others = _programs() - {rpc.PORTMAP, rpc.STATUS}
            if not others:
                self._stop_all()
        except BlockingIOError:
            log.info("rpcbind.kept")
        finally:
            os.close(self._users)
            self._users = -1

    def _stop_all(self) -> None:
        for name, pid in reversed(self._read_started()):
            if _is_program(pid, name):
                os.kill(pid, signal.SIGTERM)
                # A child of ours has to be collected before it is gone.
                wait_for(lambda pid=pid, name=name: self._is_gone(pid, name), STOP_TIMEOUT_S, time.sleep)
        os.ftruncate(self._users, 0)

    def _is_gone(self, pid: int, name: str) -> bool:
        self.poll()
        return not _is_program(pid, name)

    def poll(self) -> None:
        """Collects helpers that ended. Whoever ended them took their place: they stay ended."""
        for child in self._started:
            child.poll()

    def _start(self, name: str, arguments: tuple[str, ...]) -> str:
        path = shutil.which(name, path=SEARCH_PATH)
        if path is None:
            return f"{name} is not installed"
        program = Program(
            name,
            (path, *arguments),
            self._state.logs / f"{name}.log",
            self._state.pid_file(name),
            outlives=True,
        )
        child = Child(program, self._env)
        try:
            child.start(time.monotonic())
        except OSError as error:
            return f"{name} cannot be started: {error}"
        self._started.append(child)
        if self._users >= 0:
            os.pwrite(self._users, f"{name} {child.pid}\n".encode(), os.fstat(self._users).st_size)
        return ""

    def _read_started(self) -> list[tuple[str, int]]:
        lines = os.pread(self._users, 4096, 0).decode("ascii", "replace").splitlines()
        found = [line.split() for line in lines]
        return [(words[0], int(words[1])) for words in found if len(words) == 2 and words[1].isdigit()]


def _is_program(pid: int, name: str) -> bool:
    """Whether a process is still that helper: its number may be somebody else's by now."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # "PID (NAME) STATE ..."; a zombie has ended, whoever is to collect it.
    return f"({name}) " in words and words.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _answers() -> bool:
    try:
        rpc.registrations()
    except rpc.RpcError:
        return False
    return True


def _programs() -> set[int]:
    try:
        return {program for program, _ in rpc.registrations()}
    except rpc.RpcError:
        return set()
