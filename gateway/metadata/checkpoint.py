"""Bringing ROWS records of the journal into SQL: the steward's side.

A batch of records is folded into the last state of every row it touches, then written by one transaction together with
the LSN it reaches. After a crash the database is as of one batch or the next, never between; records at or below its
`checkpoint_lsn` are passed over, so that replaying is harmless. The owner may forget, and the journal be trimmed, only
after the transaction is on the disk.
"""

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from gateway.metadata import rows, tables
from gateway.metadata.checkpoint_extents import ExtentChanges
from gateway.metadata.checkpoint_sql import Statements
from gateway.metadata.checkpoint_sums import Derived
from gateway.metadata.links import complete
from gateway.metadata.operations.base import flushed_row
from gateway.metadata.rows import (
    DropDirent,
    DropInode,
    DropPack,
    DropQuota,
    DropXattr,
    FlushInode,
    InodeRow,
    MendTree,
    MendUsage,
    PutDirent,
    PutInode,
    PutMeta,
    PutPack,
    PutQuota,
    PutXattr,
    Splice,
)

Record = tuple[int, bytes]
"""(LSN, ROWS payload)."""


def checkpoint_lsn(connection: Connection) -> int:
    """Every ROWS record up to this LSN is in the tables."""
    return int(_fact(connection, "checkpoint_lsn"))


