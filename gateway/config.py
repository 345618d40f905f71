"""Configuration: one TOML file, whose keys are the long options of `caudal up` in snake case.

Environment variables (`CAUDAL_NFS_PORT`) override the file, options (`--nfs-port`) override both. Values are checked here,
once: a mistake is reported with key, value, place and what would be right. What the machine decides is chosen here too.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from gateway import config_cache
from gateway import config_values as values
from gateway.config_cache import Shelf
from gateway.config_memory import MetadataBounds, metadata_bounds
from gateway.config_values import GIB, MIB, Key, fixed
from gateway.errors import ConfigError
from gateway.log import LEVELS

DEFAULT_STATE: Final = Path("/var/lib/caudal")
ENV_PREFIX: Final = "CAUDAL_"
# Of the file: `up` writes it, people may. Raised when an older version would misunderstand a file.
FORMAT: Final = 1
AZURE_LEASE_MIN_S: Final = 15
# Variables of other parts of the product that share the prefix.
OTHER_VARIABLES: Final = frozenset({"CAUDAL_CONFIG", "CAUDAL_DEBUG", "CAUDAL_CACHE", "CAUDAL_FAILPOINTS"})


@dataclass(frozen=True, slots=True)
class Config:
    """The checked configuration. Sizes are bytes, times seconds, paths absolute; `explicit` names the keys
    that were given.
    """

    state: Path
    store: str
    export: str
    nfs_port: int
    mountd_port: int
    nlm_port: int
    admin_port: int
    admin_database: str
    admin_syslog: str
    audit: str
    audit_syslog: str
    admin_certificate: Path | None
    admin_certificate_key: Path | None
    clients: tuple[str, ...]
    squash: str
    manage_gids: bool
    trial: bool
    encryption_key: Path | None
    journal: tuple[Path, ...]
    l1_bytes: int
    l1_min_bytes: int
    l1_max_bytes: int
    shelf: tuple[Shelf, ...]
    l2_dir: Path
    l2_bytes: int
    l2_min_bytes: int
    l2_max_bytes: int
    readahead_bytes: int
    memory_price_gib_month: float
    disk_price_gib_month: float
    read_price_10k: float
    wait_price_hour: float
    cache_policy_interval_s: float
    dirty_memory_bytes: int
    journal_limit_bytes: int
    segment_bytes: int
    pack_bytes: int
    max_inodes: int
    metadata_memory_bytes: int
    flush_age_s: float
    checkpoint_interval_s: float
    backup_interval_s: float
    backup_retention_s: float
    gc_interval_s: float
    gc_grace_s: float
    store_wait_s: float
    owner_lease_s: int
    owner_strict: bool
    mirror_wait_s: float
    lease_s: int
    grace_s: int
    start_timeout_s: float
    log_level: str
    explicit: frozenset[str] = frozenset()

    @property
    def metadata(self) -> MetadataBounds:
        """What metadata_memory_bytes comes to for each cache."""
        return metadata_bounds(self.metadata_memory_bytes)

    @property
    def shelves(self) -> tuple[Shelf, ...]:
        """All of L2: the directory of the server's own, and those that were named."""
        own = (Shelf(self.l2_dir, self.l2_bytes),) if self.l2_bytes else ()
        return (*own, *self.shelf)

    def to_toml(self, *, everything: bool = False) -> str:
        """The configuration as TOML text: the keys that were given, or all of them."""
        keys = [key for key in KEYS if everything or key in self.explicit]
        return "".join(f"{key} = {values.to_toml(getattr(self, key))}\n" for key in keys)

    def with_journal(self, journal: tuple[Path, ...]) -> "Config":
        """The same with other mirrors, named."""
        return replace(self, journal=journal, explicit=self.explicit | {"journal"})

    def file_text(self) -> str:
        """The configuration file of a state directory: what the next start without one begins with."""
        return (
            "# What `caudal up` was last given. The next `up` without --config starts from it.\n"
            f"format = {FORMAT}\n" + self.to_toml()
        )


