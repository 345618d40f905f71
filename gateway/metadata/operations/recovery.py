"""Bringing the namespace back from SQL and journal."""

from gateway.metadata import rows
from gateway.metadata.attributes import DIRECTORY, REGULAR, ROOT_GENERATION, ROOT_INODE, Attributes
from gateway.metadata.errors import MetadataError
from gateway.metadata.extents import Extent
from gateway.metadata.links import complete
from gateway.metadata.operations.base import Foundation, attributes_of
from gateway.metadata.ports import AttributeFields
from gateway.metadata.rows import DropInode, FlushInode, InodeRow, PutInode, Splice

Flushed = tuple[int, int, list[Extent]]
"""(inode, taken LSN, splices): what the core drops from its dirty data; taken LSN 0: a relocation."""


class RecoveryOperations(Foundation):
    """Callbacks of the core's replay, which reads the journal from its oldest needed record on.

    SQL stands still meanwhile: all is read from the snapshot in which the checkpoint's LSN was found. Records up to that
    are in SQL; of these only the flushes are of interest, to the core, which replays the data.
    """

    def apply_replayed(self, lsn: int, payload: bytes) -> list[Flushed]:
        """One ROWS record, in the order of LSNs.

        Raises RowsError, and MetadataError when the journal goes on from a database that is lost: to begin anew would
        bury the file system.
        """
        ops = rows.decode(payload)
        if not self._replayed and not self.view.overlay.forgotten and not _founds(ops):
            raise MetadataError(
                "the journal goes on from a metadata database that is not there: bring that back"
            )
        self._replayed = True
        if lsn > self.view.overlay.forgotten:
            complete(ops, self.view.inode)
            for op in ops:
                self._replay(op, lsn)
        return _flushed(ops)

    def _replay(self, op: rows.RowOp, lsn: int) -> None:
        new = 0
        if isinstance(op, PutInode):
            before = self.view.inode(op.row.ino)
            if before is None:
                new = op.row.ino
                self._inodes += 1
                if op.row.kind == DIRECTORY:
                    self.view.directories.open(op.row.ino, empty=True)
            elif op.keep_data:
                _keep_data(op.row, before)
        elif isinstance(op, DropInode) and self.view.inode(op.ino) is not None:
            self._inodes -= 1
        self.apply((op,), lsn, new)

    def load_for_replay(self, ino: int) -> tuple[AttributeFields, list[Extent]] | None:
        """Attributes and extents of a file as rows have them at this point of the replay; None: it is gone."""
        with self.lock:
            row = self.view.inode(ino)
            if row is None or row.kind != REGULAR:
                return None
            return attributes_of(row), self.view.extents(ino).extents()

    def ensure_root(self, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Attributes:
        """Ends the recovery, after the core has started; makes the root directory of a new file system.

        Returns it once durable.
        """
        self.view.reads.follow()
        lsn = 0
        with self.lock:
            row = self.view.inode(ROOT_INODE)
            if row is None:
                now_ns = self.clock.now_ns()
                row = InodeRow(
                    ROOT_INODE,
                    ROOT_GENERATION,
                    DIRECTORY,
                    mode & 0o7777,
                    2,
                    uid,
                    gid,
                    0,
                    0,
                    ROOT_INODE,
                    0,
                    0,
                    now_ns,
                    now_ns,
                    now_ns,
                    now_ns,
                    0,
                )
                lsn = self.commit((PutInode(row, False),), inodes=1, new=ROOT_INODE)
                self.view.directories.open(ROOT_INODE, empty=True)
            self.quotas.begin()
        if lsn:
            self.finish(lsn)
        return attributes_of(row)


def _founds(ops: list[rows.RowOp]) -> bool:
    """Whether this is the first record of a file system, as `ensure_root` makes it."""
    first = ops[0] if len(ops) == 1 else None
    return isinstance(first, PutInode) and first.row.ino == ROOT_INODE and first.row.size == 0


def _keep_data(row: InodeRow, before: InodeRow) -> None:
    row.size = before.size
    row.space_used = before.space_used
    row.atime_ns = before.atime_ns
    row.mtime_ns = before.mtime_ns


def _flushed(ops: list[rows.RowOp]) -> list[Flushed]:
    """The flushes of a record: a FlushInode and the splices after it; splices alone are a relocation."""
    out: list[Flushed] = []
    for op in ops:
        if isinstance(op, FlushInode):
            out.append((op.ino, op.taken_lsn, []))
        elif isinstance(op, Splice):
            if not out or out[-1][0] != op.ino:
                out.append((op.ino, 0, []))
            out[-1][2].append((op.offset, op.length, op.pack, op.pack_offset))
    return out
