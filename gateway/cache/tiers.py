"""L1 and the shelves of L2 as they are now, and what may be changed of them while they serve.

Each change is checked, made, and then written to the settings: a crash in between leaves the cache of the next start as it
was before, and nothing that a client sees depends on it.
"""

import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog

from gateway.cache import settings as files
from gateway.cache.settings import Settings, ShelfSetting
from gateway.errors import ControlError

log = structlog.get_logger(__name__)
MIB: Final = 1 << 20
MIN_L1_BYTES: Final = 16 * MIB
MIN_SHELF_BYTES: Final = 64 * MIB
MAX_SHELVES: Final = 16
DEVICE_HEADER_BYTES: Final = MIB
"""What the core keeps before the regions of a shelf that is a device."""
FREE_SHARE: Final = 0.9
"""Of what is free on its disk a shelf without a size takes so much."""

Run = tuple[int, int, int]
"""Neighbouring blocks of one pack: pack, first block, how many."""


class Cache(Protocol):
    """What is needed of gateway._core.BlockCache."""

    def add_shelf(self, directory: str, bytes: int) -> None: ...
    def remove_shelf(self, directory: str) -> None: ...
    def drain_shelf(self, directory: str, draining: bool) -> None: ...
    def resize_shelf(self, directory: str, bytes: int) -> None: ...


class Core(Protocol):
    """What is needed of gateway._core.Core."""

    def resize_l1(self, bytes: int) -> None: ...


