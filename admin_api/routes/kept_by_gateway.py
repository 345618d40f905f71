"""What routes share whose objects the gateway keeps: exports, shares, limits, Kerberos, tiering."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from admin_api.problems import Problem
from admin_api.security import Principal
from admin_api.services import Services
from admin_api.storage import once, record

TIMEOUT_S: Final = 60.0
STATUSES: Final = {"not_found": 404, "changed_meanwhile": 412, "in_use": 409, "invalid": 422}


def ask(here: Services, op: str, **fields: object) -> Any:
    """An operation of the gateway; its refusals have the status that fits them."""
    try:
        return here.link.change(op, TIMEOUT_S, **fields)
    except Problem as problem:
        status = STATUSES.get(problem.code, problem.status)
        raise Problem(status, problem.code, problem.detail, problem.hint, problem.headers) from problem


def add_once(
    here: Services,
    caller: Principal,
    kind: str,
    key: str | None,
    fields: Mapping[str, Any],
    told: Sequence[str],
) -> dict[str, Any]:
    """Has the gateway make an object of a kind ("export") from fields, "name" among them, once for an idempotency key. The
    audit is told the fields named in `told`, as the gateway took them.
    """
    here.link.check()
    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            made = ask(here, f"{kind}_add", **{kind: fields})
            detail = {name: made[name] for name in told}
            record(
                connection, here.now_s(), caller.name, caller.address, f"{kind}.add", fields["name"], **detail
            )
            return made

        return once(connection, here.now_s(), caller.name, f"{kind}s", key, fields, create)
