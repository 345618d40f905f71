"""A complete file system in memory: hard and symbolic links, devices, files unlinked while open."""

# ruff: noqa: ARG002 - an interface's methods take what others need
import errno
import stat
import threading

from gateway.pyganesha import Attributes, Caller, CreateMode, DirEntry, Fsal, SetAttributes


class Node:
    def __init__(self, attributes: Attributes, parent: int, target: bytes = b"") -> None:
        self.attributes, self.parent, self.target, self.data = attributes, parent, target, bytearray()
        self.names: dict[bytes, tuple[int, int]] = {}  # name → cookie, inode; in the order of the cookies
        self.is_directory = attributes.kind == stat.S_IFDIR

    def change(self, now_ns: int, links: int = 0, **values: int) -> Attributes:
        old, size = self.attributes, len(self.data or self.target or self.names)
        always = {"change": old.change + 1, "ctime_ns": now_ns, "size": size, "space_used": size}
        self.attributes = old._replace(nlink=old.nlink + links, **always | values)
        return self.attributes


class MemFs(Fsal):
    fsid = (0x6D656D6673, 0)

    def __init__(self, options: str) -> None:
        self.lock, now = threading.RLock(), self.now_ns()
        self.last = 2  # inodes and cookies share a counter; NFS means something else by cookies 1 and 2
        root = Attributes(1, 1, stat.S_IFDIR, 0o755, 2, 0, 0, 0, 0, 0, 0, now, now, now, now, 1)
        self.nodes = {1: Node(root, 1)}

    def node(self, inode: int) -> Node:
        if inode not in self.nodes:
            raise OSError(errno.ESTALE, "no such inode")
        return self.nodes[inode]

    def child(self, directory: int, name: bytes) -> Node:
        if name not in self.node(directory).names:
            raise OSError(errno.ENOENT, "no such name")
        return self.nodes[self.nodes[directory].names[name][1]]

    def enter(self, directory: int, name: bytes, node: Node) -> None:
        if name in self.node(directory).names:
            raise OSError(errno.EEXIST, "the name exists")
        self.last, now = self.last + 1, self.now_ns()
        self.nodes[directory].names[name] = (self.last, node.attributes.inode)
        self.nodes[directory].change(now, links=node.is_directory, mtime_ns=now)

    def root(self) -> Attributes:
        return self.nodes[1].attributes

    def getattr(self, inode: int, generation: int) -> Attributes:
        return self.node(inode if generation == 1 else 0).attributes

    def setattr(self, inode: int, attributes: SetAttributes, caller: Caller) -> None:
        with self.lock:
            node, values = self.node(inode), attributes.given()
            if (size := values.pop("size", None)) is not None:
                node.data[size:] = bytes(max(0, size - len(node.data)))
                values.setdefault("mtime_ns", self.now_ns())
            node.change(self.now_ns(), **values)

    def lookup(self, directory: int, name: bytes) -> Attributes:
        node = self.node(self.node(directory).parent) if name == b".." else self.child(directory, name)
        return node.attributes

    def readdir(self, directory: int, after: int) -> list[DirEntry]:
        listed = [
            (name, *place) for name, place in list(self.node(directory).names.items()) if place[0] > after
        ]
        return [DirEntry(name, at, self.nodes[i].attributes) for name, at, i in listed if i in self.nodes]

    def readlink(self, inode: int) -> bytes:
        return self.node(inode).target

    def make(
        self, directory: int, name: bytes, kind: int, attributes: SetAttributes, caller: Caller,
        target: bytes = b"", rdev: tuple[int, int] = (0, 0),
    ) -> Attributes:  # fmt: skip
        with self.lock:
            self.last, now, links = self.last + 1, self.now_ns(), 2 if kind == stat.S_IFDIR else 1
            owner, times = (caller.uid, caller.gid), (now, now, now, now)
            new = Attributes(self.last, 1, kind, 0o755, links, *owner, *rdev, 0, 0, *times, 1)
            node = Node(new, directory, target)
            self.enter(directory, name, node)
            self.nodes[new.inode] = node
            self.setattr(new.inode, attributes, caller)
            return node.attributes

    def create(
        self, directory: int, name: bytes, how: CreateMode, attributes: SetAttributes, caller: Caller
    ) -> tuple[Attributes, bool]:
        if how != CreateMode.GUARDED and name in self.node(directory).names:
            return self.child(directory, name).attributes, False
        return self.make(directory, name, stat.S_IFREG, attributes, caller), True

    def link(self, inode: int, directory: int, name: bytes) -> None:
        with self.lock:
            self.enter(directory, name, self.node(inode))
            self.nodes[inode].change(self.now_ns(), links=1)

    def unlink(self, directory: int, name: bytes, victim_open: bool) -> None:
        with self.lock:
            node, parent, now = self.child(directory, name), self.node(directory), self.now_ns()
            if node.names:
                raise OSError(errno.ENOTEMPTY, "the directory is not empty")
            del parent.names[name]
            parent.change(now, links=-node.is_directory, mtime_ns=now)
            if node.change(now, links=-1 - node.is_directory).nlink == 0 and not victim_open:
                del self.nodes[node.attributes.inode]

    def released(self, inode: int) -> None:
        self.nodes.pop(inode, None)

    def rename(
        self, old_directory: int, old_name: bytes, new_directory: int, new_name: bytes, victim_open: bool
    ) -> None:
        with self.lock:
            node, place, now = self.child(old_directory, old_name), self.node(new_directory), self.now_ns()
            victim = self.nodes.get(place.names.get(new_name, (0, 0))[1])
            while place is not self.nodes[1] and place is not node:
                place = self.nodes[place.parent]
            if place is node:
                raise OSError(errno.EINVAL, "a directory cannot move into itself")
            if victim and victim.is_directory != node.is_directory:
                raise OSError(errno.EISDIR if victim.is_directory else errno.ENOTDIR, "one is a directory")
            if victim and victim is not node:
                self.unlink(new_directory, new_name, victim_open)
            if victim is not node:
                self.enter(new_directory, new_name, node)
                del self.nodes[old_directory].names[old_name]
                self.nodes[old_directory].change(now, links=-node.is_directory, mtime_ns=now)
                node.parent = new_directory
                node.change(now)

    def read(self, inode: int, offset: int, buffer: memoryview) -> tuple[int, bool]:
        piece = self.node(inode).data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece), offset + len(piece) >= self.nodes[inode].attributes.size

    def write(self, inode: int, offset: int, data: memoryview, stable: bool, caller: Caller) -> bool:
        with self.lock:
            node, now = self.node(inode), self.now_ns()
            node.data.extend(bytes(max(0, offset - len(node.data))))
            node.data[offset : offset + len(data)] = data
            kept = 0o7777 if caller.uid == 0 else 0o1777  # no setuid, no setgid
            node.change(now, mode=node.attributes.mode & kept, mtime_ns=now)
            return True