KEYS: Final[dict[str, Key]] = {
    "state": Key(values.path, fixed(DEFAULT_STATE), "Directory of everything that must survive a restart."),
    "store": Key(
        values.store, values.default_store, "Where file data goes: file:///path or az://container[/prefix]."
    ),
    "export": Key(values.export, fixed("/data"), "Path that clients mount."),
    "nfs_port": Key(values.port, fixed(2049), "TCP port of NFS."),
    "mountd_port": Key(values.port, fixed(20048), "TCP port of the mount protocol (NFS 3)."),
    "nlm_port": Key(
        values.port_or_any, fixed(0), "TCP port of the lock manager (NFS 3); 0 takes a free one."
    ),
    "admin_port": Key(
        values.port_or_any, fixed(8443), "TCP port of the admin service (HTTPS); 0 turns it off."
    ),
    "admin_database": Key(
        values.database,
        fixed(""),
        "PostgreSQL database of the admin service (postgresql://USER:PASSWORD@HOST/DATABASE); empty: SQLite in the state"
        " directory.",
    ),
    "admin_syslog": Key(
        values.collector,
        fixed(""),
        "Where the audit goes as syslog (RFC 5424): tls://HOST:PORT or tcp://HOST:PORT; empty: nowhere.",
    ),
    "audit": Key(values.audit, fixed("off"), "Audit of files by the configured export: off, changes, all."),
    "audit_syslog": Key(values.collector, fixed(""), "Where that audit goes, too: tls://HOST:PORT, tcp://…"),
    "admin_certificate": Key(
        values.path_or_none,
        fixed(None),
        "Certificate of the admin service (PEM, with its chain); empty: it makes one itself.",
    ),
    "admin_certificate_key": Key(
        values.path_or_none, fixed(None), "Private key of that certificate (PEM, without a password)."
    ),
    "clients": Key(
        values.clients,
        fixed(("127.0.0.1", "::1")),
        "Who may mount: addresses, networks (10.0.0.0/8), host names, @netgroups, or * for everybody.",
    ),
    "squash": Key(values.one_of("none", "root", "all"), fixed("none"), "Whose requests are made anonymous."),
    "manage_gids": Key(
        values.yes_or_no,
        fixed(False),
        "Look up users' groups on this machine, so that more than 16 count; unknown users get nothing.",
    ),
    "trial": Key(
        values.yes_or_no,
        fixed(False),
        "Hold the whole server to 64 MiB and 2000 reads and writes a second, as fits a trial.",
    ),
    "encryption_key": Key(
        values.path_or_none,
        fixed(None),
        "File with the keys by which packs are encrypted before they leave this machine; empty: they are not.",
    ),
    "journal": Key(
        values.paths, values.default_journal, "Directories of the journal's mirrors, each on its own disk."
    ),
    **config_cache.KEYS,
    "dirty_memory_bytes": Key(
        values.size(8 * MIB), values.default_dirty, "Written bytes kept in memory until flushed."
    ),
    "journal_limit_bytes": Key(
        values.size(16 * MIB), values.default_journal_limit, "Most that the journal may take."
    ),
    "segment_bytes": Key(values.size(4 * MIB, GIB), fixed(64 * MIB), "Size of one journal file."),
    "pack_bytes": Key(
        values.size(MIB // 4, 64 * MIB), fixed(8 * MIB), "Size that packs in the store aim at."
    ),
    "max_inodes": Key(values.whole(1000), fixed(200_000), "Files kept live in memory."),
    "metadata_memory_bytes": Key(
        values.size(16 * MIB), values.default_metadata_memory, "Memory for names and attributes."
    ),
    "flush_age_s": Key(values.seconds(0, 3600), fixed(2.0), "Age at which written bytes go to the store."),
    "checkpoint_interval_s": Key(
        values.seconds(0.01, 3600), fixed(1.0), "Time between checkpoints into the database."
    ),
    "backup_interval_s": Key(
        values.seconds(0.05, 3600), fixed(5.0), "Time between backups of changed metadata into the store."
    ),
    "backup_retention_s": Key(
        values.seconds(0, 86400 * 3650),
        fixed(7 * 86400.0),
        "How far back metadata can be recovered from the store, whose deleted data is kept as long; 0: the present only.",
    ),
    "gc_interval_s": Key(
        values.seconds(0.1, 86400), fixed(60.0), "Time between looks for packs to delete or compact."
    ),
    "gc_grace_s": Key(
        values.seconds(0, 86400 * 30), fixed(600.0), "How long a pack without live data is kept."
    ),
    "store_wait_s": Key(
        values.seconds(0.1, 300),
        fixed(30.0),
        "How long reads wait for a store that does not answer (and writes for room in the journal, 10 s at most)"
        " before clients are told to come again.",
    ),
    "owner_lease_s": Key(
        values.whole(2, 60),
        fixed(30),
        "Lease of this server on the file system: how long another one that takes it over waits.",
    ),
    "owner_strict": Key(
        values.yes_or_no,
        fixed(False),
        "Stop answering while the store has not confirmed the lease in time; else serving goes on without the store.",
    ),
    "mirror_wait_s": Key(
        values.seconds(0.1, 300),
        fixed(10.0),
        "How long a journal mirror may take to write while another is healthy, before it is dropped.",
    ),
    "lease_s": Key(
        values.whole(5, 120), fixed(30), "NFS 4: a client silent for longer loses its locks. Linux needs 10."
    ),
    "grace_s": Key(
        values.whole(5, 180), fixed(35), "After a restart, time for NFS 4 clients to reclaim their locks."
    ),
    "start_timeout_s": Key(
        values.seconds(1, 86400), fixed(300.0), "How long `up` waits for the server to answer."
    ),
    "log_level": Key(values.one_of(*LEVELS), fixed("info"), "Least severe record that is logged."),
}
assert tuple(KEYS) == tuple(f.name for f in fields(Config) if f.name != "explicit")


def option_of(key: str) -> str:
    """The command-line option of a key."""
    return "--" + key.replace("_", "-")


def load(
    file: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    below: Mapping[str, tuple[object, str]] | None = None,
) -> Config:
    """The configuration of a file, environment and options, in rising order of precedence.

    Flags that are None count as not given. below: values that even a file overrides, each with the place that it stands in.
    Raises ConfigError for what is wrong, with the place it stands in.
    """
    given = {_known(key, place): (value, place) for key, (value, place) in (below or {}).items()}
    if file is not None:
        given.update(_from_file(file))
    given.update(_from_environment(env or {}))
    for key, value in (flags or {}).items():
        if value is not None:
            given[_known(key, option_of(key))] = (value, f"option {option_of(key)}")
    parsed = {key: _parse(key, value, place) for key, (value, place) in given.items()}
    return _complete(parsed)


def effective(state: Path) -> Config:
    """The configuration that `caudal up` left in the state directory, for the processes that it started.

    Raises ConfigError when there is none or it does not parse.
    """
    file = state / "caudal.toml"
    if not file.exists():
        raise ConfigError(f"{file} does not exist", "start the server with `caudal up`, which writes it")
    return load(file, flags={"state": str(state)})


def _from_file(file: Path) -> dict[str, tuple[object, str]]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"the configuration file {file} does not exist", "check the path given to --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {file} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        # Beside TOMLDecodeError, which is one: numbers of thousands of digits, and values nested as deep.
        raise ConfigError(
            f"{file} is not valid TOML: {error}", 'texts need quotes: store = "az://box"'
        ) from error
    _check_format(table.pop("format", FORMAT), file)
    return {_known(key, f"{file}"): (value, f"{file}") for key, value in table.items()}


def _check_format(version: object, file: Path) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(
            f"format: {version!r} is not a version (in {file})", f"give {FORMAT}, or leave it out"
        )
    if version > FORMAT:
        raise ConfigError(
            f"{file} was written for a newer version (format {version}; this one knows {FORMAT})",
            "install that version or a later one",
        )


def _from_environment(env: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, value in env.items():
        if not name.startswith(ENV_PREFIX) or name in OTHER_VARIABLES:
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        if key in KEYS:
            found[key] = (value, f"environment variable {name}")
        elif (close := _closest(key, 0.8)) is not None:
            # Other programs may use the prefix; what looks like a slip of the pen is refused.
            raise ConfigError(
                f"unknown environment variable {name}",
                f"did you mean {ENV_PREFIX}{close.upper()}? Else unset it",
            )
    return found


def _known(key: str, place: str) -> str:
    if key in KEYS:
        return key
    close = _closest(key, 0.6)
    hint = f"did you mean {close}?" if close else "`caudal config show --all` lists every key"
    raise ConfigError(f"unknown key {key} in {place}", hint)


def _closest(key: str, cutoff: float) -> str | None:
    normal = key.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(normal, KEYS, n=1, cutoff=cutoff)), None)


