"""fsck of the tree: every name leads to an inode, every inode is reached, link counts and sums are right.

The tables are read in order and side by side, and the database joins and sorts them, on its disk where that is large. So
what it takes in memory goes by the number of directories (17 bytes each), not by that of inodes or names.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Executable, case, func, or_, select

from gateway.data.problems import Problem
from gateway.metadata.attributes import DIRECTORY, ROOT_INODE
from gateway.metadata.database import read_meta
from gateway.metadata.rows import DropDirent
from gateway.metadata.tables import dirent, inode

ROWS_AT_ONCE: Final = 5000
FIRST_COOKIE: Final = 3


class _Inode(NamedTuple):
    ino: int
    kind: int
    nlink: int
    parent: int
    orphan: bool
    size: int
    space_used: int


class _Names(NamedTuple):
    """Of one inode: how many names it has, and the highest of the directories that hold them."""

    ino: int
    names: int
    directory: int


class _Entries(NamedTuple):
    """Of one directory: its entries, and how many of them are directories."""

    ino: int
    entries: int
    subdirectories: int


class _Directories:
    """Directories in the order of their inodes, and what they are in; 0: they have no name."""

    def __init__(self) -> None:
        self.inos = array("q")
        self.parents = array("q")


def check_tree(connection: Connection) -> Iterator[Problem]:
    """Checks names against inodes, and the facts that are kept of all inodes."""
    if connection.scalar(select(inode.c.ino).where(inode.c.ino == ROOT_INODE)) is None:
        yield Problem("the root directory does not exist")
        return
    yield from _check_entries(connection)
    directories = _Directories()
    yield from _check_inodes(connection, directories)
    yield from _check_reachable(directories)


def stream(connection: Connection, statement: Executable) -> Iterator[Any]:
    """Rows of a statement, of which only some are in memory at a time."""
    yield from connection.execute(statement.execution_options(yield_per=ROWS_AT_ONCE))


def _check_entries(connection: Connection) -> Iterator[Problem]:
    """Each entry alone: what it is in, what it leads to, its kind and its cookie."""
    holder, target = inode.alias(), inode.alias()
    statement = (
        select(
            *(dirent.c.dir, dirent.c.name, dirent.c.ino, dirent.c.kind, dirent.c.cookie),
            holder.c.kind.label("holder_kind"),
            target.c.kind.label("target_kind"),
        )
        .select_from(
            dirent.outerjoin(holder, holder.c.ino == dirent.c.dir).outerjoin(
                target, target.c.ino == dirent.c.ino
            )
        )
        .where(
            or_(
                holder.c.ino.is_(None),
                holder.c.kind != DIRECTORY,
                target.c.ino.is_(None),
                target.c.kind != dirent.c.kind,
                dirent.c.cookie < FIRST_COOKIE,
            )
        )
    )
    for row in stream(connection, statement):
        where = f"entry {row.name!r} of directory {row.dir}"
        drop = (DropDirent(row.dir, row.name),)
        if row.holder_kind != DIRECTORY:
            yield Problem(f"{where}: there is no such directory", drop)
        elif row.target_kind is None:
            yield Problem(f"{where} leads to inode {row.ino}, which does not exist", drop)
        elif row.target_kind != row.kind:
            yield Problem(f"{where}: the entry's type is not that of inode {row.ino}")
        else:
            yield Problem(f"{where}: its cookie {row.cookie} is below {FIRST_COOKIE}")


def _check_inodes(connection: Connection, directories: _Directories) -> Iterator[Problem]:
    """Each inode beside its names and, if it is a directory, its entries; notes the directories."""
    columns = [inode.c[name] for name in _Inode._fields]
    inodes = stream(connection, select(*columns).order_by(inode.c.ino))
    holder = inode.alias()
    of_inode = (
        select(dirent.c.ino, func.count(), func.max(dirent.c.dir))
        .select_from(dirent.join(holder, holder.c.ino == dirent.c.dir))
        .where(holder.c.kind == DIRECTORY)
        .group_by(dirent.c.ino)
        .order_by(dirent.c.ino)
    )
    names = _Beside(_Names(*row) for row in stream(connection, of_inode))
    of_directory = (
        select(dirent.c.dir, func.count(), func.sum(case((dirent.c.kind == DIRECTORY, 1), else_=0)))
        .group_by(dirent.c.dir)
        .order_by(dirent.c.dir)
    )
    entries = _Beside(_Entries(*row) for row in stream(connection, of_directory))
    count = used = 0
    for row in map(_Inode._make, inodes):
        count += 1
        used += row.space_used
        named = names.of(row.ino) or _Names(row.ino, 0, 0)
        if row.kind == DIRECTORY:
            directories.inos.append(row.ino)
            directories.parents.append(named.directory)
            yield from _check_directory(row, named, entries.of(row.ino) or _Entries(row.ino, 0, 0))
        else:
            yield from _check_file(row, named.names)
    facts = read_meta(connection)
    for key, counted in (("inodes", count), ("bytes", used)):
        if int(facts[key]) != counted:
            yield Problem(f"the file system holds {counted} {key}, the facts say {facts[key]}")


class _Beside:
    """Walks along a table in the order of inodes."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._at = next(rows, None)

    def of(self, ino: int) -> Any:
        """The row of an inode, which is higher than the last; None if there is none."""
        while self._at is not None and self._at.ino < ino:
            self._at = next(self._rows, None)
        return self._at if self._at is not None and self._at.ino == ino else None


