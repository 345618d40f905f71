"""Directory entries in memory: changed ones above what SQL has, and clean ones as a bounded cache.

Per directory one dict of names. An entry with LSN 0 is clean, any other was changed above the overlay's `forgotten`;
an entry with inode 0 stands for a name that was removed. In a directory that is `complete` memory knows every name, so
that one it does not find is free without a look into SQL.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from msgspec import Struct

SHRINK_STEPS: Final = 1000


class Dirent(Struct, gc=False):
    """`name`, `cookie`, `ino` and `kind` never change once it is in a directory; `lsn` becomes 0 when SQL has it."""

    name: bytes
    cookie: int
    ino: int
    kind: int
    lsn: int


_cookie: Final = attrgetter("cookie")


class Directory:
    """Names of one directory. Looked up without a lock: `complete` is cleared before names leave, set after they came."""

    __slots__ = ("complete", "dirty", "hot", "live", "misses", "names", "order", "stale")

    def __init__(self, *, complete: bool) -> None:
        self.names: dict[bytes, Dirent] = {}
        self.complete = complete
        self.live = 0  # names that are not removed ones
        self.dirty = 0  # entries with an LSN
        self.hot = True
        self.misses = 0  # reads of SQL for single names
        # Entries by cookie, for readdir; None until it is wanted, but kept from the start where all names were made in
        # memory. Holds at least the changed entries, in a complete directory all, and besides some that are no longer in
        # `names`, which readers skip.
        self.order: list[Dirent] | None = [] if complete else None
        self.stale = 0  # of these, about

    def set(self, entry: Dirent) -> None:
        """Puts an entry, live or removed, in the place of what has its name."""
        names = self.names
        old = names.get(entry.name)
        names[entry.name] = entry
        live = entry.ino != 0
        self.live += live
        self.dirty += entry.lsn != 0
        if old is not None:
            self.live -= old.ino != 0
            self.dirty -= old.lsn != 0
            self.stale += 1
        order = self.order
        if order is None:
            return
        if self.stale > 64 + len(order) // 2:
            self.order = None
        elif live and (entry.lsn or self.complete):
            if not order or order[-1].cookie < entry.cookie:
                order.append(entry)
            else:
                order.insert(bisect_right(order, entry.cookie, key=_cookie), entry)

    def unset(self, name: bytes) -> None:
        entry = self.names.pop(name, None)
        if entry is not None:
            self.live -= entry.ino != 0
            self.dirty -= entry.lsn != 0
            self.stale += 1

    def after(self, cookie: int, most: int) -> list[Dirent]:
        """Up to `most` entries with higher cookies, in their order: all there are if complete, else the changed ones
        and some of the others."""
        order = self.order
        if order is None:
            wanted = (e for e in self.names.values() if e.ino and (e.lsn or self.complete))
            self.order = order = sorted(wanted, key=_cookie)
            self.stale = 0
        out: list[Dirent] = []
        names = self.names
        for index in range(bisect_right(order, cookie, key=_cookie), len(order)):
            entry = order[index]
            if names.get(entry.name) is entry:
                out.append(entry)
                if len(out) == most:
                    break
        return out

    def drop_clean(self) -> int:
        """Lets go of what SQL has; returns how many entries that were."""
        before = len(self.names)
        self.complete = False
        self.names = {name: entry for name, entry in self.names.items() if entry.lsn}
        self.live = sum(entry.ino != 0 for entry in self.names.values())
        self.order = None
        return before - len(self.names)


class Directories:
    """All directories in memory. Changes need the namespace's lock; `of` does not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries = 0
        self._directories: dict[int, Directory] = {}
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
        elif old.cookie != cookie:
            # To the end of the dict: a name of its own, made after the old one had gone.
            del directory.names[name]
            directory.live -= old.ino != 0
            directory.dirty -= old.lsn != 0
            directory.stale += 1
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

    def shrink(self) -> None:
        """Keeps the bound: drops clean entries of the directories that were not used for the longest time."""
        directories = self._directories
        for _ in range(min(2 * len(directories), SHRINK_STEPS)):
            if self._entries <= self._limit:
                return
            ino = next(iter(directories))
            # To the end, as if new. A reader that finds it missing for a moment looks again with the lock.
            directory = directories.pop(ino)
            crowded = 2 * directory.dirty > len(directory.names)  # little to gain until the next checkpoint
            if crowded or (directory.hot and directories):
                directory.hot = False
                directories[ino] = directory
            elif directory.dirty:
                self._entries -= directory.drop_clean()
                directories[ino] = directory
            else:
                self._entries -= len(directory.names) + 1

    @property
    def full(self) -> bool:
        return self._entries > self._limit

    def __len__(self) -> int:
        return self._entries
