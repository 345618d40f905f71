"""How the values of the configuration are read, checked, chosen by default and written.

A parser takes what TOML, an environment variable or an option gave (so numbers may come as text) and returns
the value, or raises WrongValueError with what is wrong and what would be right.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
_UNITS: Final = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1 << 40, "p": 1 << 50}
_DECIMAL: Final = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?", re.ASCII)
_TIME_UNITS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_HOST: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9*?]([A-Za-z0-9.*?_-]{0,252})", re.ASCII)
_NETGROUP: Final = re.compile(r"@[A-Za-z0-9._-]{1,255}", re.ASCII)
_CONTAINER: Final = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)

Chosen = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key: how its value is read, what it is when nobody gave it, and what it means."""

    parse: Callable[[object], Any]
    default: Callable[[Chosen], Any]
    help: str


def fixed(value: object) -> Callable[[Chosen], object]:
    """A default that depends on nothing."""
    return lambda _: value


class WrongValueError(Exception):
    """A value that cannot be used."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def _text(value: object, remedy: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise WrongValueError(f"{value!r} is not a text", remedy)
    return value.strip()


def _int(value: object, what: str, remedy: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise WrongValueError(f"{value!r} is not {what}", remedy)
    try:
        return int(value)
    except ValueError:
        raise WrongValueError(f"{value!r} is not {what}", remedy) from None


def port(value: object) -> int:
    """A TCP port from 1 to 65535."""
    number = _int(value, "a port number", "give a number from 1 to 65535")
    if not 1 <= number <= 65535:
        raise WrongValueError(f"{number} is not a port number", "give a number from 1 to 65535")
    return number


def port_or_any(value: object) -> int:
    """A TCP port, or 0: any free one, or none at all, as the key says."""
    return 0 if _int(value, "a port number", "give 0 or a number from 1 to 65535") == 0 else port(value)


def whole(low: int, high: int = 1 << 40) -> Callable[[object], int]:
    """A whole number within bounds."""

    def parse(value: object) -> int:
        remedy = f"give a whole number from {low} to {high}"
        number = _int(value, "a whole number", remedy)
        if not low <= number <= high:
            raise WrongValueError(f"{number} is out of range", remedy)
        return number

    return parse


def size(low: int, high: int = 1 << 60) -> Callable[[object], int]:
    """Bytes: a number, or a text such as "512MiB" (powers of 1024), "512M" (the same) or "512MB" (powers of
    1000).
    """

    def parse(value: object) -> int:
        number = _bytes(value)
        if not low <= number <= high:
            raise WrongValueError(
                f"{value} is out of range", f"give a size from {human(low)} to {human(high)}"
            )
        return number

    return parse


def _bytes(value: object) -> int:
    remedy = 'give bytes, or a size such as "512MiB" or "2GiB"'
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise WrongValueError(f"{value!r} is not a size", remedy)
    unit = match[2].lower()
    factor = _DECIMAL.get(unit) or _UNITS.get(unit.removesuffix("ib") if unit.endswith("ib") else unit)
    if factor is None or unit == "ib":
        raise WrongValueError(f"{value!r} has an unknown unit", remedy)
    if "." in match[1]:
        return int(float(match[1]) * factor)
    return int(match[1]) * factor


def seconds(low: float, high: float) -> Callable[[object], float]:
    """A time in seconds: a number, or a text such as "500ms", "2s", "10m" or "1h"."""

    def parse(value: object) -> float:
        remedy = f'give seconds from {low:g} to {high:g}, or a time such as "500ms" or "10m"'
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
        else:
            match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
            if match is None:
                raise WrongValueError(f"{value!r} is not a time", remedy)
            number = float(match[1]) * _TIME_UNITS[match[2]]
        if not low <= number <= high:
            raise WrongValueError(f"{value} is out of range", remedy)
        return number

    return parse


def number(low: float, high: float) -> Callable[[object], float]:
    """A number within bounds."""

    def parse(value: object) -> float:
        remedy = f"give a number from {low:g} to {high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise WrongValueError(f"{value!r} is not a number", remedy)
        try:
            found = float(value)
        except ValueError:
            raise WrongValueError(f"{value!r} is not a number", remedy) from None
        if not low <= found <= high:
            raise WrongValueError(f"{value} is out of range", remedy)
        return found

    return parse


def one_of(*words: str) -> Callable[[object], str]:
    """One of a few words."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise WrongValueError(f"{value!r} is not one of the choices", f"give one of {', '.join(words)}")
        return value.lower()

    return parse


