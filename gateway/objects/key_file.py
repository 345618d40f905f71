"""The key file: the master keys by which a file system's packs are sealed before they leave this machine.

One key a line, `ID: KEY`: an id of 1 to 28 letters, digits, dots, hyphens and underscores, and 32 bytes in hexadecimal or
Base64, or `URL RSA-OAEP-256 BASE64` with what a key of Azure Key Vault has made of them. The first one seals, all of them
open. A first line `none:` means that nothing more is sealed. Empty lines and those that begin with # mean nothing.

Whoever reads this file reads the file system, unless its keys are wrapped; whoever loses it has lost the file system.
Secrets are in no repr and no message of an error.
"""

import base64
import binascii
import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.errors import CaudalError, Reason, StartError
from gateway.objects import vault
from gateway.objects.vault import Wrapped
from gateway.state import write_atomically

KEY_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,28}", re.ASCII)
_COUNTED: Final = re.compile(r"key-([0-9]{1,9})", re.ASCII)
NOTHING: Final = "none"
_HEADER: Final = (
    "# Keys of a Caudal file system. Keep a copy elsewhere: without them its data cannot be read.\n"
)
_FORM: Final = (
    "one key a line, `ID: KEY`, with 32 bytes in hexadecimal or Base64; `caudal key create` makes such a file"
)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The keys of a file, the current one first. `seals` false: the first line was `none:`."""

    path: Path
    keys: tuple[tuple[str, bytes], ...] = field(repr=False)
    seals: bool
    wrapped: Mapping[str, Wrapped] = field(default_factory=dict[str, Wrapped])
    """Those of the keys that lie in the file wrapped."""

    @property
    def ids(self) -> list[str]:
        return [key_id for key_id, _ in self.keys]

    @property
    def current(self) -> str | None:
        return self.keys[0][0] if self.seals and self.keys else None

    @property
    def vault_key(self) -> str | None:
        """The vault's key that wraps the first key, without its version."""
        first = self.wrapped.get(self.keys[0][0])
        return None if first is None else first.key


