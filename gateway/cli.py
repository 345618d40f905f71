"""The command line: the same words as the configuration file.

Errors come as one or two lines on stderr and an exit code: 1 failed, 2 wrong usage or configuration, 3 no
server is running, 4 damage found.
"""

import contextlib
import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape

from gateway import cli_admin, cli_cache, cli_quota, launch, log, mirrors_file, status_view
from gateway import config as configuration
from gateway.cli_alerts import alert_app
from gateway.cli_exports import export_app
from gateway.cli_kerberos import kerberos_app
from gateway.cli_keys import key_app
from gateway.cli_limits import limit_app
from gateway.cli_meter import meter_app
from gateway.cli_objects import objects_app
from gateway.cli_oidc import oidc_app
from gateway.cli_parts import State, call, out
from gateway.cli_recover import recover
from gateway.cli_shares import share_app
from gateway.cli_support import support_app
from gateway.config import DEFAULT_STATE, KEYS, Config
from gateway.errors import CaudalError, Exit, NotRunningError
from gateway.state import StateDir
from gateway.supervisor import Served

app = typer.Typer(
    name="caudal",
    help="A file gateway: NFS clients on one side, Azure Blob Storage on the other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
cache_app = typer.Typer(help="The block cache.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(cache_app, name="cache")
app.add_typer(key_app, name="key")
app.add_typer(export_app, name="export")
app.add_typer(share_app, name="share")
app.add_typer(kerberos_app, name="kerberos")
app.add_typer(limit_app, name="limit")
app.add_typer(support_app, name="support")
app.add_typer(meter_app, name="meter")
app.add_typer(alert_app, name="alert")
app.add_typer(oidc_app, name="oidc")
app.command("recover")(recover)
cli_admin.add_to(app, cache_app)
cli_cache.add_to(app, cache_app, cli_admin.operation_app)
app.add_typer(cli_quota.quota_app, name="quota")
app.add_typer(objects_app, name="objects")

DEBUG_VARIABLE = "CAUDAL_DEBUG"
TAKE_OVER_NOTE = (
    "taking the file system over, for which another owner's lease has to end (a minute at most); what that owner"
    " acknowledged and only its own journal holds will be missing"
)
# Options that take several values, with or without being repeated: --clients 10.0.0.0/8 fd00::/8.
SPREADING = ("--clients", "--journal", "--shelf")


def _help(key: str) -> str:
    return escape(KEYS[key].help)


Text = str | None
ConfigFile = Annotated[
    Path | None, typer.Option("--config", envvar="CAUDAL_CONFIG", help="Configuration file (TOML).")
]


def _effective_config(state: Path, file: Path | None, flags: dict[str, object]) -> Config:
    """Options over environment over file: the one given, else what the last `up` in this state directory
    left.
    """
    known = StateDir(state).config_file
    if file is None and known.exists():
        file = known
    return configuration.load(file, os.environ, flags)


@app.command()
def up(
    state: Annotated[Path | None, typer.Option(help=_help("state"))] = None,
    config: ConfigFile = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the server answers.")] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Start although the journal lacks what was acknowledged; an up without it says what that is.",
        ),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the file system from another server that owns it.")
    ] = False,
    store: Annotated[Text, typer.Option(help=_help("store"))] = None,
    export: Annotated[Text, typer.Option(help=_help("export"))] = None,
    nfs_port: Annotated[Text, typer.Option(help=_help("nfs_port"))] = None,
    mountd_port: Annotated[Text, typer.Option(help=_help("mountd_port"))] = None,
    nlm_port: Annotated[Text, typer.Option(help=_help("nlm_port"))] = None,
    admin_port: Annotated[Text, typer.Option(help=_help("admin_port"))] = None,
    admin_database: Annotated[Text, typer.Option(help=_help("admin_database"), metavar="URL")] = None,
    admin_syslog: Annotated[Text, typer.Option(help=_help("admin_syslog"), metavar="URL")] = None,
    audit: Annotated[Text, typer.Option(help=_help("audit"))] = None,
    audit_syslog: Annotated[Text, typer.Option(help=_help("audit_syslog"), metavar="URL")] = None,
    admin_certificate: Annotated[Text, typer.Option(help=_help("admin_certificate"), metavar="FILE")] = None,
    admin_certificate_key: Annotated[
        Text, typer.Option(help=_help("admin_certificate_key"), metavar="FILE")
    ] = None,
    clients: Annotated[list[str] | None, typer.Option(help=_help("clients"), metavar="CIDR...")] = None,
    squash: Annotated[Text, typer.Option(help=_help("squash"))] = None,
    manage_gids: Annotated[Text, typer.Option(help=_help("manage_gids"))] = None,
    trial: Annotated[Text, typer.Option(help=_help("trial"))] = None,
    encryption_key: Annotated[Text, typer.Option(help=_help("encryption_key"), metavar="FILE")] = None,
    journal: Annotated[list[str] | None, typer.Option(help=_help("journal"), metavar="DIR...")] = None,
    l1_bytes: Annotated[Text, typer.Option(help=_help("l1_bytes"))] = None,
    l1_min_bytes: Annotated[Text, typer.Option(help=_help("l1_min_bytes"))] = None,
    l1_max_bytes: Annotated[Text, typer.Option(help=_help("l1_max_bytes"))] = None,
    shelf: Annotated[list[str] | None, typer.Option(help=_help("shelf"), metavar="DIR=SIZE...")] = None,
    l2_dir: Annotated[Text, typer.Option(help=_help("l2_dir"))] = None,
    l2_bytes: Annotated[Text, typer.Option(help=_help("l2_bytes"))] = None,
    l2_min_bytes: Annotated[Text, typer.Option(help=_help("l2_min_bytes"))] = None,
    l2_max_bytes: Annotated[Text, typer.Option(help=_help("l2_max_bytes"))] = None,
    memory_price_gib_month: Annotated[Text, typer.Option(help=_help("memory_price_gib_month"))] = None,
    disk_price_gib_month: Annotated[Text, typer.Option(help=_help("disk_price_gib_month"))] = None,
    read_price_10k: Annotated[Text, typer.Option(help=_help("read_price_10k"))] = None,
    wait_price_hour: Annotated[Text, typer.Option(help=_help("wait_price_hour"))] = None,
    cache_policy_interval_s: Annotated[Text, typer.Option(help=_help("cache_policy_interval_s"))] = None,
    dirty_memory_bytes: Annotated[Text, typer.Option(help=_help("dirty_memory_bytes"))] = None,
    journal_limit_bytes: Annotated[Text, typer.Option(help=_help("journal_limit_bytes"))] = None,
    segment_bytes: Annotated[Text, typer.Option(help=_help("segment_bytes"))] = None,
    pack_bytes: Annotated[Text, typer.Option(help=_help("pack_bytes"))] = None,
    readahead_bytes: Annotated[Text, typer.Option(help=_help("readahead_bytes"))] = None,
    max_inodes: Annotated[Text, typer.Option(help=_help("max_inodes"))] = None,
    metadata_memory_bytes: Annotated[Text, typer.Option(help=_help("metadata_memory_bytes"))] = None,
    flush_age_s: Annotated[Text, typer.Option(help=_help("flush_age_s"))] = None,
    checkpoint_interval_s: Annotated[Text, typer.Option(help=_help("checkpoint_interval_s"))] = None,
    backup_interval_s: Annotated[Text, typer.Option(help=_help("backup_interval_s"))] = None,
    backup_retention_s: Annotated[Text, typer.Option(help=_help("backup_retention_s"))] = None,
    gc_interval_s: Annotated[Text, typer.Option(help=_help("gc_interval_s"))] = None,
    gc_grace_s: Annotated[Text, typer.Option(help=_help("gc_grace_s"))] = None,
    store_wait_s: Annotated[Text, typer.Option(help=_help("store_wait_s"))] = None,
    mirror_wait_s: Annotated[Text, typer.Option(help=_help("mirror_wait_s"))] = None,
    owner_lease_s: Annotated[Text, typer.Option(help=_help("owner_lease_s"))] = None,
    owner_strict: Annotated[Text, typer.Option(help=_help("owner_strict"))] = None,
    lease_s: Annotated[Text, typer.Option(help=_help("lease_s"))] = None,
    grace_s: Annotated[Text, typer.Option(help=_help("grace_s"))] = None,
    start_timeout_s: Annotated[Text, typer.Option(help=_help("start_timeout_s"))] = None,
    log_level: Annotated[Text, typer.Option(help=_help("log_level"))] = None,
) -> None:
    """Start the server: serve files over NFS until stopped, or with --detach in the background."""
    given: dict[str, object] = dict(locals())
    flags = {key: given[key] for key in KEYS if given[key] is not None}
    where = state or Path(os.environ.get("CAUDAL_STATE") or DEFAULT_STATE)
    loaded = mirrors_file.applied(_effective_config(where, config, flags))
    if take_over:
        out().print(TAKE_OVER_NOTE)
    launcher = launch.Launcher(loaded, os.environ, _new_fs_id, take_over=take_over, accept_loss=accept_loss)
    if detach:
        with out().status("starting") if sys.stdout.isatty() else contextlib.nullcontext():
            served = launcher.detached()
        _tell_served(loaded, served)
    else:
        log.configure(loaded.log_level)
        launcher.foreground(lambda served: _tell_served(loaded, served))


