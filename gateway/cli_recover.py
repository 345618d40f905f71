"""`caudal recover`: what is left of a lost machine becomes a state directory on this one."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from gateway import config as configuration
from gateway import log
from gateway.cli_parts import out
from gateway.config import KEYS
from gateway.config_values import human
from gateway.errors import ConfigError


def recover(
    store: Annotated[str, typer.Option(help="The container of the lost machine.")],
    state: Annotated[Path, typer.Option(help="Directory to make, or an empty one: the new machine's.")],
    journal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR...",
            help="A surviving mirror of the journal, attached to this machine: everything acknowledged comes back.",
        ),
    ] = None,
    encryption_key: Annotated[
        str | None, typer.Option(help=escape(KEYS["encryption_key"].help), metavar="FILE")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Recover to a moment before, as 2027-01-31T12:00:00Z.")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Though another server's lease may still run.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")] = None,
) -> None:
    """Rebuild a file system on an empty machine from its container. `caudal up` then serves it."""
    upto_ms = None if at is None else _milliseconds(at)
    flags = {"store": store, "state": str(state), "journal": journal, "encryption_key": encryption_key}
    loaded = configuration.load(config, os.environ, flags)
    log.configure(loaded.log_level)
    # Imported here: it loads the native core, which most commands do not need.
    from gateway import recover as recovery

    def tell(text: str) -> None:
        out().print(escape(text))

    done = recovery.recover(loaded, os.environ, take_over=take_over, upto_ms=upto_ms, tell=tell)
    moment = datetime.fromtimestamp(done.restored.complete_ms / 1000, UTC).isoformat(timespec="milliseconds")
    if done.journal:
        told = "everything acknowledged"
    else:
        told = f"everything acknowledged before {moment}, file data as far as it was in the store"
    out().print(f"recovered file system {done.fs_id.hex()}: [bold]{escape(told)}[/bold] (LSN {done.lsn:#x})")
    out().print(f"{done.counts.inodes} inodes, {human(done.counts.bytes)}")
    if done.restored.skipped:
        out().print(
            f"[yellow]{len(done.restored.skipped)} objects of the backups are damaged; newer ones than these"
            " may have been lost with them[/yellow]"
        )
    out().print(f"serve it: caudal up --state {escape(str(state))}")


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--at: {text!r} is not a time", "give one as 2027-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
