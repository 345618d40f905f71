"""A file system as a dict would have it: what the namespace is compared with."""

import errno
import stat
from dataclasses import dataclass, field

DIRECTORY, REGULAR, SYMLINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK


@dataclass(eq=False)
class Node:
    kind: int
    mode: int
    uid: int
    gid: int
    ino: int = 0
    nlink: int = 1
    content: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    entries: dict[bytes, "Node"] = field(default_factory=dict)
    parent: "Node | None" = None
    mtime_ns: int | None = None  # None: whatever the file system says
    orphan: bool = False
    change: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        return self.kind == DIRECTORY

    @property
    def size(self) -> int:
        return len({REGULAR: self.content, SYMLINK: self.target}.get(self.kind, self.entries))


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode[code])
        self.errno = code


def require(condition: object, code: int) -> None:
    if not condition:
        raise Refused(code)


class Model:
    """The tree below `root`, and the inodes without a name that are open."""

    def __init__(self) -> None:
        self.root = Node(DIRECTORY, 0o755, 0, 0, ino=1, nlink=2)
        self.root.parent = self.root
        self.nodes: list[Node] = [self.root]

    @property
    def directories(self) -> list[Node]:
        return [node for node in self.nodes if node.is_directory]

    @property
    def files(self) -> list[Node]:
        return [node for node in self.nodes if node.kind == REGULAR]

    def make(self, directory: Node, name: bytes, node: Node) -> Node:
        require(not directory.orphan, errno.ENOENT)
        require(name not in directory.entries, errno.EEXIST)
        if directory.mode & stat.S_ISGID:
            node.gid = directory.gid
            if node.is_directory:
                node.mode |= stat.S_ISGID
        if node.is_directory:
            node.nlink = 2
            node.parent = directory
            directory.nlink += 1
        directory.entries[name] = node
        self.nodes.append(node)
        return node

    def link(self, node: Node, directory: Node, name: bytes) -> None:
        require(not node.is_directory, errno.EPERM)
        require(not directory.orphan, errno.ENOENT)
        require(name not in directory.entries, errno.EEXIST)
        require(not node.orphan, errno.ENOENT)
        directory.entries[name] = node
        node.nlink += 1

    def unlink(self, directory: Node, name: bytes, victim_open: bool) -> None:
        require(name in directory.entries, errno.ENOENT)
        node = directory.entries[name]
        require(not node.entries, errno.ENOTEMPTY)
        del directory.entries[name]
        if node.is_directory:
            directory.nlink -= 1
        self._unname(node, victim_open)

    def _unname(self, node: Node, victim_open: bool) -> None:
        node.nlink = 0 if node.is_directory else node.nlink - 1
        if node.nlink == 0:
            if victim_open:
                node.orphan = True
            else:
                self.nodes.remove(node)

    def rename(self, old: Node, old_name: bytes, new: Node, new_name: bytes, victim_open: bool) -> None:
        require(not new.orphan, errno.ENOENT)
        require(old_name in old.entries, errno.ENOENT)
        node = old.entries[old_name]
        victim = new.entries.get(new_name)
        if victim is node:
            return
        if node.is_directory:
            at = new
            while at is not self.root:
                require(at is not node, errno.EINVAL)
                assert at.parent is not None
                at = at.parent
        if victim is not None:
            require(not victim.is_directory or node.is_directory, errno.EISDIR)
            require(victim.is_directory or not node.is_directory, errno.ENOTDIR)
            require(not victim.entries, errno.ENOTEMPTY)
        del old.entries[old_name]
        new.entries[new_name] = node
        if node.is_directory:
            old.nlink -= 1
            new.nlink += 1
            node.parent = new
        if victim is not None:
            if victim.is_directory:
                new.nlink -= 1
            self._unname(victim, victim_open)

    def set_xattr(self, node: Node, name: bytes, value: bytes, how: str) -> None:
        require(node.is_directory or node.kind == REGULAR, errno.EPERM)
        require(how != "replace" or name in node.xattrs, errno.ENODATA)
        require(how != "create" or name not in node.xattrs, errno.EEXIST)
        node.xattrs[name] = value

    def remove_xattr(self, node: Node, name: bytes) -> None:
        require(name in node.xattrs, errno.ENODATA)
        del node.xattrs[name]

    def release(self, node: Node) -> None:
        if node.orphan:
            self.nodes.remove(node)


def written(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def truncated(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
