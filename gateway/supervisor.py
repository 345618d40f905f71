"""The supervisor: starts Ganesha and the steward, starts them again when they die, and stops them in order.

One thread, which sleeps until a signal or the next thing to do; signals are blocked and taken from the kernel
one by one, so that nothing happens in between. It holds the state directory's lock and hands it down: while
any of the processes lives, no second server starts. After a crash of the supervisor the kernel sends the
others a TERM.
"""

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from gateway import ganesha_conf, rpc
from gateway.admin_process import AdminProcess
from gateway.config import Config
from gateway.errors import FencedError, StartError
from gateway.nfs_server import NfsServer, Standing
from gateway.preflight import unknown_clients
from gateway.processes import Child, Program, python, python_env
from gateway.rpcbind import Rpcbind
from gateway.service_manager import ServiceManager
from gateway.state import StateDir, write_atomically

log = structlog.get_logger(__name__)

SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
STARTING_POLL_S: Final = 0.1
IDLE_POLL_S: Final = 30.0
STEWARD_STOP_S: Final = 10.0
ALIVE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Served:
    """What is served once the server answers; also the contents of run/nfs.json."""

    pid: int
    versions: list[str]
    exports: list[str]
    nfs_port: int
    mountd_port: int
    note: str

    def fields(self) -> dict[str, object]:
        """The same as plain values for JSON."""
        return asdict(self)

    def write(self, state: StateDir) -> None:
        write_atomically(state.nfs_file, json.dumps(self.fields()).encode(), 0o644)


Report = Callable[[Served | StartError], None]
"""Told once how the first start went."""


