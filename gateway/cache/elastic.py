"""The policy at work: looks at the cache's figures now and then, and gives the tiers the sizes that the policy says."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from gateway.cache import policy
from gateway.cache.policy import Bounds, Decision, Figures, Prices
from gateway.cache.tiers import Tiers
from gateway.errors import ControlError

log = structlog.get_logger(__name__)
INTERVAL_S: Final = 30.0
KEPT: Final = 50
DEFAULT_MISS_S: Final = 0.05
"""Of the store, where nothing was measured yet; and a share of it for L2."""
DEFAULT_L2_S: Final = 0.001

Stats = Callable[[], dict[str, Any]]
"""The core's figures: `cache` and `objects`."""


class Elastic:
    """A thread, or somebody who calls look(). clock: monotonic seconds. now_s: seconds since 1970."""

    def __init__(
        self,
        stats: Stats,
        tiers: Tiers,
        *,
        bounds: dict[str, Bounds],
        prices: Prices,
        clock: Callable[[], float],
        now_s: Callable[[], float],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._stats = stats
        self._tiers = tiers
        self._bounds = bounds
        self._prices = prices
        self._clock = clock
        self._now_s = now_s
        self._interval_s = interval_s
        self._before: tuple[float, dict[str, Any]] | None = None
        self._idle_since_s: dict[str, float] = {}
        self._latest: dict[str, Decision] = {}
        self._changes: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache-policy", daemon=True)

    @property
    def is_on(self) -> bool:
        return any(bounds.high > bounds.low for bounds in self._bounds.values())

    def start(self) -> None:
        if self.is_on:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def describe(self) -> dict[str, Any]:
        """Bounds, prices, the latest decision on each tier, and the newest changes of size, the newest first."""
        return {
            "on": self.is_on,
            "interval_s": self._interval_s,
            "bounds": msgspec.to_builtins(self._bounds),
            "prices": msgspec.to_builtins(self._prices),
            "latest": msgspec.to_builtins(self._latest),
            "changes": list(reversed(self._changes)),
        }

    def look(self) -> None:
        """One round: figures since the last one, a decision on each tier, and what follows from it."""
        at_s, stats = self._clock(), self._stats()
        before, self._before = self._before, (at_s, stats)
        if before is None:
            return
        for tier, figures in figures_of(before[1], stats, at_s - before[0]).items():
            bounds = self._bounds[tier]
            price = self._prices.memory_gib_month if tier == "l1" else self._prices.disk_gib_month
            idle_s = at_s - self._idle_since_s.get(tier, at_s)
            decision = policy.decide(figures, bounds, self._prices, price, idle_s)
            if not policy.wants_to_shrink(decision):
                self._idle_since_s.pop(tier, None)
            else:
                self._idle_since_s.setdefault(tier, at_s)
            self._latest[tier] = decision
            if decision.bytes != figures.bytes:
                self._apply(tier, figures.bytes, decision)

    def _apply(self, tier: str, now: int, decision: Decision) -> None:
        try:
            if tier == "l1":
                self._tiers.resize_l1(decision.bytes, by="policy")
            else:
                self._resize_shelves(decision.bytes)
        except ControlError as error:
            log.warning("cache.not_resized", tier=tier, bytes=decision.bytes, why=error.message)
            return
        self._idle_since_s.pop(tier, None)
        told = {"tier": tier, "from_bytes": now, **msgspec.to_builtins(decision)}
        self._changes.append({"at_s": self._now_s(), **told})
        log.info("cache.policy", **told)

    def _resize_shelves(self, bytes: int) -> None:
        """All in proportion, as blocks are spread."""
        shelves = [shelf for shelf in self._tiers.shelves if not shelf.draining]
        now = sum(shelf.bytes for shelf in shelves)
        for shelf in shelves:
            wanted = bytes * shelf.bytes // max(now, 1) // policy.ALIGN * policy.ALIGN
            if wanted != shelf.bytes:
                self._tiers.resize_shelf(shelf.path, wanted, by="policy")

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.look()
            except Exception:
                log.exception("cache.policy_failed")


def figures_of(before: dict[str, Any], after: dict[str, Any], span_s: float) -> dict[str, Figures]:
    """The figures of both tiers between two looks; of L2 none where no shelf is in use."""
    was, now = before["cache"], after["cache"]
    store_s = float(after["objects"].get("get_us_p50") or 0.0) / 1e6 or DEFAULT_MISS_S
    used = [shelf for shelf in now["shelves"] if shelf["state"] == "ok"]

    def since(*path: str) -> int:
        first: Any = was
        last: Any = now
        for word in path:
            first, last = first[word], last[word]
        return max(0, int(last) - int(first))

    fetched_again, raised_again = since("fetched_again"), since("raised_again")
    l1 = Figures(
        span_s=span_s,
        bytes=int(now["l1"]["capacity_bytes"]),
        used=int(now["l1"]["bytes"]),
        # Without L2 each block that was in memory once comes from the store again.
        again=raised_again if used else fetched_again,
        asked=since("l1", "hits") + since("l1", "misses"),
        miss_s=DEFAULT_L2_S if used else store_s,
        reads=0.0 if used else 1.0,
    )
    if not used:
        return {"l1": l1}
    l2 = Figures(
        span_s=span_s,
        bytes=sum(int(shelf["capacity_bytes"]) for shelf in used),
        used=sum(int(shelf["bytes"]) for shelf in used),
        again=fetched_again,
        asked=since("l2", "hits") + since("l2", "misses"),
        miss_s=store_s,
        reads=1.0,
    )
    return {"l1": l1, "l2": l2}
