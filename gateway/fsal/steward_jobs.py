"""Long work that the steward does at somebody's request: a job here, which waits for it and can be asked and cancelled.

The steward takes a request, tells how it goes, and says how it ended. A steward that dies takes it again when it is back:
what it does can be done twice. The server's own death ends its jobs, and the steward learns it with its next word.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final

from gateway.cache.jobs import CancelledError, Job, Jobs
from gateway.control import ControlServer
from gateway.errors import BUSY, ControlError

WAIT_MAX_S: Final = 10.0
"""A steward's wait for something to do: shorter than its patience with an answer."""
LOOK_S: Final = 0.2


class _Request:
    def __init__(self, job: Job, kind: str, options: Mapping[str, object]) -> None:
        self.job = job
        self.kind = kind
        self.options = dict(options)
        self.cancelled = False
        self.ended = False
        self.error: str | None = None


class StewardJobs:
    """For any number of threads; at most one request of a kind at a time."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._changed = threading.Condition()
        self._requests: dict[str, _Request] = {}

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "steward_job_progress": self.progress,
            "steward_job_ended": self.ended,
        }.items():
            server.register(op, handler)
        server.register("steward_job_next", self.next, only_waits=True)

    def start(self, kind: str, **options: object) -> dict[str, Any]:
        """Asks the steward for a piece of work; a job follows it. Raises ControlError (busy)."""
        with self._changed:
            if any(one.kind == kind for one in self._requests.values()):
                raise ControlError(BUSY, "one runs already", "wait for it to end, or cancel it")
        return self._jobs.start(kind, lambda job: self._follow(job, kind, options))

    def _follow(self, job: Job, kind: str, options: Mapping[str, object]) -> None:
        request = _Request(job, kind, options)
        with self._changed:
            self._requests[job.number] = request
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: request.ended, LOOK_S)
                    if request.ended:
                        break
                try:
                    job.waited()
                except CancelledError:
                    request.cancelled = True
        finally:
            with self._changed:
                del self._requests[job.number]
        if request.cancelled:
            raise CancelledError
        if request.error is not None:
            raise ControlError("failed", request.error)

    # What the steward calls

    def next(self, fields: Mapping[str, Any]) -> dict[str, object] | None:
        """The request to work on, as soon as there is one; None after `timeout_s`."""

        def first() -> _Request | None:
            for one in self._requests.values():
                # What was cancelled before it began, or before its steward died, ends without any more work.
                one.ended = one.ended or one.cancelled
            return next((one for one in self._requests.values() if not one.ended), None)

        with self._changed:
            found = self._changed.wait_for(first, min(float(fields["timeout_s"]), WAIT_MAX_S))
            self._changed.notify_all()
            return None if not found else {"id": found.job.number, "kind": found.kind, **found.options}

    def progress(self, fields: Mapping[str, Any]) -> bool:
        """How far request `id` is, in `progress`. False: it is to end."""
        with self._changed:
            request = self._requests.get(str(fields["id"]))
            if request is None or request.cancelled:
                return False
            request.job.progress = {**request.job.progress, **fields["progress"]}
            return True

    def ended(self, fields: Mapping[str, Any]) -> None:
        """Request `id` has ended; `error`: why it failed, None where it did not."""
        error = fields.get("error")
        with self._changed:
            request = self._requests.get(str(fields["id"]))
            if request is not None:
                request.error = None if error is None else str(error)
                request.ended = True
                self._changed.notify_all()
