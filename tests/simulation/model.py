"""The plain model: what a file system is after some changes. A change says its LSN and its time, and nothing can fail."""

import stat
from dataclasses import dataclass, field, replace
from typing import Final

ROOT: Final = 1
DIRECTORY: Final = stat.S_IFDIR
REGULAR: Final = stat.S_IFREG
SYMLINK: Final = stat.S_IFLNK


@dataclass(slots=True)
class Node:
    """An inode. Nodes have numbers of the model's own: those of the system are known only once somebody saw them."""

    kind: int
    mode: int
    uid: int
    gid: int
    nlink: int
    generation: int
    mtime_ns: int
    ctime_ns: int
    change: int
    data: bytes = b""
    parent: int = 0
    orphan: bool = False
    limited: bool = False
    entries: dict[bytes, int] = field(default_factory=dict[bytes, int])
    xattrs: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    @property
    def size(self) -> int:
        return len(self.entries) if self.kind == DIRECTORY else len(self.data)

    def touched(self, lsn: int, now_ns: int, *, data: bool = False) -> None:
        self.change, self.ctime_ns = lsn, now_ns
        if data:
            self.mtime_ns = now_ns

    def without_privilege(self) -> None:
        self.mode &= ~stat.S_ISUID
        if self.mode & stat.S_IXGRP:
            self.mode &= ~stat.S_ISGID


class Tree:
    """All nodes by number. Methods are changes; their first arguments are LSN and time."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        self.nodes = nodes

    def copy(self) -> "Tree":
        return Tree(
            {
                number: replace(node, entries=dict(node.entries), xattrs=dict(node.xattrs))
                for number, node in self.nodes.items()
            }
        )

    def numbers(self, kind: int, *, orphans: bool = True) -> list[int]:
        return [
            number
            for number, node in self.nodes.items()
            if node.kind == kind and (orphans or not node.orphan)
        ]

    def is_below(self, number: int, ancestor: int) -> bool:
        """Whether a directory is the other one, or in it at any depth."""
        while number != ROOT:
            if number == ancestor:
                return True
            number = self.nodes[number].parent
        return ancestor == ROOT

    def quota_tree(self, directory: int) -> int:
        """The innermost directory with limits, of a directory and those above it; 0: none."""
        while not self.nodes[directory].limited:
            if directory == ROOT:
                return 0
            directory = self.nodes[directory].parent
        return directory

    def holders(self, number: int) -> list[int]:
        """The directories that hold names of an inode."""
        return [holder for holder, node in self.nodes.items() if number in node.entries.values()]

    # Changes

    def limit(self, _lsn: int, _now_ns: int, number: int, limited: bool) -> None:
        self.nodes[number].limited = limited

    def make(self, lsn: int, now_ns: int, directory: int, name: bytes, number: int, node: Node) -> None:
        parent = self.nodes[directory]
        new = replace(
            node, mtime_ns=now_ns, ctime_ns=now_ns, change=lsn, entries={}, xattrs={}, generation=lsn >> 40
        )
        if parent.mode & stat.S_ISGID:
            new.gid = parent.gid
            if new.kind == DIRECTORY:
                new.mode |= stat.S_ISGID
        if new.kind == DIRECTORY:
            new.parent = directory
            parent.nlink += 1
        self.nodes[number] = new
        parent.entries[name] = number
        parent.touched(lsn, now_ns, data=True)

    def write(self, lsn: int, now_ns: int, number: int, offset: int, data: bytes, by_root: bool) -> None:
        node = self.nodes[number]
        before = node.data.ljust(offset, b"\0")
        node.data = before[:offset] + data + before[offset + len(data) :]
        if not by_root:
            node.without_privilege()
        node.touched(lsn, now_ns, data=True)

    def punch(self, lsn: int, now_ns: int, number: int, offset: int, length: int) -> None:
        node = self.nodes[number]
        end = min(offset + length, len(node.data))
        if offset < end:
            node.data = node.data[:offset] + bytes(end - offset) + node.data[end:]
        node.touched(lsn, now_ns, data=True)

    def allocate(self, lsn: int, now_ns: int, number: int, end: int) -> None:
        node = self.nodes[number]
        node.data = node.data.ljust(end, b"\0")
        node.touched(lsn, now_ns, data=True)

    def set_data(self, lsn: int, now_ns: int, number: int, size: int | None, mtime_ns: int | None) -> None:
        node = self.nodes[number]
        if size is not None:
            node.data = node.data[:size].ljust(size, b"\0")
            node.mtime_ns = now_ns
        if mtime_ns is not None:
            node.mtime_ns = mtime_ns
        node.touched(lsn, now_ns)

    def set_names(
        self, lsn: int, now_ns: int, number: int, mode: int | None, uid: int | None, mtime_ns: int | None
    ) -> None:
        node = self.nodes[number]
        if uid is not None:
            node.uid = uid
        if mode is not None:
            node.mode = mode
        elif uid is not None and node.kind == REGULAR:
            node.without_privilege()
        if mtime_ns is not None:
            node.mtime_ns = mtime_ns
        node.touched(lsn, now_ns)

    def set_xattr(self, lsn: int, now_ns: int, number: int, name: bytes, value: bytes | None) -> None:
        node = self.nodes[number]
        if value is None:
            del node.xattrs[name]
        else:
            node.xattrs[name] = value
        node.touched(lsn, now_ns)

    def link(self, lsn: int, now_ns: int, number: int, directory: int, name: bytes) -> None:
        node, parent = self.nodes[number], self.nodes[directory]
        node.nlink += 1
        node.touched(lsn, now_ns)
        parent.entries[name] = number
        parent.touched(lsn, now_ns, data=True)

    def unlink(self, lsn: int, now_ns: int, directory: int, name: bytes, is_open: bool) -> None:
        parent = self.nodes[directory]
        number = parent.entries.pop(name)
        if self.nodes[number].kind == DIRECTORY:
            parent.nlink -= 1
        parent.touched(lsn, now_ns, data=True)
        self._without_name(lsn, now_ns, number, is_open)

    def _without_name(self, lsn: int, now_ns: int, number: int, is_open: bool) -> None:
        node = self.nodes[number]
        last = node.kind == DIRECTORY or node.nlink == 1
        if last and not is_open:
            del self.nodes[number]
            return
        node.nlink = 0 if last else node.nlink - 1
        node.orphan = last
        node.touched(lsn, now_ns)

    def rename(
        self, lsn: int, now_ns: int, old: int, old_name: bytes, new: int, new_name: bytes, is_open: bool
    ) -> None:
        source, destination = self.nodes[old], self.nodes[new]
        number = source.entries[old_name]
        moved = self.nodes[number]
        victim = destination.entries.get(new_name)
        if victim == number:
            raise AssertionError("a name of the same inode: nothing changes")
        if victim is not None:
            if self.nodes[victim].kind == DIRECTORY:
                destination.nlink -= 1
            self._without_name(lsn, now_ns, victim, is_open)
        del source.entries[old_name]
        destination.entries[new_name] = number
        if moved.kind == DIRECTORY:
            source.nlink -= 1
            destination.nlink += 1
            moved.parent = new
        for node in (moved, source, destination):
            node.touched(lsn, now_ns, data=node is not moved)

    def drop(self, _lsn: int, _now_ns: int, numbers: list[int]) -> None:
        for number in numbers:
            del self.nodes[number]
