"""Access control lists of inodes: kept as an extended attribute that no client names, marked by a bit of the row's mode."""

import errno

from gateway.metadata.acl import (
    MODE_ACL,
    XATTR_ACL,
    Acl,
    checked,
    decode,
    encode,
    inherited,
    is_trivial,
    mode_of,
    trivial,
    with_mode,
)
from gateway.metadata.attributes import SYMLINK, Changes
from gateway.metadata.errors import FsError
from gateway.metadata.operations.lookup import LookupOperations
from gateway.metadata.operations.xattrs import count_xattr
from gateway.metadata.rows import InodeRow, PutXattr, RowOp


class AclOperations(LookupOperations):
    """A list is in the record that changes or makes its inode, so that mode and list are never seen apart.

    An inode that once had a list keeps one, be it what its mode says: Ganesha's cache takes the lack of a new list for the
    old one's being right still.
    """

    def acl(self, ino: int) -> bytes:
        """The list of an inode; without one, what its mode comes to. Raises ESTALE, EIO (it cannot be read)."""
        row = self.row(ino)
        content = self._stored(row)
        if content is None:
            return encode(trivial(row.mode, row.kind))
        decode(content)
        return content

    def _stored(self, row: InodeRow) -> bytes | None:
        """The list that a row has of its own. Raises EIO where it should have one: the mode shows nobody who is kept out."""
        if not row.mode & MODE_ACL:
            return None
        content = self.view.xattrs(row).get(XATTR_ACL)
        if content is None:
            raise FsError(errno.EIO, f"the access control list of inode {row.ino} is missing")
        return content

    def warm_acl(self, ino: int) -> None:
        """Reads the list from SQL, if it must, before the lock is taken."""
        row = self.view.inode(ino)
        if row is not None and row.mode & MODE_ACL:
            self.view.xattrs(row)

    def set_acl(self, row: InodeRow, new: InodeRow, changes: Changes) -> tuple[RowOp, ...]:
        """What goes into the record of a change of `row` to `new`, which is nobody else's yet: its mode and sums are brought
        along. Raises EINVAL, ENOSPC, EOPNOTSUPP (a symbolic link), EAGAIN. Call it with the lock held."""
        if changes.acl is not None:
            old = self.view.xattrs(row).get(XATTR_ACL) if row.mode & MODE_ACL else None
            if row.kind == SYMLINK:
                raise FsError(errno.EOPNOTSUPP)
            acl = checked(changes.acl, row.kind)
            if not row.mode & MODE_ACL and is_trivial(acl, row.kind):
                new.mode = new.mode & ~0o777 | mode_of(acl)
                return ()
        elif changes.mode is not None and (old := self._stored(row)) is not None:
            acl = with_mode(decode(old), changes.mode, row.kind)
        else:
            return ()
        return self._put(new, acl, old)

    def first_acl(self, parent: InodeRow, row: InodeRow, changes: Changes) -> tuple[RowOp, ...]:
        """As of `set_acl`, for a new inode: the list it was asked for with, or what it inherits."""
        if changes.acl is not None:
            return self.set_acl(row, row, changes)
        content = self._stored(parent)
        acl = inherited(decode(content), row.kind, row.mode) if content is not None else ()
        if not acl:
            return ()
        if is_trivial(acl, row.kind):
            row.mode = row.mode & ~0o777 | mode_of(acl)
            return ()
        return self._put(row, acl, None)

    def _put(self, new: InodeRow, acl: Acl, old: bytes | None) -> tuple[RowOp, ...]:
        value = encode(acl)
        if self.view.xattr_values.changed_bytes + len(value) > self.limits.xattr_changed_bytes:
            raise FsError(errno.EAGAIN)
        count_xattr(new, XATTR_ACL, old, value)
        new.mode = new.mode & ~0o777 | mode_of(acl) | MODE_ACL
        return (PutXattr(new.ino, XATTR_ACL, value),)
