"""Who uses what most just now, in words: the core knows inodes and addresses; here they get paths, and directories theirs.

The core keeps no names. So whoever looks a name up notes it here, within a bound; of what was looked up too long ago only
the inode's number is told.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)
LOOK_S: Final = 2.0
HALF_LIFE_S: Final = 30.0
DIRECTORIES: Final = 512
NAMES: Final = 1 << 15
DEPTH: Final = 64
FAINT: Final = 0.01

Activity = Callable[[], dict[str, Any]]
"""gateway._core.BlockCache.activity."""
Tops = Callable[[], Mapping[int, str]]
"""Mount paths of the exports, by the inodes of their directories."""


class Parents:
    """Where inodes were found last: at most twice NAMES of them, those of late. For any number of threads: a lost note is
    noted at the next look-up.
    """

    def __init__(self) -> None:
        self._young: dict[int, tuple[int, bytes]] = {}
        self._old: dict[int, tuple[int, bytes]] = {}

    def note(self, inode: int, directory: int, name: bytes) -> None:
        young = self._young
        young[inode] = (directory, name)
        if len(young) > NAMES:
            self._old, self._young = young, {}

    def of(self, inode: int) -> tuple[int, bytes] | None:
        """The directory and the name; None: nobody looked it up of late."""
        return self._young.get(inode) or self._old.get(inode)

    def path(self, inode: int, tops: Mapping[int, str]) -> str | None:
        """As clients see it, below the nearest of the directories that are exported; None where a part of it was not looked
        up of late. tops: mount paths by inode.
        """
        parts: list[str] = []
        for _ in range(DEPTH):
            if inode in tops:
                return tops[inode].rstrip("/") + "".join(f"/{part}" for part in reversed(parts)) or "/"
            found = self.of(inode)
            if found is None:
                return None
            inode, name = found
            parts.append(name.decode("utf-8", "backslashreplace"))
        return None


class Heat:
    """A thread that looks at the core's notes, and what it knows. clock: monotonic seconds."""

    def __init__(
        self, activity: Activity, parents: Parents, tops: Tops, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._activity = activity
        self._parents = parents
        self._tops = tops
        self._clock = clock
        self._lock = threading.Lock()
        self._directories: dict[int, list[float]] = {}
        self._found: dict[str, Any] = {"files": [], "clients": [], "all": (0.0,) * 6}
        self._at_s = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)

    def look(self) -> None:
        """Takes what the core noted since the last look."""
        found = self._activity()
        with self._lock:
            now_s = self._clock()
            share = 0.5 ** ((now_s - self._at_s) / HALF_LIFE_S)
            self._at_s = now_s
            rate = math.log(2) / HALF_LIFE_S
            for inode, operations, byte_count in found.pop("sample"):
                place = self._parents.of(inode)
                if place is not None:
                    known = self._directories.setdefault(place[0], [0.0, 0.0])
                    known[0] += operations * rate / share
                    known[1] += byte_count * rate / share
            for known in self._directories.values():
                known[0] *= share
                known[1] *= share
            self._forget()
            self._found = found

    def _forget(self) -> None:
        """The faint ones, and beyond the bound the lightest."""
        self._directories = {inode: known for inode, known in self._directories.items() if known[0] > FAINT}
        if len(self._directories) > DIRECTORIES:
            heaviest = sorted(self._directories.items(), key=lambda item: -_weight(*item[1]))
            self._directories = dict(heaviest[:DIRECTORIES])

    def describe(self, most: int) -> dict[str, Any]:
        """The heaviest of clients, files and directories, as rates a second, faded by half in HALF_LIFE_S."""
        with self._lock:
            found, directories = self._found, dict(self._directories)
        tops = self._tops()
        heaviest = sorted(directories.items(), key=lambda item: -_weight(*item[1]))[:most]
        return {
            "half_life_s": HALF_LIFE_S,
            "all": _rates(found["all"]),
            "clients": [{"address": who, **_rates(rates)} for who, rates in found["clients"][:most]],
            "files": [
                {**self._named(inode, tops), **_rates(rates)} for inode, rates in found["files"][:most]
            ],
            "directories": [
                {**self._named(inode, tops), "operations": round(known[0], 2), "bytes": round(known[1])}
                for inode, known in heaviest
            ],
        }

    def _named(self, inode: int, tops: Mapping[int, str]) -> dict[str, Any]:
        return {"inode": inode, "path": self._parents.path(inode, tops)}

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                log.exception("heat.failed")


def _weight(operations: float, bytes: float) -> float:
    """As the core weighs: 64 KiB are as much as an operation."""
    return operations + bytes / 65536


def _rates(told: tuple[float, ...]) -> dict[str, Any]:
    reads, writes, names, read_bytes, written_bytes, error = told
    return {
        "reads": round(reads, 2),
        "writes": round(writes, 2),
        "names": round(names, 2),
        "read_bytes": round(read_bytes),
        "written_bytes": round(written_bytes),
        "error": round(error, 2),
    }
