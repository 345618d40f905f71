"""What happens in a round, drawn from the campaign's seed and the round's number and from nothing else.

So a seed fixes for every round the protocols, each client's stream of random numbers, the faults, their order and their
moments, and what is looked at afterwards. It does not fix how the clients' requests and the server's threads interleave.
"""

import random
from dataclasses import dataclass
from typing import Final

from gateway import _core

STORES: Final = ("directory", "azurite")
# How the server ends. "nothing": it lives on, and nothing at all may be lost.
DEATHS: Final = {"server": 52, "everything": 14, "failpoint": 24, "nothing": 10}
STEWARDS: Final = frozenset({"checkpoint.before_commit", "checkpoint.after_commit"})
PYTHONS: Final = ("gc.before_delete", "gc.after_delete")
POINTS: Final = tuple(sorted({*_core.FAILPOINTS, *PYTHONS} - STEWARDS))
# These are passed by every single change; a death at the first passes would find hardly anything done.
BUSY: Final = frozenset(
    {
        "core.before_data_append", "core.after_data_append", "journal.before_append", "journal.before_write",
        "journal.torn_write", "journal.before_sync", "journal.after_sync",
    }
)  # fmt: skip
MIRROR_FAULTS: Final = ("mirror_wiped", "mirror_damaged", "mirror_gone", "mirror_error")
# Those that are done to a dead server. The last one loses what was acknowledged: it is never drawn, and tests the tester.
WHILE_DEAD: Final = frozenset({"mirror_wiped", "mirror_damaged", "cache_damaged", "journal_cut"})
STORE_FAULTS: Final = {
    "azurite": ("store_503", "store_500", "store_lost_replies", "store_refused", "store_slow"),
    "directory": ("store_read_only",),
}


@dataclass(frozen=True)
class Disturbance:
    """`at_s` after the clients began, for `for_s` where it lasts; `chance` decides its details."""

    kind: str
    at_s: float
    for_s: float
    chance: int


@dataclass(frozen=True)
class Plan:
    """One round. `failpoints`: armed at a start before it; empty: the server runs on from the round before."""

    number: int
    seed: int
    versions: tuple[int, ...]
    failpoints: str
    death: str
    death_at_s: float
    disturbances: tuple[Disturbance, ...]
    drop_caches: bool
    flush_and_read: bool
    fsck: str

    def work_seed(self, client: int) -> str:
        return f"{self.seed}/{self.number}/{client}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What counts as faults of this round."""
        death = () if self.death in {"nothing", "failpoint"} else (f"kill_{self.death}",)
        slow = ("slow_disk",) if "sleep" in self.failpoints else ()
        return (*death, *slow, *(one.kind for one in self.disturbances))


def draw(seed: int, number: int, *, clients: int, store: str) -> Plan:
    """The plan of round `number` (from 1)."""
    chance = random.Random(f"{seed}/{number}")
    death = chance.choices(list(DEATHS), list(DEATHS.values()))[0]
    death_at_s = round(chance.uniform(0.15, 1.3), 3)
    armed: list[str] = []
    if death == "failpoint":
        armed.append(_deadly(chance))
    if chance.random() < 0.06:
        armed.append(
            f"journal.{chance.choice(('before_sync', 'before_write'))}=sleep:{chance.choice((5, 20, 60))}"
        )
    disturbances = list(_disturbances(chance, death, death_at_s, store))
    if any(one.kind == "mirror_error" for one in disturbances):
        step = chance.choice(("before_write", "before_sync", "after_sync"))
        if all(f"journal.{step}=" not in point for point in armed):
            armed.append(f"journal.{step}=error@{chance.randrange(20, 200)}")
        else:
            disturbances = [one for one in disturbances if one.kind != "mirror_error"]
    # A client of NFS 4 that is killed with its server costs the next start its grace: not in every round.
    newer = chance.random() < 0.15
    versions = tuple(chance.choice((3, 41, 42)) if newer else 3 for _ in range(clients))
    fsck = "deep" if number % 36 == 0 else "plain" if number % 12 == 0 else ""
    return Plan(
        number=number,
        seed=seed,
        versions=versions,
        failpoints=";".join(armed),
        death=death,
        death_at_s=death_at_s,
        disturbances=tuple(sorted(disturbances, key=lambda one: one.at_s)),
        drop_caches=chance.random() < 0.4,
        flush_and_read=chance.random() < 0.15,
        fsck=fsck,
    )


def _deadly(chance: random.Random) -> str:
    point = chance.choice(POINTS)
    return f"{point}=kill@{chance.randrange(1, 400) if point in BUSY else chance.randrange(1, 5)}"


def _disturbances(chance: random.Random, death: str, death_at_s: float, store: str) -> list[Disturbance]:
    found: list[Disturbance] = []

    def add(kind: str, *, longest_s: float = 0.0) -> None:
        at_s = round(chance.uniform(0.05, death_at_s), 3)
        found.append(
            Disturbance(kind, at_s, round(chance.uniform(0.1, longest_s or 0.1), 3), chance.getrandbits(32))
        )

    if chance.random() < 0.30:
        add(chance.choice(STORE_FAULTS[store]), longest_s=2.0)
    if chance.random() < 0.15:
        add("kill_steward")
    if chance.random() < 0.12:
        add("stopped", longest_s=1.2)
    if chance.random() < 0.30:
        # A mirror is taken from a dead server only where all of it is dead: the supervisor would be quicker.
        kinds = MIRROR_FAULTS if death == "everything" else MIRROR_FAULTS[2:]
        add(chance.choices(kinds, [1 if kind == "mirror_error" else 3 for kind in kinds])[0])
    if death == "everything" and chance.random() < 0.15:
        add("cache_damaged")
    return found
