"""Which objects of a container's backups fit together, which of them bring back the newest state, and which may go.

Everything here goes by names (see docs/formats/backup.md), so that one listing tells all of it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SNAPSHOTS: Final = "caudal/backup/snapshots"
INCREMENTS: Final = "caudal/backup/increments"
SETTINGS: Final = "caudal/backup/settings"
ROOT: Final = "caudal/backup"
_SNAPSHOT: Final = re.compile(
    rf"{SNAPSHOTS}/([0-9a-f]{{6}})-([0-9a-f]{{16}})-([0-9a-f]{{12}})-([0-9a-f]{{16}})/(manifest|part-([0-9]{{6}}))"
)
_INCREMENT: Final = re.compile(
    rf"{INCREMENTS}/([0-9a-f]{{6}})-([0-9a-f]{{16}})-([0-9a-f]{{16}})-([0-9a-f]{{12}})"
)
_SETTINGS: Final = re.compile(rf"{SETTINGS}/([0-9a-f]{{6}})-([0-9a-f]{{12}})-([0-9a-f]{{16}})")
NS_PER_MS: Final = 10**6


@dataclass(frozen=True, slots=True, order=True)
class Snapshot:
    """A snapshot by its name: epoch of its writer, its LSN, since when it is complete (milliseconds since 1970)."""

    epoch: int
    lsn: int
    complete_ms: int
    token: str

    @property
    def _folder(self) -> str:
        return f"{SNAPSHOTS}/{self.epoch:06x}-{self.lsn:016x}-{self.complete_ms:012x}-{self.token}"

    @property
    def key(self) -> str:
        return f"{self._folder}/manifest"

    def part(self, number: int) -> str:
        return f"{self._folder}/part-{number:06}"


@dataclass(frozen=True, slots=True, order=True)
class Increment:
    """An increment by its name."""

    epoch: int
    to_lsn: int
    from_lsn: int
    complete_ms: int

    @property
    def key(self) -> str:
        return (
            f"{INCREMENTS}/{self.epoch:06x}-{self.from_lsn:016x}-{self.to_lsn:016x}-{self.complete_ms:012x}"
        )


@dataclass(frozen=True, slots=True, order=True)
class SettingsCopy:
    """A copy of exports, limits and tiering by its name; token: the first 16 digits of its payload's SHA-256."""

    epoch: int
    complete_ms: int
    token: str

    @property
    def key(self) -> str:
        return f"{SETTINGS}/{self.epoch:06x}-{self.complete_ms:012x}-{self.token}"


@dataclass(slots=True)
class Listing:
    """What is there: bytes by object. `parts`: by the snapshot they belong to, with and without a manifest."""

    snapshots: dict[Snapshot, int] = field(default_factory=dict[Snapshot, int])
    increments: dict[Increment, int] = field(default_factory=dict[Increment, int])
    parts: dict[Snapshot, dict[int, int]] = field(default_factory=dict[Snapshot, dict[int, int]])
    settings: dict[SettingsCopy, int] = field(default_factory=dict[SettingsCopy, int])
    unknown: list[str] = field(default_factory=list[str])

    @property
    def bytes(self) -> int:
        parts = sum(sum(sizes.values()) for sizes in self.parts.values())
        settings = sum(self.settings.values())
        return sum(self.snapshots.values()) + sum(self.increments.values()) + parts + settings


def parse(objects: Iterable[tuple[str, int]]) -> Listing:
    """A listing of (key, bytes)."""
    found = Listing()
    for key, size in objects:
        if match := _SNAPSHOT.fullmatch(key):
            epoch, lsn, ms = (int(match[number], 16) for number in (1, 2, 3))
            snapshot = Snapshot(epoch, lsn, ms, match[4])
            if match[5] == "manifest":
                found.snapshots[snapshot] = size
            else:
                found.parts.setdefault(snapshot, {})[int(match[6])] = size
        elif match := _INCREMENT.fullmatch(key):
            epoch, from_lsn, to_lsn, ms = (int(match[number], 16) for number in (1, 2, 3, 4))
            found.increments[Increment(epoch, to_lsn, from_lsn, ms)] = size
        elif match := _SETTINGS.fullmatch(key):
            found.settings[SettingsCopy(int(match[1], 16), int(match[2], 16), match[3])] = size
        else:
            found.unknown.append(key)
    return found


