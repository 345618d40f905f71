"""/v1/objects: the object store, what lives in its packs, and collecting what does not."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IdempotencyKey
from admin_api.routes.jobs import begin
from admin_api.routes.parts import OperationView, Part
from admin_api.security import Role

router = APIRouter(route_class=GuardedRoute, tags=["objects"])
WORK: Final = responses(400, 401, 403, 409, 422, 429, 503)


class TierSums(BaseModel):
    """Packs in an access tier of the store, and their bytes."""

    packs: int
    bytes: int


class Packs(BaseModel):
    """Sums over all packs, as of the last checkpoint. dead: nothing lives in them; they go when grace time and backups are
    over. What lives in the others is live_bytes; the rest of bytes is dead too, or no bytes of files. tiers: by access tier.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "packs": 1200,
                    "bytes": 9663676416,
                    "live_bytes": 8589934592,
                    "dead_packs": 12,
                    "dead_bytes": 100663296,
                    "tiers": {"hot": {"packs": 1200, "bytes": 9663676416}},
                }
            ]
        },
    )
    packs: int
    bytes: int
    live_bytes: int
    dead_packs: int
    dead_bytes: int
    tiers: dict[str, TierSums] = Field(default_factory=dict[str, TierSums])


class Objects(Part):
    """The store: state, requests, bytes, errors, latency. packs: null while the gateway is down."""

    packs: Packs | None = Field(default=None)


@router.get("/objects", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 503))
def show_objects(here: Here) -> Objects:
    """The object store: its state, requests, bytes, errors, latency; and its packs."""
    known = here.link.known()
    packs: dict[str, Any] | None = None
    if known.why is None:
        try:
            packs = here.link.ask("packs")
        except Problem:
            packs = None
    fields: dict[str, Any] = {**known.status.get("objects", {}), **known.status.get("store", {})}
    return Objects.model_validate({**fields, "packs": packs, "age_s": known.age_s, "gateway_down": known.why})


@router.post("/objects/collections", status_code=202, openapi_extra=needs(Role.OPERATOR), responses=WORK)
def collect(
    here: Here,
    caller: Caller,
    response: Response,
    key: IdempotencyKey = None,
    early: Annotated[
        bool, Query(description="Also packs that are charged for leaving their access tier so early.")
    ] = False,
) -> OperationView:
    """Deletes packs that nothing needs any more, and writes mostly dead ones anew: an operation. Its progress counts packs
    and bytes that went and pieces that were moved; at the end `waiting_packs` and `waiting_bytes` are dead, but kept for
    backups or their grace time.
    """
    return begin(
        here, caller, response, "objects.collect", "objects_collect", "objects", key=key, early=early
    )