def read_key_file(path: Path) -> KeyFile:
    """Reads and checks a key file. Raises StartError (KEY_UNUSABLE) with what to do."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_access(path, os.fstat(descriptor))
            text = file.read(1 << 20).decode("ascii")
    except FileNotFoundError:
        raise _unusable(
            path, "does not exist", "bring the file back; `caudal key create` makes a new one"
        ) from None
    except UnicodeDecodeError:
        raise _unusable(path, "is not a key file", _FORM) from None
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise _unusable(path, f"cannot be read: {why}", "check the path given to --encryption-key") from None
    return parse(path, text)


def _check_access(path: Path, found: os.stat_result) -> None:
    """Nobody but the server's user may read it."""
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(path, "is not a regular file", "give the path of a key file")
    if found.st_uid not in (0, os.geteuid()):
        raise _unusable(path, f"belongs to the user {found.st_uid}", f"chown root {path}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise _unusable(path, f"may be read or written by others (mode {mode:04o})", f"chmod 600 {path}")


def parse(path: Path, text: str, unwrap: Callable[[Wrapped], bytes] = vault.unwrap) -> KeyFile:
    """The keys in the text of a file; those that are wrapped, the vault unwraps. Raises StartError (KEY_UNUSABLE)."""
    keys: list[tuple[str, bytes]] = []
    wrapped: dict[str, Wrapped] = {}
    seals = True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key_id, colon, value = (part.strip() for part in line.partition(":"))
        if key_id == NOTHING and colon and not value and not keys:
            seals = False
            continue
        away = Wrapped.parse(value)
        secret = b"" if away is not None else _secret(value)
        if not colon or not _ID.fullmatch(key_id) or key_id == NOTHING or secret is None:
            raise _unusable(path, f"has no key in line {number}", _FORM)
        if any(key_id == other for other, _ in keys):
            raise _unusable(path, f"has the key {key_id} twice", "give each key an id of its own")
        if away is not None:
            wrapped[key_id] = away
        keys.append((key_id, secret))
    if not keys:
        raise _unusable(path, "holds no key", _FORM)
    whole = tuple((key_id, _unwrapped(path, key_id, wrapped, unwrap) or secret) for key_id, secret in keys)
    return KeyFile(path, whole, seals, wrapped)


def _unwrapped(
    path: Path, key_id: str, wrapped: Mapping[str, Wrapped], unwrap: Callable[[Wrapped], bytes]
) -> bytes:
    """Empty for a key that lies in the file as it is."""
    if key_id not in wrapped:
        return b""
    secret = unwrap(wrapped[key_id])
    if len(secret) != KEY_BYTES:
        raise _unusable(path, f"has a key {key_id} that is not {KEY_BYTES} bytes when unwrapped", _FORM)
    return secret


def _secret(text: str) -> bytes | None:
    try:
        found = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == KEY_BYTES else None


def _unusable(path: Path, problem: str, hint: str) -> StartError:
    return StartError(f"the key file {path} {problem}", hint, Reason.KEY_UNUSABLE)


def create(path: Path, key_id: str, key: bytes | Wrapped) -> None:
    """Makes a key file with one key. Raises CaudalError where there is a file already."""
    check_new(path, key_id)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_made(path, error) from None
    os.close(descriptor)
    # Whole or empty after a crash, and an empty one is refused.
    write_atomically(path, (_HEADER + _line(key_id, key)).encode())


def check_new(path: Path, key_id: str) -> None:
    """Raises CaudalError where `create` would, before anybody makes a key for it."""
    _check_new(key_id, ())
    if path.exists():
        raise _not_made(path, FileExistsError(errno.EEXIST, ""))


def _not_made(path: Path, error: OSError) -> CaudalError:
    taken = isinstance(error, FileExistsError)
    hint = "choose another path; `caudal key rotate` adds a key" if taken else ""
    return CaudalError(f"{path} cannot be made: {os.strerror(error.errno or 0)}", hint)


def add(known: KeyFile, key_id: str | None, make: Callable[[], bytes | Wrapped]) -> str:
    """Puts a new key before the others, so that it is the current one; returns its id. Durable on return."""
    new = key_id or _next_id(known.ids)
    _check_new(new, known.ids)
    line = _line(new, make())
    _rewrite(known.path, lambda lines: _put_first(lines, line))
    return new


def replace(known: KeyFile, made: Mapping[str, bytes | Wrapped]) -> None:
    """Puts other forms of the same keys in the places of those that are there. Durable on return."""
    _rewrite(
        known.path,
        lambda lines: [_line(key, made[key]) if (key := _id_of(line)) in made else line for line in lines],
    )


def remove(path: Path, key_id: str) -> None:
    """Takes a key that is not the current one out of the file. Durable on return."""
    known = read_key_file(path)
    if key_id not in known.ids:
        raise CaudalError(f"the key file {path} has no key {key_id}", f"it has {', '.join(known.ids)}")
    if key_id == known.current or len(known.ids) == 1:
        raise CaudalError(f"the key {key_id} is the current one", "`caudal key rotate` first")
    _rewrite(path, lambda lines: [line for line in lines if _id_of(line) != key_id])


def _rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    # A link stays one: what it leads to is replaced.
    target = path.resolve()
    lines = target.read_text(encoding="ascii").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    write_atomically(target, "".join(change(lines)).encode())


def _put_first(lines: list[str], new: str) -> list[str]:
    first = next((at for at, line in enumerate(lines) if _id_of(line)), len(lines))
    # A key that was made current is meant to seal.
    rest = [line for line in lines[first:] if _id_of(line) != NOTHING]
    return [*lines[:first], new, *rest]


def _id_of(line: str) -> str:
    return "" if line.lstrip().startswith("#") else line.partition(":")[0].strip()


def _line(key_id: str, key: bytes | Wrapped) -> str:
    return f"{key_id}: {key if isinstance(key, Wrapped) else key.hex()}\n"


def _next_id(known: list[str]) -> str:
    numbers = [int(match[1]) for key_id in known if (match := _COUNTED.fullmatch(key_id))]
    return f"key-{max(numbers, default=len(known)) + 1}"


def _check_new(key_id: str, known: list[str] | tuple[str, ...]) -> None:
    if not _ID.fullmatch(key_id) or key_id == NOTHING:
        raise CaudalError(
            f"{key_id!r} cannot be the id of a key",
            "give 1 to 28 letters, digits, dots, hyphens and underscores",
        )
    if key_id in known:
        raise CaudalError(f"there is a key {key_id} already", "give another --id")
