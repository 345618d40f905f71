"""Ganesha as one child process: its configuration, its start, whether it serves, and why it does not."""

import re
import signal
import time
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final

import structlog

from gateway import client_records_file, exports, ganesha_conf, kerberos, rpc
from gateway.config import Config
from gateway.control import ControlClient
from gateway.errors import ControlError, NotRunningError, Reason, StartError
from gateway.processes import Child, Program
from gateway.state import StateDir, unusable, write_atomically

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S: Final = 60.0
PROBE_TIMEOUT_S: Final = 1.0
# A server that answers NFS has read its exports. Where the control socket does not follow and the log has a
# complaint, it runs without ours.
EXPORT_PATIENCE_S: Final = 3.0
_LOG_TAIL_BYTES: Final = 1 << 18
_COMPLAINT: Final = re.compile(r"\] (\w+) :([A-Z0-9_ ]+) :(CRIT|MAJ|FATAL|ERROR) ?:(.*)")
# The traceback of an exception in our FSAL, whose last line comes again with the export it failed; and
# Ganesha's counting of what follows.
_REPEATED: Final = re.compile(
    r"PYGANESHA: (Traceback|  |\w+(\.\w+)*: )|validation errors in block|Errors processing block"
)
_NO_EXPORT: Final = re.compile(r"Could not create export|Failed to load FSAL")
# Complaints of every healthy start: no D-Bus, no Kerberos, no rpcbind for NFS 4.
_HARMLESS: Final = re.compile(
    r"dbus|krb5|gssd|Cannot acquire credentials|Cannot register NFS V4|keytab|RADOS", re.IGNORECASE
)


class Standing(Enum):
    """What poll() found."""

    STARTING = auto()
    CAME_UP = auto()
    SERVING = auto()
    DOWN = auto()


