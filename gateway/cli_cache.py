"""Commands on the block cache, by the admin service: `caudal cache ...` and `caudal activity ...`."""

import json
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape

from gateway import config_values as values
from gateway.cli_meter import From, To, moment
from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, Wait, calls_service, follow, segment, show_rows
from gateway.errors import ConfigError

Path = Annotated[str, typer.Argument(metavar="PATH", help="As clients mount it: /data/projects.")]
Directory = Annotated[str, typer.Argument(metavar="DIR", help="On the server.")]

activity_app = typer.Typer(help="Who uses the file system most just now.", no_args_is_help=True)
shelf_app = typer.Typer(help="The shelves of the cache on disk.", no_args_is_help=True)


def _size(text: str) -> int:
    try:
        return values.size(0)(text)
    except values.WrongValueError as wrong:
        raise ConfigError(wrong.problem, wrong.remedy) from None


def _tell(settings: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(settings, indent=2))
    else:
        out().print(
            f"L1 {values.human(settings['l1_bytes'])}; shelves: {escape(', '.join(settings['shelf']))}"
        )


@calls_service
def resize(
    service: Service,
    size: Annotated[str, typer.Argument(metavar="SIZE", help="Of L1, or of the shelf: 8GiB.")],
    shelf: Annotated[str | None, typer.Option("--shelf", metavar="DIR", help="Resize this shelf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give L1, or a shelf, another size: at once, and until the configuration says otherwise."""
    if shelf is None:
        _tell(service.call("PUT", "cache/l1", {"bytes": _size(size)}), as_json)
    else:
        body = {"path": shelf, "bytes": _size(size)}
        _tell(service.call("POST", "cache/shelves/resize", body), as_json)


@calls_service
def warm(service: Service, path: Path, as_json: AsJson = False, wait: Wait = True) -> None:
    """Bring what a path holds into the cache."""
    follow(service, service.call("POST", "cache/warm", {"path": path}), wait=wait, as_json=as_json)


@calls_service
def pin(service: Service, path: Path, as_json: AsJson = False, wait: Wait = True) -> None:
    """Bring what a path holds into L2 and keep it there."""
    follow(service, service.call("POST", "cache/pins", {"path": path}), wait=wait, as_json=as_json)


@calls_service
def unpin(service: Service, path: Path) -> None:
    """Keep a path no longer."""
    service.call("DELETE", f"cache/pins?path={quote(path, safe='')}")
    out().print(f"unpinned {escape(path)}")


@calls_service
def pins(service: Service, as_json: AsJson = False) -> None:
    """Show what is pinned."""
    rows = service.call("GET", "cache/pins")["items"]
    show_rows(rows, ("path", "bytes", "held_bytes", "why"), as_json=as_json)


@calls_service
def cancel(service: Service, operation_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Have an operation end early."""
    found = service.call("POST", f"operations/{quote(operation_id, safe='')}/cancel")
    out().print(f"{escape(found['kind'])} {escape(found['id'])} ends at its next step")


@shelf_app.command("list")
@calls_service
def shelf_list(service: Service, as_json: AsJson = False) -> None:
    """Show the shelves."""
    rows = service.call("GET", "cache/shelves")["items"]
    columns = ("path", "state", "bytes", "capacity_bytes", "hits", "errors", "damaged_blocks", "why")
    show_rows(rows, columns, as_json=as_json)


@shelf_app.command("add")
@calls_service
def shelf_add(
    service: Service,
    directory: Directory,
    size: Annotated[
        str | None, typer.Option("--size", help="Else nine tenths of what is free there; of a device all.")
    ] = None,
) -> None:
    """Add a directory, better on a disk of its own, or a blank block device to the cache on disk."""
    body = {"path": directory, "bytes": None if size is None else _size(size)}
    made = service.call("POST", "cache/shelves", body)
    out().print(f"added {escape(made['path'])} ({values.human(made['bytes'])})")


@shelf_app.command("drain")
@calls_service
def shelf_drain(
    service: Service,
    directory: Directory,
    undo: Annotated[bool, typer.Option("--undo", help="Use it again.")] = False,
    as_json: AsJson = False,
    wait: Wait = True,
) -> None:
    """Put nothing new on a shelf, and copy what only it has to the others, so that it can be removed."""
    if undo:
        service.call("POST", "cache/shelves/undrain", {"path": directory})
        out().print(f"{escape(directory)} takes blocks again")
        return
    begun = service.call("POST", "cache/shelves/drain", {"path": directory})
    follow(service, begun, wait=wait, as_json=as_json)


@shelf_app.command("remove")
@calls_service
def shelf_remove(service: Service, directory: Directory) -> None:
    """Take a shelf away and remove its blocks."""
    done = service.call("POST", "cache/shelves/remove", {"path": directory})
    out().print(f"removed {escape(directory)}")
    if done["left"]:
        out().print(f"[yellow]its directory could not be emptied: {escape(done['left'])}[/yellow]")


@calls_service
def policy(service: Service, as_json: AsJson = False) -> None:
    """Show what the policy of the cache's size decided, and why."""
    found = service.call("GET", "cache/policy")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found["on"]:
        out().print("the sizes are fixed: give l1_max_bytes or l2_max_bytes to let them grow")
    rows = [{"tier": tier, **latest} for tier, latest in found["latest"].items()]
    show_rows(rows, ("tier", "bytes", "reason"), as_json=False)
    show_rows(found["changes"], ("at_s", "tier", "from_bytes", "bytes", "reason"), as_json=False)


@calls_service
def hit_rates(
    service: Service,
    export: Annotated[str | None, typer.Option("--export", help="Of this export alone.")] = None,
    from_: From = "-1h",
    to: To = "now",
    step: Annotated[int | None, typer.Option("--step", help="60 or 3600 seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how much of what clients read came from L1, L2 and the store, by export and time."""
    now_s = time.clock_gettime(time.CLOCK_REALTIME)
    query = f"?from={moment(from_, now_s):.3f}&to={moment(to, now_s):.3f}"
    query += f"&export={segment(export)}" if export is not None else ""
    query += f"&step={step}" if step is not None else ""
    found = service.call("GET", f"cache/hit-rates{query}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    columns = ("reads", "l1", "l2", "store", "l1_rate", "l2_rate", "hit_rate")
    rows = [{"export": name, **hits} for name, hits in found["exports"].items()]
    show_rows(rows, ("export", *columns), as_json=False)
    show_rows(found["points"], ("at_s", *columns), as_json=False)


@activity_app.command("top")
@calls_service
def activity_top(
    service: Service,
    most: Annotated[int, typer.Option("--most", min=1, max=512, help="So many of each.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the clients, files and directories that are used most just now: operations and bytes a second."""
    found = service.call("GET", f"activity?most={most}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    rates = ("reads", "writes", "names", "read_bytes", "written_bytes")
    for kind, columns in (
        ("clients", ("address", *rates)),
        ("files", ("path", "inode", *rates)),
        ("directories", ("path", "inode", "operations", "bytes")),
    ):
        out().print(f"[bold]{kind}[/bold]")
        show_rows(found[kind], columns, as_json=False)


def add_to(app: typer.Typer, cache_app: typer.Typer, operation_app: typer.Typer) -> None:
    """Puts the commands into the command line."""
    cache_app.add_typer(shelf_app, name="shelf")
    app.add_typer(activity_app, name="activity")
    cache_app.command("hit-rates")(hit_rates)
    for command in (resize, warm, pin, unpin, pins, policy):
        cache_app.command(command.__name__)(command)
    operation_app.command("cancel")(cancel)
