"""A Caudal under test: started by its command line, killed by its processes' numbers."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from tests.support import rpcbind
from tests.support.nfs3 import Nfs3
from tests.support.processes import ROOT, alive, free_port, kill, wait_until

PROGRAM = ROOT / ".venv/bin/caudal"
EXPORT = "/data"
CLIENTS = ("127.0.0.1", "::1", "192.168.0.0/16", "fd00:ca::/64")
# A server that comes back lets clients reclaim locks first; nobody wants to wait the usual time for that in tests.
TIMES = ("--lease-s", "5", "--grace-s", "5")
# Nothing is kept that the present does not need, so that what garbage collection leaves behind can be told.
BACKUPS = ("--backup-retention-s", "0", "--backup-interval-s", "0.5")
PROCESSES = ("supervisor", "ganesha", "steward")
# What must not stand in a log of a run that nobody disturbed.
SUSPICIOUS = re.compile(
    r"Traceback|panicked|Segmentation|ERR_FSAL_SERVERFAULT|:(?:CRIT|MAJ|FATAL) :|"
    r"\[(?:error|critical)\s*\]|\"level\": ?\"(?:error|critical)\"|DeprecationWarning|ResourceWarning"
)


class StartFailed(AssertionError):
    """`caudal up` ended with another status than 0."""


@contextlib.contextmanager
def undisturbed(directory: Path) -> Iterator[Callable[..., "Caudal"]]:
    """Makes servers with their state below `directory`; stops them at the end, and raises AssertionError for what their
    logs should not say.
    """
    made: list[Caudal] = []

    def make(**options: Any) -> Caudal:
        made.append(Caudal(directory / f"state{len(made)}", **options))
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.stop()
    complaints = [line for server in made for line in server.complaints()]
    assert not complaints, "the servers' logs complain:\n" + "\n".join(complaints[:40])


class Caudal:
    """One file system: its state directory, its ports, and its server as long as it runs."""

    def __init__(
        self,
        state: Path,
        *,
        store: str | None = None,
        options: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        admin: bool = False,
    ) -> None:
        """admin: with the admin service, which costs each start a second."""
        self.state = state
        self.nfs_port, self.mountd_port = free_port(), free_port()
        self.admin_port = free_port() if admin else 0
        self._store, self._env = store, dict(env or {})
        # Those of the next start.
        self.options = tuple(options)
        self._expected: list[re.Pattern[str]] = []

    def arguments(self) -> list[str]:
        """Those of `caudal up`."""
        ports = [
            "--nfs-port",
            self.nfs_port,
            "--mountd-port",
            self.mountd_port,
            "--admin-port",
            self.admin_port,
        ]
        chosen = ["--state", self.state, "--export", EXPORT, *ports]
        if self._store:
            chosen += ["--store", self._store]
        for network in CLIENTS:
            chosen += ["--clients", network]
        return [*map(str, chosen), *TIMES, *BACKUPS, *self.options]

    def run(
        self,
        *arguments: str,
        timeout_s: float = 60,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command line; whatever it answers is returned."""
        return subprocess.run(
            [str(PROGRAM), *arguments],
            env={**os.environ, **self._env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def cli(self, *arguments: str, timeout_s: float = 60, stdin: str | None = None) -> str:
        """Runs a command on this file system that must succeed; returns its output."""
        done = self.run(*arguments, "--state", str(self.state), timeout_s=timeout_s, stdin=stdin)
        assert done.returncode == 0, (
            f"caudal {' '.join(arguments)}: {done.stdout}{done.stderr}{self.log_tail()}"
        )
        return done.stdout

    def start(self, failpoints: str = "", timeout_s: float = 90) -> Self:
        """`caudal up --detach`; with failpoints armed where they are given. Raises StartFailed."""
        rpcbind.ensure()
        env = {"CAUDAL_FAILPOINTS": failpoints} if failpoints else {}
        done = self.run("up", *self.arguments(), "--detach", timeout_s=timeout_s, env=env)
        if done.returncode:
            raise StartFailed(f"caudal up: {done.returncode}: {done.stdout}{done.stderr}{self.log_tail()}")
        return self

    def status(self) -> dict[str, Any]:
        return json.loads(self.cli("status", "--json"))

    def flush(self) -> None:
        """Everything acknowledged so far is in the store."""
        self.cli("flush", "--wait", timeout_s=120)

    def fsck(self) -> str:
        """Checks the file system; an unclean one is an AssertionError with the findings."""
        return self.cli("fsck", timeout_s=180)

    def connect(self, **options: Any) -> Nfs3:
        """An NFS 3 client in this process."""
        return Nfs3(self.nfs_port, EXPORT, mountd_port=self.mountd_port, **options)

    @property
    def url(self) -> str:
        """For nfsbench."""
        return f"nfs://127.0.0.1{EXPORT}?version=3&nfsport={self.nfs_port}&mountport={self.mountd_port}"

    def pid(self, process: str) -> int | None:
        """The number of one of PROCESSES, None when it does not run."""
        try:
            number = int((self.state / "run" / f"{process}.pid").read_text())
        except (OSError, ValueError):
            return None
        return number if alive(number) else None

    def kill_server(self) -> int:
        """Kill -9 of ganesha.nfsd alone, which the supervisor starts again. Returns the number that it had."""
        number = self.pid("ganesha")
        assert number, "the server does not run"
        kill(number)
        wait_until(lambda: not alive(number), "the killed server is gone")
        return number

    def wait_restarted(self, old_pid: int, timeout_s: float = 60) -> None:
        """Until the supervisor's next server answers an NFS 3 client."""

        def serves() -> bool:
            if self.pid("ganesha") in {None, old_pid}:
                return False
            try:
                with self.connect(timeout_s=5) as client:
                    client.stat("/")
            except OSError:
                return False
            return True

        wait_until(serves, "the next server answers", timeout_s, interval_s=0.1)

    def kill_everything(self) -> None:
        """Kill -9 of all of its processes, the supervisor first: a power cut, as far as they can tell."""
        numbers = [number for name in PROCESSES if (number := self.pid(name))]
        for number in numbers:
            kill(number)
        wait_until(lambda: not any(map(alive, numbers)), "the killed processes are gone")

    def running(self) -> bool:
        return self.pid("supervisor") is not None or self.pid("ganesha") is not None

    def stop(self) -> None:
        """`caudal down`, and by force what is left."""
        if self.running():
            self.run("down", "--state", str(self.state), timeout_s=60)
        self.kill_everything()

    def expect(self, *patterns: str) -> None:
        """Log lines that this test causes on purpose (regular expressions)."""
        self._expected.extend(map(re.compile, patterns))

    def complaints(self) -> list[str]:
        """Lines of its logs that no test asked for, each with the name of its file."""
        found: list[str] = []
        for path in sorted((self.state / "run/log").glob("*.log")):
            for line in path.read_text(errors="replace").splitlines():
                if SUSPICIOUS.search(line) and not any(pattern.search(line) for pattern in self._expected):
                    found.append(f"{path.name}: {line}")
        return found

    def log_tail(self, lines: int = 15) -> str:
        """The last of each log, for messages of failed tests."""
        texts: list[str] = []
        for path in sorted((self.state / "run/log").glob("*.log")):
            last = path.read_text(errors="replace").splitlines()[-lines:]
            texts.append("\n".join([f"--- {path.name}", *last]))
        return "\n".join(["", *texts])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
