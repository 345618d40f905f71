"""Extended attributes."""

import errno

from gateway.metadata.acl import XATTR_ACL
from gateway.metadata.attributes import (
    DIRECTORY,
    REGULAR,
    XATTR_NAME_MAX_BYTES,
    XATTR_NAMES_MAX_BYTES,
    XATTR_USER,
    XATTR_VALUE_MAX_BYTES,
    XATTR_VALUES_MAX_BYTES,
)
from gateway.metadata.errors import FsError
from gateway.metadata.operations.lookup import LookupOperations
from gateway.metadata.rows import DropXattr, InodeRow, PutInode, PutXattr, RowOp


class XattrOperations(LookupOperations):
    """Names are whole, with the prefix of their kind: `user.` for those of clients, which only files and directories have.

    A change moves ctime and change of the inode and is durable when its call returns. All raise ESTALE.
    """

    def getxattr(self, ino: int, name: bytes) -> bytes:
        """Raises ENODATA."""
        value = self.view.xattrs(self.row(ino)).get(name)
        if value is None:
            raise FsError(errno.ENODATA)
        return value

    def listxattr(self, ino: int) -> list[bytes]:
        """Names of all kinds, sorted."""
        return sorted(self.view.xattrs(self.row(ino)))

    def setxattr(
        self, ino: int, name: bytes, value: bytes, *, create: bool = False, replace: bool = False
    ) -> None:
        """`create`: it must be new (EEXIST); `replace`: it must be there (ENODATA).

        Raises E2BIG (a value above 64 KiB), ENOSPC (no room for it beside the inode's others), ENAMETOOLONG, EINVAL,
        EPERM (an inode that has none of the kind), EAGAIN (too much waits for the checkpoint: try again).
        """
        _check_name(name)
        if len(value) > XATTR_VALUE_MAX_BYTES:
            raise FsError(errno.E2BIG)
        # Reads SQL, if it must, before the lock is taken.
        self.view.xattrs(self.row(ino))
        with self.lock:
            row = self.row(ino)
            if row.kind not in (REGULAR, DIRECTORY) and name.startswith(XATTR_USER):
                raise FsError(errno.EPERM)
            old = self.view.xattrs(row).get(name)
            if old is None and replace:
                raise FsError(errno.ENODATA)
            if old is not None and create:
                raise FsError(errno.EEXIST)
            new = self._counted(row, name, old, value)
            if self.view.xattr_values.changed_bytes + len(value) > self.limits.xattr_changed_bytes:
                raise FsError(errno.EAGAIN)
            lsn = self._commit_xattr(PutXattr(ino, name, value), new)
        self.core.wait_durable(lsn)

    def removexattr(self, ino: int, name: bytes) -> None:
        """Raises ENODATA."""
        self.view.xattrs(self.row(ino))
        with self.lock:
            row = self.row(ino)
            old = self.view.xattrs(row).get(name)
            if old is None:
                raise FsError(errno.ENODATA)
            lsn = self._commit_xattr(DropXattr(ino, name), self._counted(row, name, old, None))
        self.core.wait_durable(lsn)

    def _counted(self, row: InodeRow, name: bytes, old: bytes | None, value: bytes | None) -> InodeRow:
        """The row after one attribute went from `old` to `value` (None: not there). Raises ENOSPC."""
        new = self.changed(row, self.clock.now_ns())
        count_xattr(new, name, old, value)
        return new

    def _commit_xattr(self, op: RowOp, new: InodeRow) -> int:
        return self.commit((op, PutInode(new, self.keeps_data(new))))


def count_xattr(row: InodeRow, name: bytes, old: bytes | None, value: bytes | None) -> None:
    """Brings the sums of a row, which is nobody else's yet, to after one attribute went from `old` to `value` (None: not
    there). Raises ENOSPC; not for an access control list, which has a bound of its own: whoever may write attributes could
    keep the owner from shutting him out."""
    names = row.xattr_name_bytes + (len(name) + 1) * ((value is not None) - (old is not None))
    values = row.xattr_value_bytes + len(value or b"") - len(old or b"")
    # Where the sums were wrong (fsck tells), they must not make a record that cannot be read.
    row.xattr_name_bytes, row.xattr_value_bytes = max(0, names), max(0, values)
    if (
        value is not None
        and name != XATTR_ACL
        and (row.xattr_name_bytes > XATTR_NAMES_MAX_BYTES or row.xattr_value_bytes > XATTR_VALUES_MAX_BYTES)
    ):
        raise FsError(errno.ENOSPC)


def _check_name(name: bytes) -> None:
    if len(name) > XATTR_NAME_MAX_BYTES:
        raise FsError(errno.ENAMETOOLONG)
    if not name or name == XATTR_USER or b"\0" in name:
        raise FsError(errno.EINVAL)
