"""Checks that the tables agree with one another."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, func, select

from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.checkpoint import checkpoint_lsn
from gateway.metadata.counting import owners, trees
from gateway.metadata.database import read_meta
from gateway.metadata.extents import coalesced
from gateway.metadata.links import further
from gateway.metadata.tables import dirent, extent, inode, metadata, owner_usage, pack, tree, xattr
from gateway.metadata.usage import counted


def audit(connection: Connection) -> None:
    facts = read_meta(connection)
    assert (int(facts["inodes"]), int(facts["bytes"])) == counted(connection)
    rows = {row.ino: row for row in connection.execute(select(inode))}
    entries = list(connection.execute(select(dirent)))
    for row in rows.values():
        names = sum(entry.ino == row.ino for entry in entries)
        if row.kind == DIRECTORY:
            inside = [entry for entry in entries if entry.dir == row.ino]
            subdirectories = sum(rows[entry.ino].kind == DIRECTORY for entry in inside)
            assert row.size == len(inside)
            assert row.nlink == (0 if row.orphan else 2 + subdirectories)
            assert names == (not row.orphan and row.ino != 1)
        else:
            assert row.nlink == names
            assert row.orphan == (names == 0)
            holders = Counter(entry.dir for entry in entries if entry.ino == row.ino)
            assert row.orphan or Counter(further(row)) + Counter([row.parent]) == holders
            assert row.parent in rows or (row.orphan and not row.parent)
    assert {entry.dir for entry in entries} <= rows.keys()
    assert all(entry.kind == rows[entry.ino].kind for entry in entries)
    _audit_extents(connection, set(rows))
    audit_sums(connection)
    sums = dict.fromkeys(rows, (0, 0))
    for row in connection.execute(select(xattr)):
        names, values = sums[row.ino]
        sums[row.ino] = names + len(row.name) + 1, values + len(row.value)
    assert sums == {ino: (row.xattr_name_bytes, row.xattr_value_bytes) for ino, row in rows.items()}


def audit_sums(connection: Connection) -> None:
    """Sums of trees and owners against the rows, added up the plain way."""
    rows = {row.ino: row for row in connection.execute(select(inode))}
    below = {ino: [0, 0, 0, 0] for ino, row in rows.items() if row.kind == DIRECTORY}
    owned: dict[tuple[int, int], list[int]] = {}
    for row in rows.values():
        is_directory = row.kind == DIRECTORY
        size = 0 if is_directory else row.size
        own = [not is_directory, is_directory, size, row.space_used]
        at = row
        while at.ino != 1 and at.parent:
            at = rows[at.parent]
            below[at.ino] = [a + b for a, b in zip(below[at.ino], own, strict=True)]
        for key in ((0, row.uid), (1, row.gid)):
            sums = zip(owned.get(key, [0, 0, 0]), (1, size, row.space_used), strict=True)
            owned[key] = [a + b for a, b in sums]
    stored = {row.dir: list(row)[1:] for row in connection.execute(select(tree))}
    assert stored == {ino: sums for ino, sums in below.items() if any(sums)}
    assert {(row.kind, row.id): list(row)[2:] for row in connection.execute(select(owner_usage))} == owned
    assert {ino: list(sums) for ino, sums in trees(connection)} == below
    assert [[*row] for row in owners(connection)] == [[*key, *sums] for key, sums in sorted(owned.items())]


def _audit_extents(connection: Connection, inodes: set[int]) -> None:
    extents: dict[int, list[tuple[int, int, int, int]]] = {}
    for ino, *rest in connection.execute(select(extent).order_by(extent.c.ino, extent.c.file_offset)):
        extents.setdefault(ino, []).append(tuple(rest))  # type: ignore[arg-type]
    assert extents.keys() <= inodes
    for mine in extents.values():
        ends = [offset + length for offset, length, _, _ in mine]
        assert all(end <= following[0] for end, following in zip(ends, mine[1:], strict=False))
        assert coalesced(mine) == mine
    sums = select(extent.c.pack, func.sum(extent.c.length)).group_by(extent.c.pack)
    live = {row[0]: row[1] for row in connection.execute(sums)}
    for row in connection.execute(select(pack)):
        assert row.live_bytes == live.pop(row.id, 0)
        assert (row.dead_since_s is not None) == (row.live_bytes == 0)
    assert not live


def dump(connection: Connection) -> dict[str, Any]:
    """Everything in the tables, and the checkpoint."""
    tables = {
        table.name: sorted(map(tuple, connection.execute(select(table)))) for table in metadata.sorted_tables
    }
    return {**tables, "checkpoint_lsn": checkpoint_lsn(connection)}