def _check_directory(row: _Inode, named: _Names, entries: _Entries) -> Iterator[Problem]:
    ino = row.ino
    if row.size != entries.entries:
        yield Problem(f"directory {ino} has {entries.entries} entries, the row says {row.size}")
    if ino == ROOT_INODE:
        if named.names:
            yield Problem(f"the root directory has a name in directory {named.directory}")
    elif named.names > 1:
        yield Problem(f"directory {ino} has {named.names} names")
    elif not row.orphan and not named.names:
        yield Problem(f"directory {ino} has no name")
    elif not row.orphan and row.parent != named.directory:
        yield Problem(f"directory {ino}: its parent is {named.directory}, the row says {row.parent}")
    expected = 2 + entries.subdirectories
    if row.nlink != expected and not row.orphan:
        yield Problem(f"inode {ino}: link count is {expected}, the row says {row.nlink}")


def _check_file(row: _Inode, names: int) -> Iterator[Problem]:
    if names == 0 and not row.orphan:
        yield Problem(f"inode {row.ino} has no name and is not marked as unlinked")
    if names and row.orphan:
        yield Problem(f"inode {row.ino} is marked as unlinked but has {names} names")
    if row.nlink != names and not row.orphan:
        yield Problem(f"inode {row.ino}: link count is {names}, the row says {row.nlink}")


_UNKNOWN, _GOOD, _BAD = 0, 1, 2


def _check_reachable(directories: _Directories) -> Iterator[Problem]:
    """The chain of directories from each that has a name ends at the root."""
    inos, parents = directories.inos, directories.parents
    verdicts = bytearray(len(inos))
    verdicts[bisect_left(inos, ROOT_INODE)] = _GOOD
    for start, parent in enumerate(parents):
        if not parent:
            continue
        chain: list[int] = []
        on_chain: set[int] = set()
        at = start
        while verdicts[at] == _UNKNOWN and at not in on_chain:
            chain.append(at)
            on_chain.add(at)
            above = bisect_left(inos, parents[at]) if parents[at] else len(inos)
            if above == len(inos) or inos[above] != parents[at]:
                break
            at = above
        verdict = _GOOD if verdicts[at] == _GOOD else _BAD
        for index in chain:
            verdicts[index] = verdict
        if verdict == _BAD:
            yield Problem(f"directory {inos[start]} is not reached from the root")
