"""How much of the month's budget is spent."""

import calendar
import time

from sqlalchemy import Engine, select

from admin_api import meter, tables
from admin_api.meter import HOUR_S, Usage

SHEET = "prices"


def month_start(now_s: float) -> int:
    """Seconds since 1970 at which the calendar month of a time began (UTC)."""
    now = time.gmtime(now_s)
    return calendar.timegm((now.tm_year, now.tm_mon, 1, 0, 0, 0))


def spent_share(engine: Engine, now_s: float) -> float | None:
    """Cost of the month so far by its budget; None where there is no price sheet or no budget."""
    with engine.connect() as connection:
        sheet, _ = meter.setting(connection, SHEET)
        if not sheet or not sheet.get("budget_month"):
            return None
        table = tables.meter
        query = select(table.c.body).where(table.c.step_s == HOUR_S, table.c.at_s >= month_start(now_s))
        whole = Usage()
        for body in connection.execute(query).scalars():
            whole.add(Usage.decode(body))
    return sum(meter.cost(whole.quantities, sheet["prices"]).values()) / float(sheet["budget_month"])
