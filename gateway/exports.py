"""Exports beside the one of the configuration: what they are, the file that keeps them, and Ganesha's form of them.

`exports.json` in the state directory is the truth; `ganesha/exports.conf`, which Ganesha's configuration includes, follows
from it at each start and each change. Identities of exports are never used twice: a client's handle names the export, and
must not come under another one's rules.
"""

import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway import config_values as values
from gateway import kept_file, kerberos
from gateway.errors import ControlError
from gateway.state import StateDir, write_atomically

REMEDY: Final = "add its exports anew"
FORMAT: Final = 2
CONFIGURED_ID: Final = 1
CONFIGURED_NAME: Final = "main"
"""How the export of the configuration is called; it is changed there."""
MAX_ID: Final = 65_000
SKIPPED_IDS: Final = 32
MAX_EXPORTS: Final = 500
MAX_RULES: Final = 100
FACTORY: Final = "gateway.fsal:create_export"
# Read and write sizes beyond what one RPC carries (MaxRPCSendBufferSize, 1 MiB) only confuse clients.
MAX_IO_BYTES: Final = 1 << 20
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
SQUASH: Final = {"none": "No_Root_Squash", "root": "Root_Squash", "all": "All_Squash"}
ACCESS: Final = {"rw": "RW", "ro": "RO", "none": "None"}
SECURITY: Final = ("sys", "none", *kerberos.FLAVOURS)

Access = Literal["rw", "ro", "none"]
Squash = Literal["none", "root", "all"]
Audit = Literal["off", "changes", "all"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some clients may: the first rule that names a client holds for it; who is named by none gets nothing."""

    clients: tuple[str, ...]
    access: Access = "rw"
    squash: Squash = "root"


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for. path: a directory of the file system; pseudo: the path that clients mount. audit: which of
    its clients' operations are told: changes and writes, or reads too.
    """

    name: str
    path: str
    pseudo: str
    rules: tuple[Rule, ...]
    security: tuple[str, ...] = ("sys",)
    read_only: bool = False
    audit: Audit = "off"


class Export(Wanted, frozen=True, forbid_unknown_fields=True):
    """An export that is kept. version: counts its changes."""

    id: int = 0
    version: int = 1


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of exports.json."""

    format: int = FORMAT
    next_id: int = CONFIGURED_ID + 1
    exports: tuple[Export, ...] = ()


def wrong(message: str, hint: str = "") -> ControlError:
    return ControlError("invalid", message, hint)


def parse(fields: object) -> Wanted:
    """What was asked for, checked and in its normal form. Raises ControlError (invalid)."""
    try:
        wanted = msgspec.convert(fields, Wanted)
    except msgspec.ValidationError as error:
        raise wrong(f"the export is not understood: {error}") from None
    if not NAME.fullmatch(wanted.name):
        raise wrong(f"{wanted.name[:70]!r} cannot be a name", "give letters, digits, dots and hyphens")
    if not 1 <= len(wanted.rules) <= MAX_RULES:
        raise wrong(
            f"{len(wanted.rules)} rules", f"give from 1 to {MAX_RULES}; nobody gets in who is named by none"
        )
    if not wanted.security or set(wanted.security) - set(SECURITY):
        raise wrong(
            f"security: {', '.join(wanted.security) or 'nothing'} cannot be served",
            f"give some of {', '.join(SECURITY)}",
        )
    try:
        return msgspec.structs.replace(
            wanted,
            path=_inside(wanted.path),
            pseudo=values.export(wanted.pseudo),
            security=tuple(dict.fromkeys(wanted.security)),
            rules=tuple(
                msgspec.structs.replace(rule, clients=values.clients(list(rule.clients)))
                for rule in wanted.rules
            ),
        )
    except (values.WrongValueError, UnicodeError) as error:
        remedy = error.remedy if isinstance(error, values.WrongValueError) else ""
        raise wrong(str(error), remedy) from None


def _inside(path: str) -> str:
    """A directory of the file system, from its root: only the namespace sees it, so any character but NUL may be in it."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/") or len(path.encode()) > 4000:
        raise values.WrongValueError(
            f"{path[:60]!r} is no path in the file system", 'give a path from its root, such as "/projects"'
        )
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def overlaps(pseudo: str, other: str) -> bool:
    """Whether one mount path is the other or lies below it: Ganesha would look for the lower in the upper one's files."""
    first, second = (pseudo.rstrip("/") + "/", other.rstrip("/") + "/")
    return first.startswith(second) or second.startswith(first)


def read(state: StateDir) -> Kept:
    """What is kept. Raises StartError for a newer or damaged file."""
    fields = kept_file.read_fields(state.exports_file, FORMAT, REMEDY)
    if fields is None:
        return Kept()
    try:
        kept = msgspec.convert(fields, Kept)
    except kept_file.DAMAGED as error:
        raise kept_file.damaged(state.exports_file, REMEDY) from error
    return kept


def write(state: StateDir, kept: Kept) -> None:
    """Keeps it; durable when this returns."""
    write_atomically(state.exports_file, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


def skip_ids(state: StateDir) -> None:
    """After a recovery: exports that came after the copy was made have had the next identities. Raises StartError."""
    kept = read(state)
    if kept.exports:
        write(state, msgspec.structs.replace(kept, next_id=min(MAX_ID, kept.next_id + SKIPPED_IDS)))


def write_conf(state: StateDir, kept: Kept, *, manage_gids: bool) -> None:
    """Leaves Ganesha's form of it, which is read at the next start or reload."""
    identity = state.read_identity()
    major = int.from_bytes(identity.fs_id[:8], "big") >> 1 if identity else 0
    text = "# Written by caudal; changes here are lost.\n" + "".join(
        block(export, major, manage_gids=manage_gids) for export in kept.exports
    )
    write_atomically(state.exports_conf, text.encode())


def block(export: Export, major: int, *, manage_gids: bool) -> str:
    """The EXPORT block. Its texts were checked: none holds a quote."""
    gids = "true" if manage_gids else "false"
    clients = "".join(
        f"""
    CLIENT {{
        Clients = {", ".join(rule.clients)};
        Access_Type = {ACCESS["ro" if export.read_only and rule.access == "rw" else rule.access]};
        Squash = {SQUASH[rule.squash]};
        Manage_Gids = {gids};
    }}
"""
        for rule in export.rules
    )
    return f"""
EXPORT {{
    Export_Id = {export.id};
    # Which directory it is, our FSAL knows by the identity; here it has to be a path that is never changed.
    Path = "{export.pseudo}";
    Pseudo = "{export.pseudo}";
    # A file system of its own to clients: one open owner may not open a file by two exports (Ganesha: INVAL).
    Filesystem_Id = {major}.{export.id};
    Transports = TCP;
    SecType = {", ".join(export.security)};
    Access_Type = None;
    Squash = Root_Squash;
    Manage_Gids = {gids};
    MaxRead = {MAX_IO_BYTES};
    MaxWrite = {MAX_IO_BYTES};
    PrefRead = {MAX_IO_BYTES};
    PrefWrite = {MAX_IO_BYTES};
{clients}
    FSAL {{
        Name = PYGANESHA;
        Factory = "{FACTORY}";
        Options = "{export.id}";
    }}
}}
"""


def conf_of(path: Path) -> str:
    """The line by which Ganesha's configuration takes the file in."""
    return f'%include "{path}"\n'
