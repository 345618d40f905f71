"""/v1/meter: what was used and what it cost by the operator's price sheet."""

import csv
import io
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api import meter
from admin_api.budget import SHEET
from admin_api.guard import GuardedRoute, needs
from admin_api.meter import HOUR_S, MINUTE_S, PRICES, QUANTITIES, Usage
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IfMatch, check_match, etag
from admin_api.routes.samples import From, To, interval
from admin_api.security import Role
from admin_api.services import Services
from admin_api.storage import record

router = APIRouter(route_class=GuardedRoute, tags=["meter"])
MAX_HOURS: Final = 24 * 400
Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class PriceSheet(BaseModel):
    """What each item costs; items that are not named cost nothing. budget_month: what a calendar month (UTC) may cost."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"currency": "EUR", "prices": {"capacity_gib_month": 0.02, "vm_hour": 0.2}}]
        },
    )
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    prices: dict[str, Price]
    budget_month: Price | None = None


class ShownSheet(BaseModel):
    """sheet: null until one is set. items: what each price is for."""

    sheet: PriceSheet | None
    items: dict[str, str]


class Hour(BaseModel):
    """cost: null without a price sheet."""

    at_s: int
    quantities: dict[str, float]
    cost: float | None


class ExportUsage(BaseModel):
    """cost: that of the throughput alone; null without a price sheet."""

    name: str
    reads: float
    read_bytes: float
    writes: float
    written_bytes: float
    cost: float | None


class MeterView(BaseModel):
    """quantities: bytes, requests, and bytes times seconds (used_byte_s, disk_byte_s) of the time; up_s: seconds served."""

    from_s: int
    to_s: int
    currency: str | None
    quantities: dict[str, float]
    cost: float | None
    cost_by_item: dict[str, float] | None
    hours: list[Hour]
    exports: list[ExportUsage]


def sheet_of(here: Services) -> tuple[PriceSheet | None, int]:
    """The price sheet and its version."""
    with here.engine.connect() as connection:
        found, version = meter.setting(connection, SHEET)
    return (None if found is None else PriceSheet.model_validate(found)), version


def usage_of(here: Services, low_s: int, high_s: int) -> dict[int, Usage]:
    """By hour, with what is not in the database yet."""
    found = meter.used_between(here.engine, low_s, high_s, here.now_s())
    minute_s, pending = here.sampler.pending()
    if low_s <= minute_s < high_s:
        found.setdefault(minute_s // HOUR_S * HOUR_S, Usage()).add(pending)
    return dict(sorted(found.items()))


def _bounds(here: Services, from_s: float | None, to_s: float | None) -> tuple[int, int]:
    low_s, high_s = interval(here, from_s, to_s, 86400.0)
    if high_s - low_s > MAX_HOURS * HOUR_S:
        raise Problem(422, "invalid", "the time is longer than 400 days", "ask for parts of it")
    first_s = int(low_s) // MINUTE_S * MINUTE_S
    return first_s, max(first_s + MINUTE_S, -(-int(high_s) // MINUTE_S) * MINUTE_S)


def _filled(used: Usage) -> dict[str, float]:
    return {name: used.quantities.get(name, 0.0) for name in QUANTITIES}


def _export(name: str, counters: dict[str, float], prices: dict[str, float] | None) -> ExportUsage:
    price = None if prices is None else prices.get("throughput_mibs_hour", 0.0)
    amounts = {one: counters.get(one, 0.0) for one in meter.EXPORT_COUNTERS}
    cost = None if price is None else meter.cost(amounts, {"throughput_mibs_hour": price})
    return ExportUsage(name=name, cost=None if cost is None else sum(cost.values()), **amounts)


@router.get("/meter", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 422))
def show_meter(here: Here, from_s: From = None, to_s: To = None) -> MeterView:
    """Usage and cost of any time in whole minutes (hours, more than 35 days ago); by default of the last day."""
    low_s, high_s = _bounds(here, from_s, to_s)
    sheet, _ = sheet_of(here)
    prices = None if sheet is None else sheet.prices
    hours = usage_of(here, low_s, high_s)
    whole = meter.total(hours.values())
    items = None if prices is None else meter.cost(whole.quantities, prices)
    return MeterView(
        from_s=low_s,
        to_s=high_s,
        currency=sheet.currency if sheet else None,
        quantities=_filled(whole),
        cost=None if items is None else sum(items.values()),
        cost_by_item=items,
        hours=[
            Hour(
                at_s=at_s,
                quantities=_filled(used),
                cost=None if prices is None else sum(meter.cost(used.quantities, prices).values()),
            )
            for at_s, used in hours.items()
        ],
        exports=[_export(name, counters, prices) for name, counters in sorted(whole.exports.items())],
    )


@router.get(
    "/meter.csv",
    openapi_extra=needs(Role.VIEWER),
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **responses(401, 403, 422)},
)
def show_meter_csv(here: Here, from_s: From = None, to_s: To = None) -> Response:
    """The same by hour, as CSV: time (seconds since 1970), quantities, cost."""
    shown = show_meter(here, from_s, to_s)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["at_s", *QUANTITIES, "cost", "currency"])
    for hour in shown.hours:
        amounts = [f"{hour.quantities[name]:.0f}" for name in QUANTITIES]
        cost = "" if hour.cost is None else f"{hour.cost:.6f}"
        writer.writerow([hour.at_s, *amounts, cost, shown.currency or ""])
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8")


@router.get("/meter/prices", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def show_prices(here: Here, response: Response) -> ShownSheet:
    """The price sheet; the ETag is what a change must name."""
    sheet, version = sheet_of(here)
    response.headers["ETag"] = etag(version)
    return ShownSheet(sheet=sheet, items={item: text for item, (text, _) in PRICES.items()})


@router.put(
    "/meter/prices",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 412, 422, 428),
)
def set_prices(
    here: Here, caller: Caller, body: PriceSheet, response: Response, if_match: IfMatch = None
) -> ShownSheet:
    """Replaces the price sheet. Costs are computed when they are asked for: the sheet holds for all times."""
    if unknown := set(body.prices) - set(PRICES):
        raise Problem(422, "invalid", f"{min(unknown)[:60]!r} is no item", f"items: {', '.join(PRICES)}")
    with here.engine.begin() as connection:
        _, version = meter.setting(connection, SHEET)
        check_match(if_match, version)
        fields: dict[str, Any] = body.model_dump(mode="json")
        version = meter.put_setting(connection, SHEET, fields)
        record(connection, here.now_s(), caller.name, caller.address, "meter.prices", SHEET, **fields)
    response.headers["ETag"] = etag(version)
    return ShownSheet(sheet=body, items={item: text for item, (text, _) in PRICES.items()})
