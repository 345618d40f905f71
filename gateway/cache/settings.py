"""What was changed of the cache while it served, and lasts over restarts: cache.json of the state directory.

A change holds as long as the configuration says what it said when the change was made: who edits the configuration later
means that. So the file keeps both. docs/formats/cache-settings.md is its description.
"""

from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway import _core
from gateway.errors import Reason, StartError
from gateway.state import write_atomically

log = structlog.get_logger(__name__)
FORMAT: Final = 1


class ShelfSetting(msgspec.Struct, frozen=True):
    """A shelf: an absolute path, bytes, and whether it is being drained."""

    path: str
    bytes: int
    draining: bool = False


class Configured(msgspec.Struct, frozen=True):
    """What the configuration says: the keys that were given, None for those that were not."""

    l1_bytes: int | None = None
    shelves: tuple[ShelfSetting, ...] | None = None


class Settings(msgspec.Struct, frozen=True):
    """l1_bytes, shelves: what holds in the place of the configuration; None: the configuration does. over: what that
    said then. pins: paths as clients see them.
    """

    format: int = FORMAT
    l1_bytes: int | None = None
    shelves: tuple[ShelfSetting, ...] | None = None
    over: Configured = Configured()
    pins: tuple[str, ...] = ()


class _Versioned(msgspec.Struct):
    format: int


def read(file: Path) -> Settings:
    """The settings, empty ones where there is no file. Raises StartError for a file of a later version; one that is
    damaged is passed over: nothing in it is needed to serve.
    """
    try:
        text = file.read_bytes()
        version = msgspec.json.decode(text, type=_Versioned).format
        if version > FORMAT:
            raise StartError(
                f"{file} was written by a later version (format {version}; this one knows {FORMAT})",
                "install that version or a later one",
                Reason.NEWER_FORMAT,
            )
        return msgspec.json.decode(text, type=Settings)
    except FileNotFoundError:
        return Settings()
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        log.warning("cache.settings_unreadable", file=str(file), why=str(error))
        return Settings()


def write(file: Path, settings: Settings) -> None:
    """Durable when this returns. A crash leaves the file as it was, or as it is to be."""
    _core.failpoint("cache.before_settings")
    write_atomically(file, msgspec.json.format(msgspec.json.encode(settings), indent=1) + b"\n")
    _core.failpoint("cache.after_settings")


def in_force(settings: Settings, configured: Configured) -> Settings:
    """The settings without those that the configuration has overtaken since they were made."""
    l1_bytes = settings.l1_bytes if settings.over.l1_bytes == configured.l1_bytes else None
    shelves = settings.shelves if settings.over.shelves == configured.shelves else None
    if (l1_bytes, shelves) != (settings.l1_bytes, settings.shelves):
        log.warning("cache.settings_overtaken", l1=l1_bytes is None, shelves=shelves is None)
    return Settings(FORMAT, l1_bytes, shelves, configured, settings.pins)
