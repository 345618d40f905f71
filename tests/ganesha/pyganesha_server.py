"""Starts the stock ganesha.nfsd with one pyganesha export, for one test."""

import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Self

import pytest

from gateway.pyganesha.build import LIBRARY
from gateway.pyganesha.serve import Service, rpcbind_answers
from tests.ganesha.nfs3_client import JUKEBOX, Client, NfsError
from tests.support.processes import compiled

ROOT = Path(__file__).resolve().parents[2]
FSALS = "tests.ganesha.pyganesha_fsals"
MEMFS = "gateway.pyganesha.examples.memfs:MemFs"


class Server:
    """A running ganesha.nfsd on ports of its own."""

    def __init__(self, state: Path, factory: str, options: str = "", path: Path | None = None) -> None:
        search = f"{ROOT}:{path}" if path else str(ROOT)
        # Every address: the kernel's clients come from their tap devices.
        self.service = Service(factory, state, options, bind="0.0.0.0", path=search)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, open_files: int | None = None) -> Self:
        """Returns when it serves. `open_files`: its limit of descriptors, which Ganesha takes for its own limit of opens."""
        assert LIBRARY.exists(), "the plugin is not built: python -m gateway.pyganesha.build"
        self.service.log_file.unlink(missing_ok=True)
        limit = ["prlimit", f"--nofile={open_files}"] if open_files else []
        with (self.service.state / "output").open("ab") as output:
            self.process = subprocess.Popen([*limit, *self.service.prepare()], stdout=output, stderr=output)
        deadline = time.monotonic() + 30
        while "NFS SERVER INITIALIZED" not in self.log():
            assert self.process.poll() is None, f"ganesha.nfsd ended:\n{self.log()[-3000:]}"
            assert time.monotonic() < deadline, f"ganesha.nfsd does not get ready:\n{self.log()[-3000:]}"
            time.sleep(0.05)
        return self

    def log(self) -> str:
        file = self.service.log_file
        return file.read_text(errors="replace") if file.exists() else ""

    def output(self) -> str:
        return (self.service.state / "output").read_text(errors="replace")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def client(self, uid: int = 0, gid: int = 0) -> Client:
        return Client(self.service.port, self.service.mount_port, ids=(uid, gid))

    def url(self, path: str = "/") -> str:
        """For libnfs's programs."""
        ports = f"nfsport={self.service.port}&mountport={self.service.mount_port}"
        return f"nfs://127.0.0.1/export{path}?version=3&{ports}&uid=0&gid=0"

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ends it cleanly; returns its exit status (negative: the signal that killed it)."""
        assert self.process
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                pytest.fail(f"ganesha.nfsd does not end:\n{self.log()[-3000:]}")
        return self.process.returncode

    def __enter__(self) -> Self:
        return self if self.alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Rpcbind:
    """An rpcbind where none answers: Ganesha does not start NFS 3 without."""

    def __enter__(self) -> Self:
        self._process = None
        if not rpcbind_answers():
            Path("/run/rpcbind").mkdir(exist_ok=True)
            self._process = subprocess.Popen(["rpcbind", "-f", "-w"], stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 10
            while not rpcbind_answers():
                assert time.monotonic() < deadline, "rpcbind does not answer"
                time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()


def native_core(place: Path) -> Path:
    """Puts the test's core into a directory, as an extension module."""
    flags = [
        "-shared",
        "-fPIC",
        f"-I{sysconfig.get_path('include')}",
        f"-I{ROOT / 'gateway/pyganesha/include'}",
    ]
    built = compiled(Path(__file__).with_name("pyganesha_core.c"), "pyganesha_test_core.so", *flags)
    (place / "pyganesha_test_core.so").symlink_to(built)
    return place


def status_of(call: object, *arguments: object) -> int:
    """The status that a call of the client fails with; 0 when it succeeds."""
    assert callable(call)
    try:
        call(*arguments)
    except NfsError as error:
        return error.status
    return 0


__all__ = ["FSALS", "JUKEBOX", "MEMFS", "ROOT", "Rpcbind", "Server", "native_core", "status_of"]