class Tiers:
    """For any number of threads. settings: those in force, None where the configuration's l1_bytes and shelves hold.
    reserved: directories that no shelf may touch. errors: what core and cache raise.
    """

    def __init__(
        self,
        core: Core,
        cache: Cache,
        file: Path,
        settings: Settings,
        *,
        l1_bytes: int,
        shelves: Sequence[ShelfSetting],
        reserved: Sequence[Path],
        errors: type[Exception],
    ) -> None:
        self._core = core
        self._cache = cache
        self._file = file
        self._changed = {key for key in ("l1_bytes", "shelves") if getattr(settings, key) is not None}
        self._now = msgspec.structs.replace(
            settings,
            l1_bytes=l1_bytes if settings.l1_bytes is None else settings.l1_bytes,
            shelves=tuple(shelves) if settings.shelves is None else settings.shelves,
        )
        self._reserved = list(reserved)
        self._errors = errors
        self._lock = threading.Lock()

    def open(self) -> None:
        """Opens the shelves; one that cannot be opened is tried again by itself."""
        for shelf in self.shelves:
            try:
                self._cache.add_shelf(shelf.path, shelf.bytes)
            except self._errors as error:
                log.warning("shelf.not_opened", path=shelf.path, why=str(error))
            if shelf.draining:
                self._cache.drain_shelf(shelf.path, True)

    @property
    def l1_bytes(self) -> int:
        return self._now.l1_bytes or 0

    @property
    def shelves(self) -> tuple[ShelfSetting, ...]:
        return self._now.shelves or ()

    @property
    def pins(self) -> tuple[str, ...]:
        return self._now.pins

    def describe(self) -> dict[str, Any]:
        """Sizes and shelves as they are set. changed: which of them are not what the configuration says."""
        return {
            "l1_bytes": self.l1_bytes,
            "shelf": [f"{shelf.path}={shelf.bytes}" for shelf in self.shelves],
            "changed": sorted({"shelves": "shelf"}.get(key, key) for key in self._changed),
        }

    def resize_l1(self, bytes: int, *, by: str = "operator") -> None:
        """Raises ControlError."""
        if bytes < MIN_L1_BYTES:
            raise _refused(f"{bytes} bytes are too few for L1", f"give at least {MIN_L1_BYTES}")
        with self._lock:
            self._do(lambda: self._core.resize_l1(bytes))
            self._keep("l1_bytes", l1_bytes=bytes)
        log.info("cache.l1_resized", bytes=bytes, by=by)

    def add_shelf(self, path: Path, bytes: int | None) -> ShelfSetting:
        """Bytes None: nine tenths of what is free there. Raises ControlError."""
        with self._lock:
            shelf = self._checked(path, bytes)
            try:
                self._do(lambda: self._cache.add_shelf(shelf.path, shelf.bytes))
            except ControlError:
                # It would be tried again for ever, for somebody who has been told that it failed.
                self._forget(shelf.path)
                raise
            self._keep("shelves", shelves=(*self.shelves, shelf))
        log.info("shelf.added", path=shelf.path, bytes=shelf.bytes)
        return shelf

    def _forget(self, path: str) -> None:
        try:
            self._cache.remove_shelf(path)
        except self._errors as error:
            log.debug("shelf.not_removed", path=path, why=str(error))

    def _checked(self, path: Path, bytes: int | None) -> ShelfSetting:
        device = path.is_absolute() and path.is_block_device()
        if not device and not (path.is_absolute() and path.is_dir()):
            raise _refused(
                f"{path} is no directory and no block device",
                "make the directory on the disk that is to be the shelf, or name the disk; the path is absolute",
            )
        others = [*self._reserved, *(Path(shelf.path) for shelf in self.shelves)]
        clash = next((one for one in others if path.is_relative_to(one) or one.is_relative_to(path)), None)
        if clash is not None:
            raise _refused(f"{path} and {clash} lie in each other", "give the shelf a directory of its own")
        if len(self.shelves) >= MAX_SHELVES:
            raise _refused(f"there are {MAX_SHELVES} shelves already", "remove one")
        same = (one for one in self.shelves if device and _is_device(one.path, path.stat().st_rdev))
        if (twin := next(same, None)) is not None:
            raise _refused(f"{path} is the shelf {twin.path} by another name", "name another device")
        size, most = _device_room(path) if device else _directory_room(path)
        wanted = most if bytes is None else bytes
        if wanted < MIN_SHELF_BYTES:
            raise _refused(f"{wanted} bytes are too few for a shelf", f"give at least {MIN_SHELF_BYTES}")
        if wanted > size:
            raise _refused(
                f"the disk of {path} holds {size} bytes, fewer than the shelf's {wanted}",
                "give a smaller size" if device else "mount the shelf's disk there, or give a smaller size",
            )
        return ShelfSetting(str(path), wanted)

    def find(self, path: str) -> ShelfSetting:
        """Raises ControlError."""
        found = next((shelf for shelf in self.shelves if shelf.path == path), None)
        if found is None:
            raise _refused(f"{path} is no shelf", "`caudal cache shelf list` shows them")
        return found

    def drain_shelf(self, path: str, *, draining: bool) -> None:
        """A shelf that is drained takes nothing new, from now on until it is told otherwise. Raises ControlError."""
        with self._lock:
            shelf = self.find(path)
            if draining and all(one.draining or one.path == path for one in self.shelves):
                raise _refused(
                    f"{path} is the only shelf that takes blocks", "add another one first, or remove it"
                )
            self._do(lambda: self._cache.drain_shelf(path, draining))
            self._replace(shelf, msgspec.structs.replace(shelf, draining=draining))
        log.info("shelf.draining" if draining else "shelf.drained_no_more", path=path)

    def resize_shelf(self, path: str, bytes: int, *, by: str = "operator") -> None:
        """What fits stays. Raises ControlError."""
        if bytes < MIN_SHELF_BYTES:
            raise _refused(f"{bytes} bytes are too few for a shelf", f"give at least {MIN_SHELF_BYTES}")
        with self._lock:
            shelf = self.find(path)
            if Path(path).is_block_device() and bytes > (most := _device_room(Path(path))[0]):
                raise _refused(f"{path} holds {most} bytes, fewer than {bytes}", "give a smaller size")
            self._do(lambda: self._cache.resize_shelf(path, bytes))
            self._replace(shelf, msgspec.structs.replace(shelf, bytes=bytes))
        log.info("shelf.resized", path=path, bytes=bytes, by=by)

    def remove_shelf(self, path: str) -> str | None:
        """Takes a shelf away. What could not be removed from its directory is the answer. Raises ControlError."""
        with self._lock:
            shelf = self.find(path)
            left: str | None = None
            try:
                self._cache.remove_shelf(path)
            except self._errors as error:
                # A shelf that has failed cannot be emptied, and goes all the same.
                left = str(error)
            self._keep("shelves", shelves=tuple(one for one in self.shelves if one is not shelf))
        log.info("shelf.removed", path=path, left=left)
        return left

    def set_pins(self, pins: Sequence[str]) -> None:
        with self._lock:
            self._write(msgspec.structs.replace(self._now, pins=tuple(pins)))

    def _replace(self, old: ShelfSetting, new: ShelfSetting) -> None:
        self._keep("shelves", shelves=tuple(new if one is old else one for one in self.shelves))

    def _keep(self, key: str, **fields: Any) -> None:
        self._changed.add(key)
        self._write(msgspec.structs.replace(self._now, **fields))

    def _write(self, now: Settings) -> None:
        self._now = now
        kept = msgspec.structs.replace(
            now,
            l1_bytes=now.l1_bytes if "l1_bytes" in self._changed else None,
            shelves=now.shelves if "shelves" in self._changed else None,
        )
        try:
            files.write(self._file, kept)
        except OSError as error:
            raise ControlError(
                "not_kept",
                f"the change holds until the next start only: {self._file} cannot be written: {error}",
                "make room on the disk of the state directory",
            ) from error

    def _do(self, work: Any) -> None:
        try:
            work()
        except self._errors as error:
            raise ControlError(
                "cache_failed", str(error), "see what is wrong with the shelf's disk"
            ) from error


def _directory_room(path: Path) -> tuple[int, int]:
    """Bytes that its disk holds, and that a shelf without a size takes."""
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize, int(status.f_bavail * status.f_frsize * FREE_SHARE)


def _device_room(path: Path) -> tuple[int, int]:
    """The same of a device: all of it but what the core needs for itself. Raises ControlError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _refused(f"{path} cannot be opened: {error.strerror}", "see the kernel's log") from error
    room = max(0, size - DEVICE_HEADER_BYTES)
    return room, room


def _is_device(path: str, number: int) -> bool:
    try:
        found = Path(path).stat()
    except OSError:
        return False
    return stat.S_ISBLK(found.st_mode) and found.st_rdev == number


def _refused(message: str, hint: str) -> ControlError:
    return ControlError("refused", message, hint)
