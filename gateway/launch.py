"""`caudal up` and `caudal down`: from the checked configuration to a server that answers, and back.

What is refused leaves nothing behind, unless the store already knows the new file system.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway import exports, kerberos, limits, preflight, smb_shares
from gateway.config import Config
from gateway.control import ControlClient
from gateway.errors import CaudalError, NotRunningError, Reason, StartError
from gateway.ganesha_conf import Fsal, caudal_fsal
from gateway.processes import python, python_env
from gateway.state import Identity, StateDir, unusable, write_atomically
from gateway.supervisor import Report, Served, Supervisor
from gateway.undo import Undo

DOWN_TIMEOUT_S: Final = 90.0
# Reasons after which the logs are worth more than a tidy disk.
_UNEXPLAINED: Final = (Reason.FAILED, Reason.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything checked and locked, nothing started. `lock` is the descriptor that holds the state
    directory.
    """

    config: Config
    fsal: Fsal
    ganesha: str
    lock: int


def our_fsal(config: Config) -> Fsal:
    """The FSAL that serves file systems. Raises StartError where it was not built."""
    return caudal_fsal(config, preflight.find_plugins(), Path(python()))


@dataclass(frozen=True, slots=True)
class Launcher:
    """One start of a server.

    env: the children's environment, with the store's credential. new_fs_id: gives 16 random bytes for a new
    file system. take_over: from whoever owns it. accept_loss: although the journal lacks something.
    fsal_for and supervisor_module: what serves; tests put others there.
    """

    config: Config
    env: Mapping[str, str]
    new_fs_id: Callable[[], bytes]
    fsal_for: Callable[[Config], Fsal] = our_fsal
    supervisor_module: str = "gateway.supervise"
    take_over: bool = False
    accept_loss: bool = False

    def foreground(self, tell: Callable[[Served], None]) -> None:
        """Serves in this process until TERM or INT; `tell` is called when the server answers.

        Raises StartError when the first start fails.
        """
        failed: list[StartError] = []

        def report(result: Served | StartError) -> None:
            if isinstance(result, StartError):
                failed.append(result)
            else:
                tell(result)

        with self._prepared() as ready:
            supervise(ready, self.env, report)
            if failed:
                raise failed[0]

    def detached(self) -> Served:
        """Starts the supervisor in a session of its own and returns when the server answers.

        Raises StartError; then nothing runs.
        """
        with self._prepared() as ready:
            return _start_supervisor(ready, self.env, self.supervisor_module)

    @contextlib.contextmanager
    def _prepared(self) -> Generator[Prepared, None, None]:
        """Checks, takes the state directory and writes into it; puts everything back where the start fails.

        A file system that its store has come to know meanwhile stays: it can be started again.
        """
        undo = Undo()
        state = StateDir(self.config.state)
        before = state.read_identity()
        lock = -1
        try:
            preflight.check_permission()
            ganesha = preflight.find_ganesha()
            fsal = self.fsal_for(self.config)
            preflight.check_directories(self.config)
            preflight.check_keys(self.config)
            preflight.check_certificate(self.config)
            undo.directory(state.root)
            undo.remember(state.lock_file)
            lock = state.lock()
            self._check_and_write(state, before, undo)
            yield Prepared(self.config, fsal, str(ganesha), lock)
        except StartError as error:
            born = before is None and _is_started(state)
            if not born:
                undo.run(keep_logs=error.reason in _UNEXPLAINED)
            raise
        finally:
            if lock >= 0:
                os.close(lock)

    def _check_and_write(self, state: StateDir, identity: Identity | None, undo: Undo) -> None:
        """What is checked and written under the lock."""
        config = self.config
        preflight.check_ports(config)
        preflight.check_space(config)
        exports.read(state)
        smb_shares.read(state)
        limits.read(state)
        kerberos.read(state)
        preflight.check_store(config, identity, self.env, take_over=self.take_over)
        try:
            for directory in (state.ganesha, state.admin, state.run, state.logs):
                undo.directory(directory, ours=True)
            # Those of a file system that was served are the core's to make: the disk of one may not be mounted.
            for directory in (*(config.journal if identity is None else ()), *_l2(config)):
                undo.directory(directory)
            state.nfs_file.unlink(missing_ok=True)
            state.start_error_file.unlink(missing_ok=True)
            undo.write(state.config_file, config.file_text().encode())
            state.take_over_file.unlink(missing_ok=True)
            if self.take_over:
                undo.write(state.take_over_file, b"")
            state.accept_loss_file.unlink(missing_ok=True)
            if self.accept_loss:
                undo.write(state.accept_loss_file, b"")
            if identity is None:
                undo.remember(state.identity_file)
                state.write_identity(Identity(self.new_fs_id()))
        except OSError as error:
            raise unusable(state.root, error) from error


