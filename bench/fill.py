"""Fills the database of a file system that nobody serves with a tree of empty files, as if a checkpoint had.

/big            one directory of many files: file0000000 …
/tree/gNNN/dNNNNN   the others, FILES of them in each directory, DIRECTORIES directories in a group
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import sqlite

FILES = 100
DIRECTORIES = 1000
# Numbers of epoch 1, which is over once the server has started and stopped, far above those that it handed out.
FIRST = (1 << 40) + (1 << 33)
DIRECTORY, REGULAR = 0o040000, 0o100000
TIME_NS = 1_700_000_000_000_000_000
INODE = (
    "(ino, generation, kind, mode, nlink, uid, gid, rdev_major, rdev_minor, parent, size, space_used, atime_ns, mtime_ns, "
    "ctime_ns, btime_ns, change, target, orphan)"
)


@dataclass(frozen=True)
class Tree:
    """How many of what there are, and where."""

    big: int
    directories: int

    @property
    def inodes(self) -> int:
        return 1 + 2 + self.big + self.groups + self.directories * (1 + FILES)

    @property
    def groups(self) -> int:
        return -(-self.directories // DIRECTORIES)

    def big_file(self, number: int) -> str:
        return f"/big/file{number:07d}"

    def small_file(self, directory: int, number: int) -> str:
        return f"/tree/g{directory // DIRECTORIES:03d}/d{directory:05d}/f{number:02d}"


def planned(inodes: int, directory_files: int) -> Tree:
    """A tree of about so many inodes; the large directory takes at most half of them."""
    big = min(directory_files, inodes // 2)
    return Tree(big, max(1, (inodes - big - 3) * 1000 // ((1 + FILES) * 1000 + 1)))


def fill(database: Path, tree: Tree) -> None:
    """One transaction without any log; the database is as a checkpoint would have left it."""
    connection = sqlite.DRIVER.connect(database, isolation_level=None)
    try:
        for pragma in ("journal_mode = DELETE", "synchronous = OFF", "cache_size = -262144"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        _insert(connection, tree)
        added = tree.inodes - 1
        connection.execute("UPDATE meta SET value = value + ? WHERE key = 'inodes'", (added,))
        connection.execute("UPDATE inode SET size = size + 2, nlink = nlink + 2 WHERE ino = 1")
        _sum(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _sum(connection: Any) -> None:
    """The sums over trees and owners, as counted from the rows; only the new server's root owned anything before."""
    parents = "(SELECT parent, count(*) FROM inode WHERE kind {} AND ino <> 1 GROUP BY parent)"
    files = dict(connection.execute(f"SELECT * FROM {parents.format(f'<> {DIRECTORY}')}").fetchall())
    above = dict(connection.execute(f"SELECT ino, parent FROM inode WHERE kind = {DIRECTORY}").fetchall())
    sums = {ino: [files.get(ino, 0), 0] for ino in above}
    # Deepest first: directories were numbered from the root down.
    for ino in sorted(above, reverse=True):
        if ino != 1:
            up = sums[above[ino]]
            up[0] += sums[ino][0]
            up[1] += sums[ino][1] + 1
    connection.execute("DELETE FROM tree")
    connection.executemany(
        "INSERT INTO tree VALUES (?, ?, ?, 0, 0)", ((ino, *mine) for ino, mine in sums.items() if any(mine))
    )
    connection.execute("DELETE FROM owner_usage")
    for kind, column in enumerate(("uid", "gid")):
        connection.execute(
            f"INSERT INTO owner_usage SELECT {kind}, {column}, count(*), 0, 0 FROM inode GROUP BY {column}"
        )


def _insert(connection: Any, tree: Tree) -> None:
    big, root = FIRST, FIRST + 1
    groups = FIRST + 2
    directories = groups + tree.groups
    small = directories + tree.directories
    in_big = small + tree.directories * FILES

    def numbers(count: int) -> str:
        # count is at least 1
        return f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1}) "

    def inodes(count: int, ino: str, kind: int, nlink: str, parent: str, size: str) -> None:
        mode = 0o755 if kind == DIRECTORY else 0o644
        times = ", ".join([str(TIME_NS)] * 4)
        connection.execute(
            f"{numbers(count)}INSERT INTO inode {INODE} SELECT {ino}, 1, {kind}, {mode}, {nlink}, 0, 0, 0, 0, {parent}, "
            f"{size}, 0, {times}, 1, NULL, 0 FROM n"
        )

    def entries(count: int, directory: str, name: str, ino: str, kind: int) -> None:
        connection.execute(
            f"{numbers(count)}INSERT INTO dirent (dir, name, cookie, ino, kind) "
            f"SELECT {directory}, CAST({name} AS BLOB), {ino}, {ino}, {kind} FROM n"
        )

    last = tree.directories - DIRECTORIES * (tree.groups - 1)
    in_group = f"CASE i WHEN {tree.groups - 1} THEN {last} ELSE {DIRECTORIES} END"
    inodes(1, str(big), DIRECTORY, "2", "1", str(tree.big))
    inodes(1, str(root), DIRECTORY, str(2 + tree.groups), "1", str(tree.groups))
    inodes(tree.groups, f"{groups} + i", DIRECTORY, f"2 + {in_group}", str(root), in_group)
    inodes(
        tree.directories, f"{directories} + i", DIRECTORY, "2", f"{groups} + i / {DIRECTORIES}", str(FILES)
    )
    inodes(tree.directories * FILES, f"{small} + i", REGULAR, "1", f"{directories} + i / {FILES}", "0")
    inodes(tree.big, f"{in_big} + i", REGULAR, "1", str(big), "0")
    entries(1, "1", "'big'", str(big), DIRECTORY)
    entries(1, "1", "'tree'", str(root), DIRECTORY)
    entries(tree.groups, str(root), "printf('g%03d', i)", f"{groups} + i", DIRECTORY)
    entries(
        tree.directories,
        f"{groups} + i / {DIRECTORIES}",
        "printf('d%05d', i)",
        f"{directories} + i",
        DIRECTORY,
    )
    entries(
        tree.directories * FILES,
        f"{directories} + i / {FILES}",
        f"printf('f%02d', i % {FILES})",
        f"{small} + i",
        REGULAR,
    )
    entries(tree.big, str(big), "printf('file%07d', i)", f"{in_big} + i", REGULAR)