class NfsServer:
    """Starts Ganesha, and again after it died. Times are monotonic seconds."""

    def __init__(
        self, config: Config, fsal: ganesha_conf.Fsal, ganesha: str, lock: int, env: Mapping[str, str]
    ) -> None:
        self._config = config
        self._fsal = fsal
        self._state = StateDir(config.state)
        self._log_file = self._state.logs / "ganesha.log"
        self._conf_file = self._state.ganesha / "ganesha.conf"
        self._child = Child(
            Program(
                "ganesha",
                (
                    ganesha,
                    "-F",
                    "-f",
                    str(self._conf_file),
                    "-L",
                    str(self._log_file),
                    "-p",
                    str(self._state.run / "nfsd.lock"),
                ),
                self._state.logs / "ganesha.out",
                self._state.pid_file("ganesha"),
                keep=(lock,),
            ),
            {**env, **kerberos.environment(self._state, env.get("KRB5_CONFIG"))},
        )
        self._serving = False
        self._answered_at_s: float | None = None
        self._log_start = 0
        self._status: int | None = None
        self._error: StartError | None = None
        self.versions: tuple[int, ...] = ()

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def is_starting(self) -> bool:
        return self._child.pid is not None and not self._serving

    @property
    def restart_at_s(self) -> float | None:
        return self._child.restart_at_s

    def start(self, now_s: float, versions: tuple[int, ...]) -> None:
        """Starts the server for these protocol versions."""
        self.versions = versions
        self._launch(now_s)

    def _launch(self, now_s: float) -> None:
        """Starts the process; where the operating system refuses (a full disk), it is tried again as after a
        death.
        """
        self._serving = False
        self._answered_at_s = None
        self._status = None
        self._error = None
        try:
            self._write_configuration()
            self._log_start = self._log_file.stat().st_size if self._log_file.exists() else 0
            self._child.start(now_s, ("-E", str(self._next_server_epoch())))
        except (OSError, StartError) as error:
            self._error = error if isinstance(error, StartError) else unusable(self._state.root, error)
            log.error("nfs.not_started", message=self._error.message)
            self._child.schedule_restart(now_s)

    def _write_configuration(self) -> None:
        self._restore_client_records()
        grace = has_client_records(self._state.ganesha)
        keytab = kerberos.read(self._state)
        kerberos.write_conf(self._state, keytab)
        text = ganesha_conf.render(
            self._config, self._fsal, self.versions, grace=grace, with_kerberos=keytab is not None
        )
        write_atomically(self._conf_file, text.encode())
        kept = exports.read(self._state)
        exports.write_conf(self._state, kept, manage_gids=self._config.manage_gids)
        self._state.start_error_file.unlink(missing_ok=True)

    def _restore_client_records(self) -> None:
        """A state directory that is new to the file system has those of a journal mirror."""
        identity = self._state.read_identity()
        if identity is None:
            return
        count = client_records_file.restore(self._state.ganesha, self._config.journal, identity.fs_id)
        if count:
            log.info("clients.restored", records=count)

    def _next_server_epoch(self) -> int:
        """A number larger than any start before had. Ganesha would take the second of the clock: of two
        starts within one second the second would have the write verifier of the first, and clients would not
        send lost writes again.
        """
        file = self._state.ganesha / "server-epoch"
        try:
            last = int(file.read_text())
        except (FileNotFoundError, ValueError):
            last = 0
        epoch = max(int(time.clock_gettime(time.CLOCK_REALTIME)), last + 1) & 0xFFFFFFFF
        write_atomically(file, f"{epoch}\n".encode())
        return epoch

    def poll(self, now_s: float) -> Standing:
        """Looks after the process: collects it when it died, starts it again when that is due, and tells how
        it stands.
        """
        if self._child.pid is None:
            if self._child.restart_at_s is None or now_s < self._child.restart_at_s:
                return Standing.DOWN
            self._launch(now_s)
            return Standing.DOWN if self._child.pid is None else Standing.STARTING
        if (status := self._child.poll()) is not None:
            self._status = status
            self._error = self._state.read_start_error()
            self._child.schedule_restart(now_s)
            return Standing.DOWN
        if self._serving:
            return Standing.SERVING
        return self._probe(now_s)

    def _probe(self, now_s: float) -> Standing:
        """One look at a server that starts: it serves when NFS and the file system behind it answer."""
        if (error := self._state.read_start_error()) is not None:
            return self._give_up(error, now_s)
        try:
            rpc.null_call("127.0.0.1", self._config.nfs_port, rpc.NFS, 4, PROBE_TIMEOUT_S)
            if 3 in self.versions:
                rpc.null_call("127.0.0.1", self._config.nfs_port, rpc.NFS, 3, PROBE_TIMEOUT_S)
                rpc.null_call("127.0.0.1", self._config.mountd_port, rpc.MOUNT, 3, PROBE_TIMEOUT_S)
        except rpc.RpcError:
            return Standing.STARTING
        if self._answered_at_s is None:
            self._answered_at_s = now_s
        try:
            with ControlClient(self._state.control_socket, PROBE_TIMEOUT_S) as client:
                client.call("ping")
        except (NotRunningError, ControlError):
            return self._without_file_system(now_s)
        self._serving = True
        return Standing.CAME_UP

    def _without_file_system(self, now_s: float) -> Standing:
        """NFS answers and the file system does not: either it is not ready yet, or Ganesha went on without
        it.
        """
        complaints = self._complaints()
        patience_over = now_s - (self._answered_at_s or now_s) >= EXPORT_PATIENCE_S
        if complaints and (patience_over or _NO_EXPORT.search("\n".join(complaints))):
            error = self._with_complaints("the server started without the export", complaints)
            return self._give_up(error, now_s)
        return Standing.STARTING

    def _give_up(self, error: StartError, now_s: float) -> Standing:
        """Ends a server that runs without the file system; it is started again like one that died."""
        log.error("nfs.no_file_system", message=error.message, hint=error.hint)
        self.stop()
        self._error = error
        self._child.schedule_restart(now_s)
        return Standing.DOWN

    def failure(self) -> StartError:
        """Why the last start failed."""
        if self._error is not None:
            return self._error
        how = "ended"
        if self._status is not None:
            how = (
                f"was killed by {signal.Signals(-self._status).name}"
                if self._status < 0
                else f"ended with {self._status}"
            )
        return self._with_complaints(f"the NFS server {how} while it started", self._complaints())

    def _with_complaints(self, what: str, complaints: list[str]) -> StartError:
        """An error that tells the first complaint, from which the others follow, and where to read on."""
        message = f"{what}: {complaints[0]}" if complaints else what
        return StartError(message, "\n".join([*complaints[1:4], f"its log: {self._log_file}"]))

    def timeout(self) -> StartError:
        """That the start took too long, with what is known of it."""
        return StartError(
            f"the server did not answer within {self._config.start_timeout_s:g} s",
            "\n".join([*self._complaints(), f"its log: {self._log_file}; --start-timeout-s gives it longer"]),
            Reason.TIMED_OUT,
        )

    def stop(self) -> None:
        """Stops the process; its file system is closed in order."""
        self._child.stop(STOP_TIMEOUT_S)
        self._child.restart_at_s = None

    def _complaints(self) -> list[str]:
        """The serious lines that the current start left in Ganesha's log, without those of every start."""
        return read_complaints(self._log_file, self._log_start)


def has_client_records(directory: Path) -> bool:
    """Whether NFS 4 clients of before have state to reclaim: only for them a start needs a grace.

    With NFS 3 on Ganesha would keep the grace to its end on every start, in which clients of NFS 3 cannot
    even truncate a file. For their locks it gains nothing: no one tells them that the server is a new one.
    """
    return any(any(folder.iterdir()) for folder in directory.glob("v4*/*") if folder.is_dir())


def read_complaints(log_file: Path, start: int) -> list[str]:
    """Serious lines of Ganesha's log from a byte offset on, at most six, without time stamps and harmless
    ones.
    """
    try:
        with log_file.open("rb") as file:
            file.seek(max(start, file.seek(0, 2) - _LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found: list[str] = []
    for line in text.splitlines():
        match = _COMPLAINT.search(line)
        if match is None or _HARMLESS.search(line) or _REPEATED.search(match[4]):
            continue
        if (words := match[4].strip()) not in found:
            found.append(words)
    return found[:6]
