"""Cold reads: the few SELECTs that the owner of a file system runs, compiled once.

SQLAlchemy builds the text, the driver runs it: executing through SQLAlchemy would cost several times the query itself.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from sqlalchemy import bindparam, select, text
from sqlalchemy.sql import ClauseElement

from gateway.metadata.database import Database, Snapshot
from gateway.metadata.extents import Extent
from gateway.metadata.rows import InodeRow, PutQuota
from gateway.metadata.sums import TreeSums
from gateway.metadata.tables import dirent, extent, inode, meta, owner_usage, pack, quota, tree, xattr

DirentRow = tuple[bytes, int, int, int]
"""(name, cookie, inode, kind)."""

_BATCH_SIZES: Final = (1, 8, 64, 128, 256)  # 128: a page of a listing


@cache
def _statements() -> dict[str, ClauseElement]:
    columns = [inode.c[name] for name in InodeRow.__struct_fields__]
    entry = select(dirent.c.name, dirent.c.cookie, dirent.c.ino, dirent.c.kind)
    directory = dirent.c.dir == bindparam("dir")
    inodes = {
        f"inodes {size}": select(*columns).where(inode.c.ino.in_([bindparam(None, 0) for _ in range(size)]))
        for size in _BATCH_SIZES
    }
    trees = {
        f"trees {size}": select(tree).where(tree.c.dir.in_([bindparam(None, 0) for _ in range(size)]))
        for size in _BATCH_SIZES
    }
    return {
        **inodes,
        **trees,
        "quotas": select(quota).order_by(quota.c.dir),
        "owners": select(owner_usage.c.id, owner_usage.c.inodes, owner_usage.c.bytes, owner_usage.c.space)
        .where(owner_usage.c.kind == bindparam("kind"), owner_usage.c.id > bindparam("after"))
        .order_by(owner_usage.c.id)
        .suffix_with(text("LIMIT :most")),
        # As the partial index says it: "orphan = 1", which SQLAlchemy makes of the column, would read every inode there is.
        "orphans": select(*columns).where(text("inode.orphan")),
        "dirent": entry.where(directory, dirent.c.name == bindparam("name")),
        "dirents": entry.where(directory, dirent.c.cookie > bindparam("after"))
        .order_by(dirent.c.cookie)
        .suffix_with(text("LIMIT :most")),  # limit() adds an OFFSET on SQLite
        "names": select(dirent.c.name).where(directory, dirent.c.ino == bindparam("ino")),
        "extents": select(extent.c.file_offset, extent.c.length, extent.c.pack, extent.c.pack_offset)
        .where(extent.c.ino == bindparam("ino"))
        .order_by(extent.c.file_offset),
        "pack": select(pack.c.live_bytes).where(pack.c.id == bindparam("id")),
        "xattrs": select(xattr.c.name, xattr.c.value).where(xattr.c.ino == bindparam("ino")),
        "meta": select(meta.c.key, meta.c.value),
    }


class ColdReads:
    """Reads of one database. Safe for all threads; each call is a snapshot of its own.

    At first, during recovery, all calls see one snapshot, and only one thread may call: a steward that outlived the
    owner before may still be writing. `follow` ends that.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshot: Snapshot | None = database.snapshot()
        self._fetch = self._snapshot.fetch
        texts = {name: database.compiled(statement) for name, statement in _statements().items()}
        self._inodes = {size: texts[f"inodes {size}"] for size in _BATCH_SIZES}
        self._trees = {size: texts[f"trees {size}"] for size in _BATCH_SIZES}
        self._quotas = texts["quotas"]
        self._owners = texts["owners"]
        self._orphans = texts["orphans"]
        self._dirent = texts["dirent"]
        self._dirents = texts["dirents"]
        self._names = texts["names"]
        self._extents = texts["extents"]
        self._pack = texts["pack"]
        self._xattrs = texts["xattrs"]
        self._meta = texts["meta"]

    def follow(self) -> None:
        """From now on sees what the steward writes."""
        snapshot = self._snapshot
        if snapshot is not None:
            self._fetch = self._database.fetch
            self._snapshot = None
            snapshot.close()

    def inode(self, ino: int) -> InodeRow | None:
        found = self._fetch(self._inodes[1], (ino,))
        return _inode(found[0]) if found else None

    def inodes(self, inos: Sequence[int]) -> list[InodeRow]:
        """Those that exist, in no particular order; one query for up to 256."""
        out: list[InodeRow] = []
        for begin in range(0, len(inos), _BATCH_SIZES[-1]):
            some = list(inos[begin : begin + _BATCH_SIZES[-1]])
            size = next(size for size in _BATCH_SIZES if size >= len(some))
            some += some[-1:] * (size - len(some))
            out += map(_inode, self._fetch(self._inodes[size], some))
        return out

    def tree_sums(self, inos: Sequence[int]) -> dict[int, TreeSums]:
        """Sums of directories; those that have none are left out."""
        out: dict[int, TreeSums] = {}
        for begin in range(0, len(inos), _BATCH_SIZES[-1]):
            some = list(inos[begin : begin + _BATCH_SIZES[-1]])
            size = next(size for size in _BATCH_SIZES if size >= len(some))
            some += some[-1:] * (size - len(some))
            out.update((row[0], TreeSums(*row[1:])) for row in self._fetch(self._trees[size], some))
        return out

    def quotas(self) -> list[PutQuota]:
        """All limits, in the order of directories."""
        return [PutQuota(*row) for row in self._fetch(self._quotas, ())]

    def owners(self, kind: int, after: int, most: int) -> list[tuple[int, int, int, int]]:
        """(id, inodes, bytes, space) of users (kind 0) or groups (1) with an id above `after`, in their order."""
        return [(row[0], row[1], row[2], row[3]) for row in self._fetch(self._owners, (kind, after, most))]

    def orphans(self) -> Iterable[InodeRow]:
        return map(_inode, self._fetch(self._orphans, ()))

    def dirent(self, directory: int, name: bytes) -> DirentRow | None:
        found = self._fetch(self._dirent, (directory, name))
        return _dirent(found[0]) if found else None

    def dirents(self, directory: int, after: int, most: int) -> list[DirentRow]:
        """The first `most` entries with a cookie above `after`, in the order of cookies."""
        return [_dirent(row) for row in self._fetch(self._dirents, (directory, after, most))]

    def names_of(self, directory: int, ino: int) -> list[bytes]:
        """Names in a directory that lead to an inode: looks at all of them."""
        return [row[0] for row in self._fetch(self._names, (directory, ino))]

    def extents(self, ino: int) -> list[Extent]:
        """In the order of file offsets."""
        return [(row[0], row[1], row[2], row[3]) for row in self._fetch(self._extents, (ino,))]

    def pack_live_bytes(self, pack_id: int) -> int | None:
        found = self._fetch(self._pack, (pack_id,))
        return found[0][0] if found else None

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        return {row[0]: row[1] for row in self._fetch(self._xattrs, (ino,))}

    def meta(self) -> dict[str, str]:
        return {str(row[0]): str(row[1]) for row in self._fetch(self._meta, ())}


def _inode(row: Sequence[object]) -> InodeRow:
    found = InodeRow(*row)  # type: ignore[arg-type]  # columns are the fields, in their order
    found.orphan = bool(found.orphan)
    return found


def _dirent(row: Sequence[object]) -> DirentRow:
    name, cookie, ino, kind = row
    return name, cookie, ino, kind  # type: ignore[return-value]