def _new_fs_id() -> bytes:
    return secrets.token_bytes(16)


def _tell_served(config: Config, served: Served) -> None:
    port = f":{served.nfs_port}" if served.nfs_port != 2049 else ""
    versions = ", ".join(served.versions)
    out().print(
        f"serving [bold]{escape(config.export)}[/bold] from {escape(config.store)} over NFS {versions}{port}"
    )
    if served.note:
        out().print(f"[yellow]{escape(served.note)}[/yellow]")
    if config.admin_port:
        out().print(
            f"dashboard: https://localhost:{config.admin_port}/ (`caudal user add` makes its first user)"
        )
    out().print(f"mount it: {escape(mount_command(config, served))}")


def mount_command(config: Config, served: Served) -> str:
    """The mount command for a client on this machine."""
    options = "vers=4.2" + (f",port={served.nfs_port}" if served.nfs_port != 2049 else "")
    return f"mount -t nfs -o {options} localhost:{config.export} /mnt"


@app.command()
def down(
    state: State = DEFAULT_STATE,
    flush: Annotated[
        bool, typer.Option("--flush", help="Bring everything acknowledged to the store first.")
    ] = False,
) -> None:
    """Stop the server. Without --flush the journal keeps what is not in the store yet."""
    if launch.down(StateDir(state), flush=flush):
        out().print(f"stopped the server of {escape(str(state))}")
    else:
        out().print(f"no server is running on {escape(str(state))}")


