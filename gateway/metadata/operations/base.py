"""What all operations share: the rows, the one lock, and how a change becomes a record of the journal.

Locking protocol. `self.lock` guards every change of rows, and is held from the validation of an operation to the
application of its record, so that the order of records is the order of changes. It is never held while waiting for the
journal. Readers take it only for rows that are not in memory.

Every change goes: validate → build operations → reserve → append → apply in memory → tell the core → unlock → wait.
Up to the append nothing has changed and the operation may fail; after it, it may not: what follows cannot raise but for
a journal that has failed, after which nothing is acknowledged any more.

Rows that changed stay in memory until the steward has brought them into SQL. When it falls behind, clients are slowed down
to its pace: above half of the limit, replies wait for it (and the core lets only so many wait), at the limit operations are
refused for now.
"""

import errno
import threading
from collections.abc import Sequence
from copy import copy
from typing import Final, cast

from msgspec import Struct

from gateway import _core
from gateway.metadata import rows
from gateway.metadata.attributes import DIRECTORY, NAME_MAX_BYTES, REGULAR, Attributes
from gateway.metadata.clock import Clock
from gateway.metadata.database import Database
from gateway.metadata.errors import FsError
from gateway.metadata.ports import CorePort
from gateway.metadata.quotas import QuotaTable
from gateway.metadata.reads import ColdReads
from gateway.metadata.rows import (
    DropDirent,
    DropInode,
    DropQuota,
    DropXattr,
    FlushInode,
    InodeRow,
    MendTree,
    PutDirent,
    PutInode,
    PutPack,
    PutQuota,
    PutXattr,
    Splice,
)
from gateway.metadata.sums import Sums, TreeSums
from gateway.metadata.view import View

EPOCH_SHIFT: Final = 40
EPOCH_MAX: Final = 2**23 - 1


CHANGED_WAIT_S: Final = 1.0
"""How long a reply waits for the checkpoint to come nearer, once too many changed rows are in memory."""


class Limits(Struct, frozen=True):
    """Rows in memory: clean inodes, names with those that changed, and rows that changed and are not in SQL yet."""

    inodes: int = 100_000
    names: int = 500_000
    xattr_bytes: int = 16 << 20
    xattr_changed_bytes: int = 64 << 20  # of what SQL does not have: beyond it a set waits for the checkpoint
    changed: int = 400_000


