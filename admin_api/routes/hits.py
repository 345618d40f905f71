"""/v1/cache/hit-rates: how much of what clients read came from each tier of the cache, by export and time."""

from collections import defaultdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from admin_api import meter, tables
from admin_api.guard import GuardedRoute, needs
from admin_api.meter import HOUR_S, KEPT_S, MINUTE_S, TIER_COUNTERS, Usage
from admin_api.problems import Problem, responses
from admin_api.routes.common import NAME_PATTERN, Here
from admin_api.routes.samples import From, To, interval
from admin_api.security import Role
from admin_api.services import Services

router = APIRouter(route_class=GuardedRoute, tags=["cache"])
MAX_POINTS: Final = 2000
EXAMPLE: Final[dict[str, Any]] = {
    "reads": 1000,
    "l1": 900,
    "l2": 80,
    "store": 20,
    "l1_rate": 0.9,
    "l2_rate": 0.8,
    "hit_rate": 0.98,
}

ExportName = Annotated[
    str | None, Query(pattern=NAME_PATTERN, description="The export's name; else all of them together.")
]


class Hits(BaseModel):
    """Reads of clients by where the farthest of what each needed was: l1 (memory), l2 (a disk of this machine), store.
    l1_rate: of all; l2_rate: of those that L1 did not have; hit_rate: what did not need the store. Null without reads.
    """

    model_config = ConfigDict(json_schema_extra=dict[str, Any](examples=[EXAMPLE]))
    reads: float
    l1: float
    l2: float
    store: float
    l1_rate: float | None
    l2_rate: float | None
    hit_rate: float | None


class HitsPoint(Hits):
    """at_s: the beginning of the step."""

    at_s: int


class HitRates(BaseModel):
    """total: over the whole time. exports: of each over the whole time. Steps in which nothing was read are left out."""

    export: str | None
    step_s: int
    from_s: int
    to_s: int
    total: Hits
    exports: dict[str, Hits]
    points: list[HitsPoint]


def hits_of(counts: dict[str, float]) -> Hits:
    l1, l2, store = (counts.get(name, 0.0) for name in TIER_COUNTERS)
    reads = l1 + l2 + store
    return Hits(
        reads=reads,
        l1=l1,
        l2=l2,
        store=store,
        l1_rate=l1 / reads if reads else None,
        l2_rate=l2 / (l2 + store) if l2 + store else None,
        hit_rate=(l1 + l2) / reads if reads else None,
    )


def _usages(here: Services, step_s: int, low_s: int, high_s: int) -> list[tuple[int, Usage]]:
    """What was metered in each step, with what is not in the database yet."""
    table = tables.meter
    wanted = (table.c.step_s == step_s) & (table.c.at_s >= low_s) & (table.c.at_s < high_s)
    with here.engine.connect() as connection:
        rows = connection.execute(select(table.c.at_s, table.c.body).where(wanted).order_by(table.c.at_s))
        found = [(int(at_s), Usage.decode(body)) for at_s, body in rows]
    minute_s, pending = here.sampler.pending()
    if low_s <= minute_s < high_s:
        found.append((minute_s // step_s * step_s, pending))
    return found


@router.get("/cache/hit-rates", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 422))
def show_hit_rates(
    here: Here,
    export: ExportName = None,
    from_s: From = None,
    to_s: To = None,
    step: Annotated[int | None, Query(description="60 or 3600; else the finest that fits.")] = None,
) -> HitRates:
    """Hit rates over a time, by default the last hour. Minutes are kept for 35 days, hours for five years."""
    low_s, high_s = interval(here, from_s, to_s, 3600.0)
    if step is None:
        old = low_s < here.now_s() - KEPT_S[MINUTE_S]
        step_s = HOUR_S if old or (high_s - low_s) / MINUTE_S > MAX_POINTS else MINUTE_S
    elif step in (MINUTE_S, HOUR_S):
        step_s = step
    else:
        raise Problem(422, "invalid", f"the step {step} is not one of ours", "give 60 or 3600")
    first_s = int(low_s) // step_s * step_s
    last_s = min(int(high_s) + 1, int(here.now_s()) + step_s)
    if (last_s - first_s) / step_s > 30 * MAX_POINTS:
        raise Problem(422, "too_many_points", "the step is too fine for so long a time", "leave it out")
    by_export: dict[str, dict[str, float]] = {}
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for at_s, used in _usages(here, step_s, first_s, last_s):
        for name, counters in used.exports.items():
            if export is None or name == export:
                _add(by_export.setdefault(name, {}), counters)
                _add(by_step[at_s], counters)
    total: dict[str, float] = {}
    for counters in by_step.values():
        _add(total, counters)
    points = [
        HitsPoint(at_s=at_s, **hits_of(counters).model_dump()) for at_s, counters in sorted(by_step.items())
    ]
    return HitRates(
        export=export,
        step_s=step_s,
        from_s=first_s,
        to_s=max(last_s, first_s),
        total=hits_of(total),
        exports={name: hits_of(counters) for name, counters in sorted(by_export.items())},
        points=[point for point in points if point.reads],
    )


def _add(total: dict[str, float], counters: dict[str, float]) -> None:
    for name in meter.TIER_COUNTERS:
        total[name] = total.get(name, 0.0) + counters.get(name, 0.0)
