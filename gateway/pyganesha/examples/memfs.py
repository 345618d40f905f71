"""A complete file system in memory: hard links, symbolic links, devices, files unlinked while open."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from .. import Attributes, Caller, CreateMode, DirEntry, Fsal, FsInfo, SetAttributes


@dataclass
class Node:
    inode: int
    kind: int
    mode: int
    uid: int
    gid: int
    parent: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int = 1
    nlink: int = 1
    rdev: tuple[int, int] = (0, 0)
    target: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    names: dict[bytes, tuple[int, int]] = field(default_factory=dict[bytes, tuple[int, int]])  # name → cookie, inode


def fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class MemFs(Fsal):
    fsid = (0x6D656D6673, 0)

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.nodes: dict[int, Node] = {}
        self.last = 2  # inodes and cookies are numbered together: cookies 0 to 2 mean something to NFS
        now = self.now_ns()
        self.nodes[1] = Node(1, stat.S_IFDIR, 0o755, 0, 0, 1, now, now, now, now, nlink=2)

    def node(self, inode: int) -> Node:
        found = self.nodes.get(inode)
        if found is None:
            raise fail(errno.ESTALE)
        return found

    def directory(self, inode: int) -> Node:
        found = self.node(inode)
        if found.kind != stat.S_IFDIR:
            raise fail(errno.ENOTDIR)
        return found

    def touch(self, node: Node, data: bool = False) -> None:
        node.ctime_ns = self.now_ns()
        node.mtime_ns = node.ctime_ns if data else node.mtime_ns
        node.change += 1

    def attributes(self, n: Node) -> Attributes:
        size = len(n.names) if n.kind == stat.S_IFDIR else len(n.target or n.data)
        times = (n.atime_ns, n.mtime_ns, n.ctime_ns, n.btime_ns)
        return Attributes(n.inode, 1, n.kind, n.mode, n.nlink, n.uid, n.gid, *n.rdev, size, size, *times, n.change)

    def root(self) -> Attributes:
        return self.attributes(self.nodes[1])

    def getattr(self, inode: int, generation: int) -> Attributes:
        return self.attributes(self.node(inode))

    def statfs(self) -> FsInfo:
        return FsInfo(1 << 40, 1 << 39, 1 << 39, 1 << 30, (1 << 30) - len(self.nodes))

    def setattr(self, inode: int, attributes: SetAttributes, caller: Caller) -> None:
        with self.lock:
            node = self.node(inode)
            if attributes.size is not None:
                del node.data[attributes.size :]
                node.data.extend(bytes(attributes.size - len(node.data)))
            self.touch(node, data=attributes.size is not None)
            for name in ("mode", "uid", "gid", "atime_ns", "mtime_ns"):
                if getattr(attributes, name) is not None:
                    setattr(node, name, getattr(attributes, name))

    def lookup(self, directory: int, name: bytes) -> Attributes:
        parent = self.directory(directory)
        if name == b"..":
            return self.attributes(self.node(parent.parent))
        if name not in parent.names:
            raise fail(errno.ENOENT)
        return self.attributes(self.nodes[parent.names[name][1]])

    def readdir(self, directory: int, after: int) -> Iterable[DirEntry]:
        with self.lock:  # dicts keep the order of insertion, which is the order of cookies
            entries = [(name, cookie, inode) for name, (cookie, inode) in self.directory(directory).names.items() if cookie > after]
        entries.sort(key=itemgetter(1))
        return (DirEntry(name, cookie, self.attributes(self.nodes[i])) for name, cookie, i in entries if i in self.nodes)

    def add(self, parent: Node, name: bytes, inode: int) -> None:
        self.last += 1
        parent.names[name] = (self.last, inode)
        self.touch(parent, data=True)

    def make(self, directory: int, name: bytes, kind: int, given: SetAttributes, caller: Caller) -> Node:
        parent = self.directory(directory)
        if name in parent.names:
            raise fail(errno.EEXIST)
        self.last += 1
        now, mode = self.now_ns(), 0o755 if given.mode is None else given.mode
        gid = parent.gid if parent.mode & stat.S_ISGID else caller.gid
        node = Node(self.last, kind, mode, caller.uid, gid, directory, now, now, now, now)
        if kind == stat.S_IFDIR:
            node.nlink, node.mode = 2, node.mode | (parent.mode & stat.S_ISGID)
            parent.nlink += 1
        self.nodes[node.inode] = node
        self.setattr(node.inode, SetAttributes(None, given.uid, given.gid, given.size, given.atime_ns, given.mtime_ns), caller)
        self.add(parent, name, node.inode)
        return node

    def create(
        self, directory: int, name: bytes, how: CreateMode, attributes: SetAttributes, caller: Caller
    ) -> tuple[Attributes, bool]:
        with self.lock:
            if how != CreateMode.GUARDED and name in self.directory(directory).names:
                return self.lookup(directory, name), False
            return self.attributes(self.make(directory, name, stat.S_IFREG, attributes, caller)), True

    def mkdir(self, directory: int, name: bytes, attributes: SetAttributes, caller: Caller) -> Attributes:
        with self.lock:
            return self.attributes(self.make(directory, name, stat.S_IFDIR, attributes, caller))

    def symlink(self, directory: int, name: bytes, target: bytes, attributes: SetAttributes, caller: Caller) -> Attributes:
        with self.lock:
            node = self.make(directory, name, stat.S_IFLNK, attributes, caller)
            node.target = target
            return self.attributes(node)

    def mknod(
        self, directory: int, name: bytes, kind: int, rdev: tuple[int, int], attributes: SetAttributes, caller: Caller
    ) -> Attributes:
        with self.lock:
            node = self.make(directory, name, kind, attributes, caller)
            node.rdev = rdev
            return self.attributes(node)

    def readlink(self, inode: int) -> bytes:
        return self.node(inode).target

    def link(self, inode: int, directory: int, name: bytes) -> None:
        with self.lock:
            node, parent = self.node(inode), self.directory(directory)
            if name in parent.names:
                raise fail(errno.EEXIST)
            node.nlink += 1
            self.touch(node)
            self.add(parent, name, inode)

    def unlink(self, directory: int, name: bytes, victim_open: bool) -> None:
        with self.lock:
            parent = self.directory(directory)
            if name not in parent.names:
                raise fail(errno.ENOENT)
            node = self.nodes[parent.names[name][1]]
            if node.names:
                raise fail(errno.ENOTEMPTY)
            del parent.names[name]
            self.touch(parent, data=True)
            node.nlink -= 2 if node.kind == stat.S_IFDIR else 1
            parent.nlink -= node.kind == stat.S_IFDIR
            self.touch(node)
            if node.nlink == 0 and not victim_open:
                del self.nodes[node.inode]

    def released(self, inode: int) -> None:
        self.nodes.pop(inode, None)

    def rename(self, old_directory: int, old_name: bytes, new_directory: int, new_name: bytes, victim_open: bool) -> None:
        with self.lock:
            old, new = self.directory(old_directory), self.directory(new_directory)
            node = self.nodes[self.lookup(old_directory, old_name).inode]
            if new_name in new.names:
                victim = self.nodes[new.names[new_name][1]]
                if victim is node:
                    return
                if (victim.kind == stat.S_IFDIR) != (node.kind == stat.S_IFDIR):
                    raise fail(errno.EISDIR if victim.kind == stat.S_IFDIR else errno.ENOTDIR)
                self.unlink(new_directory, new_name, victim_open)
            ancestor = new
            while ancestor.inode != 1 and ancestor is not node:
                ancestor = self.nodes[ancestor.parent]
            if ancestor is node:
                raise fail(errno.EINVAL)
            del old.names[old_name]
            self.touch(old, data=True)
            self.add(new, new_name, node.inode)
            if node.kind == stat.S_IFDIR:
                old.nlink, new.nlink, node.parent = old.nlink - 1, new.nlink + 1, new_directory
            self.touch(node)

    def read(self, inode: int, offset: int, buffer: memoryview) -> tuple[int, bool]:
        with self.lock:
            data = self.node(inode).data
            piece = data[offset : offset + len(buffer)]
            buffer[: len(piece)] = piece
            return len(piece), offset + len(piece) >= len(data)

    def write(self, inode: int, offset: int, data: memoryview, stable: bool, caller: Caller) -> bool:
        with self.lock:
            node = self.node(inode)
            node.data.extend(bytes(max(0, offset - len(node.data))))
            node.data[offset : offset + len(data)] = data
            node.mode &= ~(stat.S_ISUID | stat.S_ISGID) if caller.uid else 0o7777
            self.touch(node, data=True)
            return True


def create(options: str) -> Fsal:
    """The factory that the configuration names: ``Factory = "gateway.pyganesha.examples.memfs:create";``."""
    return MemFs()
