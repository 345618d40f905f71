"""`caudal support bundle`: one file for those who are to help."""

import time
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape

from gateway import config as configuration
from gateway import support
from gateway.cli_parts import State, call, out
from gateway.config import DEFAULT_STATE
from gateway.errors import CaudalError
from gateway.state import StateDir

support_app = typer.Typer(help="For those who are to help.", no_args_is_help=True)


@support_app.command("bundle")
def support_bundle(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default caudal-support-TIME.tar.gz here.")
    ] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Write logs, configuration and status into one file, without passwords, keys and data."""
    now_s = time.clock_gettime(time.CLOCK_REALTIME)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    target = output or Path(f"caudal-support-{stamp}.tar.gz")
    status: dict[str, Any] | None
    try:
        status = cast("dict[str, Any]", call(StateDir(state), "status", timeout_s=10.0))
    except CaudalError as error:
        status = {"none": error.message}
    try:
        names = support.write(target, configuration.effective(state), status, now_s)
    except OSError as error:
        raise CaudalError(f"{target} cannot be written: {error.strerror}", "give another --output") from error
    out().print(f"wrote {escape(str(target))}: {len(names)} files; look into it before you send it")