@app.command()
def status(
    state: State = DEFAULT_STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Show how the server is doing."""
    directory = StateDir(state)
    found = _with_nfs(directory, call(directory, "status"))
    if as_json:
        typer.echo(json.dumps(found, indent=2, default=str))
    else:
        out().print(status_view.render(found))


def _with_nfs(directory: StateDir, found: object) -> dict[str, Any]:
    fields = dict(cast("dict[str, Any]", found)) if isinstance(found, dict) else {}
    try:
        nfs: Any = json.loads(directory.nfs_file.read_bytes())
    except (OSError, ValueError):
        nfs = {"pid": None, "versions": [], "exports": []}
    return {"nfs": nfs, **{key: value for key, value in fields.items() if key != "nfs"}}


@app.command()
def flush(
    state: State = DEFAULT_STATE,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is in the store.")] = False,
) -> None:
    """Bring what was acknowledged before this command to the store."""
    result = call(StateDir(state), "flush", timeout_s=None if wait else 30.0, wait=wait)
    out().print("everything acknowledged is in the store" if wait else "the flush has begun")
    _print_fields(result)


@cache_app.command("drop")
def cache_drop(
    state: State = DEFAULT_STATE,
    l1: Annotated[bool, typer.Option("--l1", help="The cache in memory.")] = False,
    l2: Annotated[bool, typer.Option("--l2", help="The cache on disk.")] = False,
) -> None:
    """Empty the block cache: both levels, or the one that is named. What is dirty stays."""
    both = not l1 and not l2
    call(StateDir(state), "cache_drop", timeout_s=300.0, l1=l1 or both, l2=l2 or both)
    out().print(
        "dropped " + " and ".join(name for name, on in (("L1", l1 or both), ("L2", l2 or both)) if on)
    )


@app.command()
def fsck(
    state: State = DEFAULT_STATE,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every pack and check every block.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Check names, extents, packs and journal against each other, while the server runs or not."""
    directory = StateDir(state)
    report = (_served_fsck if directory.is_locked() else _offline_fsck)(directory, repair=repair, deep=deep)
    fields = cast("dict[str, Any]", report)
    typer.echo(json.dumps(fields, indent=2, default=str)) if as_json else out().print(
        status_view.render_fsck(fields)
    )
    if not fields.get("clean", False):
        raise typer.Exit(Exit.DAMAGED)


def _offline_fsck(directory: StateDir, *, repair: bool, deep: bool) -> object:
    """The check of a file system that is not served, under the lock that a server would take."""
    if directory.read_identity() is None:
        raise NotRunningError(f"{directory.root} holds no file system", "give the --state of one")
    # Imported here: it loads the native core, which no other command needs.
    from gateway.fsal.check import fsck_offline

    lock = directory.lock()
    try:
        return fsck_offline(directory.root, os.environ, repair=repair, deep=deep)
    finally:
        os.close(lock)


def _served_fsck(directory: StateDir, *, repair: bool, deep: bool) -> object:
    """The check beside a running server, in this process: the server has better things to do."""
    from gateway.fsal.check import fsck_served

    return fsck_served(directory.root, os.environ, partial(call, directory), repair=repair, deep=deep)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"caudal {installed_version()}")


