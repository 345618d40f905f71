"""Inodes without a name that are still open."""

from gateway.metadata.operations.base import Foundation
from gateway.metadata.rows import DropInode

_BATCH = 500


class OrphanOperations(Foundation):
    """An inode that lost its last name while open stays, marked, until its last close or the end of grace."""

    def released(self, ino: int) -> None:
        """The last close of an inode: drops it if it is an orphan, else does nothing. Returns when that is durable."""
        row = self.view.inode(ino)
        if row is None or not row.orphan:
            return
        self._drop([ino])

    def orphans(self) -> list[int]:
        """Inodes without a name, in no particular order."""
        with self.lock:
            return self.view.orphans()

    def drop_orphans(self, still_open: frozenset[int] = frozenset()) -> int:
        """After the grace period of a restart: drops all orphans that nobody opened again; returns how many."""
        inos = [ino for ino in self.orphans() if ino not in still_open]
        return sum(self._drop(inos[begin : begin + _BATCH]) for begin in range(0, len(inos), _BATCH))

    def _drop(self, inos: list[int]) -> int:
        with self.lock:
            ops = [DropInode(ino) for ino in inos if (row := self.view.inode(ino)) is not None and row.orphan]
            if not ops:
                return 0
            lsn = self.commit(ops, inodes=-len(ops), needed=True)
        self.finish(lsn)
        return len(ops)
