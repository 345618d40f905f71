"""`caudal quota`: limits on directories, and what directories, users and groups hold. Calls the admin service."""

import json
import time
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.markup import escape

from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, calls_service, show_rows
from gateway.config_values import human, seconds, size, whole
from gateway.errors import CaudalError, ConfigError

NONE: Final = "none"
MOST: Final = 2**63 - 1
GRACE_MAX_S: Final = 10 * 365 * 86400
COLUMNS: Final = ("path", "bytes", "inodes", "grace")
TREE_ROWS: Final = 1000

quota_app = typer.Typer(help="Limits on directories, and what they hold.", no_args_is_help=True)

Path = Annotated[str, typer.Argument(metavar="PATH", help="As clients see it, with the export's.")]
Bytes = Annotated[
    str | None, typer.Option("--bytes", help=f"Most bytes, such as 500GiB; {NONE}: no such limit.")
]
SoftBytes = Annotated[str | None, typer.Option("--soft-bytes", help="May be exceeded for the grace time.")]
Inodes = Annotated[str | None, typer.Option("--inodes", help="Most files and directories.")]
SoftInodes = Annotated[str | None, typer.Option("--soft-inodes", help="May be exceeded for the grace time.")]
Grace = Annotated[str | None, typer.Option("--grace", help="Such as 7d, which is the default.")]


def _find(service: Service, path: str) -> dict[str, Any] | None:
    """The limits of a directory."""
    found = service.call("GET", f"quotas?path={quote(path, safe='')}")["items"]
    return found[0] if found else None


def _needed(service: Service, path: str) -> dict[str, Any]:
    found = _find(service, path)
    if found is None:
        raise CaudalError(f"{path} has no limits", "`caudal quota list` shows what has some")
    return found


def _number(name: str, text: str, parse: Any) -> int | None:
    if text.lower() == NONE:
        return None
    try:
        return int(parse(text))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{name}: {error}", f"give a number, or {NONE}") from error


@quota_app.command("set")
@calls_service
def quota_set(
    service: Service,
    path: Path,
    bytes: Bytes = None,
    soft_bytes: SoftBytes = None,
    inodes: Inodes = None,
    soft_inodes: SoftInodes = None,
    grace: Grace = None,
    as_json: AsJson = False,
) -> None:
    """Limit a directory, or change its limits; what is not named stays."""
    given = (
        ("hard_bytes", "--bytes", bytes, size(0, MOST)),
        ("soft_bytes", "--soft-bytes", soft_bytes, size(0, MOST)),
        ("hard_inodes", "--inodes", inodes, whole(0, MOST)),
        ("soft_inodes", "--soft-inodes", soft_inodes, whole(0, MOST)),
    )
    body: dict[str, Any] = {
        key: _number(name, text, parse) for key, name, text, parse in given if text is not None
    }
    if grace is not None:
        body["grace_s"] = _number("--grace", grace, seconds(0, GRACE_MAX_S))
    if not body:
        raise ConfigError(
            "no limit is named", "give --bytes, --inodes, --soft-bytes, --soft-inodes or --grace"
        )
    found = _find(service, path)
    if found is None:
        made = service.call("POST", "quotas", {"path": path, **body})
    else:
        where = f"quotas/{found['id']}"
        etag = service.send("GET", where).headers["etag"]
        made = service.call("PATCH", where, body, If_Match=etag)
    _show([made], as_json=as_json, single=True)


@quota_app.command("list")
@calls_service
def quota_list(service: Service, as_json: AsJson = False) -> None:
    """Show all directories with limits, and what they hold."""
    _show(service.all_of("quotas"), as_json=as_json)


@quota_app.command("show")
@calls_service
def quota_show(service: Service, path: Path, as_json: AsJson = False) -> None:
    """Show the limits of a directory, and what it holds."""
    _show([_needed(service, path)], as_json=as_json, single=True)


@quota_app.command("remove")
@calls_service
def quota_remove(service: Service, path: Path) -> None:
    """Take the limits of a directory away. What it holds stays."""
    service.call("DELETE", f"quotas/{_needed(service, path)['id']}")
    out().print(f"removed the limits of {escape(path)}")


@quota_app.command("tree")
@calls_service
def quota_tree(service: Service, path: Path, as_json: AsJson = False) -> None:
    """Show what is below a directory and below each directory in it."""
    tree = service.call("GET", f"tree?path={quote(path, safe='')}&limit=200")
    cursor = tree["next_cursor"]
    while cursor is not None and len(tree["items"]) < TREE_ROWS:
        page = service.call("GET", f"tree?id={tree['id']}&limit=200&cursor={cursor}")
        tree["items"] += page["items"]
        cursor = page["next_cursor"]
    if as_json:
        typer.echo(json.dumps({**tree, "next_cursor": cursor}, indent=2))
        return
    rows = [{**tree, "name": tree["path"]}]
    rows += sorted(tree["items"], key=lambda item: item["allocated_bytes"], reverse=True)
    for row in rows:
        row["size"], row["allocated"] = human(row["bytes"]), human(row["allocated_bytes"])
    show_rows(rows, ("allocated", "size", "files", "directories", "name"), as_json=False)
    if cursor is not None:
        out().print(f"and more than {TREE_ROWS} entries")


@quota_app.command("usage")
@calls_service
def quota_usage(
    service: Service,
    by: Annotated[str, typer.Option("--by", help="user or group.")] = "user",
    as_json: AsJson = False,
) -> None:
    """Show what users or groups own, by their numbers."""
    if by not in ("user", "group"):
        raise ConfigError(f"--by {by} is neither user nor group", "give one of them")
    rows = service.all_of(f"usage/{by}s")
    if not as_json:
        for row in rows:
            row["allocated"] = human(row["allocated_bytes"])
    show_rows(rows, ("id", "inodes", "bytes", "allocated"), as_json=as_json)


def _show(quotas: list[dict[str, Any]], *, as_json: bool, single: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(quotas[0] if single else quotas, indent=2))
        return
    rows = [
        {
            "path": one["path"],
            "bytes": _of(one, "bytes", human),
            "inodes": _of(one, "inodes", str),
            "grace": _grace(one),
        }
        for one in quotas
    ]
    show_rows(rows, COLUMNS, as_json=False)


def _of(one: dict[str, Any], kind: str, shown: Callable[[int], str]) -> str:
    """What is used of the limits: `3 KiB of 1 MiB (soft 512 KiB)`."""
    hard, soft = one[f"hard_{kind}"], one[f"soft_{kind}"]
    text = shown(one[f"used_{kind}"])
    if hard is not None:
        text += f" of {shown(hard)}"
    return text if soft is None else f"{text} (soft {shown(soft)})"


def _grace(one: dict[str, Any]) -> str:
    """How long soft limits may be exceeded, or until when they may still be."""
    ends = [end for end in (one["bytes_grace_ends_s"], one["inodes_grace_ends_s"]) if end is not None]
    if not ends:
        return f"{one['grace_s'] / 86400:g}d"

    return time.strftime("until %Y-%m-%d %H:%M:%SZ", time.gmtime(min(ends)))
