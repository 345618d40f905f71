"""Garbage collection as the steward does it: it looks for packs to delete and to compact, and proposes them
to the owner.

The database may lag behind; the owner applies what still holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.metadata import usage
from gateway.metadata.database import Database
from gateway.metadata.usage import Move

log = structlog.get_logger(__name__)

DEAD_PER_ROUND = 1000
COMPACTED_PER_ROUND = 64
COMPACTION_BYTES = 64 << 20
# A pack that is less than a third live costs more to keep than to write again.
LIVE_FRACTION = 0.34
MIN_PACK_BYTES = 1 << 20
# A request on the control socket is at most 1 MiB.
MOVES_PER_CALL = 4096


class PackOwner(Protocol):
    """The process that owns the packs."""

    def packs_dead(self, packs: Sequence[int]) -> list[int]:
        """Proposes packs that nothing has lived in for the grace time; returns those that were deleted."""
        ...

    def packs_compact(self, moves: Sequence[Move]) -> int:
        """Proposes live pieces to be written into new packs; returns how many were moved."""
        ...

    def packs_unnamed(self, from_epoch: int) -> int:
        """Asks to look for packs of this epoch or later ones that no transaction ever named, which lists the store; returns
        how many were deleted.
        """
        ...


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a round proposed (dead packs, moves) and what became of it."""

    dead: int = 0
    moves: tuple[Move, ...] = ()
    deleted: int = 0
    deleted_bytes: int = 0
    moved_pieces: int = 0

    @property
    def moved_bytes(self) -> int:
        """Of all that were proposed to move."""
        return sum(move[2] for move in self.moves)


def propose(
    database: Database,
    owner: PackOwner,
    *,
    grace_s: float,
    upto_lsn: int,
    now_s: Callable[[], float],
    early: bool = False,
) -> Proposed:
    """One round. `upto_lsn`: no retained backup restores to a moment before it. `early`: packs are written anew also where
    leaving their access tier so early is charged. Raises what owner and database raise.
    """
    with database.reader() as connection:
        dead = usage.dead_packs(
            connection, dead_before_s=int(now_s() - grace_s), upto_lsn=upto_lsn, limit=DEAD_PER_ROUND
        )
        sparse = usage.compaction_candidates(
            connection,
            live_fraction=LIVE_FRACTION,
            min_bytes=MIN_PACK_BYTES,
            limit=COMPACTED_PER_ROUND,
            now_s=None if early else int(now_s()),
        )
        moves = usage.live_extents(connection, sparse, max_bytes=COMPACTION_BYTES) if sparse else []
        sizes = usage.sizes_of(connection, dead)
    deleted = owner.packs_dead(dead) if dead else []
    moved = sum(
        owner.packs_compact(moves[first : first + MOVES_PER_CALL])
        for first in range(0, len(moves), MOVES_PER_CALL)
    )
    if dead or moves:
        log.info("packs.proposed", dead=len(dead), moves=len(moves))
    return Proposed(len(dead), tuple(moves), len(deleted), sum(sizes[pack] for pack in deleted), moved)