def installed_version() -> str:
    """The version of the installed package, or that the tree is used as it is."""
    try:
        return metadata.version("caudal")
    except metadata.PackageNotFoundError:
        return "(not installed)"


@config_app.command("check")
def config_check(
    config: ConfigFile = None, state: Annotated[Path | None, typer.Option(help=_help("state"))] = None
) -> None:
    """Say whether the configuration is right, and what is wrong with it."""
    loaded = _load_for_display(config, state)
    source = f" {config}" if config is not None else ""
    out().print(
        f"the configuration{escape(source)} is right: {len(loaded.explicit)} keys given, the others by default"
    )


@config_app.command("show")
def config_show(
    config: ConfigFile = None,
    state: Annotated[Path | None, typer.Option(help=_help("state"))] = None,
    everything: Annotated[bool, typer.Option("--all", help="With the keys that have their default.")] = False,
) -> None:
    """Show the configuration that file and environment give, as TOML."""
    typer.echo(_load_for_display(config, state).to_toml(everything=everything), nl=False)


def _load_for_display(file: Path | None, state: Path | None) -> Config:
    where = state or Path(os.environ.get("CAUDAL_STATE") or DEFAULT_STATE)
    return _effective_config(where, file, {} if state is None else {"state": str(state)})


def _print_fields(result: object) -> None:
    if isinstance(result, dict):
        for key, value in cast("dict[str, object]", result).items():
            out().print(f"  {escape(key)}: {escape(str(value))}")


def spread(arguments: Sequence[str]) -> list[str]:
    """Lets options that take several values take them in a row: `--clients A B` becomes `--clients A
    --clients B`.
    """
    spreaded: list[str] = []
    option = ""
    fresh = False
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in SPREADING else ""
            fresh = True
        elif option:
            if not fresh:
                spreaded.append(option)
            fresh = False
        spreaded.append(argument)
    return spreaded


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits."""
    words = spread(sys.argv[1:] if arguments is None else arguments)
    try:
        app(words)
    except CaudalError as error:
        _tell_error(error)
        sys.exit(error.exit_code)
    except Exception as error:
        # Whatever nobody foresaw: users get a sentence, developers may ask for more.
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _tell_error(
            CaudalError(f"{type(error).__name__}: {error}", f"{DEBUG_VARIABLE}=1 shows where it happened")
        )
        sys.exit(Exit.FAILED)


def _tell_error(error: CaudalError) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error:[/bold red] {escape(error.message)}")
    if error.hint:
        console.print(escape(re.sub(r"^", "  ", error.hint, flags=re.MULTILINE)))
