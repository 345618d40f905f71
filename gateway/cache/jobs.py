"""Long work on the cache, in threads of the server: each can be asked how far it is, and be cancelled."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway.errors import CaudalError, ControlError

log = structlog.get_logger(__name__)
MAX_KEPT: Final = 100
MAX_RUNNING: Final = 4
BUSY_SHARE: Final = 0.5
"""Of a processor: Python that computes holds up the server's name operations."""


class CancelledError(Exception):
    """The work was asked to stop, and did."""


class Job:
    """One piece of work. state: running, done, failed or cancelled. Figures of its progress are set by its thread only."""

    def __init__(self, number: str, kind: str, clock: Callable[[], float]) -> None:
        self.number = number
        self.kind = kind
        self.state = "running"
        self.error: str | None = None
        self.progress: dict[str, Any] = {}
        self._stop = threading.Event()
        self._clock = clock
        self._worked_since_s = clock()

    def cancel(self) -> None:
        """Has the work stop at its next step."""
        self._stop.set()

    def step(self, **progress: Any) -> None:
        """Between two pieces of work: tells how far it is, and leaves the processor to others for as long as it had it.
        Raises CancelledError.
        """
        self.progress = {**self.progress, **progress}
        worked_s = self._clock() - self._worked_since_s
        if self._stop.wait(max(0.0, worked_s) * (1 / BUSY_SHARE - 1)):
            raise CancelledError
        self._worked_since_s = self._clock()

    def waited(self) -> None:
        """What went by since the last step was no work of Python's: it is not made up for."""
        self._worked_since_s = self._clock()
        if self._stop.is_set():
            raise CancelledError

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.number,
            "kind": self.kind,
            "state": self.state,
            "error": self.error,
            "progress": dict(self.progress),
        }


Work = Callable[[Job], None]


class Jobs:
    """The jobs of one server, the newest MAX_KEPT of them. For any number of threads."""

    def __init__(self, new_id: Callable[[], str], clock: Callable[[], float] = time.thread_time) -> None:
        self._new_id = new_id
        self._clock = clock
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Job] = OrderedDict()
        self._threads: list[threading.Thread] = []

    def start(self, kind: str, work: Work) -> dict[str, Any]:
        """Begins work in a thread of its own. Raises ControlError while too much runs."""
        with self._lock:
            if sum(job.state == "running" for job in self._all.values()) >= MAX_RUNNING:
                raise ControlError(
                    "busy",
                    f"{MAX_RUNNING} jobs of the cache run already",
                    "wait for one to end, or cancel one",
                )
            job = Job(self._new_id(), kind, self._clock)
            self._all[job.number] = job
            while len(self._all) > MAX_KEPT:
                oldest = next(number for number, kept in self._all.items() if kept.state != "running")
                del self._all[oldest]
            thread = threading.Thread(target=self._run, args=(job, work), name=f"job-{kind}", daemon=True)
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()
        return job.describe()

    def _run(self, job: Job, work: Work) -> None:
        state = "failed"
        try:
            job.waited()
            work(job)
            state = "done"
        except CancelledError:
            state = "cancelled"
        except CaudalError as error:
            job.error = error.message
        except Exception as error:
            log.exception("cache.job_failed", kind=job.kind)
            job.error = f"{type(error).__name__}: {error}"
        job.state = state

    def get(self, number: str) -> Job:
        """Raises ControlError."""
        with self._lock:
            job = self._all.get(number)
        if job is None:
            raise ControlError("not_found", f"there is no job {number[:40]!r} of the cache")
        return job

    def stop(self) -> None:
        """Cancels all, and waits for their threads as long as is decent."""
        with self._lock:
            jobs, threads = list(self._all.values()), self._threads
        for job in jobs:
            job.cancel()
        for thread in threads:
            thread.join(timeout=5.0)
