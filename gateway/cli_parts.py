"""What all commands of the command line share: the state option, output, and calls to a running server."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from gateway.config import KEYS
from gateway.control import ControlClient
from gateway.errors import NotRunningError
from gateway.state import StateDir

State = Annotated[Path, typer.Option("--state", envvar="CAUDAL_STATE", help=escape(KEYS["state"].help))]
CALL_TIMEOUT_S: Final = 30.0


def call(directory: StateDir, op: str, timeout_s: float | None = CALL_TIMEOUT_S, **fields: object) -> Any:
    """An operation of the running server. Raises NotRunningError that names the state directory."""
    if not directory.is_locked():
        by = directory.fenced_by()
        raise NotRunningError(
            f"no server is running on {directory.root}"
            + (f": its file system was taken over by {by}" if by else ""),
            f"start one with `caudal up --state {directory.root}`" + (" --take-over" if by else ""),
        )
    with ControlClient(directory.control_socket, timeout_s) as client:
        return client.call(op, **fields)


def out() -> Console:
    """Where commands tell people things."""
    return Console(soft_wrap=True, highlight=False)


def read_secret(what: str) -> str:
    """From the terminal, or the first line of a pipe."""
    stream = typer.get_text_stream("stdin")
    if stream.isatty():
        return str(typer.prompt(what, hide_input=True, confirmation_prompt=True))
    return stream.readline().rstrip("\n")
