"""`caudal journal mirror`: the mirrors of a running server's journal."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from gateway.cli_parts import State, call, out
from gateway.config import DEFAULT_STATE
from gateway.state import StateDir

mirror_app = typer.Typer(help="Its mirrors: directories that each hold all of it.", no_args_is_help=True)
CHANGE_TIMEOUT_S: Final = 120.0
Directory = Annotated[Path, typer.Argument(help="Directory of the mirror, best on a disk of its own.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@mirror_app.command("list")
def list_mirrors(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Show the mirrors and how they are: healthy, rebuilding, lost."""
    mirrors: list[dict[str, Any]] = call(StateDir(state), "mirror_list")
    if as_json:
        typer.echo(json.dumps(mirrors, indent=2))
        return
    table = Table(box=None, padding=(0, 2))
    for title in ("mirror", "state", ""):
        table.add_column(title)
    for mirror in mirrors:
        table.add_row(escape(str(mirror["path"])), str(mirror["state"]), escape(str(mirror["why"])))
    out().print(table)


@mirror_app.command("add")
def add(directory: Directory, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Take a directory in as a mirror, now and for later starts. It is rebuilt while clients are served."""
    path = directory.absolute()
    done = call(StateDir(state), "mirror_add", CHANGE_TIMEOUT_S, path=str(path))
    if as_json:
        typer.echo(json.dumps(done))
        return
    out().print(
        f"{escape(str(path))} "
        + (
            "is being rebuilt; `caudal journal mirror list` shows it"
            if done["added"]
            else "was a mirror already"
        )
    )


@mirror_app.command("remove")
def remove(directory: Directory, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Take a mirror out, now and for later starts. Its files stay, and no start goes by them."""
    path = directory.absolute()
    call(StateDir(state), "mirror_remove", CHANGE_TIMEOUT_S, path=str(path))
    if as_json:
        typer.echo(json.dumps({"removed": True}))
        return
    out().print(f"{escape(str(path))} is no mirror any more; its files may be removed")
