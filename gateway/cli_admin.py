"""Commands that call the admin service: by its local socket (--state), or over HTTPS with a token (--server).

Nouns and verbs are those of the REST interface.
"""

import json
import os
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from rich.markup import escape
from rich.table import Table

from gateway import status_view
from gateway.cli_journal import mirror_app
from gateway.cli_parts import State, out
from gateway.config import DEFAULT_STATE
from gateway.control import socket_address
from gateway.errors import CaudalError, ConfigError, NotRunningError
from gateway.state import StateDir

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 320.0
POLL_S: Final = 0.2
TOKEN_VARIABLE: Final = "CAUDAL_TOKEN"  # noqa: S105  (the name of a variable)

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="CAUDAL_SERVER",
        help=f"https://HOST:PORT of an admin service; needs {TOKEN_VARIABLE}.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", envvar="CAUDAL_CA_FILE", help="Certificate that --server is trusted by (PEM)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Role = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]


class Service:
    """One admin service. Errors come as CaudalError with the words of its problems."""

    def __init__(self, state: Path, server: str | None, ca_file: Path | None) -> None:
        # Imported here: it costs a fifth of a second, which no other command needs to wait.
        import httpx

        self._socket = None if server else StateDir(state).admin_socket
        headers: dict[str, str] = {}
        self._where = server or f"the admin service of {state}"
        if server is not None:
            if not server.startswith("https://"):
                raise ConfigError(f"{server} is no https:// address", "give --server https://HOST:PORT")
            if not (token := os.environ.get(TOKEN_VARIABLE)):
                raise ConfigError(
                    f"--server needs a token in {TOKEN_VARIABLE}", "`caudal token create` makes one"
                )
            headers["Authorization"] = f"Bearer {token}"
        self._server = server or "http://localhost"
        self._headers = headers
        try:
            self._verify: ssl.SSLContext | bool = (
                ssl.create_default_context(cafile=str(ca_file)) if server and ca_file else True
            )
        except OSError as error:
            raise ConfigError(f"--ca-file {ca_file} cannot be used: {error}") from error
        self._httpx = httpx

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The answer's JSON, None where it has none."""
        answer = self.send(method, path, body, **headers)
        if not answer.content:
            return None
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def send(self, method: str, path: str, body: object = None, **headers: str) -> "httpx.Response":
        httpx = self._httpx
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with socket_address(self._socket) if self._socket else nullcontext() as address:
                transport = httpx.HTTPTransport(uds=address, verify=self._verify)
                client = httpx.Client(
                    transport=transport, base_url=self._server, headers=self._headers, timeout=TIMEOUT_S
                )
                with client:
                    answer = client.request(method, f"/v1/{path}", json=body, headers=named)
        except (httpx.HTTPError, OSError) as error:
            hint = "start the server with `caudal up`; its admin_port must not be 0"
            if self._socket is None:
                hint = "check --server; a self-signed certificate is trusted by --ca-file (admin/tls.crt in --state)"
            raise NotRunningError(f"{self._where} does not answer: {error}", hint) from error
        if answer.is_error:
            raise _told(answer)
        return answer

    def all_of(self, path: str, most: int | None = None) -> list[dict[str, Any]]:
        """The items of a list, page by page; `most`: no more than so many."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            limit = 200 if most is None else min(200, most - len(found))
            page = cast("dict[str, Any]", self.call("GET", f"{path}?limit={limit}{cursor}"))
            found += page["items"]
            if page["next_cursor"] is None or (most is not None and len(found) >= most):
                return found
            cursor = f"&cursor={page['next_cursor']}"


def _told(answer: "httpx.Response") -> CaudalError:
    try:
        problem: Any = answer.json()
        message, hint = str(problem["detail"]), str(problem.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        message, hint = f"the admin service answered {answer.status_code}", ""
    return NotRunningError(message, hint) if answer.status_code == 503 else CaudalError(message, hint)


def show(value: Any, *, as_json: bool, title: str) -> None:
    """Tells an answer."""
    if as_json:
        typer.echo(json.dumps(value, indent=2))
    elif isinstance(value, dict):
        out().print(status_view.render({title: value}))
    else:
        out().print(str(value))


def show_rows(rows: list[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Tells a list, as a table of some of its columns."""
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, padding=(0, 2))
    for column in columns:
        table.add_column(column.removesuffix("_s"), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(column, row.get(column))) for column in columns))
    out().print(table)


def _cell(column: str, value: object) -> str:
    if value is None:
        return "-"
    if column.endswith("_s") and isinstance(value, int | float):
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