def _parse(key: str, value: object, place: str) -> object:
    try:
        return KEYS[key].parse(value)
    except values.WrongValueError as wrong:
        raise ConfigError(f"{key}: {wrong.problem} (in {place})", wrong.remedy) from None
    except (ValueError, OverflowError):
        # Numbers with hundreds of digits, which Python neither turns into a float nor prints.
        raise ConfigError(f"{key}: the number is out of range (in {place})", "give a smaller one") from None


def _complete(parsed: dict[str, Any]) -> Config:
    """Fills in the defaults, which may depend on what was given, and checks what only shows in the whole."""
    explicit = frozenset(parsed)
    chosen: dict[str, Any] = {}
    for key, entry in KEYS.items():
        chosen[key] = parsed[key] if key in parsed else entry.default(chosen)
    config = Config(**chosen, explicit=explicit)
    _check_whole(config)
    return config


def _check_whole(config: Config) -> None:
    config_cache.check(config)
    ports: dict[int, str] = {}
    for key in ("nfs_port", "mountd_port", "nlm_port", "admin_port"):
        number: int = getattr(config, key)
        if number and number in ports:
            raise ConfigError(
                f"{ports[number]} and {key} are both {number}", "each service needs a port of its own"
            )
        ports[number] = key
    if (config.admin_certificate is None) != (config.admin_certificate_key is None):
        raise ConfigError(
            "admin_certificate and admin_certificate_key are given together or not at all", "give both"
        )
    if len(set(config.journal)) != len(config.journal):
        raise ConfigError(
            "journal names a directory twice", "each mirror needs a directory, better a disk, of its own"
        )
    if config.journal_limit_bytes < 2 * config.segment_bytes:
        raise ConfigError(
            f"journal_limit_bytes ({values.human(config.journal_limit_bytes)}) holds fewer than two segments"
            f" of {values.human(config.segment_bytes)}",
            "raise journal_limit_bytes or lower segment_bytes",
        )
    if config.store.startswith("az:") and config.owner_lease_s < AZURE_LEASE_MIN_S:
        raise ConfigError(
            f"owner_lease_s ({config.owner_lease_s}) is shorter than a lease of Azure's may be",
            f"give {AZURE_LEASE_MIN_S} to 60",
        )
    if config.grace_s < config.lease_s:
        raise ConfigError(
            f"grace_s ({config.grace_s}) is shorter than lease_s ({config.lease_s})",
            "clients notice a restart within a lease, so the grace must be at least as long",
        )
