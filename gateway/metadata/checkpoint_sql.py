"""SQL that the checkpoint writes: bulk statements, one for each kind of change."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from msgspec.structs import astuple
from sqlalchemy import BigInteger, Connection, Dialect, Table, bindparam, case, func, null, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.metadata.extents import Extent
from gateway.metadata.rows import InodeRow, PutDirent
from gateway.metadata.tables import dirent, extent, inode, meta, pack, xattr

IN_BATCH: Final = 500
"""Values in one IN list."""

LAST: Final = 2**63 - 1
_FIELDS: Final = InodeRow.__struct_fields__


class Statements:
    """Reads and writes of one transaction. Lists may be empty."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert

    def inodes(self, inos: Iterable[int]) -> dict[int, InodeRow]:
        """Those rows that exist."""
        columns = [inode.c[name] for name in _FIELDS]
        out: dict[int, InodeRow] = {}
        for some in _slices(sorted(inos)):
            for row in self._connection.execute(select(*columns).where(inode.c.ino.in_(some))):
                out[row[0]] = InodeRow(*row)
        return out

    def put_inodes(self, put: Sequence[InodeRow]) -> None:
        self._upsert(inode, ["ino"], [dict(zip(_FIELDS, astuple(row), strict=True)) for row in put])

    def drop_inodes(self, inos: Sequence[int]) -> None:
        self._many(inode.delete().where(inode.c.ino == bindparam("i")), [{"i": ino} for ino in inos])

    def put_xattrs(self, put: Sequence[tuple[int, bytes, bytes]]) -> None:
        """(inode, name, value)."""
        rows = [{"ino": ino, "name": name, "value": value} for ino, name, value in put]
        self._upsert(xattr, ["ino", "name"], rows)

    def drop_xattrs(self, keys: Sequence[tuple[int, bytes]]) -> None:
        statement = xattr.delete().where(xattr.c.ino == bindparam("i"), xattr.c.name == bindparam("n"))
        self._many(statement, [{"i": ino, "n": name} for ino, name in keys])

    def drop_all_xattrs(self, inos: Collection[int]) -> None:
        self._many(xattr.delete().where(xattr.c.ino == bindparam("i")), [{"i": ino} for ino in inos])

    def put_dirents(self, put: Sequence[PutDirent]) -> None:
        rows = [
            {"dir": op.dir, "name": op.name, "cookie": op.cookie, "ino": op.ino, "kind": op.kind}
            for op in put
        ]
        self._upsert(dirent, ["dir", "name"], rows)

    def drop_dirents(self, keys: Sequence[tuple[int, bytes]]) -> None:
        statement = dirent.delete().where(dirent.c.dir == bindparam("d"), dirent.c.name == bindparam("n"))
        self._many(statement, [{"d": directory, "n": name} for directory, name in keys])

    def small_extents(self, inos: Iterable[int]) -> dict[int, list[Extent]]:
        """All extents of some inodes, in order."""
        out: dict[int, list[Extent]] = {}
        for some in _slices(sorted(inos)):
            statement = (
                select(
                    extent.c.ino, extent.c.file_offset, extent.c.length, extent.c.pack, extent.c.pack_offset
                )
                .where(extent.c.ino.in_(some))
                .order_by(extent.c.ino, extent.c.file_offset)
            )
            for ino, offset, length, pack_id, pack_offset in self._connection.execute(statement):
                out.setdefault(ino, []).append((offset, length, pack_id, pack_offset))
        return out

    def extents_around(self, ino: int, ranges: Iterable[tuple[int, int]]) -> list[Extent]:
        """Extents of an inode that overlap or touch any of some ranges [low, high), and some next to them, in order.

        Asked of the driver itself, since a batch of random writes has thousands of ranges.
        """
        cursor = self._connection.connection.cursor()
        statement = _around(self._connection.dialect)
        found: dict[int, Extent] = {}
        for low, high in ranges:
            cursor.execute(statement, (ino, ino, low, low, min(high, LAST)))
            for offset, length, pack_id, pack_offset in cursor.fetchall():
                found[offset] = (offset, length, pack_id, pack_offset)
        cursor.close()
        return sorted(found.values())

    def live_bytes_of(self, inos: Iterable[int]) -> dict[int, int]:
        """Bytes in each pack that extents of some inodes use."""
        out: dict[int, int] = {}
        for some in _slices(sorted(inos)):
            statement = (
                select(extent.c.pack, func.sum(extent.c.length))
                .where(extent.c.ino.in_(some))
                .group_by(extent.c.pack)
            )
            for pack_id, used in self._connection.execute(statement):
                out[pack_id] = out.get(pack_id, 0) + int(used)
        return out

    def drop_all_extents(self, inos: Collection[int]) -> None:
        self._many(extent.delete().where(extent.c.ino == bindparam("i")), [{"i": ino} for ino in inos])

    def drop_extents(self, keys: Sequence[tuple[int, int]]) -> None:
        statement = extent.delete().where(
            extent.c.ino == bindparam("i"), extent.c.file_offset == bindparam("o")
        )
        self._many(statement, [{"i": ino, "o": offset} for ino, offset in keys])

    def put_extents(self, put: Sequence[tuple[int, Extent]]) -> None:
        rows = [
            {"ino": ino, "file_offset": offset, "length": length, "pack": pack_id, "pack_offset": pack_offset}
            for ino, (offset, length, pack_id, pack_offset) in put
        ]
        self._upsert(extent, ["ino", "file_offset"], rows)

    def put_packs(self, sizes: Mapping[int, int]) -> None:
        statement = self._insert(pack).on_conflict_do_nothing(index_elements=["id"])
        self._many(statement, [{"id": key, "bytes": size, "live_bytes": 0} for key, size in sizes.items()])

    def add_live_bytes(self, deltas: Mapping[int, int], now_s: int, lsn: int) -> None:
        """Moves packs' live bytes; one that comes to none is dead since `now_s` and `lsn` unless it was before."""
        live_bytes = pack.c.live_bytes + bindparam("delta")
        statement = (
            pack.update()
            .where(pack.c.id == bindparam("pack_id"))
            .values(
                live_bytes=live_bytes,
                dead_since_s=case((live_bytes > 0, null()), else_=func.coalesce(pack.c.dead_since_s, now_s)),
                dead_lsn=case((live_bytes > 0, null()), else_=func.coalesce(pack.c.dead_lsn, lsn)),
            )
        )
        self._many(statement, [{"pack_id": key, "delta": delta} for key, delta in deltas.items()])

    def drop_packs(self, ids: Iterable[int]) -> None:
        """Those that nothing lives in; a pack in use stays, whatever the record said, so that fsck can tell."""
        statement = pack.delete().where(pack.c.id == bindparam("pack_id"), pack.c.live_bytes == 0)
        self._many(statement, [{"pack_id": pack_id} for pack_id in ids])

    def put_facts(self, facts: Mapping[str, str]) -> None:
        self._upsert(meta, ["key"], [{"key": key, "value": value} for key, value in facts.items()])

    def _upsert(self, table: Table, key: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
        statement = self._insert(table)
        others = {
            column.name: statement.excluded[column.name] for column in table.columns if column.name not in key
        }
        self._many(statement.on_conflict_do_update(index_elements=key, set_=others), rows)

    def _many(self, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)


@cache
def _around(dialect: Dialect) -> str:
    """The extents that begin in [low, high], and the one before them, which may reach into the range."""
    other = extent.alias()
    before = (
        select(func.max(other.c.file_offset))
        .where(other.c.ino == bindparam("a"), other.c.file_offset < bindparam("b"))
        .scalar_subquery()
    )
    statement = select(extent.c.file_offset, extent.c.length, extent.c.pack, extent.c.pack_offset).where(
        extent.c.ino == bindparam("c"),
        extent.c.file_offset >= func.coalesce(before, bindparam("d", type_=BigInteger)),
        extent.c.file_offset <= bindparam("e"),
    )
    return str(statement.compile(dialect=dialect))


def _slices(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(values), IN_BATCH):
        yield values[begin : begin + IN_BATCH]