def yes_or_no(value: object) -> bool:
    """A truth value: of TOML, or one of the words that people write in variables and options."""
    if isinstance(value, bool):
        return value
    meaning = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if not isinstance(value, str) or value.lower() not in meaning:
        raise WrongValueError(f"{value!r} is neither true nor false", "give true or false")
    return meaning[value.lower()]


PATH_BYTES: Final = 4000
NAME_BYTES: Final = 255


def path(value: object) -> Path:
    """A path, made absolute. Quotes and control characters are refused: Ganesha's configuration cannot hold
    them.
    """
    text = (
        os.fspath(value) if isinstance(value, Path) else _text(value, 'give a path such as "/var/lib/caudal"')
    )
    if re.search(r'["\x00-\x1f\x7f]', text):
        raise WrongValueError(f"{text!r} holds a quote or a control character", "choose another path")
    try:
        whole = os.path.abspath(Path(text).expanduser())  # noqa: PTH100  (resolve() would follow links)
        encoded = os.fsencode(whole)
    except (RuntimeError, UnicodeError) as error:
        raise WrongValueError(f"{text!r} is not a path: {error}", "choose another path") from error
    if len(encoded) > PATH_BYTES or any(len(part) > NAME_BYTES for part in encoded.split(b"/")):
        raise WrongValueError(f"{text[:60]!r}… is too long for a path", "choose a shorter path")
    return Path(whole)


def path_or_none(value: object) -> Path | None:
    """A path; an empty text stands for none."""
    return None if value == "" else path(value)


def paths(value: object) -> tuple[Path, ...]:
    """One or several paths: a list, or a text with commas between them."""
    found = tuple(path(item) for item in items(value, 'give a list of directories: ["/disk1/journal"]'))
    if not 1 <= len(found) <= 8:
        raise WrongValueError(f"{len(found)} directories", "give from 1 to 8 directories")
    return found


def items(value: object, remedy: str) -> list[object]:
    if isinstance(value, str):
        return [item for item in re.split(r"[,\s]+", value) if item]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        found: list[object] = []
        for item in cast("Sequence[object]", value):
            found.extend(items(item, remedy) if isinstance(item, str) else [item])
        return found
    if isinstance(value, Path):
        return [value]
    raise WrongValueError(f"{value!r} is not a list", remedy)


def clients(value: object) -> tuple[str, ...]:
    """Clients in the forms that Ganesha knows; networks are brought to their normal form."""
    remedy = 'give addresses, networks, host names or "*": ["10.0.0.0/8", "build.example.com"]'
    found = tuple(_client(item, remedy) for item in items(value, remedy))
    if not found:
        raise WrongValueError("no client is named", remedy)
    return found


def _client(item: object, remedy: str) -> str:
    text = _text(item, remedy)
    if text == "*" or _NETGROUP.fullmatch(text):
        return text
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if _HOST.fullmatch(text):
            return text
        raise WrongValueError(f"{text!r} is not a client", remedy) from None
    return str(network) if "/" in text else str(network.network_address)


