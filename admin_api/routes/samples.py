"""/v1/samples: the gateway's figures over time. /v1/activity/capacity: what is used, and how it grows."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from admin_api import forecast, samples
from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import Here
from admin_api.samples import HOUR_S, MAX_POINTS, MINUTE_S, SECOND_S
from admin_api.security import Role
from admin_api.series import BY_NAME, SERIES

router = APIRouter(route_class=GuardedRoute, tags=["samples"])
MAX_TIME_S: Final = 1 << 40
DAY_S: Final = 86400
FORECAST_DAYS: Final = (7, 30, 90)
MAX_SERIES: Final = 20

From = Annotated[
    float | None,
    Query(alias="from", ge=0, le=MAX_TIME_S, allow_inf_nan=False, description="Seconds since 1970."),
]
To = Annotated[
    float | None,
    Query(alias="to", ge=0, le=MAX_TIME_S, allow_inf_nan=False, description="Seconds since 1970; else now."),
]


class SampledSeries(BaseModel):
    """points: lists of time (seconds since 1970), mean, largest value; times without a value are left out."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"unit": "bytes/s", "points": [[1790000000, 1.5e6, 2.5e6]]}]}
    )
    unit: str
    points: list[list[float]]


class Samples(BaseModel):
    """step_s: the width that a point stands for: 1, 60 or 3600."""

    step_s: int
    from_s: int
    to_s: int
    series: dict[str, SampledSeries]


class SeriesNames(BaseModel):
    items: dict[str, str]


def interval(here: Here, from_s: float | None, to_s: float | None, default_s: float) -> tuple[float, float]:
    """The time asked for: to now, and from so long before, unless it is said. Raises Problem (422)."""
    now_s = here.now_s()
    high_s = now_s if to_s is None else to_s
    low_s = max(0.0, high_s - default_s) if from_s is None else from_s
    if low_s >= high_s:
        raise Problem(422, "invalid", "`from` is not before `to`", "give seconds since 1970")
    return low_s, high_s


@router.get("/samples/series", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def list_series() -> SeriesNames:
    """The names of all series, with their units."""
    return SeriesNames(items={one.name: one.unit for one in SERIES})


@router.get("/samples", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 422))
def show_samples(
    here: Here,
    series: Annotated[str, Query(max_length=1000, description="Names with commas between them.")],
    from_s: From = None,
    to_s: To = None,
    step: Annotated[int | None, Query(description="1, 60 or 3600; else the finest that fits.")] = None,
) -> Samples:
    """Figures over a time, by default the last 15 minutes. Seconds are kept an hour, minutes a week, hours two years."""
    low_s, high_s = interval(here, from_s, to_s, 900.0)
    names = list(dict.fromkeys(name for name in series.split(",") if name))
    unknown = [name for name in names if name not in BY_NAME]
    if unknown or not 1 <= len(names) <= MAX_SERIES:
        told = f"there is no series {unknown[0][:60]!r}" if unknown else f"1 to {MAX_SERIES} series"
        raise Problem(422, "invalid", told, "GET /v1/samples/series names them")
    step_s = samples.step_for(low_s, high_s, here.now_s()) if step is None else step
    if step_s not in (SECOND_S, MINUTE_S, HOUR_S):
        raise Problem(422, "invalid", f"the step {step_s} is not one of ours", "give 1, 60 or 3600")
    first_s = int(low_s) // step_s * step_s
    last_s = min(int(high_s) + 1, int(here.now_s()) + step_s)
    if (last_s - first_s) / step_s > samples.KEPT_S[step_s] / step_s + 1 or (
        step is not None and (last_s - first_s) / step_s > 5 * MAX_POINTS
    ):
        raise Problem(422, "too_many_points", "the step is too fine for so long a time", "leave it out")
    numbers = [BY_NAME[name] for name in names]
    if step_s == SECOND_S:
        found = {number: here.sampler.seconds.get(number, first_s, last_s) for number in numbers}
    else:
        found = samples.kept(here.engine, numbers, step_s, first_s, last_s)
    shown = {
        SERIES[number].name: SampledSeries(unit=SERIES[number].unit, points=samples.shown(points))
        for number, points in found.items()
    }
    return Samples(step_s=step_s, from_s=first_s, to_s=max(last_s, first_s), series=shown)


class Forecast(BaseModel):
    days: int
    used_bytes: float


class Capacity(BaseModel):
    """points: time and used bytes of each hour. bytes_a_day: slope of the line that fits best; fit: how well, 0 to 1.
    Null, and no forecast, before there is a day of hours.
    """

    points: list[list[float]]
    latest_bytes: float | None
    bytes_a_day: float | None
    fit: float | None
    forecast: list[Forecast]


@router.get("/activity/capacity", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 422))
def show_capacity(here: Here, from_s: From = None, to_s: To = None) -> Capacity:
    """Used bytes by hour, by default of the last 30 days, and what they come to if they go on so."""
    low_s, high_s = interval(here, from_s, to_s, 30.0 * DAY_S)
    number = BY_NAME["used_bytes"]
    hours: list[tuple[int, Any]] = samples.kept(
        here.engine, [number], HOUR_S, int(low_s) // HOUR_S * HOUR_S, int(high_s) + 1
    )[number]
    points = [(float(at_s), mean) for at_s, (mean, _) in hours]
    found = forecast.growth(points)
    return Capacity(
        points=[list(point) for point in points],
        latest_bytes=points[-1][1] if points else None,
        bytes_a_day=found.bytes_a_day if found else None,
        fit=found.fit if found else None,
        forecast=[Forecast(days=days, used_bytes=forecast.after(found, days)) for days in FORECAST_DAYS]
        if found
        else [],
    )
