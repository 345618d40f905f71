"""Commands that call the admin service: by its local socket (--state), or over HTTPS with a token (--server).

Nouns and verbs are those of the REST interface.
"""

import json
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

from gateway.cli_journal import mirror_app
from gateway.cli_parts import out, read_secret
from gateway.cli_service import AsJson, Service, calls_service, follow, segment, show, show_rows

Role = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]

token_app = typer.Typer(help="Tokens that programs sign in with.", no_args_is_help=True)
user_app = typer.Typer(help="People who sign in with a password.", no_args_is_help=True)
audit_app = typer.Typer(help="Who changed what.", no_args_is_help=True)
journal_app = typer.Typer(help="The journal.", no_args_is_help=True)
journal_app.add_typer(mirror_app, name="mirror")
operation_app = typer.Typer(help="Long work.", no_args_is_help=True)


@token_app.command("create")
@calls_service
def token_create(
    service: Service,
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    role: Role = "viewer",
    days: Annotated[float | None, typer.Option("--days", help="Days until it expires; else never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once, last."""
    body = {"name": name, "role": role, "expires_in_s": None if days is None else days * 86400}
    made = service.call("POST", "tokens", body)
    if as_json:
        typer.echo(json.dumps(made, indent=2))
    else:
        out().print(f"made the token {escape(made['id'])} ({made['role']}); it is not shown again:")
        typer.echo(made["token"])


@token_app.command("list")
@calls_service
def token_list(service: Service, as_json: AsJson = False) -> None:
    """Show the tokens."""
    rows = service.all_of("tokens")
    show_rows(rows, ("id", "name", "role", "created_s", "expires_s", "created_by"), as_json=as_json)


@token_app.command("revoke")
@calls_service
def token_revoke(service: Service, token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Make a token unknown."""
    service.call("DELETE", f"tokens/{segment(token_id)}")
    out().print(f"revoked {escape(token_id)}")


@user_app.command("add")
@calls_service
def user_add(service: Service, name: str, role: Role = "viewer") -> None:
    """Add a user; the password is asked for, or read from standard input."""
    body = {"name": name, "role": role, "password": read_secret("password")}
    service.call("POST", "users", body)
    out().print(f"added {escape(name)} ({escape(role)})")


@user_app.command("list")
@calls_service
def user_list(service: Service, as_json: AsJson = False) -> None:
    """Show the users."""
    rows = service.all_of("users")
    show_rows(rows, ("name", "role", "disabled", "created_s"), as_json=as_json)


@user_app.command("remove")
@calls_service
def user_remove(service: Service, name: str) -> None:
    """Remove a user; their sessions end."""
    service.call("DELETE", f"users/{segment(name)}")
    out().print(f"removed {escape(name)}")


@user_app.command("passwd")
@calls_service
def user_passwd(service: Service, name: str) -> None:
    """Set a user's password; their sessions end."""
    path = f"users/{segment(name)}"
    etag = service.send("GET", path).headers["etag"]
    service.call("PATCH", path, {"password": read_secret("password")}, If_Match=etag)
    out().print(f"set the password of {escape(name)}")


@audit_app.command("list")
@calls_service
def audit_list(
    service: Service,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, the newest first."""
    rows = service.all_of("audit", limit)
    show_rows(rows, ("at_s", "principal", "address", "action", "target", "detail"), as_json=as_json)


@journal_app.command("flush")
@calls_service
def journal_flush(
    service: Service,
    as_json: AsJson = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is done.")] = False,
) -> None:
    """Bring everything acknowledged to the store."""
    follow(service, service.call("POST", "journal/flush"), wait=wait, as_json=as_json)


@operation_app.command("list")
@calls_service
def operation_list(service: Service, as_json: AsJson = False) -> None:
    """Show the newest operations."""
    rows = service.call("GET", "operations")["items"]
    show_rows(rows, ("id", "kind", "state", "started_s", "ended_s", "started_by", "error"), as_json=as_json)


@operation_app.command("show")
@calls_service
def operation_show(
    service: Service, operation_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False
) -> None:
    """Show one operation."""
    found = service.call("GET", f"operations/{segment(operation_id)}")
    show(found, as_json=as_json, title="operation")


def _reader(path: str, text: str) -> Callable[..., None]:
    """A command that shows what GET of a path gives."""

    def command(service: Service, as_json: AsJson = False) -> None:
        show(service.call("GET", path), as_json=as_json, title=path)

    command.__doc__ = text
    return calls_service(command)


def add_to(app: typer.Typer, cache_app: typer.Typer) -> None:
    """Puts the commands into the command line; cache_app: the `cache` command, which exists."""
    for name, group in (
        ("token", token_app),
        ("user", user_app),
        ("audit", audit_app),
        ("journal", journal_app),
        ("operation", operation_app),
    ):
        app.add_typer(group, name=name)
    journal_app.command("show")(_reader("journal", "Show mirrors, fill, ages and latency."))
    cache_app.command("show")(_reader("cache", "Show the tiers of the block cache and their hit rates."))
    app.command("health")(_reader("health", "Say whether all is well, and what is not."))
    app.command("metrics")(_reader("metrics", "Show the figures as Prometheus reads them."))
