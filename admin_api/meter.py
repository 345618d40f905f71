"""What was used, minute by minute, and what it cost by the operator's price sheet.

Quantities only add up: cost is a sum of prices times quantities, so that any interval of minutes can be priced, also
afterwards and by another sheet. Without a sheet there are quantities and no cost.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, delete, select

from admin_api import tables
from admin_api.metrics import at
from admin_api.samples import HOUR_S, MINUTE_S

KEPT_S: Final = {MINUTE_S: 35 * 86400, HOUR_S: 5 * 366 * 86400}
GIB: Final = 1 << 30
MIB: Final = 1 << 20
MONTH_S: Final = 730 * 3600
# Counters of the gateway, and where they stand in its status.
COUNTERS: Final = {
    "read_bytes": "io.read_bytes",
    "written_bytes": "io.written_bytes",
    "store_gets": "objects.gets",
    "store_heads": "objects.heads",
    "store_puts": "objects.puts",
    "store_lists": "objects.lists",
    "store_deletes": "objects.deletes",
    "store_received_bytes": "objects.get_bytes",
    "store_sent_bytes": "objects.put_bytes",
}
# Amounts of a time: the bytes of all files and of the disks times seconds, and the seconds for which the server ran.
QUANTITIES: Final = ("used_byte_s", "disk_byte_s", "up_s", *COUNTERS)
# What a price stands for, and how many of that some quantities come to.
PRICES: Final[dict[str, tuple[str, Mapping[str, float]]]] = {
    "capacity_gib_month": ("a GiB of files for a month of 730 hours", {"used_byte_s": 1 / GIB / MONTH_S}),
    "throughput_mibs_hour": (
        "a MiB a second, read or written by clients, for an hour",
        {"read_bytes": 1 / MIB / 3600, "written_bytes": 1 / MIB / 3600},
    ),
    "store_reads_10k": ("10,000 reads of the store", {"store_gets": 1e-4, "store_heads": 1e-4}),
    "store_writes_10k": ("10,000 writes to the store", {"store_puts": 1e-4}),
    "store_lists_10k": ("10,000 listings of the store", {"store_lists": 1e-4}),
    "store_deletes_10k": ("10,000 deletions in the store", {"store_deletes": 1e-4}),
    "store_received_gib": ("a GiB read from the store", {"store_received_bytes": 1 / GIB}),
    "store_sent_gib": ("a GiB written to the store", {"store_sent_bytes": 1 / GIB}),
    # Of access tiers, for what tiering would cost: what is in which is not metered.
    **{
        f"{tier}_{item}": (f"{text} {tier} tier", {})
        for tier in ("cool", "cold")
        for item, text in {
            "gib_month": "a GiB for a month of 730 hours in the",
            "read_gib": "a GiB read from the",
            "reads_10k": "10,000 reads from the",
            "writes_10k": "10,000 packs moved into the",
        }.items()
    },
    "vm_hour": ("an hour of the server", {"up_s": 1 / 3600}),
    "disk_gib_month": ("a GiB of disk for a month of 730 hours", {"disk_byte_s": 1 / GIB / MONTH_S}),
}
EXPORT_COUNTERS: Final = ("reads", "read_bytes", "writes", "written_bytes")
TIER_COUNTERS: Final = ("l1_reads", "l2_reads", "store_reads")
"""Of exports, too: reads by where the farthest of what they needed was."""


@dataclass(slots=True)
class Usage:
    """Quantities of a time; of exports what clients moved through each."""

    quantities: dict[str, float] = field(default_factory=dict[str, float])
    exports: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def add(self, other: "Usage") -> None:
        for name, amount in other.quantities.items():
            self.quantities[name] = self.quantities.get(name, 0.0) + amount
        for export, counters in other.exports.items():
            mine = self.exports.setdefault(export, {})
            for name, amount in counters.items():
                mine[name] = mine.get(name, 0.0) + amount

    def encode(self) -> str:
        return json.dumps({"quantities": self.quantities, "exports": self.exports})

    @staticmethod
    def decode(text: str) -> "Usage":
        return msgspec.convert(json.loads(text), Usage)


class Position(msgspec.Struct):
    """How far the gateway's counters have been metered. run: which run of the gateway counted them."""

    run: str
    counters: dict[str, float]
    exports: dict[str, dict[str, float]]


def position_of(status: Mapping[str, Any]) -> Position:
    exports: dict[str, dict[str, float]] = {}
    shown: list[dict[str, Any]] = status.get("exports") or []
    for one in shown:
        exports[str(one["name"])] = {
            name: float(one.get(name, 0)) for name in (*EXPORT_COUNTERS, *TIER_COUNTERS)
        }
    fields = dict(status)
    counters = {name: at(fields, path) or 0.0 for name, path in COUNTERS.items()}
    return Position(f"{status.get('epoch')}/{status.get('pid')}", counters, exports)


