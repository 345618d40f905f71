"""The metadata's side of flushes, checkpoints and garbage collection."""

import time
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Final

from gateway.metadata import rows
from gateway.metadata.operations.base import Foundation
from gateway.metadata.ports import FlushBatch, FlushedInode
from gateway.metadata.rows import DropInode, DropPack, FlushInode, InodeRow, PutInode, PutPack, Splice

FORGET_STEP: Final = 500
"""Rows that leave the overlay while the lock is held once: well below a millisecond."""

FLUSH_STEP: Final = 200
"""Files of a flush in one transaction: about a millisecond."""


class FlushOperations(Foundation):
    """Called by the flush, by the control socket for the steward, and by the collector. None waits for the journal."""

    def flush_commit(self, batch: FlushBatch) -> int:
        """Names a batch's packs in rows, then in the core. Returns the LSN of the last transaction.

        A batch of many files takes several transactions, each right by itself, so that the lock is never held for long.
        Nothing need wait for them: until one is durable the journal keeps what it covers, and a crash before that
        flushes again. Inodes deleted meanwhile are left out; a pack that nothing names counts as dead from the start.
        Raises what the core raises: abort the batch then; what it did already holds, and is flushed again.
        """
        ops: list[rows.RowOp] = [PutPack(pack[0], pack[1]) for pack in batch.packs]
        inodes = batch.inodes
        lsn = 0
        for begin in range(0, len(inodes) or 1, FLUSH_STEP):
            with self.lock:
                for item in inodes[begin : begin + FLUSH_STEP]:
                    row = self.view.inode(item.inode)
                    if row is not None:
                        ops += self._flushed(row, item)
                lsn = self.commit_unreserved(ops)
            ops = []
            time.sleep(0)  # lets those in who wait for the lock
        # The files are live until this: nobody reads their rows before.
        batch.commit(lsn)
        return lsn

    def _flushed(self, row: InodeRow, item: FlushedInode) -> list[rows.RowOp]:
        ops: list[rows.RowOp] = []
        live = self.core.attributes(item.inode)
        if live is not None and live[3] != row.mode:
            # A write cleared set-id bits: the core says so until the row does.
            new = copy(row)
            new.mode, new.ctime_ns, new.change = live[3], live[13], live[15]
            ops.append(PutInode(new, True))
        if item.taken_lsn:
            size, space_used, atime_ns, mtime_ns, ctime_ns, _, change = item.attributes[9:16]
            ops.append(
                FlushInode(row.ino, item.taken_lsn, size, space_used, atime_ns, mtime_ns, ctime_ns, change)
            )
        ops += (
            Splice(row.ino, offset, length, pack, pack_offset)
            for offset, length, pack, pack_offset in item.splices
        )
        return ops

    def checkpointed(self, lsn: int) -> None:
        """SQL has every row up to `lsn`, on its disk. Raises ValueError when it cannot: that is not durable yet."""
        durable_lsn = self.core.durable_lsn
        # After a start from a journal that was trimmed to nothing, SQL is ahead of all the core has seen.
        if lsn > max(durable_lsn, self.view.overlay.forgotten):
            raise ValueError(f"checkpoint at LSN {lsn} is past the durable LSN {durable_lsn}")
        self.view.reads.follow()
        more = True
        while more:
            with self.lock:
                more = self.view.overlay.forget(lsn, FORGET_STEP)
                self.caught_up()
                if not more:
                    self.sums.forget(lsn)
                if not more and self.view.directories.full:
                    more = self.view.directories.shrink()
            time.sleep(0)  # lets those in who wait for the lock

    @property
    def checkpoint_lsn(self) -> int:
        """Up to here the overlay has forgotten, and SQL remembers."""
        return self.view.overlay.forgotten

    @property
    def overlay_rows(self) -> int:
        """Rows changed above the checkpoint."""
        return len(self.view.overlay)

    def live_bytes(self, pack: int) -> int | None:
        """At least the bytes of a pack that extents of files lie in: 0 only where none does. None: no row names it."""
        with self.lock:
            recent = self.view.overlay.pack_bytes(pack)
            known = self.view.reads.pack_live_bytes(pack)
        return None if recent is None and known is None else (recent or 0) + (known or 0)

    def drop_packs(self, ids: Iterable[int]) -> int:
        """Forgets packs whose blobs were deleted. Returns the LSN of the transaction."""
        with self.lock:
            return self.commit_unreserved([DropPack(pack) for pack in ids])

    def repair(self, ops: Sequence[rows.RowOp]) -> int:
        """A transaction of fsck's making, which adds no inodes. Durable when it returns its LSN."""
        with self.lock:
            dropped = {
                op.ino for op in ops if isinstance(op, DropInode) and self.view.inode(op.ino) is not None
            }
            lsn = self.commit(ops, inodes=-len(dropped))
        self.finish(lsn)
        return lsn
