"""/v1/objects/tiering: packs that nobody reads go into cheaper access tiers of Azure; what reading them then costs."""

import math
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import responses
from admin_api.routes.common import Caller, Here, IdempotencyKey, IfMatch, audit, check_match, etag
from admin_api.routes.jobs import begin
from admin_api.routes.kept_by_gateway import ask
from admin_api.routes.meter import sheet_of
from admin_api.routes.parts import OperationView
from admin_api.security import Role

router = APIRouter(route_class=GuardedRoute, tags=["objects"])
WORK: Final = responses(400, 401, 403, 409, 422, 429, 503)
GIB: Final = float(1 << 30)
READ_BYTES: Final = float(4 << 20)
"""What one read of the store brings at most."""
Days = Annotated[int, Field(ge=1, le=3650)]
Bytes = Annotated[int, Field(ge=0, le=1 << 40)]


class TieringPolicy(BaseModel):
    """Days without a read of the store after which a pack of at least min_pack_bytes goes into a tier; null: never into it.
    enabled: it is carried out once a day.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"enabled": True, "cool_after_days": 30, "cold_after_days": 180, "min_pack_bytes": 1048576}
            ]
        },
    )
    enabled: bool = False
    cool_after_days: Days | None = 30
    cold_after_days: Days | None = None
    min_pack_bytes: Bytes = 1 << 20


class ShownPolicy(TieringPolicy):
    """available: false where the store is a directory, which has no tiers."""

    model_config = ConfigDict(extra="ignore")
    version: int
    available: bool


class TierEstimate(BaseModel):
    """Packs that would go into a tier, and their bytes; reads: requests that would bring all of it back once. Costs are null
    where no prices of tiers are set: moving (a request for each pack), storing (a month), and reading all of it back once.
    """

    packs: int
    bytes: int
    reads: int
    move_cost: float | None
    month_cost: float | None
    read_cost: float | None


class Estimate(BaseModel):
    """month_now_cost: what a month of the same bytes costs where they are, by `capacity_gib_month`."""

    currency: str | None
    cool: TierEstimate
    cold: TierEstimate
    month_now_cost: float | None


def _priced(found: dict[str, int], tier: str, prices: dict[str, float]) -> TierEstimate:
    size, packs = found["bytes"], found["packs"]
    reads = math.ceil(size / READ_BYTES)

    def cost(amounts: dict[str, float]) -> float | None:
        known = [prices[item] * amount for item, amount in amounts.items() if item in prices]
        return sum(known) if known else None

    return TierEstimate(
        packs=packs,
        bytes=size,
        reads=reads,
        move_cost=cost({f"{tier}_writes_10k": packs / 1e4}),
        month_cost=cost({f"{tier}_gib_month": size / GIB}),
        read_cost=cost({f"{tier}_read_gib": size / GIB, f"{tier}_reads_10k": reads / 1e4}),
    )


@router.get("/objects/tiering", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 409, 503))
def show_tiering(here: Here, response: Response) -> ShownPolicy:
    """The policy; the ETag is what a change must name."""
    found = ShownPolicy.model_validate(ask(here, "tiering"))
    response.headers["ETag"] = etag(found.version)
    return found


@router.put(
    "/objects/tiering",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 412, 422, 428, 503),
)
def set_tiering(
    here: Here, caller: Caller, body: TieringPolicy, response: Response, if_match: IfMatch = None
) -> ShownPolicy:
    """Replaces the policy. Refused (409) where the store has no tiers and it is to be enabled."""
    before = ShownPolicy.model_validate(ask(here, "tiering"))
    check_match(if_match, before.version)
    fields = body.model_dump(mode="json")
    made = ShownPolicy.model_validate(ask(here, "tiering_set", policy=fields, version=before.version))
    audit(here, caller, "objects.tiering.set", "objects", **fields)
    response.headers["ETag"] = etag(made.version)
    return made


@router.get(
    "/objects/tiering/estimate",
    openapi_extra=needs(Role.VIEWER),
    responses=responses(401, 403, 409, 422, 503),
)
def estimate_tiering(
    here: Here,
    cool_after_days: Annotated[int | None, Query(ge=1, le=3650)] = None,
    cold_after_days: Annotated[int | None, Query(ge=1, le=3650)] = None,
    min_pack_bytes: Annotated[int | None, Query(ge=0, le=1 << 40)] = None,
) -> Estimate:
    """What a run would move now, by the policy, or by the days that are given in its place; and what that comes to."""
    fields: dict[str, Any] = {}
    if cool_after_days is not None or cold_after_days is not None or min_pack_bytes is not None:
        known = TieringPolicy().model_dump(mode="json")
        given = {"cool_after_days": cool_after_days, "cold_after_days": cold_after_days}
        size = known["min_pack_bytes"] if min_pack_bytes is None else min_pack_bytes
        days = given if any(given.values()) else {}
        fields["policy"] = {**known, **days, "min_pack_bytes": size}
    found = ask(here, "tiering_estimate", **fields)
    sheet, _ = sheet_of(here)
    prices = sheet.prices if sheet else {}
    moved = (found["cool"]["bytes"] + found["cold"]["bytes"]) / GIB
    return Estimate(
        currency=sheet.currency if sheet else None,
        cool=_priced(found["cool"], "cool", prices),
        cold=_priced(found["cold"], "cold", prices),
        month_now_cost=moved * prices["capacity_gib_month"] if "capacity_gib_month" in prices else None,
    )


class TieringRun(BaseModel):
    """policy: what is carried out in the place of the one that is kept; null: that one, enabled or not."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"policy": {"cool_after_days": 60}}]}
    )
    policy: TieringPolicy | None = None


@router.post("/objects/tiering/runs", status_code=202, openapi_extra=needs(Role.ADMIN), responses=WORK)
def run_tiering(
    here: Here, caller: Caller, response: Response, body: TieringRun, key: IdempotencyKey = None
) -> OperationView:
    """Moves what is due now: an operation. Its progress counts packs and bytes by tier, and packs that were gone."""
    fields = {"policy": body.policy.model_dump(mode="json") if body.policy else None}
    return begin(here, caller, response, "objects.tier", "tiering_run", "objects", key=key, **fields)
