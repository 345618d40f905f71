"""/v1/limits: caps on what clients read and write, by server, export and client."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IfMatch, NamePath, audit, check_match, etag
from admin_api.routes.kept_by_gateway import ask
from admin_api.security import Role

router = APIRouter(route_class=GuardedRoute, tags=["limits"])
Rate = Annotated[float, Field(ge=0, le=float(1 << 50), allow_inf_nan=False)]
NOTHING: Final = 0


class LimitBody(BaseModel):
    """export: all clients of it together. client: an address or network, each address for itself. Neither: the server.
    Rates a second, 0 for any. burst_s: for how long unused credit may be used at once.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"export": "projects", "read_bytes_s": 104857600, "ops_s": 1000, "burst_s": 10}]
        },
    )
    export: Annotated[str, Field(max_length=64)] | None = None
    client: Annotated[str, Field(max_length=64)] | None = None
    read_bytes_s: Rate = 0
    write_bytes_s: Rate = 0
    ops_s: Rate = 0
    burst_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 1


class LimitView(LimitBody):
    """active: it is in force; false while its export is not there. trial: the safety limiter of a trial. passed, delayed
    and refused (told to come again): requests since the last change of any limit.
    """

    model_config = ConfigDict(extra="ignore")
    name: str
    version: int
    active: bool
    trial: bool
    passed: int
    delayed: int
    refused: int
    delayed_s: float


class Limits(BaseModel):
    items: list[LimitView]


def _all(here: Here) -> list[LimitView]:
    return [LimitView.model_validate(one) for one in ask(here, "limits")]


def _find(here: Here, name: str) -> LimitView | None:
    return next((one for one in _all(here) if one.name == name and not one.trial), None)


@router.get("/limits", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 409, 503))
def list_limits(here: Here) -> Limits:
    """All limits, and what they did."""
    return Limits(items=_all(here))


@router.get(
    "/limits/{name}", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 404, 409, 422, 503)
)
def show_limit(here: Here, name: NamePath, response: Response) -> LimitView:
    """One limit; the ETag is what a change must name."""
    found = _find(here, name)
    if found is None:
        raise Problem(404, "not_found", f"there is no limit {name}")
    response.headers["ETag"] = etag(found.version)
    return found


@router.put(
    "/limits/{name}",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 412, 422, 428, 503),
)
def set_limit(
    here: Here, caller: Caller, name: NamePath, body: LimitBody, response: Response, if_match: IfMatch = None
) -> LimitView:
    """Makes a limit, or replaces the one that If-Match names. It holds from the next request of a client on."""
    before = _find(here, name)
    if before is not None:
        check_match(if_match, before.version)
    elif if_match is not None:
        raise Problem(412, "changed_meanwhile", f"there is no limit {name} any more", "leave If-Match out")
    fields: dict[str, Any] = body.model_dump(mode="json", exclude_none=True)
    version = before.version if before else NOTHING
    made = LimitView.model_validate(ask(here, "limit_set", limit={**fields, "name": name}, version=version))
    audit(here, caller, "limit.set", name, **fields)
    response.headers["ETag"] = etag(made.version)
    return made


@router.delete(
    "/limits/{name}",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 409, 412, 422, 503),
)
def remove_limit(here: Here, caller: Caller, name: NamePath, if_match: IfMatch = None) -> None:
    """Ends a limit. If-Match may be left out."""
    version = None
    if if_match is not None:
        before = _find(here, name)
        if before is None:
            raise Problem(404, "not_found", f"there is no limit {name}")
        check_match(if_match, before.version)
        version = before.version
    ask(here, "limit_remove", name=name, version=version)
    audit(here, caller, "limit.remove", name)
