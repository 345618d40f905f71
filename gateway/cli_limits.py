"""`caudal limit`: caps on what clients read and write."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape

from gateway import config_values as values
from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, calls_service, segment, show_rows
from gateway.errors import CaudalError, ConfigError

limit_app = typer.Typer(help="Caps on what clients read and write.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME")]


def _given(option: str, text: str | None, parse: Callable[[object], Any]) -> float:
    try:
        return 0.0 if text is None else float(parse(text))
    except values.WrongValueError as wrong:
        raise ConfigError(f"{option}: {wrong.problem}", wrong.remedy) from None


@limit_app.command("set")
@calls_service
def limit_set(
    service: Service,
    name: Name,
    export: Annotated[
        str | None, typer.Option("--export", help="Of all clients of an export together.")
    ] = None,
    client: Annotated[
        str | None, typer.Option("--client", help="Of each address of a network (10.0.0.0/8) or of one.")
    ] = None,
    read: Annotated[str | None, typer.Option("--read", help="Read a second: 100MiB.")] = None,
    write: Annotated[str | None, typer.Option("--write", help="Written a second: 50MiB.")] = None,
    ops: Annotated[float, typer.Option("--ops", min=0, help="Reads and writes a second.")] = 0.0,
    burst: Annotated[
        str, typer.Option("--burst", help="Unused credit that may be used at once: 10s.")
    ] = "1s",
) -> None:
    """Make a limit, or replace it. Without --export and --client it is that of the whole server."""
    body: dict[str, Any] = {
        "read_bytes_s": _given("--read", read, values.size(0)),
        "write_bytes_s": _given("--write", write, values.size(0)),
        "ops_s": ops,
        "burst_s": _given("--burst", burst, values.seconds(0, 3600)),
    }
    body |= {key: value for key, value in (("export", export), ("client", client)) if value is not None}
    where = f"limits/{segment(name)}"
    headers: dict[str, str] = {}
    try:
        headers["If_Match"] = service.send("GET", where).headers["etag"]
    except CaudalError as error:
        if "there is no limit" not in error.message:
            raise
    service.call("PUT", where, body, **headers)
    out().print(f"set {escape(name)}")


@limit_app.command("list")
@calls_service
def limit_list(service: Service, as_json: AsJson = False) -> None:
    """Show the limits and what they did."""
    rows = service.call("GET", "limits")["items"]
    if not as_json:
        for row in rows:
            row["of"] = row["export"] or row["client"] or "server"
            for key in ("read_bytes_s", "write_bytes_s"):
                row[key.removesuffix("_bytes_s")] = values.human(int(row[key])) if row[key] else None
            row["ops"], row["burst"] = row["ops_s"] or None, f"{row['burst_s']:g} s"
    columns = ("name", "of", "read", "write", "ops", "burst", "active", "passed", "delayed", "refused")
    show_rows(rows, columns, as_json=as_json)


@limit_app.command("remove")
@calls_service
def limit_remove(service: Service, name: Name) -> None:
    """End a limit."""
    service.call("DELETE", f"limits/{segment(name)}")
    out().print(f"removed {escape(name)}")
