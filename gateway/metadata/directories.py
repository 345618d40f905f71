"""Directory entries in memory: changed ones above what SQL has, and clean ones as a bounded cache.

Per directory one dict of names. An entry with LSN 0 is clean, any other was changed above the overlay's `forgotten`;
an entry with inode 0 stands for a name that was removed. In a directory that is `complete` memory knows every name, so
that one it does not find is free without a look into SQL.

No call here takes time by the number of a directory's names but one: `complete_now`, for directories that are small.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

from gateway.metadata.by_cookie import ByCookie, Dirent

SHED: Final = 2000
"""Entries that leave memory in one turn, and directories that are looked at for them: about a millisecond."""


class Directory:
    """Names of one directory. Looked up without a lock: `complete` is cleared before names leave, set after they came."""

    __slots__ = ("complete", "dirty", "hot", "live", "misses", "names", "order")

    def __init__(self, *, complete: bool) -> None:
        self.names: dict[bytes, Dirent] = {}
        self.complete = complete
        self.live = 0  # names that are not removed ones
        self.dirty = 0  # entries with an LSN
        self.hot = True
        self.misses = 0  # reads of SQL for single names
        # Live entries: all in a complete directory, else all changed ones and some of the clean ones. None: there are none.
        self.order: ByCookie | None = None

    def set(self, entry: Dirent) -> None:
        """Puts an entry, live or removed, in the place of what has its name."""
        names = self.names
        old = names.get(entry.name)
        names[entry.name] = entry
        live = entry.ino != 0
        self.live += live
        self.dirty += entry.lsn != 0
        if old is not None:
            self._left(old)
        if live and (entry.lsn or self.complete):
            if self.order is None:
                self.order = ByCookie()
            self.order.add(entry)

    def unset(self, name: bytes) -> None:
        entry = self.names.pop(name, None)
        if entry is not None:
            self._left(entry)

    def _left(self, entry: Dirent) -> None:
        self.dirty -= entry.lsn != 0
        if entry.ino:
            self.live -= 1
            if self.order is not None:
                self.order.discard(entry.cookie)

    def after(self, cookie: int, most: int) -> list[Dirent]:
        """Up to `most` entries with higher cookies, in their order: all there are if complete, else the changed ones
        and some of the others."""
        return [] if self.order is None else self.order.after(cookie, most)

    def complete_now(self) -> None:
        """Memory has come to know every name."""
        self.order = ByCookie(entry for entry in self.names.values() if entry.ino)
        self.complete = True

    def shed(self, most: int) -> int:
        """Lets go of clean entries among the `most` that came first; the others go to the end. Returns how many left."""
        names = self.names
        self.complete = False
        before = len(names)
        for name in list(islice(names, most)):
            entry = names[name]
            if entry.lsn:
                # Out of the way of the next turn. Who misses it for a moment looks again with the lock.
                del names[name]
                names[name] = entry
            else:
                self.unset(name)
        return before - len(names)


class Directories:
    """All directories in memory. Changes need the namespace's lock; `of` does not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries = 0
        # Those that were not used for the longest time first, roughly. Not a dict, which takes ever longer to find its first
        # key after many were taken out there.
        self._directories: OrderedDict[int, Directory] = OrderedDict()
        self.of = self._directories.get

    def open(self, ino: int, *, empty: bool = False) -> Directory:
        """The directory's names, made room for if there are none. `empty`: it has none elsewhere either."""
        directory = self._directories.get(ino)
        if directory is None:
            directory = self._directories[ino] = Directory(complete=empty)
            self._entries += 1
        return directory

    def discard(self, ino: int) -> None:
        directory = self._directories.pop(ino, None)
        if directory is not None:
            self._entries -= len(directory.names) + 1

    def put(self, ino: int, name: bytes, cookie: int, target: int, kind: int, lsn: int) -> bool:
        """Sets a changed entry. True: it was not among the changed ones before."""
        directory = self.open(ino)
        old = directory.names.get(name)
        if old is None:
            self._entries += 1
        directory.set(Dirent(name, cookie, target, kind, lsn))
        return old is None or not old.lsn

    def drop(self, ino: int, name: bytes, lsn: int) -> bool:
        return self.put(ino, name, 0, 0, 0, lsn)

    def fill(self, ino: int, entries: Iterable[tuple[bytes, int, int, int]]) -> Directory:
        """Adds clean entries (name, cookie, inode, kind) where memory knows nothing of the name."""
        directory = self.open(ino)
        names = directory.names
        for name, cookie, target, kind in entries:
            if name not in names:
                directory.set(Dirent(name, cookie, target, kind, 0))
                self._entries += 1
        return directory

    def forget(self, ino: int, name: bytes, lsn: int) -> int:
        """SQL has everything up to `lsn`. Returns the entry's LSN if that is higher, else 0."""
        directory = self._directories.get(ino)
        entry = directory.names.get(name) if directory is not None else None
        if directory is None or entry is None:
            return 0
        if entry.lsn > lsn:
            return entry.lsn
        if entry.lsn and entry.ino:
            entry.lsn = 0
            directory.dirty -= 1
        elif not entry.ino:
            directory.unset(name)
            self._entries -= 1
        return 0

    def shrink(self) -> bool:
        """Brings the bound nearer: a turn's worth of clean entries leaves directories that were not used for long.

        More than one entry at a time, so that not every new one costs a turn. True: another turn would help.
        """
        directories = self._directories
        goal = self._limit - min(SHED, self._limit // 8)
        left = SHED
        for _ in range(min(2 * len(directories) + 2, SHED)):
            if self._entries <= goal or left <= 0 or not directories:
                break
            ino = next(iter(directories))
            directory = directories[ino]
            names = directory.names
            crowded = 2 * directory.dirty > len(names)  # little to gain until the next checkpoint
            if crowded or (directory.hot and len(directories) > 1):
                directory.hot = False
                directories.move_to_end(ino)
            elif len(names) > left or directory.dirty:
                looked = min(left, len(names))
                self._entries -= directory.shed(looked)
                left -= looked
            else:
                left -= len(names) + 1
                self.discard(ino)
        return self.full and left < SHED

    @property
    def full(self) -> bool:
        return self._entries > self._limit

    def __len__(self) -> int:
        return self._entries
