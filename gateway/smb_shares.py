"""SMB shares beside the configured one: what they are, the file that keeps them, and Samba's form of them.

`shares.json` in the state directory is the truth; `samba/shares.conf`, which Samba's configuration includes where first boot
runs Samba, follows from it at each start and each change. What a name, path or comment may hold is limited to what
Samba's parser takes as it is: no line, no quote, no backslash (it continues a line), no `%` (it is replaced).
"""

import re
import unicodedata
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway import kept_file
from gateway.errors import ControlError
from gateway.state import StateDir, write_atomically

REMEDY: Final = "add its shares anew"
FORMAT: Final = 1
MAX_SHARES: Final = 500
MAX_USERS: Final = 200
MAX_NAME: Final = 80
MAX_COMMENT: Final = 200
MAX_PATH_BYTES: Final = 3000
RESERVED: Final = frozenset({"global", "homes", "printers", "ipc$", "admin$", "print$"})
"""What Samba or its clients take for something else than a share."""
FORBIDDEN: Final = frozenset('%<>*?|/\\+=;:",[]#')
"""Characters that are no part of a share's name in SMB, and those that begin a section or a remark in Samba's file."""
# A user, or with @ a group; of a domain by DOMAIN\. The form itself holds nothing that Samba replaces or cuts.
_USER: Final = re.compile(r"@?(?:[A-Za-z0-9][A-Za-z0-9-]{0,14}\\)?\w[\w.-]*(?: [\w.-]+)*")
_USER_CHARS: Final = 104

Encrypt = Literal["inherit", "required"]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for. path: a directory of the file system, from its root. users: who may (@ before a group);
    none: every user of SMB. hidden: not in the list of shares. encrypt: required, or as the configured share has it.
    """

    name: str
    path: str
    read_only: bool = False
    users: tuple[str, ...] = ()
    hidden: bool = False
    comment: str = ""
    encrypt: Encrypt = "inherit"


class Share(Wanted, frozen=True, forbid_unknown_fields=True):
    """A share that is kept. version: counts its changes."""

    version: int = 1


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of shares.json."""

    format: int = FORMAT
    shares: tuple[Share, ...] = ()


class Samba(msgspec.Struct, frozen=True):
    """How Samba is set up on this machine: first boot leaves it in `run/smb.json`, where it runs Samba. mount: where the
    file system's root is. share: name of the configured share. pid_file: Samba's.
    """

    mount: str
    share: str
    encrypt: str
    pid_file: str


def wrong(message: str, hint: str = "") -> ControlError:
    return ControlError("invalid", message, hint)


def key(name: str) -> str:
    """What two names have in common that are one share to SMB clients, which know no case."""
    plain = "".join(char.lower()[:1] for char in name)
    return unicodedata.normalize("NFKC", plain).casefold()


def parse(fields: object) -> Wanted:
    """What was asked for, checked and in its normal form. Raises ControlError (invalid)."""
    try:
        wanted = msgspec.convert(fields, Wanted)
    except msgspec.ValidationError as error:
        raise wrong(f"the share is not understood: {error}") from None
    _check_name(wanted.name)
    if len(wanted.users) > MAX_USERS:
        raise wrong(f"{len(wanted.users)} users", f"give {MAX_USERS} at most, or a group of them: @staff")
    for user in wanted.users:
        if not _USER.fullmatch(user) or not user.isprintable() or len(user) > _USER_CHARS:
            raise wrong(
                f"{user[:70]!r} cannot be a user", r"give a name, @GROUP, DOMAIN\NAME or @DOMAIN\GROUP"
            )
    if len(wanted.comment) > MAX_COMMENT or (wanted.comment and not _plain(wanted.comment)):
        raise wrong(
            f"{wanted.comment[:70]!r} cannot be a comment",
            f'give {MAX_COMMENT} characters at most, without " \\ % and doubled spaces',
        )
    return msgspec.structs.replace(
        wanted, path=_inside(wanted.path), users=tuple(dict.fromkeys(wanted.users))
    )


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME or not _plain(name) or name[0] in "-.@&!" or name[-1] == ".":
        raise wrong(
            f"{name[:90]!r} cannot be the name of a share",
            f"give 1 to {MAX_NAME} letters, digits, single spaces, hyphens; it begins with a letter or digit",
        )
    if found := sorted(FORBIDDEN & set(name)):
        raise wrong(
            f"{name!r} cannot be the name of a share: SMB forbids {' '.join(found)} in it",
            "give letters, digits, single spaces, hyphens",
        )
    if key(name) in RESERVED:
        raise wrong(f"a share cannot be called {name}: SMB has another use for it", "take another name")


