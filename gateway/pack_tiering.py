"""Tiering as the steward does it: notes when packs were read, and puts those that nobody reads into cheaper tiers."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from gateway import tiering
from gateway.metadata import pack_tiers
from gateway.metadata.database import Database
from gateway.objects.tiers import TierStore
from gateway.tiering import Policy

log = structlog.get_logger(__name__)
NOTE_INTERVAL_S: Final = 60.0
PACKS_PER_STEP: Final = 256

Tell = Callable[[Mapping[str, object]], None]


class Owner(Protocol):
    def packs_read(self) -> list[int]: ...
    def tiering(self) -> dict[str, Any]: ...


class Tiering:
    """One thread's. open_store: raises ControlError where the store has no tiers. now_s: seconds since 1970."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        open_store: Callable[[], TierStore],
        *,
        now_s: Callable[[], float],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._database = database
        self._owner = owner
        self._open_store = open_store
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._noted_at_s: float | None = None
        self._followed_day = 0
        self._ran_day = 0

    def turn(self) -> None:
        """Once a minute notes what was read; once a day carries out the policy, if it is enabled."""
        now_s = self._monotonic_s()
        if self._noted_at_s is not None and now_s - self._noted_at_s < NOTE_INTERVAL_S:
            return
        self._noted_at_s = now_s
        self.note()
        day = self._day()
        if day > self._ran_day:
            asked = self._owner.tiering()
            available = asked.pop("available")
            policy = tiering.parse(asked)
            if available and policy.enabled:
                self.run(policy, lambda _progress: None)
            # A policy that is enabled later in the day begins tomorrow, or when somebody runs it.
            self._ran_day = day

    def note(self) -> None:
        """Takes what was read since the last time, and packs that came and went."""
        read, day = self._owner.packs_read(), self._day()
        with self._database.writer() as connection:
            pack_tiers.note_read(connection, read, day)
            if day != self._followed_day or read:
                pack_tiers.follow(connection, day)
        self._followed_day = day

    def run(self, policy: Policy, tell: Tell) -> None:
        """Puts what is due into its tier, the colder first. Raises ControlError and what `tell` raises."""
        self.note()
        with self._database.writer() as connection:
            pack_tiers.follow(connection, self._day())
        store = self._open_store()
        told: dict[str, object] = {}
        try:
            for tier, after_days in (
                (pack_tiers.COLD, policy.cold_after_days),
                (pack_tiers.COOL, policy.cool_after_days),
            ):
                if after_days is not None:
                    self._lower(store, tier, after_days, policy, told, tell)
        finally:
            store.close()
        log.info("tiering.done", **told)
        tell(told)

    def _lower(
        self,
        store: TierStore,
        tier: int,
        after_days: int,
        policy: Policy,
        told: dict[str, object],
        tell: Tell,
    ) -> None:
        name = pack_tiers.NAMES[tier]
        packs = done_bytes = gone = 0
        passed: set[int] = set()
        while True:
            told |= {f"{name}_packs": packs, f"{name}_bytes": done_bytes, f"{name}_gone": gone}
            tell(told)
            now_s = int(self._now_s())
            with self._database.reader() as connection:
                found = pack_tiers.due(
                    connection,
                    tier,
                    read_before_day=now_s // pack_tiers.DAY_S - after_days + 1,
                    min_bytes=policy.min_pack_bytes,
                    now_s=now_s,
                    limit=PACKS_PER_STEP + len(passed),
                )
            found = [one for one in found if one[0] not in passed][:PACKS_PER_STEP]
            if not found:
                return
            there = set(store.set([pack for pack, _ in found], name))
            # A crash before this sets them once more, which changes nothing.
            with self._database.writer() as connection:
                pack_tiers.put(connection, sorted(there), tier, now_s)
            passed |= {pack for pack, _ in found} - there
            packs += len(there)
            done_bytes += sum(size for pack, size in found if pack in there)
            gone = len(passed)

    def _day(self) -> int:
        return int(self._now_s()) // pack_tiers.DAY_S
