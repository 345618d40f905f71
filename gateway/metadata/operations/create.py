"""Making files, directories, symbolic links and devices."""

import errno
import stat
from copy import copy

from gateway.metadata.acl import MODE_ACL
from gateway.metadata.attributes import (
    DIRECTORY,
    LINK_MAX,
    REGULAR,
    SIZE_MAX_BYTES,
    SPECIAL_KINDS,
    SYMLINK,
    TARGET_MAX_BYTES,
    UNCHANGED,
    Attributes,
    Changes,
)
from gateway.metadata.errors import FsError
from gateway.metadata.operations.acls import AclOperations
from gateway.metadata.operations.base import attributes_of, check_new_name
from gateway.metadata.rows import InodeRow, PutDirent, PutInode, RowOp


class CreateOperations(AclOperations):
    """All return when the new inode is durable.

    `uid` and `gid` are the caller's. Owner and group named in the attributes hold; else the owner is the caller, the
    group that of a set-group-id directory, or else the caller's. Raise EEXIST, ENOENT (the directory was removed), ENOTDIR,
    ESTALE, ENAMETOOLONG, EINVAL, EDQUOT (a tree has as many inodes as it may), and what the core raises.
    """

    def create(
        self,
        directory: int,
        name: bytes,
        attributes: Changes = UNCHANGED,
        *,
        uid: int,
        gid: int,
        guarded: bool = False,
    ) -> tuple[Attributes, bool]:
        """A regular file, and whether it is new.

        What is there already is an error only if `guarded`; else its attributes are returned, whatever its kind, and it
        is left as it is: truncating it, or comparing an exclusive create's verifier, is the caller's.
        """
        return self._make(directory, name, REGULAR, attributes, uid, gid, guarded=guarded)

    def mkdir(
        self, directory: int, name: bytes, attributes: Changes = UNCHANGED, *, uid: int, gid: int
    ) -> Attributes:
        """Also raises EMLINK."""
        return self._make(directory, name, DIRECTORY, attributes, uid, gid)[0]

    def symlink(
        self,
        directory: int,
        name: bytes,
        target: bytes,
        attributes: Changes = UNCHANGED,
        *,
        uid: int,
        gid: int,
    ) -> Attributes:
        """`target` is 1 to 4096 bytes without NUL (ENAMETOOLONG, EINVAL; ENOENT when empty)."""
        if len(target) > TARGET_MAX_BYTES:
            raise FsError(errno.ENAMETOOLONG)
        if not target:
            raise FsError(errno.ENOENT)
        if b"\0" in target:
            raise FsError(errno.EINVAL)
        return self._make(directory, name, SYMLINK, attributes, uid, gid, target=target)[0]

    def mknod(
        self,
        directory: int,
        name: bytes,
        kind: int,
        rdev: tuple[int, int] = (0, 0),
        attributes: Changes = UNCHANGED,
        *,
        uid: int,
        gid: int,
    ) -> Attributes:
        """A FIFO, socket or device of an S_IFMT value (EINVAL for others); `rdev` is (major, minor), 32 bits each."""
        if kind not in SPECIAL_KINDS or not all(0 <= part < 2**32 for part in rdev):
            raise FsError(errno.EINVAL)
        if kind not in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = (0, 0)
        return self._make(directory, name, kind, attributes, uid, gid, rdev=rdev)[0]

    def _make(
        self,
        directory: int,
        name: bytes,
        kind: int,
        attributes: Changes,
        uid: int,
        gid: int,
        *,
        guarded: bool = True,
        target: bytes | None = None,
        rdev: tuple[int, int] = (0, 0),
    ) -> tuple[Attributes, bool]:
        check_new_name(name)
        _check_size(kind, attributes.size)
        view = self.view
        if view.inode(directory) is not None:
            # Reads SQL, if it must, before the lock is taken.
            view.dirent(directory, name)
            self.warm_acl(directory)
        with self.lock:
            parent = self.open_directory(directory)
            found = view.dirent(directory, name)
            made = found is None
            if found is None:
                row = self._new_row(self.number(), kind, parent, attributes, uid, gid)
                row.rdev_major, row.rdev_minor = rdev
                if target is not None:
                    row.target = target
                    row.size = len(target)
                listed = parent.mode & MODE_ACL or attributes.acl is not None
                lsn = self._add(parent, name, row, self.first_acl(parent, row, attributes) if listed else ())
                result = attributes_of(row)
            elif guarded:
                raise FsError(errno.EEXIST)
            else:
                lsn, result = found.lsn, self.getattr(found.ino)
        # What another request, or this one's first try, made a moment ago is not promised before it is durable either.
        if made or lsn > self.core.durable_lsn:
            self.finish(lsn)
        return result, made

    def _add(self, parent: InodeRow, name: bytes, row: InodeRow, acl: tuple[RowOp, ...]) -> int:
        """Commits a new inode, its entry, and its list where it has one; returns the LSN."""
        is_directory = row.kind == DIRECTORY
        if is_directory and parent.nlink >= LINK_MAX:
            raise FsError(errno.EMLINK)
        self.quotas.check_new(parent.ino)
        new_parent = copy(parent)
        new_parent.size += 1
        new_parent.nlink += is_directory
        new_parent.mtime_ns = new_parent.ctime_ns = row.ctime_ns
        new_parent.change = 0
        ops = (
            PutInode(row, False),
            PutDirent(parent.ino, name, self.number(), row.ino, row.kind),
            PutInode(new_parent, False),
            *acl,
        )
        lsn = self.commit(ops, inodes=1, new=row.ino)
        if is_directory:
            self.view.directories.open(row.ino, empty=True)
        return lsn

    def _new_row(
        self, ino: int, kind: int, parent: InodeRow, attributes: Changes, uid: int, gid: int
    ) -> InodeRow:
        now_ns = self.clock.now_ns()
        mode = attributes.mode
        if mode is None:
            mode = 0o700 if kind == DIRECTORY else 0o777 if kind == SYMLINK else 0o600
        mode &= 0o7777
        if parent.mode & stat.S_ISGID:
            gid = parent.gid
            if kind == DIRECTORY:
                mode |= stat.S_ISGID
        if attributes.uid is not None:
            uid = attributes.uid
        if attributes.gid is not None:
            gid = attributes.gid
        atime_ns = attributes.atime_ns
        mtime_ns = attributes.mtime_ns
        is_directory = kind == DIRECTORY
        return InodeRow(
            ino,
            self.epoch,
            kind,
            mode,
            2 if is_directory else 1,
            uid,
            gid,
            0,
            0,
            parent.ino,
            (attributes.size or 0) if kind == REGULAR else 0,
            0,
            now_ns if atime_ns is None else atime_ns,
            now_ns if mtime_ns is None else mtime_ns,
            now_ns,
            now_ns,
            0,
        )


def _check_size(kind: int, size: int | None) -> None:
    if size is not None and kind == REGULAR:
        if size < 0:
            raise FsError(errno.EINVAL)
        if size > SIZE_MAX_BYTES:
            raise FsError(errno.EFBIG)
