"""The checkpoint's part of what sums other rows: trees, owners; and limits, which hang on directories."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.metadata import rows
from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.rows import DropQuota, InodeRow, MendTree, MendUsage, PutDirent, PutInode, PutQuota
from gateway.metadata.sums import NOTHING, Sums, TreeSums
from gateway.metadata.tables import inode, owner_usage, quota, tree

IN_BATCH: Final = 500
_UNBOUNDED: Final = 1 << 62
_MOST: Final = (1 << 63) - 1
USER, GROUP = 0, 1


class Derived:
    """Follows the changes of a batch, which come in order, then writes what came of them."""

    def __init__(
        self,
        connection: Connection,
        inodes: Mapping[int, InodeRow],
        batch: Sequence[tuple[int, Sequence[rows.RowOp]]],
    ) -> None:
        """inodes: the rows that the batch touches, as they are now."""
        self._connection = connection
        self._inodes = inodes
        self._parents: dict[int, int] = {}
        self._found: dict[int, TreeSums] = {}
        self._owners: dict[tuple[int, int], list[int]] = {}
        self._quotas: dict[int, PutQuota | None] = {}
        self._gone: set[int] = set()  # directories
        self._sums = Sums(self._load, self._parent_of, _UNBOUNDED)
        homes = {row.parent for row in inodes.values()}
        homes |= {op.row.parent for _, ops in batch for op in ops if isinstance(op, PutInode)}
        homes |= {op.dir for _, ops in batch for op in ops if isinstance(op, PutDirent | MendTree)}
        directories = {row.ino for row in inodes.values() if row.kind == DIRECTORY}
        self._warm(homes | directories)

    def _warm(self, inos: set[int]) -> None:
        """Reads directories and all above them, a level at a time."""
        asked: set[int] = set()
        while level := {ino for ino in inos if ino and ino not in asked}:
            asked |= level
            found: set[int] = set()
            for ino, parent in self._read(inode, (inode.c.ino, inode.c.parent), inode.c.ino, level):
                self._parents[ino] = parent
                found.add(parent)
            inos = found
        columns = (tree.c.dir, tree.c.files, tree.c.directories, tree.c.bytes, tree.c.space)
        for ino, *sums in self._read(tree, columns, tree.c.dir, asked):
            self._found[ino] = TreeSums(*sums)

    def _read(self, table: Table, columns: Sequence[Any], key: Any, values: Iterable[int]) -> Iterable[Any]:
        wanted = sorted(values)
        for begin in range(0, len(wanted), IN_BATCH):
            some = wanted[begin : begin + IN_BATCH]
            yield from self._connection.execute(select(*columns).select_from(table).where(key.in_(some)))

    def _parent_of(self, ino: int) -> int:
        row = self._inodes.get(ino)
        return self._parents.get(ino, 0) if row is None else row.parent

    def _load(self, inos: Sequence[int]) -> Mapping[int, TreeSums]:
        return {ino: self._found.get(ino, NOTHING) for ino in inos}

    def changed(self, before: InodeRow | None, after: InodeRow | None) -> None:
        """Call it while `inodes` still has the row before."""
        self._sums.changed(before, after, 1)
        if before is not None:
            self._own(before, -1)
        if after is not None:
            self._own(after, 1)
        elif before is not None and before.kind == DIRECTORY:
            self._gone.add(before.ino)

    def _own(self, row: InodeRow, sign: int) -> None:
        size = 0 if row.kind == DIRECTORY else row.size
        for key in ((USER, row.uid), (GROUP, row.gid)):
            mine = self._owners.get(key)
            if mine is None:
                mine = self._owners[key] = [0, 0, 0]
            mine[0] += sign
            mine[1] += sign * size
            mine[2] += sign * row.space_used

    def add(self, op: PutQuota | DropQuota | MendTree | MendUsage) -> None:
        if isinstance(op, PutQuota):
            self._quotas[op.dir] = op
        elif isinstance(op, DropQuota):
            self._quotas[op.dir] = None
        elif isinstance(op, MendTree):
            self._sums.mend(op.dir, TreeSums(op.files, op.directories, op.bytes, op.space), 1)
        else:
            mine = self._owners.setdefault((op.kind, op.id), [0, 0, 0])
            for at, delta in enumerate((op.inodes, op.bytes, op.space)):
                mine[at] += delta

    def write(self) -> None:
        put: list[dict[str, Any]] = []
        empty = [ino for ino in self._gone if ino in self._found]
        for node in self._sums.dirty():
            if node.sums != NOTHING:
                sums = {name: _kept(value) for name, value in node.sums._asdict().items()}
                put.append({"dir": node.ino, **sums})
            elif node.ino in self._found:
                empty.append(node.ino)
        self._drop(tree, tree.c.dir, empty)
        self._upsert(tree, ["dir"], put)
        self._write_owners()
        self._write_quotas()

    def _write_owners(self) -> None:
        deltas = {key: delta for key, delta in self._owners.items() if any(delta)}
        if not deltas:
            return
        ids = {owner for _, owner in deltas}
        columns = list(owner_usage.c)
        now = {(row[0], row[1]): row[2:] for row in self._read(owner_usage, columns, owner_usage.c.id, ids)}
        put: list[dict[str, int]] = []
        nothing: list[dict[str, int]] = []
        for (kind, owner), delta in deltas.items():
            old = now.get((kind, owner), (0, 0, 0))
            inodes, size, space = (_kept(int(a) + b) for a, b in zip(old, delta, strict=True))
            if inodes or size or space:
                put.append({"kind": kind, "id": owner, "inodes": inodes, "bytes": size, "space": space})
            else:
                nothing.append({"k": kind, "i": owner})
        self._upsert(owner_usage, ["kind", "id"], put)
        if nothing:
            theirs = (owner_usage.c.kind == bindparam("k")) & (owner_usage.c.id == bindparam("i"))
            self._connection.execute(owner_usage.delete().where(theirs), nothing)

    def _write_quotas(self) -> None:
        self._drop(quota, quota.c.dir, [ino for ino, op in self._quotas.items() if op is None])
        self._upsert(quota, ["dir"], [asdict(op) for op in self._quotas.values() if op is not None])
        self._drop(quota, quota.c.dir, sorted(self._gone))

    def _drop(self, table: Table, key: Any, values: Sequence[int]) -> None:
        if values:
            statement = table.delete().where(key == bindparam("value"))
            self._connection.execute(statement, [{"value": value} for value in values])

    def _upsert(self, table: Table, key: Sequence[str], put: Sequence[Mapping[str, Any]]) -> None:
        if not put:
            return
        insert: Any = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(table)
        others = {
            column.name: statement.excluded[column.name] for column in table.columns if column.name not in key
        }
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=key, set_=others), [dict(row) for row in put]
        )


def _kept(value: int) -> int:
    """A sum as a column can hold it. Sparse files of the largest size add up to more than 64 bits: the sum stays at the most
    that fits, and fsck counts anew when they are gone.
    """
    return max(-_MOST - 1, min(value, _MOST))
