"""What packs hold: proposals of garbage collection and compaction, read from SQL by the steward.

SQL may lag behind the owner, so these are proposals: the owner applies what still holds. A dead pack stays dead, since
extents only ever come to point at packs that were just written.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from gateway.metadata import pack_tiers
from gateway.metadata.tables import extent, inode, pack

Move = tuple[int, int, int, int, int]
"""(inode, file offset, length, pack, pack offset): live bytes to be written elsewhere."""


class PackUsage(NamedTuple):
    """Sums over all packs: their number, their bytes in the store, the bytes of files in them, how many are dead, and the
    bytes of those.
    """

    packs: int
    bytes: int
    live_bytes: int
    dead: int
    dead_bytes: int


def pack_usage(connection: Connection) -> PackUsage:
    row = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(pack.c.bytes), 0),
            func.coalesce(func.sum(pack.c.live_bytes), 0),
            func.count(pack.c.dead_since_s),
            func.coalesce(func.sum(pack.c.bytes).filter(pack.c.dead_since_s.is_not(None)), 0),
        )
    ).one()
    return PackUsage(*(int(figure) for figure in row))


def sizes_of(connection: Connection, packs: Sequence[int]) -> dict[int, int]:
    """What some packs take in the store: at most some thousands of them."""
    found = connection.execute(select(pack.c.id, pack.c.bytes).where(pack.c.id.in_(packs)))
    return {int(row[0]): int(row[1]) for row in found}


def dead_packs(connection: Connection, *, dead_before_s: int, upto_lsn: int, limit: int) -> list[int]:
    """Packs without live bytes since before `dead_before_s` (seconds since 1970), those longest dead first.

    Only those that were dead at `upto_lsn`: no state from then on needs them.
    """
    statement = (
        select(pack.c.id)
        .where(pack.c.dead_since_s < dead_before_s, pack.c.dead_lsn <= upto_lsn)
        .order_by(pack.c.dead_since_s, pack.c.id)
        .limit(limit)
    )
    return list(connection.scalars(statement))


def any_dead_after(connection: Connection, *, lsn: int, dead_before_s: int) -> bool:
    """Whether a pack without live bytes since before `dead_before_s` was still alive at `lsn`."""
    statement = select(pack.c.id).where(pack.c.dead_since_s < dead_before_s, pack.c.dead_lsn > lsn).limit(1)
    return connection.scalar(statement) is not None


def compaction_candidates(
    connection: Connection, *, live_fraction: float, min_bytes: int, limit: int, now_s: int | None = None
) -> list[int]:
    """Packs of at least `min_bytes` of which less than `live_fraction` is live, though not nothing; emptiest first. now_s:
    without those that would be charged for leaving their access tier so early; None: with them.
    """
    statement = (
        select(pack.c.id)
        .where(
            *(() if now_s is None else (~pack_tiers.stays(now_s),)),
            pack.c.dead_since_s.is_(None),
            pack.c.bytes >= min_bytes,
            pack.c.live_bytes < pack.c.bytes * live_fraction,
        )
        .order_by(pack.c.live_bytes * 1.0 / pack.c.bytes, pack.c.id)
        .limit(limit)
    )
    return list(connection.scalars(statement))


def live_extents(connection: Connection, packs: Sequence[int], *, max_bytes: int) -> list[Move]:
    """What lives in some packs, as moves in the order of files: about `max_bytes`, at least one."""
    statement = (
        select(extent.c.ino, extent.c.file_offset, extent.c.length, extent.c.pack, extent.c.pack_offset)
        .where(extent.c.pack.in_(packs))
        .order_by(extent.c.pack, extent.c.ino, extent.c.file_offset)
    )
    moves: list[Move] = []
    total = 0
    for ino, offset, length, pack_id, pack_offset in connection.execute(statement):
        if moves and total + length > max_bytes:
            break
        moves.append((ino, offset, length, pack_id, pack_offset))
        total += length
    return moves


def counted(connection: Connection) -> tuple[int, int]:
    """Inodes and the sum of their space, counted: what the facts `inodes` and `bytes` have to say."""
    row = connection.execute(select(func.count(), func.coalesce(func.sum(inode.c.space_used), 0))).one()
    return int(row[0]), int(row[1])
