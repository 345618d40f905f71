"""A support bundle: what somebody who is to help needs to see of a server, and no secret.

Of the state directory it takes what is named here and nothing else: logs, configuration, exports and limits; beside them the
status and what is free on the disks. What looks like a credential is blanked.
"""

import io
import json
import os
import platform
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway import __version__, mirrors_file
from gateway.config import KEYS, Config
from gateway.config_values import to_toml, without_password
from gateway.state import StateDir

LOG_BYTES: Final = 4 << 20
# What credentials look like wherever they turn up.
SECRETS: Final = re.compile(
    r"""(?ix)
      (?P<key>
          (?:account|shared)[_-]?(?:access[_-]?)?key \s* [=:] \s*
        | \b(?:password|passwd|secret|sig|client_secret|token) ["']? \s* [=:] \s* ["']?
      )
      (?P<value> [^\s"'&;,}]+ )
    | (?P<bearer> \bbearer \s+ ) \S+
    | (?P<own> \bcaudal_[0-9a-f]{16}_ ) [A-Za-z0-9_-]+
    | (?P<url> ://[^/\s:@]* : ) [^/\s@]+ (?=@)
    """
)


def redacted(text: str) -> str:
    """A text without what looks like a credential."""

    def hide(match: re.Match[str]) -> str:
        kept = next(found for name in ("key", "bearer", "own", "url") if (found := match[name]) is not None)
        return f"{kept}***"

    return SECRETS.sub(hide, text)


def files(config: Config, status: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Names and texts of the bundle. status: None where no server runs."""
    state = StateDir(config.state)
    machine = {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "memory": _text(Path("/proc/meminfo")).splitlines()[:3],
        "load": _text(Path("/proc/loadavg")).strip(),
    }
    yield "machine.json", json.dumps(machine, indent=1)
    yield "status.json", json.dumps(status, indent=1, default=str)
    yield "config.toml", "".join(f"{key} = {to_toml(_shown(key, config))}\n" for key in KEYS)
    yield "disks.json", json.dumps(_disks(config), indent=1)
    for path in (
        state.exports_file,
        state.shares_file,
        state.limits_file,
        state.tiering_file,
        mirrors_file.file_of(state),
        state.nfs_file,
    ):
        if path.exists():
            yield path.name, _text(path)
    for log in sorted(state.logs.glob("*")):
        yield f"log/{log.name}", _tail(log)


def _shown(key: str, config: Config) -> object:
    value = getattr(config, key)
    return without_password(value) if isinstance(value, str) else value


def _disks(config: Config) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in (config.state, *config.journal, config.l2_dir):
        try:
            status = os.statvfs(path)
        except OSError as error:
            found[str(path)] = os.strerror(error.errno or 0)
        else:
            free, whole = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
            found[str(path)] = {"free_bytes": free, "total_bytes": whole, "free_inodes": status.f_favail}
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        return f"({path.name} cannot be read: {os.strerror(error.errno or 0)})"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"({path.name} cannot be read: {os.strerror(error.errno or 0)})"


def write(target: Path, config: Config, status: Mapping[str, Any] | None, now_s: float) -> list[str]:
    """Writes the bundle, readable by its owner only; returns the names in it. Raises OSError, also where the file exists."""
    names: list[str] = []
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
        for name, text in files(config, status):
            data = redacted(text).encode()
            entry = tarfile.TarInfo(f"caudal-support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now_s), 0o600
            bundle.addfile(entry, io.BytesIO(data))
            names.append(name)
    return names
