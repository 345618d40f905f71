"""Work that the gateway does as a job: begun by a request, followed as an operation, cancelled by it."""

import time
from collections.abc import Callable
from typing import Any, Final

from fastapi import Response

from admin_api.operations import CancelledError, Progress
from admin_api.problems import Problem
from admin_api.routes.common import Caller, audit
from admin_api.routes.parts import OperationView
from admin_api.services import Services
from admin_api.storage import once

TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.25


def begin(
    here: Services,
    caller: Caller,
    response: Response,
    kind: str,
    op: str,
    target: str,
    *,
    key: str | None = None,
    **fields: object,
) -> OperationView:
    """Has the gateway begin a job, and follows it as an operation. key: of idempotency."""

    def create() -> dict[str, Any]:
        number = str(here.link.change(op, TIMEOUT_S, **fields)["id"])

        def cancel() -> None:
            here.link.ask("cache_job_cancel", id=number)

        try:
            return here.operations.start(kind, caller.name, _follow(here, number), cancel)
        except Problem:
            cancel()
            raise

    if key is None:
        made = create()
    else:
        here.link.check()
        with here.engine.begin() as connection:
            made = once(connection, here.now_s(), caller.name, kind, key, fields, create)
    audit(here, caller, kind, target, **(fields if "path" not in fields else {}))
    response.headers["Location"] = f"/v1/operations/{made['id']}"
    return OperationView.model_validate(made)


def _follow(here: Services, number: str) -> Callable[[Progress], dict[str, Any]]:
    def work(progress: Progress) -> dict[str, Any]:
        while True:
            job = here.link.ask("cache_job", id=number)
            progress(**job["progress"])
            if job["state"] == "cancelled":
                raise CancelledError
            if job["state"] == "failed":
                raise Problem(409, "failed", str(job["error"]))
            if job["state"] == "done":
                return dict(job["progress"])
            time.sleep(POLL_S)

    return work