def _plain(text: str) -> bool:
    """Whether Samba's parser takes it as it stands."""
    return (
        text.isprintable()
        and not set('"\\%') & set(text)
        and text == text.strip()
        and "  " not in text
        and text[0] not in ";#["
    )


def _inside(path: str) -> str:
    """A directory of the file system, from its root, by names that Samba's file can hold."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    normal = "/" + "/".join(parts)
    if not path.startswith("/") or ".." in parts:
        raise wrong(f"{path[:60]!r} is no path in the file system", 'give a path from its root: "/projects"')
    if not _plain(normal) or len(normal.encode()) > MAX_PATH_BYTES:
        raise wrong(
            f"{path[:60]!r} cannot be shared",
            f'a shared path has {MAX_PATH_BYTES} bytes at most, without " \\ %, unprintable characters, doubled spaces'
            " and a space at its end: rename the directory, or share one above it",
        )
    return normal


def read(state: StateDir) -> Kept:
    """What is kept. Raises StartError for a newer or damaged file."""
    fields = kept_file.read_fields(state.shares_file, FORMAT, REMEDY)
    if fields is None:
        return Kept()
    try:
        kept = msgspec.convert(fields, Kept)
        for share in kept.shares:
            # It becomes lines of Samba's configuration: what nobody could have asked for is damage.
            parse({name: value for name, value in msgspec.to_builtins(share).items() if name != "version"})
        if len({key(share.name) for share in kept.shares}) != len(kept.shares):
            raise ValueError("two shares have one name")
    except kept_file.DAMAGED as error:
        raise kept_file.damaged(state.shares_file, REMEDY) from error
    return kept


def write(state: StateDir, kept: Kept) -> None:
    """Keeps it; durable when this returns."""
    write_atomically(state.shares_file, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


def conf_file(state: StateDir) -> Path:
    """Samba's form of shares.json, which its configuration includes."""
    return state.root / "samba/shares.conf"


def samba_file(state: StateDir) -> Path:
    """How this boot set Samba up, where it did."""
    return state.run / "smb.json"


def samba_here(state: StateDir) -> Samba | None:
    """How Samba is set up; None where first boot set up none, or what it left cannot be read."""
    try:
        return msgspec.json.decode(samba_file(state).read_bytes(), type=Samba)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def write_conf(state: StateDir, kept: Kept, samba: Samba) -> None:
    """Leaves Samba's form of it, which is read at Samba's next start or reload."""
    file = conf_file(state)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(file, conf(kept.shares, samba).encode())


def conf(shares: tuple[Share, ...], samba: Samba) -> str:
    """The sections of the shares. One that has the configured share's name is left out: that one was there first."""
    taken = key(samba.share)
    return "# Written by caudal; changes here are lost.\n" + "".join(
        section(share, samba) for share in shares if key(share.name) != taken
    )


def section(share: Share, samba: Samba) -> str:
    """One share. How its files are coherent with NFS clients stands once, in the configured share that it is copied from."""
    lines = [
        f"copy = {samba.share}",
        f"path = {Path(samba.mount, share.path.lstrip('/'))}",
        f"read only = {'yes' if share.read_only else 'no'}",
        f"browseable = {'no' if share.hidden else 'yes'}",
        f"comment = {share.comment}",
    ]
    if share.users:
        lines.append("valid users = " + ", ".join(f'"{user}"' for user in share.users))
    if share.encrypt == "required":
        lines.append("smb encrypt = required")
    return f"\n[{share.name}]\n" + "".join(f"\t{line}\n" for line in lines)


def narrowed(before: Share, after: Share | None) -> bool:
    """Whether clients of a share must lose their connection, since what they may there is settled when they connect."""
    return after is None or (
        after.path != before.path
        or (after.read_only and not before.read_only)
        or (bool(after.users) and (not before.users or not set(before.users) <= set(after.users)))
        or (after.encrypt == "required" and before.encrypt != "required")
    )
