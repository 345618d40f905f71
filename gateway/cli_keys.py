"""`caudal key`: the keys by which a file system is encrypted."""

import os
import secrets
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from gateway import config as configuration
from gateway.cli_parts import State, call, out
from gateway.config import DEFAULT_STATE, Config
from gateway.errors import CaudalError
from gateway.objects import core_options, key_file
from gateway.objects import vault as key_vault
from gateway.objects.key_file import KEY_BYTES, KeyFile, read_key_file
from gateway.objects.vault import Wrapped
from gateway.state import StateDir

key_app = typer.Typer(help="The keys that packs are encrypted with.", no_args_is_help=True)
RELOAD_TIMEOUT_S: Final = 60.0
"""It asks the store."""
_VAULT_HELP: Final = "An RSA key of Azure Key Vault, https://NAME.vault.azure.net/keys/KEY."
Vault = Annotated[
    str | None,
    typer.Option(
        "--vault", metavar="URL", help=f"{_VAULT_HELP} It wraps the key: the file alone reads nothing."
    ),
]


@key_app.command("create")
def create(
    file: Annotated[Path, typer.Argument(help="The key file to make.")],
    key_id: Annotated[str, typer.Option("--id", help="Name of the key.")] = "key-1",
    vault: Vault = None,
) -> None:
    """Make a key file with one new key. Keep a copy of it in another place."""
    key_file.check_new(file, key_id)
    key_file.create(file, key_id, _new_key(vault))
    out().print(f"made {escape(str(file))} with the key [bold]{escape(key_id)}[/bold]; keep a copy elsewhere")


@key_app.command("list")
def list_keys(
    state: State = DEFAULT_STATE,
    packs: Annotated[bool, typer.Option("--packs", help="Count what each key has sealed, too.")] = False,
) -> None:
    """Show the ids of the keys, and which of them the store needs."""
    settings, file = _key_file(state)
    # Imported here: it loads the native core, which the other commands do not need.
    from gateway.objects import keys

    store = _store(settings)
    needed = keys.needed(store)
    counts: Counter[str] = keys.in_use(store) if packs else Counter()
    table = Table(box=None, padding=(0, 2))
    for title in ("key", "", "store", *(("objects",) if packs else ())):
        table.add_column(title)
    for key_id in [*file.ids, *sorted(set(needed) - set(file.ids))]:
        role = "current" if key_id == file.current else "for reading" if key_id in file.ids else "MISSING"
        wrapped = ", wrapped" if key_id in file.wrapped else ""
        need = "needs it" if key_id in needed else ""
        table.add_row(escape(key_id), role + wrapped, need, *((str(counts[key_id]),) if packs else ()))
    out().print(table)
    for url in sorted({wrapped.url for wrapped in file.wrapped.values()}):
        out().print(f"wrapped by {escape(url)}", soft_wrap=True)


@key_app.command("rotate")
def rotate(
    state: State = DEFAULT_STATE,
    key_id: Annotated[str | None, typer.Option("--id", help="Name of the new key.")] = None,
    vault: Vault = None,
) -> None:
    """Put a new key first in the key file. New packs are sealed with it; the old keys stay for reading.

    Where a key of Azure Key Vault wraps the current one, it wraps the new one too.
    """
    _, file = _key_file(state)
    new = key_file.add(file, key_id, lambda: _new_key(vault or file.vault_key))
    out().print(
        f"the current key is [bold]{escape(new)}[/bold]; copy {escape(str(file.path))} elsewhere again"
    )
    _reload(StateDir(state))


@key_app.command("wrap")
def wrap(
    vault: Annotated[str, typer.Argument(help=_VAULT_HELP, metavar="URL")],
    state: State = DEFAULT_STATE,
) -> None:
    """Let a key of Azure Key Vault wrap all keys in the key file: without the vault the file is worth nothing.

    Again, after the vault's key has a new version: then that one wraps them.
    """
    _, file = _key_file(state)
    key_file.replace(file, {key_id: key_vault.wrap(secret, vault) for key_id, secret in file.keys})
    out().print(
        f"{len(file.keys)} keys in {escape(str(file.path))} are wrapped by {escape(vault)};"
        " copies of the file as it was still hold them plainly: delete them"
    )


@key_app.command("rewrite")
def rewrite(state: State = DEFAULT_STATE) -> None:
    """Seal with the current key what lives in packs that another one, or none, has sealed."""
    from gateway.fsal.rewrite import rewrite as seal_anew

    directory = StateDir(state)

    done = seal_anew(state, os.environ, partial(call, directory))
    out().print(f"nothing lives in {done.packs} old packs any more; garbage collection deletes them")
    if done.packs_left:
        raise CaudalError(
            f"something lives in {done.packs_left} old packs still", "it was busy: run the command again"
        )


@key_app.command("retire")
def retire(
    key_id: Annotated[str, typer.Argument(help="The key to take out.")], state: State = DEFAULT_STATE
) -> None:
    """Take a key out of the key file, if nothing in the store is sealed with it any more."""
    settings, file = _key_file(state)
    if key_id not in file.ids or key_id == file.current:
        # Tells what is wrong.
        key_file.remove(file.path, key_id)
    from gateway.objects import keys

    directory = StateDir(state)
    if directory.is_locked():
        used = call(directory, "status")["encryption"].get("used_since_start", [])
        if key_id in used:
            raise CaudalError(
                f"the running server has sealed with the key {key_id}, and may have packs on their way",
                "restart it (caudal down, caudal up), then retire the key",
            )
    store = _store(settings)
    keys.check_retirable(store, key_id)
    # In this order: a crash between leaves a key too many, never one too few.
    keys.forget(store, key_id)
    key_file.remove(file.path, key_id)
    out().print(f"the key {escape(key_id)} is out of use; backups of the key file may drop it")
    _reload(directory)


def _key_file(state: Path) -> tuple[Config, KeyFile]:
    settings = configuration.effective(state)
    if settings.encryption_key is None:
        raise CaudalError(
            f"the file system of {state} is not encrypted",
            "`caudal key create FILE`, then `caudal up --encryption-key FILE`",
        )
    return settings, read_key_file(settings.encryption_key)


def _new_key(vault: str | None) -> bytes | Wrapped:
    secret = secrets.token_bytes(KEY_BYTES)
    return secret if vault is None else key_vault.wrap(secret, vault)


def _store(settings: Config) -> Any:
    from gateway._core import PackStore

    return PackStore(settings.store, core_options(settings.store, os.environ))


def _reload(directory: StateDir) -> None:
    if directory.is_locked():
        call(directory, "keys_reload", RELOAD_TIMEOUT_S)
    else:
        out().print("no server is running: the next start takes it")