def _is_started(state: StateDir) -> bool:
    identity = state.read_identity()
    return identity is not None and identity.started


def supervise(ready: Prepared, env: Mapping[str, str], report: Report) -> None:
    """Runs the supervisor of a prepared start in this process, until it has stopped everything."""
    pid_file = StateDir(ready.config.state).pid_file("supervisor")
    write_atomically(pid_file, f"{os.getpid()}\n".encode(), 0o644)
    try:
        Supervisor(ready.config, ready.lock, env, ready.fsal, ready.ganesha).run(report)
    finally:
        pid_file.unlink(missing_ok=True)


def _l2(config: Config) -> tuple[Path, ...]:
    return (config.l2_dir,) if config.l2_bytes else ()


def _start_supervisor(ready: Prepared, env: Mapping[str, str], module: str) -> Served:
    """Of this process's descriptors the supervisor gets the lock and one end of a pipe, by which it reports
    once.
    """
    state = StateDir(ready.config.state)
    read_end, write_end = os.pipe()
    try:
        arguments = [python(), "-m", module, "--state", str(state.root)]
        arguments += ["--lock-fd", str(ready.lock), "--ready-fd", str(write_end)]
        with (state.logs / "supervisor.out").open("ab") as output:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=python_env(env),
                cwd="/",
                pass_fds=(ready.lock, write_end),
                start_new_session=True,
            )
        os.close(write_end)
        write_end = -1
        line = _await_report(process, read_end)
    finally:
        for end in (read_end, write_end):
            if end >= 0:
                os.close(end)
    result = parse_report(line)
    if isinstance(result, StartError):
        process.wait()
        raise result
    # The supervisor lives on by itself; this process neither waits for it nor warns that it does not.
    process.returncode = 0
    return result


def _await_report(process: subprocess.Popen[bytes], read_end: int) -> bytes:
    """The supervisor's report; who interrupts the wait ends the start."""
    try:
        with os.fdopen(read_end, "rb", closefd=False) as pipe:
            return pipe.read()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise StartError("the start was interrupted") from None


def encode_report(result: Served | StartError) -> bytes:
    """The supervisor's one report as a line."""
    if isinstance(result, StartError):
        return json.dumps({"message": result.message, "hint": result.hint, "reason": result.reason}).encode()
    return json.dumps({"served": result.fields()}).encode()


def parse_report(line: bytes) -> Served | StartError:
    """What encode_report wrote; an empty line means that the supervisor died before."""
    if not line:
        return StartError(
            "the supervisor ended before the server answered", "see run/log/supervisor.out in --state"
        )
    fields: Any = json.loads(line)
    if "served" in fields:
        return Served(**fields["served"])
    return StartError(fields["message"], fields["hint"], Reason(fields["reason"]))


def down(state: StateDir, *, flush: bool, timeout_s: float = DOWN_TIMEOUT_S) -> bool:
    """Stops the server of a state directory; False when none was running.

    With `flush` everything acknowledged goes to the store first. Raises CaudalError when that fails (the
    server then runs on) or the server does not stop in time.
    """
    if not state.is_locked():
        return False
    if flush:
        with ControlClient(state.control_socket, timeout_s=None) as client:
            client.call("flush", wait=True)
    pid = state.owner()
    if pid is None:
        raise NotRunningError(
            f"the server of {state.root} cannot be found, though its directory is locked",
            "another `caudal up` may be starting: try again",
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not state.wait_unlocked(timeout_s):
        raise CaudalError(
            f"the server (process {pid}) is still stopping after {timeout_s:g} s",
            f"its log: {state.logs / 'supervisor.log'}",
        )
    return True
