"""`caudal meter`: what was used and what it cost."""

import datetime
import re
import time
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, calls_service, show, show_rows
from gateway.config_values import human
from gateway.errors import ConfigError

meter_app = typer.Typer(help="What was used and what it cost.", no_args_is_help=True)
_BACK: Final = re.compile(r"-(\d+)(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str, now_s: float) -> float:
    """Seconds since 1970 of a time as people write it: `now`, -2h, 2026-11-29, 2026-11-29T14:30 (UTC)."""
    if text == "now":
        return now_s
    if back := _BACK.fullmatch(text):
        return now_s - int(back[1]) * _UNITS[back[2]]
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no time", "give 2026-11-29T14:30 (UTC), or -2h for two hours ago, or now"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


From = Annotated[str, typer.Option("--from", help="2026-11-29T14:30 (UTC), or -2h for two hours ago.")]
To = Annotated[str, typer.Option("--to", help="The same, or now.")]


@meter_app.command("show")
@calls_service
def meter_show(
    service: Service,
    from_: From = "-24h",
    to: To = "now",
    as_csv: Annotated[bool, typer.Option("--csv", help="By hour, as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a time used and cost."""
    now_s = time.clock_gettime(time.CLOCK_REALTIME)
    query = f"?from={moment(from_, now_s):.3f}&to={moment(to, now_s):.3f}"
    if as_csv:
        typer.echo(service.call("GET", f"meter.csv{query}"), nl=False)
        return
    found = service.call("GET", f"meter{query}")
    if as_json:
        show(found, as_json=True, title="meter")
        return
    _tell(found)


def _tell(found: dict[str, Any]) -> None:
    used: dict[str, float] = found["quantities"]
    span_s = found["to_s"] - found["from_s"]
    out().print(
        f"{_time(found['from_s'])} to {_time(found['to_s'])}, served {used['up_s'] / 3600:.2f} of {span_s / 3600:.2f} h"
    )
    if used["up_s"]:
        out().print(f"  files      {human(int(used['used_byte_s'] / used['up_s']))} on average")
    out().print(
        f"  clients    read {human(int(used['read_bytes']))}, wrote {human(int(used['written_bytes']))}"
    )
    out().print(
        f"  store      {used['store_gets']:.0f} reads ({human(int(used['store_received_bytes']))}),"
        f" {used['store_puts']:.0f} writes ({human(int(used['store_sent_bytes']))}),"
        f" {used['store_deletes']:.0f} deletions, {used['store_lists']:.0f} listings"
    )
    for one in found["exports"]:
        out().print(
            f"  export {escape(one['name'])}: read {human(int(one['read_bytes']))},"
            f" wrote {human(int(one['written_bytes']))}"
        )
    if found["cost"] is None:
        out().print("  no cost: there is no price sheet (`caudal meter prices --set ITEM=PRICE`)")
        return
    for item, amount in found["cost_by_item"].items():
        out().print(f"  {item:<22} {amount:14.6f}")
    out().print(f"  {'cost':<22} {found['cost']:14.6f} {escape(found['currency'])}")


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(at_s))


@meter_app.command("prices")
@calls_service
def meter_prices(
    service: Service,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="ITEM=PRICE", help="Sets the price of an item.")
    ] = None,
    currency: Annotated[str | None, typer.Option("--currency", help="Three letters.")] = None,
    budget_month: Annotated[
        float | None, typer.Option("--budget-month", help="What a calendar month (UTC) may cost.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the price sheet, or change it."""
    answer = service.send("GET", "meter/prices")
    found: dict[str, Any] = answer.json()
    if changes or currency or budget_month is not None:
        sheet: dict[str, Any] = found["sheet"] or {"currency": "", "prices": {}}
        sheet["prices"] |= dict(_price(text) for text in changes or ())
        sheet["currency"] = currency or sheet["currency"]
        if not sheet["currency"]:
            raise ConfigError("the first prices need a currency", "give --currency EUR")
        if budget_month is not None:
            sheet["budget_month"] = budget_month
        found = service.call("PUT", "meter/prices", sheet, If_Match=answer.headers["etag"])
    if as_json:
        show(found, as_json=True, title="prices")
        return
    sheet = found["sheet"] or {"currency": None, "prices": {}}
    rows = [
        {"item": item, "price": sheet["prices"].get(item), "for": text}
        for item, text in found["items"].items()
    ]
    show_rows(rows, ("item", "price", "for"), as_json=False)
    out().print(
        f"currency: {sheet['currency'] or '-'}; budget of a month: {sheet.get('budget_month') or '-'}"
    )


def _price(text: str) -> tuple[str, float]:
    item, _, amount = text.partition("=")
    try:
        return item, float(amount)
    except ValueError:
        raise ConfigError(f"--set {text} is not understood", "give ITEM=PRICE: --set vm_hour=0.2") from None
