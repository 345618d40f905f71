"""Bringing what a path holds into the cache, and keeping it there.

A pin is a standing wish: what is pinned is brought into L2 and stays there when other blocks have to go. Files change and
shelves fail: so the trees are walked again now and then, and what is missing is brought again. Pins may take a quarter of
L2: each round through the disk writes them again, and what is read besides them needs its room.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog

from gateway._core import CoreError, PackGone
from gateway.cache import walk
from gateway.cache.jobs import CancelledError, Job
from gateway.cache.tiers import Tiers
from gateway.cache.walk import Blocks
from gateway.errors import CaudalError, ControlError
from gateway.metadata.errors import FsError

log = structlog.get_logger(__name__)
PIN_SHARE: Final = 0.25
PIN_INTERVAL_S: Final = 60.0
FETCHERS: Final = 4
"""Reads of the store for a job at once, of up to 8 MiB each."""


class Cache(Protocol):
    """What is needed of gateway._core.BlockCache."""

    def warm(self, run: tuple[int, int, int]) -> int: ...
    def held(self, runs: list[tuple[int, int, int]]) -> int: ...
    def pin(self, runs: list[tuple[int, int, int]]) -> None: ...


class Pin:
    """A path that is pinned. why: what is wrong with it, None while all of it is kept."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.blocks: Blocks = {}
        self.why: str | None = "not looked at since the start"


