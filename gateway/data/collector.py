"""Garbage collection and compaction of packs, on the owner's side.

The steward proposes from the database, which may be behind; the owner applies only what still holds. A pack without live
extents never gets one again (extents only ever point at packs that were just written), so "dead" is final, and what remains
is to wait until no read, flush or recovery can still want it.

Order: the blob goes first, then the row. A crash between leaves a row whose blob is missing and that nothing lives in; the
next round deletes it again, which is harmless.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway import _core
from gateway.data.ports import CollectorCorePort, CollectorNamespacePort, Move

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a round did: packs deleted, pieces moved. lsn: of its last record, which need not be durable yet; 0: none."""

    deleted: tuple[int, ...] = ()
    moved_pieces: int = 0
    lsn: int = 0


class Collector:
    """Applies proposals. One round at a time; called by the control socket's threads."""

    def __init__(
        self,
        core: CollectorCorePort,
        namespace: CollectorNamespacePort,
        *,
        epoch: int,
        unnamed_grace_s: float,
        now_s: Callable[[], float],
        batch_bytes: int = 64 << 20,
    ) -> None:
        self._core = core
        self._namespace = namespace
        self._epoch = epoch
        self._unnamed_grace_s = unnamed_grace_s
        self._now_s = now_s
        self._batch_bytes = batch_bytes
        self._lock = threading.Lock()

    def delete_dead(self, packs: Sequence[int]) -> Collected:
        """Deletes those of the packs that hold nothing live. The proposer has seen to their grace time."""
        with self._lock:
            dead = [pack for pack in packs if self._namespace.live_bytes(pack) == 0]
            for pack in dead:
                _core.failpoint("gc.before_delete")
                self._core.delete_pack(pack)
                _core.failpoint("gc.after_delete")
            lsn = 0
            if dead:
                lsn = self._namespace.drop_packs(dead)
                log.info("deleted packs without live extents", packs=len(dead))
            return Collected(tuple(dead), lsn=lsn)

    def compact(self, moves: Sequence[Move]) -> Collected:
        """Writes the live pieces of mostly dead packs into new ones. Pieces that moved meanwhile are left alone."""
        with self._lock:
            here = [move for move in moves if self._namespace.load(move[0])]
            batch = self._core.relocate(here, self._batch_bytes) if here else None
            if batch is None:
                return Collected()
            try:
                batch.write()
            except BaseException:
                batch.abort()
                raise
            lsn = self._namespace.flush_commit(batch)
            return Collected(moved_pieces=len(here), lsn=lsn)

    def delete_unnamed(self, from_epoch: int = 0) -> Collected:
        """Deletes packs that no transaction ever named: left by a flush that a crash cut off.

        Only packs of older epochs go, or those that have been there for longer than any flush takes: one of this epoch may
        be on its way into a transaction right now. Those of epochs before `from_epoch` are left alone: a backup of a history
        that this file system has left may name them.
        """
        with self._lock:
            now_s = self._now_s()
            deleted: list[int] = []
            for pack, _bytes, modified_s in self._core.list_packs():
                old_epoch = from_epoch <= pack >> 40 < self._epoch
                if now_s - modified_s < self._unnamed_grace_s or not old_epoch:
                    continue
                if self._namespace.live_bytes(pack) is None:
                    self._core.delete_pack(pack)
                    deleted.append(pack)
            if deleted:
                log.info("deleted packs that no transaction names", packs=len(deleted))
            return Collected(deleted=tuple(deleted))