class Foundation:
    """State of a namespace, and the ways to change it."""

    def __init__(
        self, core: CorePort, database: Database, clock: Clock, *, epoch: int, limits: Limits | None = None
    ) -> None:
        if not 1 <= epoch <= EPOCH_MAX:
            raise ValueError(f"epoch {epoch} is not between 1 and {EPOCH_MAX}")
        limits = limits or Limits()
        reads = ColdReads(database)
        facts = reads.meta()
        self.core = core
        self.clock = clock
        self.epoch = epoch
        self.limits = limits
        self.view = View(
            reads,
            checkpoint_lsn=int(facts["checkpoint_lsn"]),
            inodes_max=limits.inodes,
            names_max=limits.names,
            xattr_bytes_max=limits.xattr_bytes,
        )
        self.lock = self.view.lock
        self.sums = Sums(reads.tree_sums, self._parent_of, limits.inodes // 4)
        # A core of the tests' own has no accounts; nothing asks for them where there are no limits.
        self.quotas = QuotaTable(
            self.sums, lambda: _core.Quotas(cast("_core.Core", core)), self.view.inode, clock.now_ns
        )
        self.quotas.limits.update((op.dir, op) for op in reads.quotas())
        self._inodes = int(facts["inodes"])
        self._bytes = int(facts["bytes"])
        self._changed_max = limits.changed
        self._in_pace = threading.Event()  # clear: replies wait for the checkpoint
        self._in_pace.set()
        self._replayed = False  # a ROWS record
        self._next = epoch << EPOCH_SHIFT | 1

    # Rows

    def row(self, ino: int) -> InodeRow:
        """The row of an inode. Raises ESTALE."""
        row = self.view.inode(ino)
        if row is None:
            raise FsError(errno.ESTALE)
        return row

    def directory(self, ino: int) -> InodeRow:
        """The row of a directory. Raises ESTALE, ENOTDIR."""
        row = self.view.inode(ino)
        if row is None:
            raise FsError(errno.ESTALE)
        if row.kind != DIRECTORY:
            raise FsError(errno.ENOTDIR)
        return row

    def open_directory(self, ino: int) -> InodeRow:
        """The row of a directory that may get entries. Raises ESTALE, ENOTDIR, ENOENT (it was removed)."""
        row = self.directory(ino)
        if row.orphan:
            raise FsError(errno.ENOENT)
        return row

    def entry(self, directory: int, name: bytes) -> InodeRow:
        """The row that a name leads to. Raises ENOENT. Call it with the lock held."""
        found = self.view.dirent(directory, name)
        row = self.view.inode(found.ino) if found is not None else None
        if row is None:
            raise FsError(errno.ENOENT)
        return row

    def changed(self, row: InodeRow, now_ns: int) -> InodeRow:
        """A copy of a row to change, its ctime set, its change that of the record to come.

        Of a live file the core may have cleared the set-id bits of the mode at a write: that holds.
        """
        new = copy(row)
        new.ctime_ns = now_ns
        new.change = 0
        if row.kind == REGULAR:
            live = self.core.attributes(row.ino)
            if live is not None:
                new.mode = live[3]
        return new

    def _parent_of(self, directory: int) -> int:
        row = self.view.inode(directory)
        return 0 if row is None else row.parent

    @staticmethod
    def keeps_data(row: InodeRow) -> bool:
        """Whether a change of the row leaves size and times to the flushes: of every file that exists already."""
        return row.kind == REGULAR

    def number(self) -> int:
        """A number never handed out before: inodes and cookies. Call it with the lock held."""
        number = self._next
        self._next = number + 1
        return number

    # Changes

    def commit(
        self,
        ops: Sequence[rows.RowOp],
        *,
        inodes: int = 0,
        needed: bool = False,
        reserved: bool = False,
        new: int = 0,
    ) -> int:
        """Makes a change: one record. Returns its LSN, for `finish` without the lock. Call it with the lock held.

        `inodes` is by how much their number changes, `new` an inode that was not there before. Rows of
        PutInode become shared: do not touch them afterwards.
        `reserved`: `reserve` was called for it, and has room for further records left or not.
        Raises EAGAIN when too much waits for the checkpoint, unless nobody would ask again (`needed`).
        """
        payload = rows.encode(ops)
        if not reserved:
            self.reserve(len(payload), needed=needed)
        core = self.core
        try:
            lsn = core.append_rows(payload)
        except BaseException:
            core.release()
            raise
        self._inodes += inodes
        self.apply(ops, lsn, new)
        return lsn

    def reserve(self, bytes: int, *, needed: bool = False) -> None:
        """Takes all that a change needs to go through: after this it is not refused for want of room. `needed` and errors:
        as of `commit`, and the core's. What comes of it ends in `finish` or in the core's `release`."""
        changed = len(self.view.overlay)
        if 2 * changed >= self._changed_max:
            self._in_pace.clear()
            if changed >= self._changed_max and not needed:
                raise FsError(errno.EAGAIN, "the checkpoint is too far behind")
        self.core.reserve(bytes)

    def finish(self, lsn: int) -> None:
        """Returns once a change is durable, later still when the checkpoint is far behind. Call it without the lock."""
        if not self._in_pace.is_set():
            # Still holds its place among those who wait, so that the others are turned away and readers get through.
            self._in_pace.wait(CHANGED_WAIT_S)
        self.core.wait_durable(lsn)

    def caught_up(self) -> None:
        """Rows left the overlay: those whose replies waited for that go on. Call it with the lock held."""
        if 2 * len(self.view.overlay) < self._changed_max:
            self._in_pace.set()

    def commit_unreserved(self, ops: Sequence[rows.RowOp]) -> int:
        """As `commit`, past the journal's limit if need be: for what frees more room than it takes, and waits not."""
        lsn = self.core.append_rows(rows.encode(ops))
        self.apply(ops, lsn)
        return lsn

    def apply(self, ops: Sequence[rows.RowOp], lsn: int, new: int = 0) -> None:
        """Brings a record's operations into memory and tells the core what concerns live inodes. `new`: as of `commit`."""
        overlay = self.view.overlay
        for op in ops:
            if isinstance(op, PutInode):
                row = op.row
                row.change = row.change or lsn
                if row.kind != DIRECTORY or not self.sums.stays(row):
                    before = None if row.ino == new else self.view.inode(row.ino)
                    if before is not None and before.parent != row.parent and row.kind == REGULAR:
                        self.quotas.moved(before, row)
                    self.sums.changed(before, row, lsn)
                overlay.put_inode(row, lsn)
                if op.keep_data:
                    self._tell(row)
            elif isinstance(op, PutDirent):
                overlay.put_dirent(op.dir, op.name, op.cookie, op.ino, op.kind, lsn)
            elif isinstance(op, DropDirent):
                overlay.drop_dirent(op.dir, op.name, lsn)
            else:
                self._apply_rare(op, lsn)

    def _apply_rare(self, op: rows.RowOp, lsn: int) -> None:
        match op:
            case DropInode(ino):
                row = self.view.inode(ino)
                if row is not None:
                    self._remove(row, lsn)
            case FlushInode(ino):
                row = self.view.inode(ino)
                if row is not None:
                    self._bytes += op.space_used - row.space_used
                    new = flushed_row(row, op)
                    self.sums.changed(row, new, lsn)
                    self.view.overlay.put_inode(new, lsn)
            case PutQuota() | DropQuota() | MendTree():
                self._apply_limits(op, lsn)
            case Splice(ino):
                if self.view.inode(ino) is not None:
                    self.view.overlay.splice(op, lsn)
            case PutXattr(ino, name, value):
                if self.view.inode(ino) is not None:
                    self.view.overlay.put_xattr(ino, name, value, lsn)
            case DropXattr(ino, name):
                if self.view.inode(ino) is not None:
                    self.view.overlay.put_xattr(ino, name, None, lsn)
            case PutPack(pack):
                self.view.overlay.put_pack(pack, lsn)
            case _:
                pass  # facts, and the end of packs, are kept in SQL only

    def _apply_limits(self, op: PutQuota | DropQuota | MendTree, lsn: int) -> None:
        if isinstance(op, PutQuota):
            self.quotas.apply(op)
        elif isinstance(op, DropQuota):
            self.quotas.drop(op.dir)
        elif self.view.inode(op.dir) is not None:
            self.sums.mend(op.dir, TreeSums(op.files, op.directories, op.bytes, op.space), lsn)
            self.quotas.mended(op)

    def _remove(self, row: InodeRow, lsn: int) -> None:
        self._bytes -= row.space_used
        if row.kind == DIRECTORY:
            self.quotas.drop(row.ino)
        elif row.kind == REGULAR:
            # Before anything else: what it is charged to is found by its place.
            if self.quotas.serving:
                self.quotas.forget(row)
            else:
                self.core.forget(row.ino)
        self.sums.changed(row, None, lsn)
        self.view.overlay.drop_inode(row.ino, lsn)

    def _tell(self, row: InodeRow) -> None:
        # Not the record's LSN: a flush's record brings the row to a change that was made before.
        self.core.update_names(
            row.ino,
            mode=row.mode,
            uid=row.uid,
            gid=row.gid,
            nlink=row.nlink,
            ctime_ns=row.ctime_ns,
            lsn=row.change,
        )


def flushed_row(row: InodeRow, op: FlushInode) -> InodeRow:
    """The row after a flush: the data's attributes are the flush's, ctime and change the later of both."""
    new = copy(row)
    new.size = op.size
    new.space_used = op.space_used
    new.atime_ns = op.atime_ns
    new.mtime_ns = op.mtime_ns
    new.ctime_ns = max(row.ctime_ns, op.ctime_ns)
    new.change = max(row.change, op.change)
    return new


def attributes_of(row: InodeRow) -> Attributes:
    return Attributes(
        row.ino,
        row.generation,
        row.kind,
        row.mode,
        row.nlink,
        row.uid,
        row.gid,
        row.rdev_major,
        row.rdev_minor,
        row.size,
        row.space_used,
        row.atime_ns,
        row.mtime_ns,
        row.ctime_ns,
        row.btime_ns,
        row.change,
    )


def check_name(name: bytes) -> None:
    """A name that an entry can have, or `.` or `..`. Raises ENAMETOOLONG, ENOENT (empty), EINVAL."""
    if len(name) > NAME_MAX_BYTES:
        raise FsError(errno.ENAMETOOLONG)
    if not name:
        raise FsError(errno.ENOENT)
    if b"/" in name or b"\0" in name:
        raise FsError(errno.EINVAL)


def check_new_name(name: bytes) -> None:
    """A name to create. Raises as `check_name` does, and EEXIST for `.` and `..`."""
    check_name(name)
    if name in (b".", b".."):
        raise FsError(errno.EEXIST)