def since(before: Position | None, now: Position) -> Usage:
    """What was counted since a position. Counters of another run began at zero."""
    used = Usage()
    known = before if before is not None and before.run == now.run else Position(now.run, {}, {})
    used.quantities = {
        name: max(0.0, count - known.counters.get(name, 0.0)) for name, count in now.counters.items()
    }
    for export, counters in now.exports.items():
        last = known.exports.get(export, {})
        grown = {
            name: count - last.get(name, 0.0) if count >= last.get(name, 0.0) else count
            for name, count in counters.items()
        }
        if any(grown.values()):
            used.exports[export] = grown
    return used


class Meter:
    """Collects the usage of the current minute. Not for several threads."""

    def __init__(self, position: Position | None) -> None:
        self._position = position
        self.pending = Usage()

    def take(self, status: Mapping[str, Any], elapsed_s: float) -> None:
        """elapsed_s: for how long the gateway has run since the last time; 0 for the first."""
        now = position_of(status)
        self.pending.add(since(self._position, now))
        self._position = now
        fields = dict(status)
        known_disks: dict[str, dict[str, Any]] = status.get("disks") or {}
        disks = {one.get("device"): float(one.get("total_bytes") or 0) for one in known_disks.values()}
        used = at(fields, "namespace.bytes") or 0.0
        self.pending.add(
            Usage(
                {
                    "used_byte_s": used * elapsed_s,
                    "disk_byte_s": sum(disks.values()) * elapsed_s,
                    "up_s": elapsed_s,
                }
            )
        )

    def keep(self, connection: Connection, minute_s: int) -> None:
        """Adds what is pending to its minute and hour, with the position that it reaches: after a crash nothing is metered
        twice, and what was counted meanwhile comes with the next.
        """
        for step_s in (MINUTE_S, HOUR_S):
            _merge(connection, step_s, minute_s // step_s * step_s, self.pending)
            table = tables.meter
            old = (table.c.step_s == step_s) & (table.c.at_s < minute_s - KEPT_S[step_s])
            connection.execute(delete(table).where(old))
        if self._position is not None:
            put_setting(connection, "meter_position", msgspec.to_builtins(self._position))

    def kept(self) -> None:
        """What was pending is durable."""
        self.pending = Usage()


def _merge(connection: Connection, step_s: int, at_s: int, used: Usage) -> None:
    table = tables.meter
    mine = (table.c.step_s == step_s) & (table.c.at_s == at_s)
    found = connection.execute(select(table.c.body).where(mine)).scalar()
    whole = Usage() if found is None else Usage.decode(found)
    whole.add(used)
    connection.execute(delete(table).where(mine))
    connection.execute(table.insert().values(step_s=step_s, at_s=at_s, body=whole.encode()))


def last_position(engine: Engine) -> Position | None:
    with engine.connect() as connection:
        found, _ = setting(connection, "meter_position")
    return None if found is None else msgspec.convert(found, Position)


def setting(connection: Connection, name: str) -> tuple[Any, int]:
    """A value that is kept under a name, and its version; None and 0 where there is none."""
    table = tables.settings
    found = connection.execute(select(table).where(table.c.name == name)).mappings().first()
    return (None, 0) if found is None else (json.loads(found["body"]), int(found["version"]))


def put_setting(connection: Connection, name: str, value: Any) -> int:
    """Keeps it; returns its version."""
    _, version = setting(connection, name)
    table = tables.settings
    connection.execute(delete(table).where(table.c.name == name))
    connection.execute(table.insert().values(name=name, body=json.dumps(value), version=version + 1))
    return version + 1


def used_between(engine: Engine, from_s: int, to_s: int, now_s: float) -> dict[int, Usage]:
    """Usage by hour: of the minutes that begin from from_s to before to_s, and of whole hours where those are gone."""
    oldest_s = -(-int(now_s - KEPT_S[MINUTE_S]) // HOUR_S) * HOUR_S
    table = tables.meter
    found: dict[int, Usage] = {}
    parts = (
        (HOUR_S, from_s // HOUR_S * HOUR_S, min(to_s, oldest_s)),
        (MINUTE_S, max(from_s, oldest_s), to_s),
    )
    with engine.connect() as connection:
        for step_s, low_s, high_s in parts:
            query = select(table.c.at_s, table.c.body).where(
                table.c.step_s == step_s, table.c.at_s >= low_s, table.c.at_s < high_s
            )
            for row in connection.execute(query.order_by(table.c.at_s)):
                found.setdefault(row.at_s // HOUR_S * HOUR_S, Usage()).add(Usage.decode(row.body))
    return found


def cost(used: Mapping[str, float], prices: Mapping[str, float]) -> dict[str, float]:
    """What each item of the price sheet comes to."""
    return {
        item: price * sum(used.get(name, 0.0) * share for name, share in PRICES[item][1].items())
        for item, price in prices.items()
    }


def total(usages: Iterable[Usage]) -> Usage:
    whole = Usage()
    for one in usages:
        whole.add(one)
    return whole
