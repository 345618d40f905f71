"""Debian's PostgreSQL in a folder of its own, on a local socket only, as a user that is not root."""

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.support.processes import wait_until

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
USER = "postgres"
_numbers = count()


class Postgres:
    """A running server. url(): of a new, empty database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(PROGRAMS / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, **self._who(), cwd=self._directory
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @staticmethod
    def _who() -> dict[str, str]:
        return {"user": USER} if os.geteuid() == 0 else {}

    def start(self) -> None:
        if os.geteuid() == 0:
            os.chown(self._directory, pwd.getpwnam(USER).pw_uid, -1)
        if not self._data.exists():
            self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = ("listen_addresses=", f"unix_socket_directories={self._directory}", "fsync=off")
        options = [word for setting in settings for word in ("-c", setting)]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAMS / "postgres"), "-D", str(self._data), *options],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                **self._who(),
            )
        wait_until(self._answers, "the database answers")

    def _answers(self) -> bool:
        command = [str(PROGRAMS / "pg_isready"), "-q", "-h", str(self._directory)]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self) -> None:
        if self._process is not None:
            # At once: TERM would wait for its clients.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def url(self) -> str:
        name = f"db{next(_numbers)}"
        self._run("createdb", "-h", str(self._directory), "-U", USER, name)
        return f"postgresql://{USER}@/{name}?host={self._directory}"


@contextmanager
def running() -> Iterator[Postgres]:
    """A server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="caudal-pg.", dir="/var/tmp") as directory:
        server = Postgres(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()
