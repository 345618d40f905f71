"""Rows as they are now: the overlay over the caches over SQL.

What is in memory is read without a lock. A cold row is read from SQL, then checked and cached under the lock: if the
overlay has the row by now, that one is right; if the overlay let go of rows during the read, the snapshot may be older
than what it let go, and the read is done again (once a checkpoint, at most). With the lock already held nothing moves
meanwhile, so the same functions serve both.
"""

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Final

from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.by_cookie import Dirent
from gateway.metadata.cache import InodeCache
from gateway.metadata.directories import Directories, Directory
from gateway.metadata.extents import ExtentMap
from gateway.metadata.overlay import GONE, Overlay
from gateway.metadata.reads import ColdReads
from gateway.metadata.rows import InodeRow
from gateway.metadata.xattrs import NONE, Xattrs

LOAD_NAMES_MAX: Final = 4096
"""Directories up to this many names are cached whole when they are listed, or asked for many names that are not there."""

MISSES_BEFORE_LOAD: Final = 8


class View:
    """Reads of inodes, names, extended attributes, extents. `lock` is the namespace's; rows change under it only."""

    def __init__(
        self, reads: ColdReads, *, checkpoint_lsn: int, inodes_max: int, names_max: int, xattr_bytes_max: int
    ) -> None:
        self.lock = RLock()
        self.reads = reads
        self.cache = InodeCache(inodes_max, self.lock)
        self.directories = Directories(names_max)
        self.xattr_values = Xattrs(xattr_bytes_max)
        self.overlay = Overlay(self.cache, self.directories, self.xattr_values, checkpoint_lsn)
        self._changed = self.overlay.inodes.get
        self._clean = self.cache.get

    def inode(self, ino: int) -> InodeRow | None:
        row = self._changed(ino)
        if row is None:
            row = self._clean(ino) or self._cold_inode(ino)
        return None if row is GONE else row

    def _cold_inode(self, ino: int) -> InodeRow | None:
        while True:
            forgotten = self.overlay.forgotten
            row = self.reads.inode(ino)
            with self.lock:
                known = self._changed(ino) or self.cache.get(ino)
                if known is not None:
                    return known
                if self.overlay.forgotten == forgotten:
                    if row is not None:
                        self.cache.put(row)
                    return row

    def warm_inodes(self, inos: Iterable[int]) -> None:
        """Reads those that memory lacks into the cache, in one query."""
        cold = [ino for ino in inos if self._changed(ino) is None and self._clean(ino) is None]
        if not cold:
            return
        forgotten = self.overlay.forgotten
        rows = self.reads.inodes(cold)
        with self.lock:
            if self.overlay.forgotten == forgotten:
                for row in rows:
                    if self._changed(row.ino) is None:
                        self.cache.put(row)

    def orphans(self) -> list[int]:
        """Inodes without a name. Call it with the lock held."""
        changed = self.overlay.inodes
        cold = {row.ino for row in self.reads.orphans() if row.ino not in changed}
        return sorted(cold | self.overlay.orphans)

    def dirent(self, directory: int, name: bytes) -> Dirent | None:
        names = self.directories.of(directory)
        if names is not None:
            names.hot = True
            entry = names.names.get(name)
            if entry is not None:
                return entry if entry.ino else None
            if names.complete:
                return None
        return self._cold_dirent(directory, name)

    def _cold_dirent(self, directory: int, name: bytes) -> Dirent | None:
        while True:
            forgotten = self.overlay.forgotten
            found = self.reads.dirent(directory, name)
            with self.lock:
                names = self._open(directory)
                entry = names.names.get(name)
                if entry is not None:
                    return entry if entry.ino else None
                if names.complete:
                    return None
                if self.overlay.forgotten != forgotten:
                    continue
                if found is not None:
                    self.directories.fill(directory, (found,))
                    entry = names.names[name]
                    self._settle(directory, names)
                    return entry
            self._missed(directory, names)
            return None

    def _missed(self, directory: int, names: Directory) -> None:
        names.misses += 1
        if names.misses % MISSES_BEFORE_LOAD == 0:
            self.load_directory(directory)

    def load_directory(self, directory: int) -> None:
        """Reads all names of a directory into memory unless they are too many."""
        row = self.inode(directory)
        if row is None or row.size > LOAD_NAMES_MAX:
            return
        forgotten = self.overlay.forgotten
        # SQL may lag: it may have names that are gone by now, and fewer than there are.
        found = self.reads.dirents(directory, 0, 2 * LOAD_NAMES_MAX)
        self.cache_names(directory, found, forgotten)

    def cache_names(self, directory: int, found: list[tuple[bytes, int, int, int]], forgotten: int) -> None:
        """Keeps names that SQL had, if no row left the overlay since `forgotten` was noted, before they were read."""
        with self.lock:
            if self.overlay.forgotten == forgotten:
                names = self.directories.fill(directory, found)
                self._settle(directory, names)

    def _open(self, directory: int) -> Directory:
        names = self.directories.of(directory)
        if names is None:
            row = self.inode(directory)
            if row is None:
                return Directory(complete=True)
            names = self.directories.open(directory, empty=row.size == 0)
        return names

    def _settle(self, directory: int, names: Directory) -> None:
        """After clean names came: the directory is complete once memory has as many names as its row says.

        Not one that is large: to put its names in order takes long, and it would not stay whole.
        """
        if not names.complete and names.live <= LOAD_NAMES_MAX:
            row = self.inode(directory)
            if row is not None and row.kind == DIRECTORY and names.live == row.size:
                names.complete_now()
        if self.directories.full:
            self.directories.shrink()

    def xattrs(self, row: InodeRow) -> Mapping[bytes, bytes]:
        """All extended attributes of an inode, by their whole names; not to be changed."""
        if not row.xattr_name_bytes:
            return NONE
        ino = row.ino
        while True:
            forgotten = self.overlay.forgotten
            below = self.xattr_values.clean(ino)
            found = self.reads.xattrs(ino) if below is None else below
            with self.lock:
                if self.overlay.forgotten != forgotten:
                    continue
                self.xattr_values.keep(ino, found)
                return self.xattr_values.over(ino, found)

    def extents(self, ino: int) -> ExtentMap:
        """The flushed extents as rows have them. Call it with the lock held."""
        row = self.inode(ino)
        if row is None or (row.size == 0 and row.space_used == 0):
            # Nothing of it was ever flushed, or a flush took a truncation to nothing: no query for new files.
            return self.overlay.extents(ino, ExtentMap())
        return self.overlay.extents(ino, ExtentMap(self.reads.extents(ino)))
