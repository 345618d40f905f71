"""Our Fsal: turns each FSAL operation into a namespace call or a core call, and nothing more.

Names and attributes are the namespace's; bytes never pass here: the core's vtable serves them without Python's lock.
"""

from collections.abc import Callable, Iterator

from gateway.metadata.attributes import INODE_MAX, ROOT_INODE, XATTR_USER
from gateway.metadata.namespace import Namespace
from gateway.pyganesha import (
    AnyAttributes,
    AnyDirEntry,
    Caller,
    CreateMode,
    Fsal,
    FsalError,
    FsInfo,
    SetAttributes,
    Status,
    UpcallsLike,
    XattrMode,
)

READDIR_PAGE = 128
"""What Ganesha's cache takes at once: of a longer page the rest would be read for nothing."""


class CaudalFsal(Fsal):
    """One export of a file system: the directory `root_inode` and what lies below it."""

    # Operations compute for microseconds, and wait for the journal when they have left Python; what waits for SQL to read
    # a disk holds up the others, who would mostly wait for the same disk.
    calls_max = 1
    has_xattrs = True
    has_acls = True

    def __init__(
        self,
        namespace: Namespace,
        *,
        fsid: tuple[int, int],
        io_capsule: object,
        fs_info: Callable[[int], FsInfo],
        on_ready: Callable[[UpcallsLike], None],
        on_close: Callable[[], None],
        on_found: Callable[[int, int, bytes], None] = lambda _inode, _directory, _name: None,
        root_inode: int = ROOT_INODE,
        gate_capsule: object | None = None,
    ) -> None:
        """on_found: hears of each inode in which directory and by what name it was found."""
        self.fsid = fsid
        self._namespace = namespace
        self._io_capsule = io_capsule
        self._fs_info = fs_info
        self._on_ready = on_ready
        self._on_close = on_close
        self._on_found = on_found
        self._root = root_inode
        self._gate_capsule = gate_capsule

    # Life

    def ready(self) -> None:
        upcalls = self.upcalls
        if upcalls is None:
            raise RuntimeError("ready() comes after the up-calls are set")
        self._on_ready(upcalls)

    def close(self) -> None:
        self._on_close()

    def io(self) -> object:
        return self._io_capsule

    def gate(self) -> object | None:
        return self._gate_capsule

    def statfs(self, inode: int) -> FsInfo:
        return self._fs_info(inode)

    # Attributes

    def root(self) -> AnyAttributes:
        return self._namespace.getattr(self._root)

    def getattr(self, inode: int, generation: int) -> AnyAttributes:
        # Both come from a client's handle and may be anything.
        if inode > INODE_MAX:
            raise FsalError(Status.STALE)
        attributes = self._namespace.getattr(inode)
        if attributes.generation != generation:
            raise FsalError(Status.STALE)
        return attributes

    def load(self, inode: int, generation: int) -> None:
        self.getattr(inode, generation)
        if not self._namespace.load(inode):
            raise FsalError(Status.STALE)

    def setattr(self, inode: int, attributes: SetAttributes, caller: Caller) -> None:  # noqa: ARG002 - Ganesha judged
        self._namespace.setattr(inode, attributes)

    def getacl(self, inode: int) -> bytes:
        return self._namespace.acl(inode)

    # Extended attributes: those of users, whom clients name without the prefix. Others are not for clients.

    def getxattr(self, inode: int, name: bytes) -> bytes:
        return self._namespace.getxattr(inode, XATTR_USER + name)

    def setxattr(self, inode: int, name: bytes, value: bytes, how: XattrMode) -> None:
        self._namespace.setxattr(
            inode,
            XATTR_USER + name,
            value,
            create=how is XattrMode.CREATE,
            replace=how is XattrMode.REPLACE,
        )

    def removexattr(self, inode: int, name: bytes) -> None:
        self._namespace.removexattr(inode, XATTR_USER + name)

    def listxattr(self, inode: int) -> list[bytes]:
        names = self._namespace.listxattr(inode)
        return [name.removeprefix(XATTR_USER) for name in names if name.startswith(XATTR_USER)]

    # Names

    def lookup(self, directory: int, name: bytes) -> AnyAttributes:
        found = self._namespace.lookup(directory, name)
        if name not in (b".", b".."):
            self._on_found(found[0], directory, name)
        return found

    def readdir(self, directory: int, after: int) -> Iterator[AnyDirEntry]:
        while True:
            page = self._namespace.readdir(directory, after, READDIR_PAGE)
            for entry in page:
                self._on_found(entry.attributes.inode, directory, entry.name)
            yield from page
            if len(page) < READDIR_PAGE:
                return
            after = page[-1].cookie

    def readlink(self, inode: int) -> bytes:
        return self._namespace.readlink(inode)

    def create(
        self, directory: int, name: bytes, how: CreateMode, attributes: SetAttributes, caller: Caller
    ) -> tuple[AnyAttributes, bool]:
        made = self._namespace.create(
            directory, name, attributes, uid=caller.uid, gid=caller.gid, guarded=how is CreateMode.GUARDED
        )
        self._on_found(made[0][0], directory, name)
        return made

    def mkdir(self, directory: int, name: bytes, attributes: SetAttributes, caller: Caller) -> AnyAttributes:
        made = self._namespace.mkdir(directory, name, attributes, uid=caller.uid, gid=caller.gid)
        self._on_found(made[0], directory, name)
        return made

    def symlink(
        self, directory: int, name: bytes, target: bytes, attributes: SetAttributes, caller: Caller
    ) -> AnyAttributes:
        return self._namespace.symlink(directory, name, target, attributes, uid=caller.uid, gid=caller.gid)

    def mknod(
        self,
        directory: int,
        name: bytes,
        kind: int,
        rdev: tuple[int, int],
        attributes: SetAttributes,
        caller: Caller,
    ) -> AnyAttributes:
        return self._namespace.mknod(directory, name, kind, rdev, attributes, uid=caller.uid, gid=caller.gid)

    def link(self, inode: int, directory: int, name: bytes) -> None:
        self._namespace.link(inode, directory, name)

    def rename(
        self, old_directory: int, old_name: bytes, new_directory: int, new_name: bytes, victim_open: bool
    ) -> None:
        self._namespace.rename(old_directory, old_name, new_directory, new_name, victim_open)

    def unlink(self, directory: int, name: bytes, victim_open: bool) -> None:
        self._namespace.unlink(directory, name, victim_open)

    def released(self, inode: int) -> None:
        self._namespace.released(inode)