@dataclass(frozen=True, slots=True)
class Chain:
    """A snapshot, and the increments that lead on from it, each from where the one before ended."""

    snapshot: Snapshot
    increments: tuple[Increment, ...] = ()

    @property
    def lsn(self) -> int:
        """Where it ends."""
        return self.increments[-1].to_lsn if self.increments else self.snapshot.lsn

    @property
    def complete_ms(self) -> int:
        return max(self.snapshot.complete_ms, *(step.complete_ms for step in self.increments), 0)

    @property
    def rank(self) -> tuple[int, int, int]:
        """The highest of all chains is the newest state: an owner of a later epoch knows better than one before."""
        writer = self.increments[-1].epoch if self.increments else self.snapshot.epoch
        return (writer, self.lsn, -len(self.increments))


def best(snapshots: Iterable[Snapshot], increments: Iterable[Increment]) -> Chain | None:
    """The chain that ends in the newest state; of several that do, the shortest. None: there is no snapshot."""
    onward = _onward(increments)
    chains = (_chain(snapshot, onward) for snapshot in snapshots)
    return max(chains, key=lambda chain: (chain.rank, chain.snapshot), default=None)


_End = tuple[int, int, int]
"""Epoch of the last writer, LSN, and the number of increments to there, negative: the highest is the best."""


def _onward(increments: Iterable[Increment]) -> dict[int, tuple[_End, Increment]]:
    """From each LSN the best end that increments lead to, and the first of them. Ways part where an increment was put
    twice, or an owner was replaced while it went on.
    """
    onward: dict[int, tuple[_End, Increment]] = {}
    # Backward: where a step leads to has been seen when the step is looked at.
    for step in sorted(increments, key=lambda step: step.from_lsn, reverse=True):
        if step.from_lsn >= step.to_lsn:
            continue
        end = (step.epoch, step.to_lsn, -1)
        if step.to_lsn in onward:
            epoch, lsn, length = onward[step.to_lsn][0]
            end = max(end, (epoch, lsn, length - 1))
        if step.from_lsn not in onward or end > onward[step.from_lsn][0]:
            onward[step.from_lsn] = (end, step)
    return onward


def _chain(snapshot: Snapshot, onward: dict[int, tuple[_End, Increment]]) -> Chain:
    steps: list[Increment] = []
    epoch, lsn = snapshot.epoch, snapshot.lsn
    while lsn in onward and onward[lsn][0][:2] > (epoch, lsn):
        step = onward[lsn][1]
        steps.append(step)
        epoch, lsn = step.epoch, step.to_lsn
    return Chain(snapshot, tuple(steps))


def reaches(listing: Listing, lsn: int) -> bool:
    """Whether some snapshot and what follows it end in this LSN or pass it."""
    at: dict[int, list[int]] = {}
    for step in listing.increments:
        at.setdefault(step.to_lsn, []).append(step.from_lsn)
    starts = {snapshot.lsn for snapshot in listing.snapshots}
    seen: set[int] = set()
    waiting = [lsn]
    while waiting:
        here = waiting.pop()
        if here in starts:
            return True
        if here not in seen:
            seen.add(here)
            waiting.extend(at.get(here, ()))
    return False


@dataclass(frozen=True, slots=True)
class Plan:
    """Objects to delete, in this order; and the LSN of the oldest snapshot that stays."""

    keys: Sequence[str]
    oldest_lsn: int


def expired(listing: Listing, *, kept_since_ms: int, epoch: int, writing: str = "") -> Plan | None:
    """What nobody needs to get back to any moment since `kept_since_ms`. None: nothing may go, for there is no snapshot,
    or one of a later owner.

    The newest snapshot stays, and the newest from before that moment. `epoch`: the owner's. `writing`: token of the
    snapshot that it is just putting, whose parts have no manifest yet.
    """
    if not listing.snapshots or any(snapshot.epoch > epoch for snapshot in listing.snapshots):
        return None
    ordered = sorted(listing.snapshots)
    bases = [snapshot for snapshot in ordered if snapshot.complete_ms <= kept_since_ms] or ordered[:1]
    base = bases[-1]
    gone = [snapshot for snapshot in ordered if snapshot < base and snapshot.complete_ms <= kept_since_ms]
    keys = [snapshot.key for snapshot in gone]
    dropped = set(gone)
    for snapshot, numbers in sorted(listing.parts.items()):
        orphan = snapshot not in listing.snapshots and snapshot.token != writing and snapshot.epoch <= epoch
        if snapshot in dropped or orphan:
            keys += [snapshot.part(number) for number in sorted(numbers)]
    keys += [
        step.key
        for step in sorted(listing.increments)
        if step.to_lsn <= base.lsn and step.epoch <= base.epoch and step.complete_ms <= kept_since_ms
    ]
    return Plan(keys, min(snapshot.lsn for snapshot in ordered if snapshot not in dropped))