def store(value: object) -> str:
    """The URL of an object store: file:///path or az://container[/prefix]."""
    remedy = "give file:///path or az://container[/prefix]"
    text = _text(value, remedy)
    scheme, found, rest = text.partition("://")
    if not found or scheme not in ("file", "az"):
        raise WrongValueError(f"{text!r} is not the URL of a store", remedy)
    if scheme == "file":
        if not rest.startswith("/"):
            raise WrongValueError(
                f"{text!r} names no absolute path", "give three slashes: file:///srv/caudal"
            )
        return f"file://{path(rest)}"
    container, _, prefix = rest.partition("/")
    if not _CONTAINER.fullmatch(container):
        raise WrongValueError(
            f"{container!r} is not the name of a container",
            "give 3 to 63 lower-case letters, digits and single hyphens: az://team-files",
        )
    prefix = prefix.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._/-]{0,512}", prefix) or any(
        p in (".", "..", "") for p in prefix.split("/") if prefix
    ):
        raise WrongValueError(
            f"{prefix!r} cannot be a prefix",
            "give letters, digits, dots, hyphens and slashes: az://box/team/a",
        )
    return f"az://{container}/{prefix}" if prefix else f"az://{container}"


def database(value: object) -> str:
    """The URL of a PostgreSQL database, or nothing."""
    if value == "":
        return ""
    remedy = (
        "give postgresql://USER:PASSWORD@HOST/DATABASE, or leave it out for SQLite in the state directory"
    )
    text = _text(value, remedy)
    if not text.startswith(("postgresql://", "postgres://")) or re.search(r'["\s\x00-\x1f\x7f]', text):
        raise WrongValueError("it is not the URL of a PostgreSQL database", remedy)
    return "postgresql://" + text.partition("://")[2]


def collector(value: object) -> str:
    """Where syslog messages go: tcp://HOST:PORT or tls://HOST:PORT, or nothing."""
    if value == "":
        return ""
    remedy = "give tls://HOST:6514 or tcp://HOST:601"
    match = re.fullmatch(
        r"(tcp|tls)://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?", _text(value, remedy)
    )
    if match is None or not 1 <= int(match[3] or 1) <= 65535:
        raise WrongValueError(f"{value!r} is no address of a collector", remedy)
    return match[0]


def audit(value: object) -> str:
    """Which operations on files are audited."""
    if value not in ("off", "changes", "all"):
        raise WrongValueError(f"{value!r} is no level of an audit", "give off, changes or all")
    return str(value)


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", url)


def export(value: object) -> str:
    """The path that clients mount."""
    remedy = 'give an absolute path such as "/data"'
    text = _text(value, remedy)
    if not text.startswith("/") or re.search(r'["\x00-\x1f\x7f]', text) or ".." in text.split("/"):
        raise WrongValueError(f"{text!r} cannot be an export", remedy)
    return "/" + "/".join(part for part in text.split("/") if part not in ("", "."))


def default_store(chosen: Chosen) -> str:
    return f"file://{chosen['state'] / 'store'}"


def default_journal(chosen: Chosen) -> tuple[Path, ...]:
    return (chosen["state"] / "journal",)


def default_dirty(_: Chosen) -> int:
    return clamp(memory_bytes() // 16, 32 * MIB, 2 * GIB)


def default_metadata_memory(_: Chosen) -> int:
    """A sixteenth of the memory: enough for the names and attributes of a few hundred thousand files on a small server."""
    return clamp(memory_bytes() // 16, 64 * MIB, 4 * GIB)


def default_journal_limit(chosen: Chosen) -> int:
    smallest = min(disk_bytes(directory) for directory in chosen["journal"])
    return clamp(smallest // 4, 256 * MIB, 16 * GIB)


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value // MIB * MIB, high))


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def disk_bytes(directory: Path) -> int:
    """Size of the disk that a directory is, or will be, on."""
    while directory != directory.parent and not os.path.exists(directory):  # noqa: PTH110  (that one raises EACCES)
        directory = directory.parent
    status = os.statvfs(directory)
    return status.f_blocks * status.f_frsize


def human(number: int) -> str:
    """A size for people: the largest unit that divides it, else one decimal."""
    for unit, factor in (("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if number >= factor:
            return f"{number // factor}{unit}" if number % factor == 0 else f"{number / factor:.1f}{unit}"
    return f"{number}B"


def to_toml(value: object) -> str:
    """A value of the configuration as TOML."""
    if isinstance(value, tuple):
        return "[" + ", ".join(to_toml(item) for item in cast("tuple[object, ...]", value)) + "]"
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
