"""rpcbind and rpc.statd: what NFS 3 needs beside the server.

Ganesha 4.3 dies at start when NFS 3 is on and no rpcbind answers, and has no switch for it. So one is started
where none answers; where that fails NFS 4 alone is served. rpc.statd is what NFS 3 clients' locks need.
"""

import shutil
import time
from collections.abc import Mapping
from typing import Final

import structlog

from gateway import rpc
from gateway.processes import Child, Program, wait_for
from gateway.state import StateDir

log = structlog.get_logger(__name__)

START_TIMEOUT_S: Final = 3.0
STOP_TIMEOUT_S: Final = 5.0
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Rpcbind:
    """The helpers of NFS 3, as far as this supervisor started them."""

    def __init__(self, state: StateDir, env: Mapping[str, str]) -> None:
        self._state = state
        self._env = env
        self._started: list[Child] = []

    def ensure(self) -> str:
        """Sees to it that NFS 3 can be served: returns an empty text, or why it cannot."""
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
        """Stops what was started here, unless other services registered meanwhile and need it."""
        others = _programs() - {rpc.PORTMAP, rpc.STATUS}
        if others and self._started:
            log.info("rpcbind.kept", programs=sorted(others))
            return
        for child in reversed(self._started):
            child.stop(STOP_TIMEOUT_S)
        self._started.clear()

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
        return ""


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
