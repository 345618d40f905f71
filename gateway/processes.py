"""Child processes of the supervisor: started apart from its signals and descriptors, restarted with growing
pauses.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from gateway.state import write_atomically

log = structlog.get_logger(__name__)

FAILPOINTS_VARIABLE: Final = "CAUDAL_FAILPOINTS"
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 10.0
# A process that ran for so long was healthy: its next death starts with the shortest pause again.
HEALTHY_AFTER_S: Final = 30.0
PROMPT_NICE: Final = -10
_MAX_DESCRIPTORS: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Asks the kernel for a signal when the thread that started this process dies, however it dies."""
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


@dataclass(frozen=True, slots=True)
class Program:
    """What to start. Its output is appended to `output`, its pid written to `pid_file` (unless it does that
    itself).

    `keep`: descriptors that it inherits. `outlives`: it is not stopped by the supervisor's death. `prompt`: it answers at
    once and briefly, also while the server has the processors.
    """

    name: str
    arguments: tuple[str, ...]
    output: Path
    pid_file: Path
    keep: tuple[int, ...] = ()
    outlives: bool = False
    prompt: bool = False

    def prepare(self) -> None:
        """Runs in the child before it becomes the program (the supervisor has no threads that could hold a lock then)."""
        _prepare_lasting()
        if not self.outlives:
            _prepare_bound()
            (_prepare_prompt if self.prompt else _prepare_busy)()


class Child:
    """One program and its process, if it runs. Times are those of a monotonic clock, in seconds, given by the
    caller.
    """

    def __init__(self, program: Program, env: Mapping[str, str]) -> None:
        self.program = program
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._pause_s = BACKOFF_FIRST_S
        self._stopping = False
        self.restart_at_s: float | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, now_s: float, arguments: Sequence[str] = ()) -> None:
        """Starts the process; `arguments` are added to the program's."""
        env = self._env
        if self.starts:
            # A failpoint kills once: what follows is the recovery, which must be free to run.
            env = {name: value for name, value in env.items() if name != FAILPOINTS_VARIABLE}
        with self.program.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self.program.arguments, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                pass_fds=self.program.keep,
                cwd="/",
                preexec_fn=self.program.prepare,  # noqa: PLW1509
                # The kernel shares processors among sessions first: a prompt process would wait for the server's work.
                start_new_session=self.program.outlives or self.program.prompt,
            )
        self.starts += 1
        self._stopping = False
        self._started_s = now_s
        self.restart_at_s = None
        try:
            write_atomically(self.program.pid_file, f"{self._process.pid}\n".encode(), 0o644)
        except OSError as error:
            # It serves all the same; the lock still leads `caudal down` to whoever has a pid file.
            log.error("process.pid_not_written", process=self.program.name, why=str(error))
        log.info("process.started", process=self.program.name, pid=self._process.pid)

    def start_or_retry(self, now_s: float) -> None:
        """Starts the process; where the operating system refuses (no memory, no space), later again."""
        try:
            self.start(now_s)
        except OSError as error:
            log.error("process.not_started", process=self.program.name, why=str(error))
            self.schedule_restart(now_s)

    def poll(self) -> int | None:
        """Collects the process if it ended; returns its status (negative: the signal that killed it) once,
        else None.
        """
        if self._process is None or (status := self._process.poll()) is None:
            return None
        tell = log.info if self._stopping else log.warning
        tell("process.ended", process=self.program.name, pid=self._process.pid, status=status)
        self._process = None
        self.program.pid_file.unlink(missing_ok=True)
        return status

    def schedule_restart(self, now_s: float) -> None:
        """Sets when to start again: at once after a long life, later and later while it keeps dying."""
        if now_s - self._started_s >= HEALTHY_AFTER_S:
            self._pause_s = BACKOFF_FIRST_S
        self.restart_at_s = now_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, BACKOFF_MAX_S)

    def send(self, signal_number: int) -> None:
        if self._process is not None:
            self._process.send_signal(signal_number)

    def stop(self, timeout_s: float) -> None:
        """Ends the process: politely, and by force after the time. Harmless where it does not run."""
        if self._process is None:
            return
        self._stopping = True
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.error("process.killed", process=self.program.name, pid=self._process.pid, after_s=timeout_s)
            self._process.kill()
            self._process.wait()
        self.poll()


def _prepare_lasting() -> None:
    """Gives a child signals as a fresh process has them."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _prepare_bound() -> None:
    """For a process that must not outlive the supervisor and serves many clients."""
    die_with_parent()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _prepare_busy() -> None:
    # A thread that wakes up does not interrupt one that works: requests are short, switches between them are not. Where a
    # sandbox forbids it, the server is only slower.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _prepare_prompt() -> None:
    # Its session's share of the processors and its own within a control group, whichever of them the kernel goes by. Who may
    # not have more than others has as much.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PROMPT_NICE)
        Path("/proc/self/autogroup").write_text(str(PROMPT_NICE))


def python_env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for processes that import this package, from wherever it was imported here."""
    parent = str(Path(__file__).resolve().parent.parent)
    paths = [
        parent,
        *(entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != parent),
    ]
    return {**env, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def python() -> str:
    """The interpreter of this process, by the name that keeps its virtual environment."""
    return sys.executable


def wait_for(
    condition: Callable[[], bool], timeout_s: float, sleep: Callable[[float], None], step_s: float = 0.05
) -> bool:
    """Whether a condition came true within the time."""
    waited_s = 0.0
    while not condition():
        if waited_s >= timeout_s:
            return False
        sleep(step_s)
        waited_s += step_s
    return True
