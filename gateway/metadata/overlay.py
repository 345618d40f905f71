"""Changes that SQL may not have yet, in memory.

The invariant that all reading leans on: **the overlay holds the after-image of every row that a record above
`forgotten` changed, and SQL holds at least everything up to `forgotten`.** So a row of the overlay wins over SQL's,
which may be older or (when the steward is ahead of what it has told) the same; and a row that is not in the overlay is
in SQL as it should be, provided that `forgotten` did not move between the look into the overlay and the end of the
read: what it let go meanwhile might be newer than the snapshot that was read. `view.View` checks that.

`forgotten` therefore rises first, and only then do rows leave: a reader that has seen the new value begins its SQL
snapshot after the checkpoint that made it.

Rows leave in the order of their LSNs by a log that names every changed row once, so that its size is bounded by the
number of changed rows however often they change.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from gateway.metadata.cache import InodeCache
from gateway.metadata.directories import Directories
from gateway.metadata.extents import ExtentMap
from gateway.metadata.rows import InodeRow, Splice
from gateway.metadata.xattrs import Xattrs

GONE: Final = InodeRow(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
"""Stands in the overlay for a dropped inode."""

# Stand in the log where a name would, which is never one of them.
_SPLICES: Final = b""
_PACK: Final = b"/"
_XATTRS: Final = b"//"
_Key = tuple[int, int, bytes | None]
"""(LSN, directory, name), (LSN, inode, None) for its row, (LSN, inode, _SPLICES or _XATTRS), (LSN, pack, _PACK)."""


class Overlay:
    """Changed inode rows and splices; changed dirents are marked in `Directories`, changed extended attributes kept in
    `Xattrs`. Changes need the namespace's lock."""

    def __init__(self, cache: InodeCache, directories: Directories, xattrs: Xattrs, forgotten: int) -> None:
        self.inodes: dict[int, InodeRow] = {}
        self.orphans: set[int] = set()  # of these
        self.forgotten = forgotten
        self._cache = cache
        self._directories = directories
        self._xattrs = xattrs
        self._lsns: dict[int, int] = {}
        self._splices: dict[int, list[tuple[int, Splice]]] = {}
        self._packs: set[int] = set()
        self._used: dict[int, int] = {}  # bytes that the splices here take of each pack
        self._log: deque[_Key] = deque()

    def put_inode(self, row: InodeRow, lsn: int) -> None:
        ino = row.ino
        if ino not in self._lsns:
            self._log.append((lsn, ino, None))
        self._lsns[ino] = lsn
        self.inodes[ino] = row
        if row.orphan:
            self.orphans.add(ino)
        self._cache.discard(ino)

    def drop_inode(self, ino: int, lsn: int) -> None:
        if ino not in self._lsns:
            self._log.append((lsn, ino, None))
        self._lsns[ino] = lsn
        self.inodes[ino] = GONE
        self.orphans.discard(ino)
        self._cache.discard(ino)
        self._unuse(self._splices.pop(ino, ()))
        self._directories.discard(ino)
        self._xattrs.discard(ino)

    def put_xattr(self, ino: int, name: bytes, value: bytes | None, lsn: int) -> None:
        """None: it is gone."""
        if self._xattrs.put(ino, name, value, lsn):
            self._log.append((lsn, ino, _XATTRS))

    def put_dirent(self, directory: int, name: bytes, cookie: int, ino: int, kind: int, lsn: int) -> None:
        if self._directories.put(directory, name, cookie, ino, kind, lsn):
            self._log.append((lsn, directory, name))

    def drop_dirent(self, directory: int, name: bytes, lsn: int) -> None:
        if self._directories.drop(directory, name, lsn):
            self._log.append((lsn, directory, name))

    def splice(self, op: Splice, lsn: int) -> None:
        splices = self._splices.get(op.ino)
        if splices is None:
            self._splices[op.ino] = splices = []
            self._log.append((lsn, op.ino, _SPLICES))
        splices.append((lsn, op))
        if op.pack:
            self._used[op.pack] = self._used.get(op.pack, 0) + op.length

    def _unuse(self, splices: Iterable[tuple[int, Splice]]) -> None:
        used = self._used
        for _, op in splices:
            if op.pack:
                left = used[op.pack] - op.length
                if left:
                    used[op.pack] = left
                else:
                    del used[op.pack]

    def splices(self, ino: int) -> list[Splice]:
        """Splices above `forgotten`, in order. Applying them to SQL's extents twice changes nothing."""
        return [op for _, op in self._splices.get(ino, ())]

    def extents(self, ino: int, below: ExtentMap) -> ExtentMap:
        """The extent map of an inode whose map in SQL is `below`, which is changed."""
        for op in self.splices(ino):
            below.splice(op.offset, op.length, op.pack, op.pack_offset)
        return below

    def put_pack(self, pack: int, lsn: int) -> None:
        self._packs.add(pack)
        self._log.append((lsn, pack, _PACK))

    def pack_bytes(self, pack: int) -> int | None:
        """Bytes of a pack that splices above `forgotten` put to use; None: nothing above it names the pack."""
        used = self._used.get(pack, 0)
        return used if used or pack in self._packs else None

    def forget(self, lsn: int, most: int) -> bool:
        """SQL has everything up to `lsn`: rows not changed since leave, at most `most`. True: there may be more."""
        self.forgotten = max(self.forgotten, lsn)
        log = self._log
        for _ in range(most):
            if not log or log[0][0] > lsn:
                return False
            _, ino, name = log.popleft()
            if name is None:
                self._forget_inode(ino, lsn)
            elif name == _SPLICES:
                self._forget_splices(ino, lsn)
            elif name == _PACK:
                self._packs.discard(ino)
            elif name == _XATTRS:
                newer = self._xattrs.forget(ino, lsn)
                if newer:
                    log.append((newer, ino, _XATTRS))
            else:
                newer = self._directories.forget(ino, name, lsn)
                if newer:
                    log.append((newer, ino, name))
        return bool(log) and log[0][0] <= lsn

    def _forget_inode(self, ino: int, lsn: int) -> None:
        newest = self._lsns[ino]
        if newest > lsn:
            # Behind rows of higher LSNs now: it leaves a little later than it could, which harms nothing.
            self._log.append((newest, ino, None))
            return
        row = self.inodes[ino]
        if row is not GONE:
            self._cache.put(row)
            self.orphans.discard(ino)
        del self.inodes[ino], self._lsns[ino]

    def _forget_splices(self, ino: int, lsn: int) -> None:
        splices = self._splices.get(ino)
        if splices is None:
            return
        left = [item for item in splices if item[0] > lsn]
        self._unuse(item for item in splices if item[0] <= lsn)
        if left:
            self._splices[ino] = left
            self._log.append((left[-1][0], ino, _SPLICES))
        else:
            del self._splices[ino]

    def __len__(self) -> int:
        return len(self._log)