class Warmth:
    """For any number of threads. resolve: the attributes of what a path leads to, as clients see it; raises ControlError.
    l1_bytes, l2_bytes: what the tiers hold now, 0 for an L2 that is not in use.
    """

    def __init__(
        self,
        cache: Cache,
        names: walk.Names,
        extents: walk.Extents,
        tiers: Tiers,
        *,
        resolve: Callable[[str], Any],
        l1_bytes: Callable[[], int],
        l2_bytes: Callable[[], int],
    ) -> None:
        self._cache = cache
        self._names = names
        self._extents = extents
        self._tiers = tiers
        self._resolve = resolve
        self._l1_bytes = l1_bytes
        self._l2_bytes = l2_bytes
        self._lock = threading.RLock()
        self._pins = {path: Pin(path) for path in tiers.pins}
        self._stop = threading.Event()
        self._job = Job("pins", "cache.pins", time.thread_time)
        self._thread = threading.Thread(target=self._keep, name="pins", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._job.cancel()
        self._thread.join(timeout=5.0)

    # Warming

    def warm(self, path: str) -> Callable[[Job], None]:
        """The work of a job that brings a tree into L2, or into L1 where there is no L2. Raises ControlError."""
        self._resolve(path)
        return lambda job: self._warm(path, job)

    def _warm(self, path: str, job: Job) -> None:
        blocks = self.collect(path, job)
        size, room = walk.bytes_of(blocks), self._l2_bytes() or self._l1_bytes()
        if size > room:
            raise ControlError(
                "too_large",
                f"{path} takes {size} bytes, and the cache holds {room}: its end would push out its beginning",
                "warm a part of it, or add a shelf",
            )
        self.bring(blocks, job)

    def collect(self, path: str, job: Job) -> Blocks:
        """The blocks of a tree. Raises ControlError, CancelledError."""
        blocks: Blocks = {}
        files = 0
        for page in walk.files(self._names, self._resolve(path)):
            for attributes in page:
                walk.add(blocks, self._extents(attributes.inode))
            files += len(page)
            job.step(files=files)
        job.step(bytes=walk.bytes_of(blocks), done_bytes=0, fetched_bytes=0)
        return blocks

    def bring(self, blocks: Blocks, job: Job) -> None:
        """Brings blocks where they stay longest. Raises ControlError, CancelledError."""
        try:
            self._bring(blocks, job)
        except CoreError as error:
            raise ControlError(
                "not_read", str(error), "what was brought so far stays; try again later"
            ) from error

    def _bring(self, blocks: Blocks, job: Job) -> None:
        done = fetched = 0
        with ThreadPoolExecutor(FETCHERS, thread_name_prefix="warm") as fetchers:
            waiting: list[tuple[int, Any]] = []
            runs = walk.runs(blocks)
            try:
                while True:
                    run = next(runs, None)
                    if run is not None:
                        waiting.append((run[2], fetchers.submit(self._cache.warm, run)))
                    if not waiting:
                        return
                    if run is None or len(waiting) >= 2 * FETCHERS:
                        count, under_way = waiting.pop(0)
                        # A collection moved what lives of it into a new pack, which the cache was given as it was written.
                        with suppress(PackGone):
                            fetched += under_way.result()
                        done += count
                        job.progress = {
                            **job.progress,
                            "done_bytes": done * walk.BLOCK_BYTES,
                            "fetched_bytes": fetched * walk.BLOCK_BYTES,
                        }
                    job.waited()
            finally:
                for _, under_way in waiting:
                    under_way.cancel()

    # Pins

    def pin(self, path: str) -> Callable[[Job], None]:
        """The work of a job that pins a tree. Raises ControlError."""
        self._resolve(path)
        if not self._l2_bytes():
            raise ControlError(
                "no_l2", "pins are kept in L2, and no shelf is in use", "`caudal cache shelf add` adds one"
            )
        return lambda job: self._pin(walk.normal(path), job)

    def _pin(self, path: str, job: Job) -> None:
        blocks = self.collect(path, job)
        with self._lock:
            before = [pin.blocks for pin in self._pins.values() if pin.path != path]
            all_bytes = walk.bytes_of(walk.union([*before, blocks]))
            room = self.room_bytes()
            if all_bytes > room:
                left = max(0, room - walk.bytes_of(walk.union(before)))
                raise ControlError(
                    "too_large",
                    f"{path} takes {walk.bytes_of(blocks)} bytes; {left} are left of the {room} that may be pinned,"
                    f" which is a quarter of L2",
                    f"shelves of {int(all_bytes / PIN_SHARE)} bytes would hold it; or unpin something, or pin less",
                )
            pin = self._pins.setdefault(path, Pin(path))
            pin.blocks, pin.why = blocks, None
            self._tell()
            self._tiers.set_pins(list(self._pins))
        log.info("cache.pinned", path=path, bytes=walk.bytes_of(blocks))
        self.bring(blocks, job)

    def unpin(self, path: str) -> None:
        """What was pinned stays until it has to go like anything else. Raises ControlError."""
        with self._lock:
            if self._pins.pop(walk.normal(path), None) is None:
                raise ControlError("not_pinned", f"{path} is not pinned", "`caudal cache pins` shows what is")
            self._tell()
            self._tiers.set_pins(list(self._pins))
        log.info("cache.unpinned", path=path)

    def room_bytes(self) -> int:
        """What may be pinned."""
        return int(self._l2_bytes() * PIN_SHARE)

    def describe(self) -> dict[str, Any]:
        with self._lock:
            pins = list(self._pins.values())
        return {
            "room_bytes": self.room_bytes(),
            "items": [
                {
                    "path": pin.path,
                    "bytes": walk.bytes_of(pin.blocks),
                    "held_bytes": self._cache.held(list(walk.runs(pin.blocks))) * walk.BLOCK_BYTES,
                    "why": pin.why,
                }
                for pin in pins
            ],
        }

    def _tell(self) -> None:
        blocks = walk.union(pin.blocks for pin in self._pins.values())
        self._cache.pin(list(walk.runs(blocks)))

    def look(self, job: Job) -> None:
        """Walks all pinned trees again, and brings what is missing. One that has outgrown its room is kept as it was known
        last.
        """
        for pin in list(self._pins.values()):
            try:
                blocks = self.collect(pin.path, job)
            except ControlError as error:
                # Removed or moved: the pin waits for it to return, without its blocks.
                blocks, pin.why = {}, error.message
            else:
                pin.why = None
            with self._lock:
                others = [one.blocks for one in self._pins.values() if one is not pin]
                if walk.bytes_of(walk.union([*others, blocks])) > self.room_bytes():
                    pin.why = "it has outgrown the quarter of L2 that may be pinned: what is new is not kept"
                else:
                    pin.blocks = blocks
                self._tell()
            self.bring(pin.blocks, job)

    def _keep(self) -> None:
        job = self._job
        while True:
            if self._pins:
                try:
                    self.look(job)
                except CancelledError:
                    return
                except CaudalError as error:
                    log.warning("cache.pins_not_kept", why=error.message)
                except (CoreError, FsError) as error:
                    log.warning("cache.pins_not_kept", why=str(error))
            if self._stop.wait(PIN_INTERVAL_S):
                return
