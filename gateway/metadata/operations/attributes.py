"""Changing attributes, and bringing files into the core."""

import errno
import stat

from gateway.metadata.acl import MODE_ACL
from gateway.metadata.attributes import DIRECTORY, REGULAR, SIZE_MAX_BYTES, Attributes, Changes
from gateway.metadata.errors import FsError
from gateway.metadata.operations.acls import AclOperations
from gateway.metadata.operations.base import attributes_of
from gateway.metadata.rows import InodeRow, PutInode, encode

_RESERVE_BYTES = 256  # room for the core's own record of size and times


class AttributeOperations(AclOperations):
    """A file's size and times always pass through the core, which activates it: only so are they in one order with
    its writes, in the journal and at recovery."""

    def setattr(self, ino: int, changes: Changes) -> Attributes:
        """Sets what is not None and returns, once durable, the attributes after it.

        A change of owner or group of a file clears its set-id bits, as Linux does, unless the mode is set too.
        Mode and list follow each other (gateway.metadata.acl); where both are set the list holds.
        Raises EISDIR or EINVAL (size of what is not a file, or a list that cannot be), EFBIG, ENOSPC, ESTALE.
        """
        lsn = 0
        if changes.mode is not None or changes.acl is not None:
            self.warm_acl(ino)
        with self.lock:
            row = self.row(ino)
            _check_size(row, changes.size)
            now_ns = self.clock.now_ns()
            new = self._with_names(row, changes, now_ns)
            times = changes.atime_ns is not None or changes.mtime_ns is not None
            data = changes.size is not None or times
            if row.kind != REGULAR and times:
                new = new or self.changed(row, now_ns)
                if changes.atime_ns is not None:
                    new.atime_ns = changes.atime_ns
                if changes.mtime_ns is not None:
                    new.mtime_ns = changes.mtime_ns
                data = False
            ops = (
                () if new is None else (*self.set_acl(row, new, changes), PutInode(new, self.keeps_data(new)))
            )
            if data:
                # Room for both records first, and the one that may be refused before the other: who is told to come again
                # has changed nothing.
                reserve = self.reserve if ops else self.core.reserve
                reserve(_RESERVE_BYTES + len(encode(ops)))
                lsn = self._set_data(ino, changes, now_ns)
            if ops:
                lsn = self.commit(ops, reserved=data)
            attributes = self.getattr(ino)
        if lsn:
            self.finish(lsn)
        return attributes

    def load(self, ino: int) -> bool:
        """Makes a regular file live in the core. False: there is no such file (gone, or of another kind)."""
        if self.core.attributes(ino) is not None:
            return True
        with self.lock:
            row = self.view.inode(ino)
            if row is None or row.kind != REGULAR:
                return False
            attributes, extents = attributes_of(row), self.view.extents(ino).extents()
            if self.quotas.serving:
                self.quotas.activate(row, attributes, extents)
            else:
                self.core.activate(attributes, extents)
            return True

    def _with_names(self, row: InodeRow, changes: Changes, now_ns: int) -> InodeRow | None:
        """The row with another mode, owner, group or, to come, list; None if none of them is set."""
        if changes.mode is None and changes.uid is None and changes.gid is None and changes.acl is None:
            return None
        new = self.changed(row, now_ns)
        if changes.uid is not None:
            new.uid = changes.uid
        if changes.gid is not None:
            new.gid = changes.gid
        if changes.mode is not None:
            new.mode = changes.mode & 0o7777 | new.mode & MODE_ACL
        elif row.kind == REGULAR and changes.acl is None:
            new.mode &= ~stat.S_ISUID
            if new.mode & stat.S_IXGRP:
                new.mode &= ~stat.S_ISGID
        return new

    def _set_data(self, ino: int, changes: Changes, now_ns: int) -> int:
        mtime_ns = changes.mtime_ns
        if changes.size is not None and mtime_ns is None:
            mtime_ns = now_ns
        try:
            while True:
                self.load(ino)
                lsn = self.core.set_data_attributes(
                    ino, size=changes.size, atime_ns=changes.atime_ns, mtime_ns=mtime_ns, ctime_ns=now_ns
                )
                if lsn is not None:
                    return lsn
                # Evicted between the two calls: once more.
        except BaseException:
            self.core.release()
            raise


def _check_size(row: InodeRow, size: int | None) -> None:
    if size is None:
        return
    if row.kind == DIRECTORY:
        raise FsError(errno.EISDIR)
    if row.kind != REGULAR or size < 0:
        raise FsError(errno.EINVAL)
    if size > SIZE_MAX_BYTES:
        raise FsError(errno.EFBIG)
