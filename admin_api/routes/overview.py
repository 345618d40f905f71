"""/v1/overview: what the first page shows beside the gateway's status: which server this is, and what it costs."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from admin_api import meter
from admin_api.budget import month_start
from admin_api.guard import GuardedRoute, needs
from admin_api.meter import HOUR_S, MINUTE_S
from admin_api.problems import responses
from admin_api.routes.common import Here
from admin_api.routes.meter import sheet_of, usage_of
from admin_api.security import Role
from admin_api.services import Services

router = APIRouter(route_class=GuardedRoute, tags=["overview"])
DAY_S = 24 * HOUR_S


class Costs(BaseModel):
    """Of the last hour, the last 24 hours and this calendar month (UTC), in `currency`; null without a price sheet."""

    currency: str | None
    hour: float | None
    day: float | None
    month: float | None
    budget_month: float | None


class Overview(BaseModel):
    """now_s: the server's clock, seconds since 1970."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "host": "nas",
                    "version": "1.0.0",
                    "now_s": 1790000000.0,
                    "costs": {
                        "currency": "EUR",
                        "hour": 0.25,
                        "day": 6.0,
                        "month": 120.5,
                        "budget_month": 500.0,
                    },
                }
            ]
        }
    )
    host: str
    version: str
    now_s: float
    costs: Costs


def _costs(here: Services, now_s: int) -> Costs:
    sheet, _ = sheet_of(here)
    if sheet is None:
        return Costs(currency=None, hour=None, day=None, month=None, budget_month=None)
    end_s = now_s // MINUTE_S * MINUTE_S + MINUTE_S

    def since(low_s: int) -> float:
        whole = meter.total(usage_of(here, low_s // MINUTE_S * MINUTE_S, end_s).values())
        return sum(meter.cost(whole.quantities, sheet.prices).values())

    return Costs(
        currency=sheet.currency,
        hour=since(now_s - HOUR_S),
        day=since(now_s - DAY_S),
        month=since(month_start(now_s)),
        budget_month=sheet.budget_month,
    )


@router.get("/overview", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def show_overview(here: Here) -> Overview:
    """Which server this is, and what it costs."""
    now_s = here.now_s()
    return Overview(
        host=here.host, version=here.settings.version, now_s=now_s, costs=_costs(here, int(now_s))
    )