token_app = typer.Typer(help="Tokens that programs sign in with.", no_args_is_help=True)
user_app = typer.Typer(help="People who sign in with a password.", no_args_is_help=True)
audit_app = typer.Typer(help="Who changed what.", no_args_is_help=True)
journal_app = typer.Typer(help="The journal.", no_args_is_help=True)
journal_app.add_typer(mirror_app, name="mirror")
objects_app = typer.Typer(help="The object store.", no_args_is_help=True)
operation_app = typer.Typer(help="Long work.", no_args_is_help=True)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    role: Role = "viewer",
    days: Annotated[float | None, typer.Option("--days", help="Days until it expires; else never.")] = None,
    state: State = DEFAULT_STATE,
    server: Server = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once, last."""
    body = {"name": name, "role": role, "expires_in_s": None if days is None else days * 86400}
    made = Service(state, server, ca_file).call("POST", "tokens", body)
    if as_json:
        typer.echo(json.dumps(made, indent=2))
    else:
        out().print(f"made the token {escape(made['id'])} ({made['role']}); it is not shown again:")
        typer.echo(made["token"])


@token_app.command("list")
def token_list(
    state: State = DEFAULT_STATE, server: Server = None, ca_file: CaFile = None, as_json: AsJson = False
) -> None:
    """Show the tokens."""
    rows = Service(state, server, ca_file).all_of("tokens")
    show_rows(rows, ("id", "name", "role", "created_s", "expires_s", "created_by"), as_json=as_json)


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID")],
    state: State = DEFAULT_STATE,
    server: Server = None,
    ca_file: CaFile = None,
) -> None:
    """Make a token unknown."""
    Service(state, server, ca_file).call("DELETE", f"tokens/{segment(token_id)}")
    out().print(f"revoked {escape(token_id)}")


def segment(text: str) -> str:
    """A name as part of a path."""
    from urllib.parse import quote

    return quote(text, safe="")


def _password() -> str:
    """From the terminal, or the first line of a pipe."""
    stream = typer.get_text_stream("stdin")
    if stream.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    return stream.readline().rstrip("\n")


@user_app.command("add")
def user_add(
    name: str,
    role: Role = "viewer",
    state: State = DEFAULT_STATE,
    server: Server = None,
    ca_file: CaFile = None,
) -> None:
    """Add a user; the password is asked for, or read from standard input."""
    body = {"name": name, "role": role, "password": _password()}
    Service(state, server, ca_file).call("POST", "users", body)
    out().print(f"added {escape(name)} ({escape(role)})")


@user_app.command("list")
def user_list(
    state: State = DEFAULT_STATE, server: Server = None, ca_file: CaFile = None, as_json: AsJson = False
) -> None:
    """Show the users."""
    rows = Service(state, server, ca_file).all_of("users")
    show_rows(rows, ("name", "role", "disabled", "created_s"), as_json=as_json)


@user_app.command("remove")
def user_remove(
    name: str, state: State = DEFAULT_STATE, server: Server = None, ca_file: CaFile = None
) -> None:
    """Remove a user; their sessions end."""
    Service(state, server, ca_file).call("DELETE", f"users/{segment(name)}")
    out().print(f"removed {escape(name)}")


@user_app.command("passwd")
def user_passwd(
    name: str, state: State = DEFAULT_STATE, server: Server = None, ca_file: CaFile = None
) -> None:
    """Set a user's password; their sessions end."""
    service = Service(state, server, ca_file)
    path = f"users/{segment(name)}"
    etag = service.send("GET", path).headers["etag"]
    service.call("PATCH", path, {"password": _password()}, If_Match=etag)
    out().print(f"set the password of {escape(name)}")


@audit_app.command("list")
def audit_list(
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many of the newest.")] = 50,
    state: State = DEFAULT_STATE,
    server: Server = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, the newest first."""
    rows = Service(state, server, ca_file).all_of("audit", limit)
    show_rows(rows, ("at_s", "principal", "address", "action", "target", "detail"), as_json=as_json)


@journal_app.command("flush")
def journal_flush(
    state: State = DEFAULT_STATE,
    server: Server = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is done.")] = False,
) -> None:
    """Bring everything acknowledged to the store."""
    service = Service(state, server, ca_file)
    operation = service.call("POST", "journal/flush")
    while wait and operation["state"] == "running":
        time.sleep(POLL_S)
        operation = service.call("GET", f"operations/{operation['id']}")
    show(operation, as_json=as_json, title="operation")
    if operation["state"] == "failed":
        raise CaudalError(f"the flush failed: {operation['error']}", "everything stays in the journal")


@operation_app.command("list")
def operation_list(
    state: State = DEFAULT_STATE, server: Server = None, ca_file: CaFile = None, as_json: AsJson = False
) -> None:
    """Show the newest operations."""
    rows = Service(state, server, ca_file).call("GET", "operations")["items"]
    show_rows(rows, ("id", "kind", "state", "started_s", "ended_s", "started_by", "error"), as_json=as_json)


@operation_app.command("show")
def operation_show(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    state: State = DEFAULT_STATE,
    server: Server = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one operation."""
    found = Service(state, server, ca_file).call("GET", f"operations/{segment(operation_id)}")
    show(found, as_json=as_json, title="operation")


def _reader(path: str, text: str) -> Callable[..., None]:
    """A command that shows what GET of a path gives."""

    def command(
        state: State = DEFAULT_STATE, server: Server = None, ca_file: CaFile = None, as_json: AsJson = False
    ) -> None:
        show(Service(state, server, ca_file).call("GET", path), as_json=as_json, title=path)

    command.__doc__ = text
    return command


def add_to(app: typer.Typer, cache_app: typer.Typer) -> None:
    """Puts the commands into the command line; cache_app: the `cache` command, which exists."""
    for name, group in (
        ("token", token_app),
        ("user", user_app),
        ("audit", audit_app),
        ("journal", journal_app),
        ("objects", objects_app),
        ("operation", operation_app),
    ):
        app.add_typer(group, name=name)
    journal_app.command("show")(_reader("journal", "Show mirrors, fill, ages and latency."))
    objects_app.command("show")(_reader("objects", "Show the store's state and requests."))
    cache_app.command("show")(_reader("cache", "Show the tiers of the block cache and their hit rates."))
    app.command("health")(_reader("health", "Say whether all is well, and what is not."))
    app.command("metrics")(_reader("metrics", "Show the figures as Prometheus reads them."))
