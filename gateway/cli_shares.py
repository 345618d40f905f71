"""`caudal share`: directories that SMB clients see beside the configured share."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, calls_service, segment, show, show_rows
from gateway.errors import ConfigError

share_app = typer.Typer(help="What SMB clients see.", no_args_is_help=True)
WHERE = "smb/shares"

Name = Annotated[str, typer.Argument(metavar="NAME")]
Comment = Annotated[str | None, typer.Option("--comment", help="What clients show beside the name.")]
Users = Annotated[
    list[str] | None,
    typer.Option(
        "--user", metavar="USER", help="Who may; @GROUP for a group; several times. None: every user of SMB."
    ),
]


@share_app.command("add")
@calls_service
def share_add(
    service: Service,
    name: Name,
    path: Annotated[str, typer.Option("--path", help="Directory, from the root of the file system.")],
    user: Users = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nobody writes.")] = False,
    hidden: Annotated[bool, typer.Option("--hidden", help="Not in the list of shares.")] = False,
    comment: Comment = None,
    require_encryption: Annotated[
        bool, typer.Option("--require-encryption", help="Even where the configured share only desires it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Share one more directory."""
    body: dict[str, Any] = {
        "name": name,
        "path": path,
        "read_only": read_only,
        "users": user or [],
        "hidden": hidden,
        "comment": comment or "",
        "encrypt": "required" if require_encryption else "inherit",
    }
    made = service.call("POST", WHERE, body)
    if as_json:
        show(made, as_json=True, title="share")
        return
    out().print(f"sharing {escape(made['path'])} as [bold]{escape(made['name'])}[/bold]")
    _tell_why(service.call("GET", WHERE))


def _tell_why(listed: dict[str, Any]) -> None:
    if listed["why"]:
        out().print(f"[yellow]{escape(listed['why'])}[/yellow]")


@share_app.command("list")
@calls_service
def share_list(service: Service, as_json: AsJson = False) -> None:
    """Show what is shared, and whether Samba runs."""
    listed = service.call("GET", WHERE)
    rows = listed["items"]
    if not as_json:
        for row in rows:
            row["users"] = " ".join(row["users"]) or "all"
    columns = ("name", "path", "read_only", "users", "hidden", "encrypt", "serving", "why")
    show_rows(rows, columns, as_json=as_json)
    if not as_json:
        _tell_why(listed)


@share_app.command("show")
@calls_service
def share_show(service: Service, name: Name, as_json: AsJson = False) -> None:
    """Show one share."""
    show(service.call("GET", f"{WHERE}/{segment(name)}"), as_json=as_json, title="share")


@share_app.command("change")
@calls_service
def share_change(
    service: Service,
    name: Name,
    path: Annotated[str | None, typer.Option("--path", help="Another directory.")] = None,
    user: Users = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Every user of SMB may.")] = False,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--read-write", help="Whether nobody writes.")
    ] = None,
    hidden: Annotated[
        bool | None, typer.Option("--hidden/--shown", help="Whether it is not in the list of shares.")
    ] = None,
    comment: Comment = None,
    require_encryption: Annotated[
        bool | None,
        typer.Option(
            "--require-encryption/--inherit-encryption", help="Required, or as the configured share has it."
        ),
    ] = None,
) -> None:
    """Change a share; --user replaces the whole list."""
    if user and all_users:
        raise ConfigError("--user and --all-users exclude each other", "give one of them")
    asked = {
        "path": path,
        "users": [] if all_users else user or None,
        "read_only": read_only,
        "hidden": hidden,
        "comment": comment,
        "encrypt": None if require_encryption is None else "required" if require_encryption else "inherit",
    }
    changes = {field: value for field, value in asked.items() if value is not None}
    if not changes:
        raise ConfigError("nothing is to be changed", "give --path, --user, --read-only, --comment or others")
    where = f"{WHERE}/{segment(name)}"
    before = service.send("GET", where)
    found = before.json()
    if found["configured"]:
        raise ConfigError(f"{found['name']} is the configured share", "change it in /etc/caudal/smb.toml")
    body = {field: found[field] for field in asked} | changes
    service.call("PUT", where, body, If_Match=before.headers["etag"])
    out().print(f"changed {escape(name)}")


@share_app.command("remove")
@calls_service
def share_remove(service: Service, name: Name) -> None:
    """End a share and its connections; its files stay."""
    service.call("DELETE", f"{WHERE}/{segment(name)}")
    out().print(f"{escape(name)} is not shared any more; its files stay")
