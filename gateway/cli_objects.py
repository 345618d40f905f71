"""`caudal objects`: the store, its packs, and what is done with them. Calls the admin service."""

from typing import Annotated, Any, Final

import typer

from gateway.cli_service import AsJson, Service, Wait, calls_service, follow, show
from gateway.config_values import WrongValueError, size
from gateway.errors import ConfigError

NEVER: Final = "never"
POLICY: Final = ("enabled", "cool_after_days", "cold_after_days", "min_pack_bytes")

objects_app = typer.Typer(help="The object store and its packs.", no_args_is_help=True)
tiering_app = typer.Typer(
    help="Access tiers of the store: packs that nobody reads become cheaper to keep and dearer to read.",
    no_args_is_help=True,
)
objects_app.add_typer(tiering_app, name="tiering")
Cool = Annotated[
    str | None, typer.Option("--cool-after", help=f"Without a read for so long: 30d, or {NEVER}.")
]
Cold = Annotated[
    str | None, typer.Option("--cold-after", help=f"Without a read for so long: 180d, or {NEVER}.")
]
Least = Annotated[str | None, typer.Option("--min-size", help="Smaller packs stay: 1MiB.")]


@objects_app.command("show")
@calls_service
def objects_show(service: Service, as_json: AsJson = False) -> None:
    """Show the store's state and requests, and what lives in its packs."""
    show(service.call("GET", "objects"), as_json=as_json, title="objects")


@objects_app.command("collect")
@calls_service
def objects_collect(
    service: Service,
    early: Annotated[
        bool, typer.Option("--early", help="Also what is charged for leaving its tier so early.")
    ] = False,
    as_json: AsJson = False,
    wait: Wait = True,
) -> None:
    """Delete packs that nothing needs any more, and write mostly dead ones anew, now."""
    begun = service.call("POST", "objects/collections" + ("?early=true" if early else ""))
    follow(service, begun, wait=wait, as_json=as_json)


def _days(name: str, text: str) -> int | None:
    if text == NEVER:
        return None
    if not text.removesuffix("d").isdecimal():
        raise ConfigError(f"{name}: {text!r} is no number of days", f"give 30d, or {NEVER}")
    return int(text.removesuffix("d"))


def _policy(before: dict[str, Any], cool: str | None, cold: str | None, least: str | None) -> dict[str, Any]:
    """A policy with what options change of it."""
    fields = {name: before[name] for name in POLICY}
    if cool is not None:
        fields["cool_after_days"] = _days("--cool-after", cool)
    if cold is not None:
        fields["cold_after_days"] = _days("--cold-after", cold)
    if least is not None:
        try:
            fields["min_pack_bytes"] = size(0)(least)
        except WrongValueError as wrong:
            raise ConfigError(f"--min-size: {wrong.problem}", wrong.remedy) from None
    return fields


@tiering_app.command("show")
@calls_service
def tiering_show(service: Service, as_json: AsJson = False) -> None:
    """Show the policy."""
    show(service.call("GET", "objects/tiering"), as_json=as_json, title="tiering")


@tiering_app.command("set")
@calls_service
def tiering_set(
    service: Service,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Carry it out once a day.")] = None,
    cool_after: Cool = None,
    cold_after: Cold = None,
    min_size: Least = None,
    as_json: AsJson = False,
) -> None:
    """Change the policy; what is not named stays."""
    found = service.send("GET", "objects/tiering")
    fields = _policy(found.json(), cool_after, cold_after, min_size)
    if on is not None:
        fields["enabled"] = on
    made = service.call("PUT", "objects/tiering", fields, If_Match=found.headers["etag"])
    show(made, as_json=as_json, title="tiering")


@tiering_app.command("estimate")
@calls_service
def tiering_estimate(
    service: Service,
    cool_after: Cool = None,
    cold_after: Cold = None,
    min_size: Least = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would move now, and what moving, storing and reading it back costs."""
    show(_estimate(service, cool_after, cold_after, min_size), as_json=as_json, title="tiering")


def _estimate(service: Service, cool: str | None, cold: str | None, least: str | None) -> Any:
    fields = _policy(service.call("GET", "objects/tiering"), cool, cold, least)
    query = "&".join(
        f"{name}={fields[name]}"
        for name in ("cool_after_days", "cold_after_days", "min_pack_bytes")
        if fields[name] is not None
    )
    return service.call("GET", f"objects/tiering/estimate?{query}")


@tiering_app.command("run")
@calls_service
def tiering_run(
    service: Service,
    cool_after: Cool = None,
    cold_after: Cold = None,
    min_size: Least = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    wait: Wait = True,
) -> None:
    """Move what is due now. Shows before what reading it back will cost."""
    if not yes:
        show(_estimate(service, cool_after, cold_after, min_size), as_json=False, title="tiering")
        typer.confirm("move it?", abort=True)
    policy = _policy(service.call("GET", "objects/tiering"), cool_after, cold_after, min_size)
    begun = service.call("POST", "objects/tiering/runs", {"policy": policy})
    follow(service, begun, wait=wait, as_json=as_json)