def apply(
    connection: Connection,
    records: Sequence[Record],
    *,
    upto_lsn: int = 0,
    now_s: int | None = None,
) -> int:
    """Applies records, which are in the order of LSNs and complete from the checkpoint on, and returns the new one.

    `connection` is inside a transaction (`Database.writer`), which the caller commits. `upto_lsn`: no further ROWS
    record is at or below it, so the checkpoint may go there. `now_s`: seconds since 1970, when packs are taken to have
    died. Raises RowsError, SQLAlchemyError.
    """
    done = checkpoint_lsn(connection)
    batch = [(lsn, rows.decode(payload)) for lsn, payload in records if lsn > done]
    reached = max([done, upto_lsn, *(lsn for lsn, _ in batch)])
    if batch:
        fold = _Fold(connection, batch)
        for lsn, ops in batch:
            fold.begin(ops)
            for op in ops:
                fold.add(op, lsn)
        fold.write(int(time.time_ns() // 1_000_000_000) if now_s is None else now_s, reached)
    if reached > done:
        _set_facts(connection, {"checkpoint_lsn": str(reached)})
    return reached


def repair(connection: Connection, ops: Sequence[rows.RowOp], *, now_s: int | None = None) -> None:
    """Applies what fsck would have changed to a file system that nobody serves; the checkpoint stays where it is.

    Needs no record in the journal: up to the checkpoint these tables are the truth. Raises SQLAlchemyError.
    """
    lsn = checkpoint_lsn(connection)
    fold = _Fold(connection, [(lsn, ops)])
    for op in ops:
        fold.add(op, lsn)
    fold.write(int(time.time_ns() // 1_000_000_000) if now_s is None else now_s, lsn)


class _Fold:
    """The rows that a batch leaves behind."""

    def __init__(self, connection: Connection, batch: Sequence[tuple[int, Sequence[rows.RowOp]]]) -> None:
        self._connection = connection
        self._sql = Statements(connection)
        touched = {ino for _, ops in batch for op in ops if (ino := _inode_of(op))}
        before = self._sql.inodes(touched)
        self._before = dict(before)
        self._inodes: dict[int, InodeRow] = before
        self._dirty: set[int] = set()
        self._dirents: dict[tuple[int, bytes], PutDirent | None] = {}
        self._extents = ExtentChanges(self._sql, self._before)
        self._xattrs: dict[int, dict[bytes, bytes | None]] = {}
        self._new_packs: dict[int, int] = {}
        self._dropped_packs: set[int] = set()
        self._facts: dict[str, str] = {}
        self._derived = Derived(connection, self._inodes, batch)

    def begin(self, ops: Sequence[rows.RowOp]) -> None:
        """The next operations to be added are those of this record."""
        complete(ops, self._inodes.get)

    def add(self, op: rows.RowOp, lsn: int) -> None:
        match op:
            case PutInode(row, keep_data):
                self._put_inode(row, keep_data, lsn)
            case PutDirent(directory, name):
                self._dirents[directory, name] = op
            case DropDirent(directory, name):
                self._dirents[directory, name] = None
            case DropInode(ino):
                self._dirty.add(ino)
                row = self._inodes.get(ino)
                if row is not None:
                    self._derived.changed(row, None)
                    del self._inodes[ino]
                    self._extents.drop(ino)
                    self._xattrs.pop(ino, None)
            case FlushInode(ino):
                row = self._inodes.get(ino)
                if row is not None:
                    self._dirty.add(ino)
                    new = flushed_row(row, op)
                    self._derived.changed(row, new)
                    self._inodes[ino] = new
            case Splice(ino):
                if ino in self._inodes:
                    self._extents.splice(op)
            case PutXattr() | DropXattr():
                self._xattr(op)
            case _:
                self._add_rare(op)

    def _add_rare(self, op: rows.RowOp) -> None:
        match op:
            case PutPack(pack, size):
                self._new_packs[pack] = size
                self._dropped_packs.discard(pack)
            case DropPack(pack):
                self._dropped_packs.add(pack)
            case PutMeta(key, value):
                self._facts[key] = value
            case PutQuota() | DropQuota() | MendTree() | MendUsage():
                self._derived.add(op)
            case _:
                raise AssertionError(op)

    def _put_inode(self, row: InodeRow, keep_data: bool, lsn: int) -> None:
        row.change = row.change or lsn
        before = self._inodes.get(row.ino)
        if keep_data and before is not None:
            row.size = before.size
            row.space_used = before.space_used
            row.atime_ns = before.atime_ns
            row.mtime_ns = before.mtime_ns
        self._derived.changed(before, row)
        self._inodes[row.ino] = row
        self._dirty.add(row.ino)

    def _xattr(self, op: PutXattr | DropXattr) -> None:
        mine = self._xattrs.setdefault(op.ino, {})
        if isinstance(op, DropXattr):
            mine[op.name] = None
        elif op.ino in self._inodes:
            mine[op.name] = op.value

    def write(self, now_s: int, lsn: int) -> None:
        """`lsn`: every record of the batch is at or below it."""
        sql = self._sql
        put = [row for ino in self._dirty if (row := self._inodes.get(ino)) is not None]
        gone = [ino for ino in self._dirty if ino not in self._inodes and ino in self._before]
        sql.put_inodes(put)
        sql.drop_inodes(gone)
        sql.drop_dirents([key for key, entry in self._dirents.items() if entry is None])
        sql.put_dirents([entry for entry in self._dirents.values() if entry is not None])
        self._write_xattrs(gone)
        sql.put_packs(self._new_packs)
        live_bytes = self._extents.write()
        # A new pack that nothing names is dead from the start.
        for pack in self._new_packs:
            live_bytes.setdefault(pack, 0)
        sql.add_live_bytes(live_bytes, now_s, lsn)
        sql.drop_packs(self._dropped_packs)
        self._derived.write()
        self._write_facts()

    def _write_xattrs(self, gone: Sequence[int]) -> None:
        changed = [(ino, name, value) for ino, mine in self._xattrs.items() for name, value in mine.items()]
        self._sql.drop_all_xattrs(gone)
        self._sql.drop_xattrs([(ino, name) for ino, name, value in changed if value is None])
        self._sql.put_xattrs([(ino, name, value) for ino, name, value in changed if value is not None])

    def _write_facts(self) -> None:
        old, new = self._before, self._inodes
        inodes = sum((ino in new) - (ino in old) for ino in self._dirty)
        used = sum(_space(new.get(ino)) - _space(old.get(ino)) for ino in self._dirty)
        facts = dict(self._facts)
        for key, delta in (("inodes", inodes), ("bytes", used)):
            if delta:
                facts[key] = str(int(_fact(self._connection, key)) + delta)
        _set_facts(self._connection, facts)


def _inode_of(op: rows.RowOp) -> int:
    """The inode that an operation needs or changes; 0: none."""
    if isinstance(op, PutInode):
        return op.row.ino
    return op.ino if isinstance(op, DropInode | FlushInode | Splice | PutXattr) else 0


def _space(row: InodeRow | None) -> int:
    return row.space_used if row is not None else 0


def _fact(connection: Connection, key: str) -> str:
    return connection.execute(select(tables.meta.c.value).where(tables.meta.c.key == key)).scalar_one()


def _set_facts(connection: Connection, facts: Mapping[str, str]) -> None:
    Statements(connection).put_facts(facts)
