"""What one history is like: sizes of the system under test, and how likely each thing is. Drawn from the seed."""

import random
from dataclasses import dataclass, field
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20

CLIENT_WEIGHTS: Final = {
    "create": 10,
    "mkdir": 4,
    "symlink": 1,
    "write": 26,
    "read": 6,
    "truncate": 6,
    "punch": 4,
    "allocate": 2,
    "setattr": 5,
    "rename": 7,
    "link": 3,
    "unlink": 7,
    "open": 4,
    "close": 3,
    "commit": 8,
    "setxattr": 3,
    "removexattr": 1,
    "limit": 3,
}
UPKEEP_WEIGHTS: Final = {
    "flush": 14,
    "flush_take": 5,
    "flush_write": 6,
    "flush_commit": 6,
    "checkpoint": 14,
    "collect": 4,
    "compact": 4,
    "unnamed": 2,
    "orphans": 2,
    "write_journal": 5,
    "spares": 3,
    "drop_cache": 3,
    "advance": 10,
    "verify": 1,
}
FAULT_WEIGHTS: Final = {
    "die": 6,
    "break_disk": 1,
    "heal_disk": 1,
    "replace_disk": 1,
    "troubles": 3,
    "calm": 4,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes in bytes. `mirrors`: directories of the journal in the simulated disk."""

    steps: int
    mirrors: tuple[str, ...]
    segment_bytes: int
    journal_limit_bytes: int
    pack_bytes: int
    batch_bytes: int
    l1_bytes: int
    dirty_memory_bytes: int
    max_inodes: int
    largest_write: int
    farthest_offset: int
    survives: float
    faults: float
    sealed: bool
    weights: dict[str, float] = field(default_factory=dict[str, float])


def draw(rng: random.Random) -> Shape:
    """A shape; some histories lack some kinds of steps altogether, so that others follow closely upon each other."""
    weights: dict[str, float] = {}
    for part in (CLIENT_WEIGHTS, UPKEEP_WEIGHTS):
        for name, weight in part.items():
            weights[name] = weight * rng.choice((0, 0.5, 1, 1, 1, 3))
    for name in ("create", "write", "advance"):
        weights[name] = max(weights[name], 4)
    segment_bytes = rng.choice((16, 16, 32)) * KIB
    return Shape(
        steps=rng.choice((15, 40, 40, 80)),
        mirrors=("m0", "m1", "m2")[: rng.choice((1, 1, 1, 2, 2, 3))],
        segment_bytes=segment_bytes,
        journal_limit_bytes=segment_bytes * rng.choice((6, 20, 100)),
        pack_bytes=rng.choice((4 * KIB, 20 * KIB, 600 * KIB)),
        batch_bytes=rng.choice((1, 6 * KIB, 64 * MIB)),
        l1_bytes=rng.choice((1, MIB, MIB)),
        dirty_memory_bytes=rng.choice((1, 8 * KIB, MIB)),
        max_inodes=rng.choice((1, 3, 1000)),
        largest_write=rng.choice((300, 5000, 12_000)),
        farthest_offset=rng.choice((2000, 20_000, 300_000)),
        survives=rng.choice((0.0, 0.5, 0.9, 1.0)),
        faults=rng.choice((0.0, 0.05, 0.15, 0.3)),
        sealed=rng.random() < 0.2,
        weights=weights,
    )


def troubles(rng: random.Random) -> dict[str, float]:
    """What the store does wrong for a while."""
    if rng.random() < 0.2:
        return {"away": 1.0}
    names = ("fails", "lost_reply", "late", "slow", "short", "corrupt", "throttled")
    return {name: rng.choice((0.1, 0.4, 0.9)) for name in names if rng.random() < 0.35}
