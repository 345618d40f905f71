"""Long work that runs on after its request: kept in memory, the newest MAX_KEPT of it."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import structlog

from admin_api.problems import Problem

log = structlog.get_logger(__name__)
MAX_KEPT: Final = 200
MAX_RUNNING: Final = 8

Progress = Callable[..., None]
Work = Callable[[Progress], dict[str, Any]]
"""Tells its progress as fields, and returns its result. Raises Problem, and CancelledError."""


class CancelledError(Exception):
    """The work was asked to end early, and did."""


@dataclass(slots=True)
class Operation:
    """One piece of work. state: running, done, failed or cancelled. Times: seconds since 1970."""

    id: str
    kind: str
    started_by: str
    started_s: float
    state: str = "running"
    ended_s: float | None = None
    progress: dict[str, Any] = field(default_factory=dict[str, Any])
    result: dict[str, Any] | None = None
    error: str | None = None


class Operations:
    """For any number of threads."""

    def __init__(self, now_s: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._now_s = now_s
        self._new_id = new_id
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Operation] = OrderedDict()
        self._cancels: dict[str, Callable[[], None]] = {}

    def start(
        self, kind: str, who: str, work: Work, cancel: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Begins work in a thread of its own. cancel: asks it to end. Raises Problem (429) while too much runs."""
        with self._lock:
            if sum(one.state == "running" for one in self._all.values()) >= MAX_RUNNING:
                raise Problem(
                    429, "too_many_operations", f"{MAX_RUNNING} operations run", "wait for one to end"
                )
            one = Operation(self._new_id(), kind, who, self._now_s())
            self._all[one.id] = one
            if cancel is not None:
                self._cancels[one.id] = cancel
            while len(self._all) > MAX_KEPT:
                # The oldest that has ended: one that runs is never forgotten.
                oldest = next(key for key, kept in self._all.items() if kept.state != "running")
                del self._all[oldest]
            shown = asdict(one)
        threading.Thread(target=self._run, args=(one, work), name=f"operation-{kind}", daemon=True).start()
        return shown

    def _run(self, one: Operation, work: Work) -> None:
        def progress(**fields: Any) -> None:
            with self._lock:
                one.progress = {**one.progress, **fields}

        result: dict[str, Any] | None = None
        error: str | None = None
        cancelled = False
        try:
            result = work(progress)
        except CancelledError:
            cancelled = True
        except Problem as problem:
            error = problem.detail
        except Exception as unforeseen:
            log.exception("operation.failed", kind=one.kind)
            error = f"{type(unforeseen).__name__}; the service's log says more"
        with self._lock:
            one.ended_s = self._now_s()
            one.result = result
            one.error = error
            one.state = "cancelled" if cancelled else "failed" if error else "done"
            self._cancels.pop(one.id, None)

    def cancel(self, operation_id: str) -> dict[str, Any]:
        """Asks an operation to end. Raises Problem: 404, or 409 where it has ended or cannot be cancelled."""
        shown = self.get(operation_id)
        with self._lock:
            cancel = self._cancels.get(operation_id)
        if cancel is None:
            why = "cannot be cancelled" if shown["state"] == "running" else f"is {shown['state']}"
            raise Problem(409, "not_cancelled", f"the operation {why}")
        cancel()
        return shown

    def get(self, operation_id: str) -> dict[str, Any]:
        """Raises Problem (404)."""
        with self._lock:
            one = self._all.get(operation_id)
            if one is None:
                raise Problem(404, "not_found", f"there is no operation {operation_id[:40]!r}")
            return asdict(one)

    def list(self) -> list[dict[str, Any]]:
        """The newest first."""
        with self._lock:
            return [asdict(one) for one in reversed(self._all.values())]
