"""Keys of the block cache: its sizes, the shelves of L2, the bounds in which it grows and shrinks by itself, and prices.

The prices are in any one currency; only how they compare counts.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from gateway import config_values as values
from gateway.config_values import GIB, MIB, Chosen, Key, WrongValueError, fixed
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.config import Config

MIN_SHELF_BYTES: Final = 64 * MIB
MAX_SHELVES: Final = 16
FREE_SHARE: Final = 90
"""Per cent of what is free on its disk that a shelf without a size takes."""
MONTH_H: Final = 730.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """A directory or block device of L2, and how much it may hold. As text: PATH=BYTES."""

    path: Path
    bytes: int

    def __str__(self) -> str:
        return f"{self.path}={self.bytes}"


def shelf(value: object) -> Shelf:
    """One shelf: a text "/mnt/nvme0=500GiB", or a table with path and bytes."""
    if isinstance(value, Shelf):
        return value
    remedy = 'give a directory and a size: "/mnt/nvme0=500GiB"'
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if set(fields) != {"path", "bytes"}:
            raise WrongValueError(f"{value!r} is not a shelf", remedy)
        return Shelf(values.path(fields["path"]), values.size(MIN_SHELF_BYTES)(fields["bytes"]))
    if not isinstance(value, str):
        raise WrongValueError(f"{value!r} is not a shelf", remedy)
    match = re.fullmatch(r"(.+)=([^=/]+)", value.strip())
    if match is None:
        raise WrongValueError(f"{value!r} names no size", remedy)
    return Shelf(values.path(match[1]), values.size(MIN_SHELF_BYTES)(match[2]))


def shelves(value: object) -> tuple[Shelf, ...]:
    """Any number of shelves: a list, or a text with commas between them; an empty text stands for none."""
    remedy = 'give a list: ["/mnt/nvme0=500GiB", "/mnt/nvme1=500GiB"]'
    found = tuple(shelf(item) for item in values.items(value, remedy))
    if len(found) > MAX_SHELVES:
        raise WrongValueError(f"{len(found)} shelves", f"give at most {MAX_SHELVES}")
    return found


def _price(value: object) -> float:
    return values.number(0, 1e6)(value)


def _default_l1(_: Chosen) -> int:
    """An eighth of the memory: Ganesha's caches, the page cache of L2 and clients on this machine need
    theirs.
    """
    return values.clamp(values.memory_bytes() // 8, 64 * MIB, 16 * GIB)


def _default_readahead(chosen: Chosen) -> int:
    """Eight requests of 4 MiB on their way where L1 has room for 64 such readers: one alone brings 50 MB/s or so."""
    return values.clamp(chosen["l1_bytes"] // 64, 8 * MIB, 32 * MIB)


def _default_l2_dir(chosen: Chosen) -> Path:
    return chosen["state"] / "l2"


def _default_l2(chosen: Chosen) -> int:
    """A quarter of the disk, up to 8 GiB: an operator who has an NVMe to give names a shelf, and this one is not needed."""
    if chosen["shelf"]:
        return 0
    return values.clamp(values.disk_bytes(chosen["l2_dir"]) // 4, 64 * MIB, 8 * GIB)


def _l2_now(chosen: Chosen) -> int:
    return chosen["l2_bytes"] + sum(one.bytes for one in chosen["shelf"])


KEYS: Final[dict[str, Key]] = {
    "l1_bytes": Key(values.size(16 * MIB), _default_l1, "Block cache in memory."),
    "l1_min_bytes": Key(
        values.size(16 * MIB),
        lambda chosen: chosen["l1_bytes"],
        "Least that the block cache in memory shrinks to by itself; by default it does not.",
    ),
    "l1_max_bytes": Key(
        values.size(16 * MIB),
        lambda chosen: chosen["l1_bytes"],
        "Most that the block cache in memory grows to by itself; by default it does not.",
    ),
    "shelf": Key(
        shelves,
        fixed(()),
        "Directories or devices of the block cache on disk, with their sizes: /mnt/nvme0=500GiB.",
    ),
    "l2_dir": Key(values.path, _default_l2_dir, "Directory of the block cache on disk."),
    "l2_bytes": Key(
        values.size(0), _default_l2, "Block cache in l2_dir; 0 turns it off, as naming a shelf does."
    ),
    "l2_min_bytes": Key(
        values.size(0),
        _l2_now,
        "Least that all shelves together shrink to by themselves; by default they do not.",
    ),
    "l2_max_bytes": Key(
        values.size(0),
        _l2_now,
        "Most that all shelves together grow to by themselves; by default they do not.",
    ),
    "readahead_bytes": Key(values.size(0, 256 * MIB), _default_readahead, "Most that one file reads ahead."),
    "memory_price_gib_month": Key(_price, fixed(3.0), "What a GiB of memory costs in a month."),
    "disk_price_gib_month": Key(_price, fixed(0.1), "What a GiB of a shelf's disk costs in a month."),
    "read_price_10k": Key(_price, fixed(0.005), "What 10,000 reads of the store cost."),
    "wait_price_hour": Key(_price, fixed(1.0), "What an hour costs that clients wait for the store."),
    "cache_policy_interval_s": Key(
        values.seconds(5, 3600), fixed(30.0), "Time between looks at whether the cache has the right size."
    ),
}


def check(config: "Config") -> None:
    """Raises ConfigError for sizes that contradict each other, and shelves that lie in each other."""
    l2_bytes = sum(one.bytes for one in config.shelves)
    for tier, now in (("l1", config.l1_bytes), ("l2", l2_bytes)):
        low, high = getattr(config, f"{tier}_min_bytes"), getattr(config, f"{tier}_max_bytes")
        if not low <= now <= high:
            raise ConfigError(
                f"{tier}_min_bytes ({values.human(low)}), the size of {tier.upper()} ({values.human(now)}) and"
                f" {tier}_max_bytes ({values.human(high)}) are not in this order",
                "the cache grows and shrinks between the first and the last, and begins with the one between",
            )
    if len(config.shelves) > MAX_SHELVES:
        raise ConfigError(f"there are {len(config.shelves)} shelves", f"give at most {MAX_SHELVES}")
    for number, one in enumerate(config.shelf):
        others = [*config.journal, config.l2_dir, *(before.path for before in config.shelf[:number])]
        if (other := clash(one.path, others)) is not None or config.state.is_relative_to(one.path):
            raise ConfigError(
                f"shelf: {one.path} and {other or config.state} lie in each other",
                "give each shelf a directory of its own",
            )


def clash(path: Path, others: list[Path]) -> Path | None:
    """The first of these that contains the path, or lies in it."""
    return next((other for other in others if path.is_relative_to(other) or other.is_relative_to(path)), None)
