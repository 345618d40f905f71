"""In which access tier of the store each pack is, and when it was read last: a table that the steward keeps.

It follows from no record of the journal: a database that is recovered knows what its snapshot knew. That does no harm:
setting a tier that a pack has already changes nothing, and a pack of which nothing is known counts as read just now.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from gateway.metadata.tables import pack, pack_tier

HOT: Final = 0
COOL: Final = 1
COLD: Final = 2
NAMES: Final = ("hot", "cool", "cold")
DAY_S: Final = 86400
MINIMUM_STAY_DAYS: Final = (0, 30, 90)
"""Whoever leaves a tier earlier pays for the rest of these days."""
BATCH: Final = 500


class TierSums(NamedTuple):
    """Packs in a tier, and their bytes in the store."""

    packs: int
    bytes: int


def follow(connection: Connection, day: int) -> None:
    """Takes in packs that came, as read on that day (days since 1970), and forgets those that went."""
    come = select(pack.c.id, literal(HOT), literal(0), literal(day)).where(
        ~exists().where(pack_tier.c.pack == pack.c.id)
    )
    connection.execute(insert(pack_tier).from_select(["pack", "tier", "since_s", "read_day"], come))
    connection.execute(delete(pack_tier).where(~exists().where(pack.c.id == pack_tier.c.pack)))


def note_read(connection: Connection, packs: Sequence[int], day: int) -> None:
    """These packs were read from the store on that day. One that is not known yet counts as read when it is taken in."""
    for first in range(0, len(packs), BATCH):
        connection.execute(
            update(pack_tier)
            .where(pack_tier.c.pack.in_(packs[first : first + BATCH]), pack_tier.c.read_day < day)
            .values(read_day=day)
        )


def put(connection: Connection, packs: Sequence[int], tier: int, now_s: int) -> None:
    """These packs are in another tier since now (seconds since 1970)."""
    for first in range(0, len(packs), BATCH):
        connection.execute(
            update(pack_tier)
            .where(pack_tier.c.pack.in_(packs[first : first + BATCH]))
            .values(tier=tier, since_s=now_s)
        )


def _due(tier: int, read_before_day: int, min_bytes: int, now_s: int) -> ColumnElement[bool]:
    # Moved down only: what is colder already stays, and what would be charged for leaving early waits.
    warmer = [
        and_(
            pack_tier.c.tier == other,
            pack_tier.c.since_s <= now_s - MINIMUM_STAY_DAYS[other] * DAY_S,
        )
        for other in range(tier)
    ]
    return and_(
        pack.c.dead_since_s.is_(None),
        pack.c.bytes >= min_bytes,
        pack_tier.c.read_day < read_before_day,
        or_(*warmer),
    )


def due(
    connection: Connection, tier: int, *, read_before_day: int, min_bytes: int, now_s: int, limit: int
) -> list[tuple[int, int]]:
    """(pack, bytes) of living packs of warmer tiers that were read last before that day, in the order of their numbers."""
    statement = (
        select(pack.c.id, pack.c.bytes)
        .join(pack_tier, pack_tier.c.pack == pack.c.id)
        .where(_due(tier, read_before_day, min_bytes, now_s))
        .order_by(pack.c.id)
        .limit(limit)
    )
    return [(int(row[0]), int(row[1])) for row in connection.execute(statement)]


def due_sums(
    connection: Connection, tier: int, *, read_before_day: int, min_bytes: int, now_s: int
) -> TierSums:
    """What `due` would give without a limit."""
    statement = (
        select(func.count(), func.coalesce(func.sum(pack.c.bytes), 0))
        .select_from(pack)
        .join(pack_tier, pack_tier.c.pack == pack.c.id)
        .where(_due(tier, read_before_day, min_bytes, now_s))
    )
    row = connection.execute(statement).one()
    return TierSums(int(row[0]), int(row[1]))


def sums(connection: Connection) -> dict[str, TierSums]:
    """By tier; packs of which nothing is known yet are hot."""
    tier = func.coalesce(pack_tier.c.tier, HOT)
    statement = (
        select(tier, func.count(), func.coalesce(func.sum(pack.c.bytes), 0))
        .select_from(pack)
        .outerjoin(pack_tier, pack_tier.c.pack == pack.c.id)
        .group_by(tier)
    )
    found = {int(row[0]): TierSums(int(row[1]), int(row[2])) for row in connection.execute(statement)}
    return {name: found.get(number, TierSums(0, 0)) for number, name in enumerate(NAMES)}


def stays(now_s: int) -> ColumnElement[bool]:
    """Of a pack: it has not been in its tier for as long as is charged anyway."""
    early = [
        and_(pack_tier.c.tier == tier, pack_tier.c.since_s > now_s - MINIMUM_STAY_DAYS[tier] * DAY_S)
        for tier in (COOL, COLD)
    ]
    return exists().where(pack_tier.c.pack == pack.c.id, or_(*early))
