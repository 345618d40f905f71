"""Sums over trees: for every directory, how many files and directories are below it and how much they hold.

Steward and owner keep them alike, change by change: the steward in SQL, in the transaction of the rows that they sum, the
owner in memory, for directories in use. So neither ever counts a tree, however large it is, and a crash leaves them as right
as the rows: the owner's begin with SQL's, and replaying the journal adds what came since.

The invariant of the owner's: **a directory whose sums a record above the checkpoint changed is in memory, with all
directories above it.** So one that is not in memory has in SQL just the sums it has now, whatever the steward wrote
meanwhile. A change costs a few additions for each directory above it.

A directory does not count itself. A file counts in its home (`links`), an unlinked file that is still open in the directory
where it had its last name. `bytes` sums sizes, `space` what is allocated (holes take none), as of the files' last flush.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.metadata.attributes import DIRECTORY, ROOT_INODE
from gateway.metadata.rows import InodeRow

SWEEP: Final = 8
"""One in so many of the most is let go of at a time."""


class TreeSums(NamedTuple):
    """What is below a directory."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    space: int = 0


NOTHING: Final = TreeSums()


class Node:
    """A directory in memory. `up` is the one that it is in, `lsn` the last record that changed its sums."""

    __slots__ = ("bytes", "directories", "files", "ino", "kids", "limited", "lsn", "space", "up")

    def __init__(self, ino: int, up: "Node | None", sums: TreeSums, lsn: int = 0) -> None:
        self.ino = ino
        self.up = up
        self.files, self.directories, self.bytes, self.space = sums
        self.lsn = lsn
        self.kids = 0  # nodes right below it
        self.limited = False
        if up is not None:
            up.kids += 1

    @property
    def sums(self) -> TreeSums:
        return TreeSums(self.files, self.directories, self.bytes, self.space)


class Sums:
    """Sums of trees. With the lock of whoever changes rows.

    load: what SQL has of some directories; what it lacks is nothing. parent_of: of a directory, as its row is now; 0: it is
    gone. most: directories in memory that need not be there.
    """

    def __init__(
        self,
        load: Callable[[Sequence[int]], Mapping[int, TreeSums]],
        parent_of: Callable[[int], int],
        most: int,
    ) -> None:
        self._load = load
        self._parent_of = parent_of
        self._most = most
        self._nodes: dict[int, Node] = {}
        self.get = self._nodes.get

    def node(self, ino: int) -> Node:
        """A directory with all that are above it, from SQL if it must."""
        node = self._nodes.get(ino)
        return self._bring(ino) if node is None else node

    def _bring(self, ino: int) -> Node:
        missing: list[int] = []
        up: Node | None = None
        while ino:
            up = self._nodes.get(ino)
            if up is not None or ino in missing:
                break
            missing.append(ino)
            ino = 0 if ino == ROOT_INODE else self._parent_of(ino)
        found = self._load(missing)
        for ino in reversed(missing):
            up = self._nodes[ino] = Node(ino, up, found.get(ino, NOTHING))
        assert up is not None
        return up

    def stays(self, row: InodeRow) -> bool:
        """Whether a directory is known to be where its row says: then its row changes no sums."""
        node = self.get(row.ino)
        return node is not None and (row.ino if node.up is None else node.up.ino) == row.parent

    def changed(self, before: InodeRow | None, after: InodeRow | None, lsn: int) -> None:
        """An inode's row becomes another: call it while `parent_of` still knows the old one. None: there is none."""
        if after is None:
            if before is not None:
                self._gone(before, lsn)
        elif before is None:
            self._made(after, lsn)
        elif after.kind == DIRECTORY:
            if before.parent != after.parent:
                self._moved(after, lsn)
        elif before.parent != after.parent:
            if before.parent:
                _add(self.node(before.parent), -1, 0, -before.size, -before.space_used, lsn)
            if after.parent:
                _add(self.node(after.parent), 1, 0, after.size, after.space_used, lsn)
        elif after.parent and (before.size != after.size or before.space_used != after.space_used):
            size, space = after.size - before.size, after.space_used - before.space_used
            _add(self.node(after.parent), 0, 0, size, space, lsn)

    def _made(self, row: InodeRow, lsn: int) -> None:
        if row.kind != DIRECTORY:
            if row.parent:
                _add(self.node(row.parent), 1, 0, row.size, row.space_used, lsn)
        elif row.ino != ROOT_INODE:
            up = self.node(row.parent)
            _add(up, 0, 1, 0, 0, lsn)
            self._nodes[row.ino] = Node(row.ino, up, NOTHING, lsn)

    def _gone(self, row: InodeRow, lsn: int) -> None:
        if row.kind != DIRECTORY:
            if row.parent:
                _add(self.node(row.parent), -1, 0, -row.size, -row.space_used, lsn)
            return
        node = self.node(row.ino)
        if node.up is not None:
            _add(node.up, -node.files, -node.directories - 1, -node.bytes, -node.space, lsn)
            node.up.kids -= 1
        del self._nodes[row.ino]

    def _moved(self, row: InodeRow, lsn: int) -> None:
        node = self.node(row.ino)
        target = self.node(row.parent)
        files, directories, size, space = node.files, node.directories + 1, node.bytes, node.space
        if node.up is not None:
            _add(node.up, -files, -directories, -size, -space, lsn)
            node.up.kids -= 1
        node.up = target
        target.kids += 1
        _add(target, files, directories, size, space, lsn)

    def mend(self, ino: int, delta: TreeSums, lsn: int) -> None:
        """Adds to the sums of one directory alone: what fsck found missing."""
        node = self.node(ino)
        up, node.up = node.up, None
        _add(node, *delta, lsn)
        node.up = up

    def dirty(self) -> list[Node]:
        """Those that changed since they came into memory."""
        return [node for node in self._nodes.values() if node.lsn]

    def forget(self, lsn: int) -> None:
        """SQL has everything up to `lsn`: makes room where there is too little, by a part of what need not stay."""
        nodes = self._nodes
        excess = len(nodes) - self._most
        if excess <= 0:
            return
        left = excess + self._most // SWEEP
        for ino in list(nodes):
            node = nodes.get(ino)
            # Nothing below it is in memory, and so on upward: the invariant wants what is above a changed one.
            while node is not None and not node.kids and not node.limited and node.lsn <= lsn and left:
                del nodes[node.ino]
                left -= 1
                if node.up is not None:
                    node.up.kids -= 1
                node = node.up if node.up is not None and node.up.ino in nodes else None
            if not left:
                return

    def __len__(self) -> int:
        return len(self._nodes)


def _add(node: Node | None, files: int, directories: int, size: int, space: int, lsn: int) -> None:
    while node is not None:
        node.files += files
        node.directories += directories
        node.bytes += size
        node.space += space
        node.lsn = lsn
        node = node.up
