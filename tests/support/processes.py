"""Starting, watching and ending programs."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
SERVER_PORTS = (20_000, 32_000)
_LATELY: deque[int] = deque(maxlen=100)
CACHE = Path(os.environ.get("CAUDAL_CACHE") or Path.home() / ".cache" / "caudal")


class TimedOut(AssertionError):
    """What was waited for did not happen in its time."""


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 20, interval_s: float = 0.02) -> T:
    """Asks until the answer is true; returns it. Raises TimedOut with `what`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {timeout_s:g} s")
        time.sleep(interval_s)


def free_port() -> int:
    """A port that nobody uses now, of TCP nor of UDP: servers of the mount protocol bind both.

    Below those that the system gives to sockets which ask for any, so that none of them takes it meanwhile; and none that
    was returned lately, whose server may not listen yet.
    """
    family = socket.AF_INET6 if Path("/proc/sys/net/ipv6").exists() else socket.AF_INET
    while True:
        port = random.randrange(*SERVER_PORTS)
        if port in _LATELY:
            continue
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        _LATELY.append(port)
        return port


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections on the port."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal to one process; one that is gone already is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def compiled(source: Path, name: str, *flags: str) -> Path:
    """Compiles one C file, once for each version of it and of its headers; returns the program or library in the cache."""
    before = [flag for flag in flags if not flag.startswith("-l")]
    after = [flag for flag in flags if flag.startswith("-l")]
    # What the preprocessor makes of it: a library that was built for the headers of yesterday is not the library of today.
    whole = subprocess.run(["gcc", "-E", "-P", *before, str(source)], check=True, capture_output=True).stdout
    digest = hashlib.sha256(whole + " ".join(flags).encode()).hexdigest()[:12]
    output = CACHE / "tests" / f"{digest}-{name}"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        fresh = output.with_name(f".{output.name}.{os.getpid()}")
        command = ["gcc", "-O2", *before, "-o", str(fresh), str(source), *after]
        subprocess.run(command, check=True, capture_output=True, text=True)
        fresh.rename(output)
    return output


class Daemon:
    """A program in the foreground of its own session, its output in a file. It dies with the thread that started it."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self, ready: Callable[[], object], what: str, timeout_s: float = 30) -> None:
        """Waits for `ready`; an early end or a time-out shows the last of the output."""

        def settled() -> bool:
            return bool(ready()) or not self.running()

        try:
            wait_until(settled, what, timeout_s)
        except TimedOut as error:
            raise TimedOut(f"{error}; its output ends with:\n{self.tail()}") from None
        if not self.running():
            raise TimedOut(
                f"{what}: ended with {self.process.returncode}; its output ends with:\n{self.tail()}"
            )

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, timeout_s: float = 15) -> None:
        """Asks it to end, then makes it end."""
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process.wait()

    def kill(self) -> None:
        """Kill -9 of the program and of what it started in its session."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
