"""What the tables that sum others have to say, counted anew: for a migration, and for fsck.

Memory goes by the number of directories: 56 bytes each.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from gateway.metadata.attributes import DIRECTORY, ROOT_INODE
from gateway.metadata.links import packed
from gateway.metadata.sums import TreeSums

AT_ONCE: Final = 5000

OWNERS: Final = """
    SELECT kind, id, count(*), sum(size), sum(space) FROM (
        SELECT 0 AS kind, uid AS id, CASE WHEN kind = :directory THEN 0 ELSE size END AS size, space_used AS space FROM inode
        UNION ALL
        SELECT 1, gid, CASE WHEN kind = :directory THEN 0 ELSE size END, space_used FROM inode
    ) AS owned GROUP BY kind, id ORDER BY kind, id
"""


class OwnerSums(NamedTuple):
    """What a user (kind 0) or group (1) has."""

    kind: int
    id: int
    inodes: int
    bytes: int
    space: int


def owners(connection: Connection) -> Iterator[OwnerSums]:
    """In the order of kind and id."""
    for row in connection.execute(text(OWNERS), {"directory": DIRECTORY}):
        yield OwnerSums(*map(int, row))


def trees(connection: Connection) -> Iterator[tuple[int, TreeSums]]:
    """The sums of every directory, in the order of inodes; directories that hang in a circle count nothing of it."""
    inos, parents = array("q"), array("q")
    statement = text("SELECT ino, parent FROM inode WHERE kind = :directory ORDER BY ino")
    for ino, parent in connection.execute(
        statement.execution_options(yield_per=AT_ONCE), {"directory": DIRECTORY}
    ):
        inos.append(ino)
        parents.append(0 if ino == ROOT_INODE else parent)
    sums = [array("q", bytes(8 * len(inos))) for _ in range(4)]
    files, directories, sizes, spaces = sums
    local = text(
        "SELECT parent, count(*), sum(size), sum(space_used) FROM inode WHERE kind <> :directory GROUP BY parent"
    )
    for parent, count, size, space in connection.execute(local, {"directory": DIRECTORY}):
        at = _find(inos, parent)
        if at is not None:
            files[at], sizes[at], spaces[at] = count, int(size), int(space)
    above = array("q", (-1 if (at := _find(inos, parent)) is None else at for parent in parents))
    for at in _upward(above):
        if above[at] >= 0:
            directories[above[at]] += 1
            for column in sums:
                column[above[at]] += column[at]
    for at, ino in enumerate(inos):
        yield ino, TreeSums(files[at], directories[at], sizes[at], spaces[at])


def _find(inos: "array[int]", ino: int) -> int | None:
    at = bisect_left(inos, ino)
    return at if at < len(inos) and inos[at] == ino else None


def _upward(above: "array[int]") -> Iterator[int]:
    """Places such that each comes after all that are below it."""
    waiting = array("q", bytes(8 * len(above)))  # how many right below were not there yet
    for place in above:
        if place >= 0:
            waiting[place] += 1
    for start in range(len(above)):
        at = start
        while at >= 0 and waiting[at] == 0:
            waiting[at] = -1
            yield at
            at = above[at]
            if at >= 0:
                waiting[at] -= 1


def fill(connection: Connection) -> None:
    """Fills the empty tables, and finds every file's home among its names."""
    _find_homes(connection)
    put = text("INSERT INTO tree VALUES (:dir, :files, :directories, :bytes, :space)")
    for some in _batches(
        {"dir": ino, **sums._asdict()} for ino, sums in trees(connection) if sums != TreeSums()
    ):
        connection.execute(put, some)
    put = text("INSERT INTO owner_usage VALUES (:kind, :id, :inodes, :bytes, :space)")
    for some in _batches(row._asdict() for row in list(owners(connection))):
        connection.execute(put, some)


def _find_homes(connection: Connection) -> None:
    # For the time of this: nothing else asks for the names of an inode.
    connection.execute(text("CREATE INDEX dirent_of_inode ON dirent (ino, dir)"))
    connection.execute(
        text(
            "UPDATE inode SET parent = coalesce("
            "(SELECT min(dir) FROM dirent WHERE dirent.ino = inode.ino), CASE WHEN orphan THEN :root ELSE 0 END)"
            " WHERE kind <> :directory"
        ),
        {"root": ROOT_INODE, "directory": DIRECTORY},
    )
    several = connection.execute(
        text(
            "SELECT dirent.ino, dirent.dir, count(*), inode.parent FROM dirent JOIN inode ON inode.ino = dirent.ino"
            " WHERE inode.nlink > 1 AND inode.kind <> :directory GROUP BY dirent.ino, dirent.dir, inode.parent"
            " ORDER BY dirent.ino"
        ),
        {"directory": DIRECTORY},
    ).all()
    names: dict[int, dict[int, int]] = {}
    for ino, directory, count, home in several:
        if further := count - (directory == home):
            names.setdefault(ino, {})[directory] = further
    put = text("UPDATE inode SET links = :links WHERE ino = :ino")
    for some in _batches({"ino": ino, "links": packed(further)} for ino, further in names.items()):
        connection.execute(put, some)
    connection.execute(text("DROP INDEX dirent_of_inode"))


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
