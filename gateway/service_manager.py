"""Tells a service manager how the server stands: ready, alive, stopping (the protocol of sd_notify).

Alive means that the NFS server answers, or that the supervisor is about to start it again. A server that hangs is alive
for its supervisor and for nobody else: the manager no longer hears of it, and replaces everything after the time that it
set (WATCHDOG_USEC). Without a manager in the environment nothing is sent.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

import structlog

log = structlog.get_logger(__name__)

# Of the manager's time: two probes may be lost before it acts.
PROBES_PER_LIMIT: Final = 3


def send(address: str, text: str) -> None:
    """One datagram to the manager; it is told again soon, so a failure is no error."""
    path = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        # A manager that does not listen must not hold up the server.
        datagrams.setblocking(False)
        datagrams.sendto(text.encode(), path)


class ServiceManager:
    """What the environment says of a manager, and what it was told. Times are monotonic seconds.

    answers: whether the NFS server answers now; it may take a second or two. start_limit_s: how long a server may start
    before it counts as hung.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        answers: Callable[[], bool],
        start_limit_s: float,
        send: Callable[[str, str], None] = send,
        pid: int | None = None,
    ) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._answers = answers
        self._start_limit_s = start_limit_s
        self._send = send
        self._interval_s = _watchdog_s(env, os.getpid() if pid is None else pid) / PROBES_PER_LIMIT
        self._serving_s: float | None = None
        self._is_ready = False
        self.due_at_s: float | None = None

    def ready(self, now_s: float, text: str) -> None:
        """The server answers for the first time, or again."""
        self._tell(f"READY=1\nSTATUS={text}")
        self._is_ready = True
        self._serving_s = now_s
        if self._interval_s:
            self.due_at_s = now_s + self._interval_s

    def stopping(self) -> None:
        if self._is_ready:
            self._tell("STOPPING=1")
        self.due_at_s = None

    def tend(self, now_s: float, *, serving: bool) -> None:
        """Does what is due. serving: the process runs and answered once; else it is dead or starts."""
        if self.due_at_s is None or now_s < self.due_at_s:
            return
        self.due_at_s = now_s + self._interval_s
        if serving and self._answers():
            self._serving_s = now_s
        elif serving or self._serving_s is None or now_s - self._serving_s > self._start_limit_s:
            log.warning("nfs.silent", since_s=round(now_s - (self._serving_s or now_s), 1))
            return
        self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if self._address:
            self._send(self._address, text)


def _watchdog_s(env: Mapping[str, str], pid: int) -> float:
    """The manager's limit; 0 where it set none, or set it for another process."""
    text, whose = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not env.get("NOTIFY_SOCKET") or not text.isdigit() or (whose and whose != str(pid)):
        return 0.0
    return int(text) / 1e6
