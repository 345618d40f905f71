"""Calls of the admin service: by its local socket (--state), or over HTTPS with a token (--server). What commands that do so
share: their options, following an operation, and showing answers.
"""

import functools
import inspect
import json
import os
import ssl
import time
import typing
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from rich.markup import escape
from rich.table import Table

from gateway import status_view
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
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is done.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


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


def calls_service(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `service` is made from the options --state, --server and --ca-file, which it gets."""
    hints = typing.get_type_hints(command, include_extras=True)
    options = {"state": (State, DEFAULT_STATE), "server": (Server, None), "ca_file": (CaFile, None)}
    own = [
        one.replace(annotation=hints[name])
        for name, one in inspect.signature(command).parameters.items()
        if name != "service"
    ]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
        )
        for name, (annotation, default) in options.items()
    ]
    # Python wants what has no default first.
    parameters = sorted([*own, *added], key=lambda one: one.default is not inspect.Parameter.empty)

    @functools.wraps(command)
    def run(**given: Any) -> None:
        service = Service(given.pop("state"), given.pop("server"), given.pop("ca_file"))
        command(service=service, **given)

    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def follow(service: Service, operation: Any, *, wait: bool, as_json: bool) -> None:
    """Shows an operation, and with `wait` how it goes until it ends. Raises CaudalError where it failed."""
    while wait and operation["state"] == "running":
        time.sleep(POLL_S)
        operation = service.call("GET", f"operations/{operation['id']}")
    if as_json:
        typer.echo(json.dumps(operation, indent=2))
    else:
        told = ", ".join(f"{name} {value}" for name, value in operation["progress"].items())
        out().print(
            f"{operation['kind']} {operation['id']}: {operation['state']}" + (f" ({told})" if told else "")
        )
    if operation["state"] in ("failed", "cancelled"):
        raise CaudalError(str(operation["error"] or "it was cancelled"), "what was done so far stays")


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


def segment(text: str) -> str:
    """A name as part of a path."""
    from urllib.parse import quote

    return quote(text, safe="")
