"""The faults of a round, done to a real server, its disks and its store."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.crash.plan import Disturbance
from gateway.control import ControlClient
from gateway.errors import ControlError, NotRunningError
from tests.support.azurite import Azurite
from tests.support.caudal import Caudal
from tests.support.fault_proxy import Answer, Delay, DropReply, FaultProxy
from tests.support.fault_proxy import Fault as ProxyFault
from tests.support.processes import kill

NEWEST_SEGMENTS = 2
HOLE_BYTES = 4096
_PROXY_FAULTS: dict[str, tuple[ProxyFault, tuple[str, ...]]] = {
    "store_503": (Answer(503, "ServerBusy", 1), ()),
    "store_500": (Answer(500, "InternalError"), ("PUT", "DELETE")),
    "store_lost_replies": (DropReply(), ("PUT",)),
    "store_slow": (Delay(0.4), ()),
}


class Stores:
    """The store of a campaign: a directory, or Azurite behind a proxy. `url` is for `caudal up`, with `env`."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._trouble = contextlib.ExitStack()
        self.env: dict[str, str] = {}
        self._directory = directory / "store"
        self._proxy: FaultProxy | None = None
        if kind == "azurite":
            azurite = self._stack.enter_context(Azurite(directory / "azurite.log", directory / "azurite"))
            self._proxy = self._stack.enter_context(FaultProxy(azurite.port))
            self.env, self.url = self._proxy.environment, "az://crash/campaign"
            return
        self._directory.mkdir()
        # A mount of its own, which can be made read-only while files in it are open for reading.
        mount("--bind", str(self._directory), str(self._directory))
        self._stack.callback(lambda: mount_off(self._directory))
        self.url = f"file://{self._directory}"

    def begin(self, kind: str) -> None:
        """Until end()."""
        if kind == "store_read_only":
            # Where a pack is being written at this moment the kernel refuses.
            mount("-o", "remount,bind,ro", str(self._directory))
            self._trouble.callback(lambda: mount("-o", "remount,bind,rw", str(self._directory)))
        elif self._proxy and kind == "store_refused":
            self._trouble.enter_context(self._proxy.down())
        elif self._proxy:
            fault, methods = _PROXY_FAULTS[kind]
            self._trouble.enter_context(self._proxy.fault(fault, *methods))

    def end(self) -> None:
        self._trouble.close()

    def close(self) -> None:
        self.end()
        self._stack.close()


def mount(*arguments: str) -> None:
    """Raises OSError where it is refused."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


def mount_off(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], check=True)


class Faults:
    """Does disturbances. `hit` is told of each that really took place."""

    def __init__(
        self, server: Caudal, stores: Stores, mirrors: list[Path], hit: Callable[[str], None]
    ) -> None:
        self._server, self._stores, self._mirrors, self._hit = server, stores, mirrors, hit
        self._stopped: int | None = None
        self._lost_one: int | None = None

    def begin(self, one: Disturbance) -> None:
        """A disturbance of a running server."""
        if one.kind.startswith("store_"):
            with contextlib.suppress(OSError):
                self._stores.begin(one.kind)
                self._hit(one.kind)
        elif one.kind == "kill_steward":
            if number := self._server.pid("steward"):
                kill(number)
                self._hit(one.kind)
        elif one.kind == "stopped":
            if number := self._server.pid("ganesha"):
                kill(number, signal.SIGSTOP)
                self._stopped = number
                self._hit(one.kind)
        elif one.kind == "mirror_gone":
            self._mirror_gone(one)

    def end(self, one: Disturbance) -> None:
        if one.kind.startswith("store_"):
            self._stores.end()
        elif one.kind == "stopped":
            self._resume()

    def _resume(self) -> None:
        number, self._stopped = self._stopped, None
        if number:
            kill(number, signal.SIGCONT)

    def end_all(self) -> None:
        self._resume()
        self._stores.end()

    def all_healthy(self) -> bool:
        """Whether every mirror has everything, as the running server says. It need not have noticed yet that one went."""
        if self._lost_one == self._server.pid("ganesha"):
            return False
        try:
            with ControlClient(self._server.state / "run" / "control.sock", 5.0) as control:
                mirrors = control.call("status")["journal"]["mirrors"]
        except (NotRunningError, ControlError):
            return False
        return all(mirror["state"] == "healthy" for mirror in mirrors)

    def losses(self) -> int:
        """How often the running server has lost a mirror; 0 where it does not answer."""
        try:
            with ControlClient(self._server.state / "run" / "control.sock", 5.0) as control:
                mirrors = control.call("status")["journal"]["mirrors"]
        except (NotRunningError, ControlError):
            return 0
        return sum(int(mirror["losses"]) for mirror in mirrors)

    def _mirror_gone(self, one: Disturbance) -> None:
        """The disk of a mirror goes while it is written: only where the others have everything."""
        if not self.all_healthy():
            return
        lost = random.Random(one.chance).choice(self._mirrors)
        gone = lost.with_name(f"{lost.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        lost.rename(gone)
        self._lost_one = self._server.pid("ganesha")
        self._hit(one.kind)

    def while_dead(self, one: Disturbance) -> None:
        """A disturbance of what a dead server left. The caller saw that all mirrors were healthy before its death."""
        chance = random.Random(one.chance)
        if one.kind == "mirror_wiped":
            lost = chance.choice(self._mirrors)
            for path in lost.iterdir():
                path.unlink()
            self._hit(one.kind)
        elif one.kind == "mirror_damaged":
            segments = sorted(chance.choice(self._mirrors).glob("*.seg"))[-NEWEST_SEGMENTS:]
            for path in segments:
                _overwrite_some(path, chance)
            if segments:
                self._hit(one.kind)
        elif one.kind == "journal_cut":
            for mirror in self._mirrors:
                _cut(max(path for path in mirror.glob("*.seg") if path.stat().st_size))
            self._hit(one.kind)
        elif one.kind == "cache_damaged":
            files = [path for path in sorted((self._server.state / "l2").rglob("*")) if path.is_file()]
            for path in chance.sample(files, min(3, len(files))):
                _overwrite_some(path, chance)
            if files:
                self._hit(one.kind)


def _cut(path: Path) -> None:
    """The last of what a segment holds becomes zeros."""
    used = len(path.read_bytes().rstrip(b"\0"))
    with path.open("r+b") as file:
        start = used * 3 // 4
        file.seek(start)
        file.write(bytes(used - start))


def _overwrite_some(path: Path, chance: random.Random) -> None:
    """A few pages of a file become something else: zeros, or noise."""
    size = path.stat().st_size
    if not size:
        return
    with path.open("r+b") as file:
        for _ in range(3):
            file.seek(chance.randrange(size))
            length = min(HOLE_BYTES, size - file.tell())
            file.write(bytes(length) if chance.random() < 0.5 else chance.randbytes(length))
        file.flush()
        os.fsync(file.fileno())
