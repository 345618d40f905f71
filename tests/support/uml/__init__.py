"""Real kernel NFS clients: Linux as a user process, with this machine's root as its root.

A client boots in about two seconds, mounts whatever it is told, runs commands (several at once, if asked), and stays
mounted while servers come and go.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support import netns
from tests.support.processes import Daemon, TimedOut, compiled, wait_until

HERE = Path(__file__).resolve().parent
PROGRAM = "/usr/bin/linux.uml"
MODULES = Path("/usr/lib/uml/modules")
VERSIONS = ("3", "4.0", "4.1", "4.2")
# Where every version takes long, those that differ most; all of them with TEST_VERSIONS=all.
DISTINCT = VERSIONS if os.environ.get("TEST_VERSIONS") == "all" else ("3", "4.2")


def extended_state_library() -> Path:
    """Builds what linux.uml needs on newer processors (see xstate.c), once for each version of its source."""
    return compiled(HERE / "xstate.c", "xstate.so", "-shared", "-fPIC")


@dataclass(frozen=True)
class Result:
    """How a command ended: its status, and what it wrote to both outputs."""

    status: int
    output: str


class CommandFailed(AssertionError):
    """A command on the client ended with another status than 0."""


class Running:
    """A command under way on a client."""

    def __init__(self, client: "Client", number: int, text: str) -> None:
        self._client, self._number, self._text = client, number, text

    def done(self) -> bool:
        return (self._client.work / f"{self._number}.rc").exists()

    def output(self) -> str:
        """What it wrote so far."""
        path = self._client.work / f"{self._number}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, timeout_s: float = 60, *, check: bool = True) -> Result:
        """Waits for its end. Raises TimedOut, or CommandFailed where `check` is set and the status is not 0."""
        try:
            wait_until(lambda: self.done() or not self._client.running(), f"`{self._text}`", timeout_s)
        except TimedOut as error:
            raise TimedOut(f"{error}; so far it wrote:\n{self.output()[-2000:]}") from None
        if not self.done():
            raise TimedOut(f"the client stopped while `{self._text}` ran:\n{self._client.console()}")
        result = Result(int((self._client.work / f"{self._number}.rc").read_text()), self.output())
        if check and result.status:
            raise CommandFailed(f"`{self._text}` ended with {result.status}:\n{result.output[-3000:]}")
        return result


class Client:
    """One virtual machine. It reaches this side at `server_address`."""

    def __init__(self, memory_mib: int = 512) -> None:
        self.tap, self.subnet = netns.add_tap()
        self.server_address = f"{self.subnet}.1"
        self.address = f"{self.subnet}.2"
        self.work = Path(tempfile.mkdtemp(prefix="uml-client."))
        self._memory_mib = memory_mib
        self._numbers = itertools.count()
        self._mount_points = itertools.count()
        self._machine: Daemon | None = None

    def start(self) -> Self:
        """Boots it, on the first call after a stop; its tap device stays the same."""
        init = self.work / "init"
        init.write_text(f"#!/bin/bash\nexec /bin/bash {HERE / 'client.sh'} {self.work} {self.subnet}\n")
        init.chmod(0o755)
        (self.work / "lib").mkdir(exist_ok=True)
        if not (self.work / "lib/modules").exists():
            (self.work / "lib/modules").symlink_to(MODULES)
        network = f"vec0:transport=tap,ifname={self.tap},depth=128,gro=1"
        machine = [
            "rootfstype=hostfs",
            "rootflags=/",
            "rw",
            f"init={init}",
            network,
            f"mem={self._memory_mib}M",
        ]
        consoles = ["con=null", "con0=null,fd:1", "ssl=null"]
        environment = {"TMPDIR": self._memory(), "LD_PRELOAD": str(extended_state_library())}
        self._machine = Daemon([PROGRAM, *machine, *consoles], self.work / "console", env=environment)
        self._machine.wait_ready((self.work / "up").exists, "user-mode Linux boots", timeout_s=60)
        return self

    @staticmethod
    def _memory() -> str:
        """Where the machine's memory is a file: on tmpfs where there is one."""
        return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()

    def running(self) -> bool:
        return self._machine is not None and self._machine.running()

    def console(self) -> str:
        """The last of what the kernel said."""
        return self._machine.tail() if self._machine else ""

    def start_command(self, text: str) -> Running:
        """Starts a shell command and does not wait for it."""
        number = next(self._numbers)
        script = self.work / f"{number}.sh.new"
        script.write_text(text + "\n")
        script.rename(self.work / f"{number}.sh")
        return Running(self, number, text)

    def run(self, text: str, timeout_s: float = 60, *, check: bool = True) -> Result:
        """Runs a shell command to its end; see Running.wait."""
        return self.start_command(text).wait(timeout_s, check=check)

    def mount(
        self, version: str, port: int, source: str, options: str = "", mountd_port: int | None = None
    ) -> str:
        """Mounts `source` of the server on this side; returns the mount point."""
        point = f"/mnt/{next(self._mount_points)}"
        chosen = [f"vers={version}", f"port={port}", "proto=tcp"]
        if version == "3":
            chosen += [f"mountport={mountd_port or port}", "mountproto=tcp"]
        if options:
            chosen.append(options)
        self.run(
            f"mkdir -p {point} && mount -t nfs -o {','.join(chosen)} {self.server_address}:{source} {point}"
        )
        return point

    def unmount(self, point: str) -> None:
        self.run(f"umount {point}")

    @contextlib.contextmanager
    def mounted(
        self, version: str, port: int, source: str, options: str = "", mountd_port: int | None = None
    ) -> Iterator[str]:
        """A mount for the length of a `with`. After an error it is left to the machine's end: unmounting could hang."""
        point = self.mount(version, port, source, options, mountd_port)
        yield point
        self.unmount(point)

    def kernel_messages(self) -> str:
        return self.run("dmesg").output

    def stop(self) -> None:
        """A power cut: mounts are not taken down, nothing is written back."""
        if self._machine is not None:
            self._machine.kill()
            self._machine = None
        (self.work / "up").unlink(missing_ok=True)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.work)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