class Supervisor:
    """Runs one server until it is told to stop.

    lock: descriptor that holds the state directory's lock. env: environment of the children, with the store's
    credential in it.
    """

    def __init__(
        self, config: Config, lock: int, env: Mapping[str, str], fsal: ganesha_conf.Fsal, ganesha: str
    ) -> None:
        self._config = config
        self._state = StateDir(config.state)
        child_env = python_env(env)
        self._rpcbind = Rpcbind(self._state, child_env)
        self._nfs = NfsServer(config, fsal, ganesha, lock, child_env)
        self._steward = Child(
            Program(
                "steward",
                (python(), "-m", "gateway.steward", "--state", str(config.state)),
                self._state.logs / "steward.out",
                self._state.pid_file("steward"),
                keep=(lock,),
            ),
            child_env,
        )
        self._admin = AdminProcess(config, lock, env)
        self._manager = ServiceManager(env, self._answers, config.start_timeout_s)
        self._came_up = False
        self._note = ""
        self._deadline_s = 0.0
        self._report: Report | None = None
        self._stopping = False
        self._fenced_by: str | None = None

    def run(self, report: Report) -> None:
        """Serves until TERM or INT; `report` is told how the first start went. Returns after everything has
        stopped. Raises FencedError, then too, where another server has taken the file system over.
        """
        self._report = report
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._begin()
            while self._turn():
                self._sleep()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        if self._fenced_by is not None:
            raise FencedError(
                f"the server has stopped: the file system was taken over by {self._fenced_by}",
                "clients find it there now; --take-over takes it back",
            )

    def _begin(self) -> None:
        why_not_3 = self._rpcbind.ensure()
        versions = (4,) if why_not_3 else (3, 4)
        notes = [f"NFS 3 is off: {why_not_3}"] if why_not_3 else []
        if unknown := unknown_clients(self._config):
            notes.append(f"no access for clients whose names do not resolve: {', '.join(unknown)}")
        for note in notes:
            log.warning("start.note", note=note)
        self._note = "; ".join(notes)
        now_s = time.monotonic()
        self._deadline_s = now_s + self._config.start_timeout_s
        self._nfs.start(now_s, versions)
        self._admin.start(now_s)

    def _turn(self) -> bool:
        """Does what is due; False when the server is to stop."""
        if self._stopping:
            return False
        now_s = time.monotonic()
        self._rpcbind.poll()
        standing = self._nfs.poll(now_s)
        if self._report is not None:
            return self._first_start(standing, now_s)
        if standing is Standing.DOWN and (by := self._state.fenced_by()) is not None:
            self._fenced_by = by
            log.error("owner.fenced", by=by)
            return False
        if standing is Standing.CAME_UP:
            self._publish()
            log.info("nfs.serves", pid=self._nfs.pid)
        self._tend_steward(now_s)
        self._admin.tend(now_s)
        self._manager.tend(now_s, serving=standing in {Standing.SERVING, Standing.CAME_UP})
        return True

    def _first_start(self, standing: Standing, now_s: float) -> bool:
        """Until the server has answered once, whatever goes wrong ends the start, with its reason."""
        assert self._report is not None
        error: StartError | None = None
        self._admin.tend(now_s)
        if standing is Standing.CAME_UP:
            self._came_up = True
            self._steward.start_or_retry(now_s)
            self._admin.await_from(now_s)
        if standing is Standing.DOWN:
            error = self._nfs.failure()
        elif self._came_up:
            return self._await_admin(now_s)
        elif now_s >= self._deadline_s:
            error = self._nfs.timeout()
        if error is None:
            return True
        log.error("start.failed", message=error.message, reason=error.reason)
        # Nothing may run any more when the caller learns of it.
        self._stop()
        report, self._report = self._report, None
        report(error)
        return False

    def _await_admin(self, now_s: float) -> bool:
        """Files are served; the start is told of when the admin service answers, too, or has had its time."""
        note = self._admin.waited_for(now_s)
        if note is None:
            return True
        if note:
            log.error("admin.not_started", note=note)
            self._note = "; ".join(filter(None, (self._note, note)))
        assert self._report is not None
        report, self._report = self._report, None
        report(self._publish())
        return True

    def _tend_steward(self, now_s: float) -> None:
        if self._steward.poll() is not None:
            self._steward.schedule_restart(now_s)
        if self._steward.restart_at_s is not None and now_s >= self._steward.restart_at_s:
            self._steward.start_or_retry(now_s)

    def _publish(self) -> Served:
        """Leaves for `caudal status` what is served; a disk that is full must not end the serving."""
        served = self._served()
        try:
            served.write(self._state)
        except OSError as error:
            log.error("nfs.json.not_written", why=str(error))
        self._manager.ready(
            time.monotonic(), f"serving {self._config.export} over NFS {served.versions[0]} to 4.2"
        )
        return served

    def _answers(self) -> bool:
        """Whether the NFS server has a worker for a call that does nothing."""
        try:
            rpc.null_call("127.0.0.1", self._config.nfs_port, rpc.NFS, 4, ALIVE_TIMEOUT_S)
        except rpc.RpcError:
            return False
        return True

    def _served(self) -> Served:
        versions = (["3"] if 3 in self._nfs.versions else []) + ["4.0", "4.1", "4.2"]
        return Served(
            pid=self._nfs.pid or 0,
            versions=versions,
            exports=[self._config.export],
            nfs_port=self._config.nfs_port,
            mountd_port=self._config.mountd_port,
            note=self._note,
        )

    def _sleep(self) -> None:
        """Waits for a signal or the next thing to do."""
        if self._nfs.is_starting or self._report is not None:
            timeout_s = STARTING_POLL_S
        else:
            now_s = time.monotonic()
            due = [
                at
                for at in (
                    self._nfs.restart_at_s,
                    self._steward.restart_at_s,
                    self._admin.restart_at_s,
                    self._manager.due_at_s,
                )
                if at is not None
            ]
            timeout_s = max(0.0, min([at - now_s for at in due], default=IDLE_POLL_S))
        found = signal.sigtimedwait(SIGNALS, timeout_s)
        self._stopping = self._stopping or (
            found is not None and found.si_signo in (signal.SIGTERM, signal.SIGINT)
        )

    def _stop(self) -> None:
        """Stops the children: the server first, whose clients wait for nothing, then what serves it. May be
        called again.
        """
        self._manager.stopping()
        self._nfs.stop()
        self._admin.stop()
        self._steward.stop(STEWARD_STOP_S)
        self._rpcbind.stop()
        self._state.nfs_file.unlink(missing_ok=True)
