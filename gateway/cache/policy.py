"""When the cache should grow or shrink by itself, and why: a function of figures, bounds and prices, and nothing else.

A tier grows while what its misses cost is more than what growing costs, and shrinks after it was idle. Only blocks that were
brought *again* count as misses: a larger tier would have kept them, while what is read for the first time nobody could have
kept. Of those a step is taken to spare as many as it adds to the tier.
"""

from typing import Final

from msgspec import Struct

GIB: Final = 1 << 30
MONTH_S: Final = 730 * 3600.0
STEP: Final = 0.25
"""A step grows a tier by so much of itself, or of what is left."""
SHRINK: Final = 0.2
MARGIN: Final = 4.0
"""A tier shrinks only where a step costs so many times what its misses cost: between the two it stays as it is."""
IDLE_S: Final = 900.0
"""For so long before it shrinks."""
MIN_SPAN_S: Final = 5.0
"""Figures of a shorter time say nothing."""
ALIGN: Final = 1 << 20


class Bounds(Struct, frozen=True):
    """Bytes between which a tier may grow and shrink."""

    low: int
    high: int


class Prices(Struct, frozen=True):
    """In one currency: of a GiB of memory and of disk in a month, of a read of the store, of an hour of waiting clients."""

    memory_gib_month: float
    disk_gib_month: float
    read: float
    wait_hour: float


class Figures(Struct, frozen=True):
    """One tier over the last span_s. bytes: its size; used: what it holds. again: blocks that it lacked, though it had them
    not long ago. asked: all look-ups. miss_s: what one costs in time; reads: how many reads of the store one costs (0 to 1).
    """

    span_s: float
    bytes: int
    used: int
    again: int
    asked: int
    miss_s: float
    reads: float


class Decision(Struct, frozen=True):
    """bytes: the size that the tier should have. reason: why, in words. miss_cost, step_cost: for an hour."""

    bytes: int
    reason: str
    miss_cost: float
    step_cost: float


def decide(figures: Figures, bounds: Bounds, prices: Prices, gib_month: float, idle_s: float) -> Decision:
    """What to do with one tier. gib_month: the price of its bytes. idle_s: for how long it has wanted to shrink already."""
    now = figures.bytes
    if bounds.high <= bounds.low:
        return Decision(now, "its bounds leave no choice", 0.0, 0.0)
    if now > bounds.high or now < bounds.low:
        fitting = min(max(now, bounds.low), bounds.high)
        return Decision(fitting, "its size was out of its bounds", 0.0, 0.0)
    if figures.span_s < MIN_SPAN_S:
        return Decision(now, "figures of too short a time", 0.0, 0.0)
    per_hour = 3600.0 / figures.span_s
    miss_cost = (
        figures.again * per_hour * (figures.reads * prices.read + figures.miss_s * prices.wait_hour / 3600.0)
    )
    larger = min(bounds.high, now + max(ALIGN, _aligned(now * STEP)))
    step_cost = _cost(max(larger - now, ALIGN), gib_month)
    spared = miss_cost * (larger - now) / max(now, 1)
    if larger > now and spared > step_cost and figures.used >= now * (1 - STEP):
        return Decision(larger, "misses cost more than a larger cache", spared, step_cost)
    if larger > now and spared > step_cost:
        return Decision(now, "misses are dear, but it is not full yet", spared, step_cost)
    if larger == now and miss_cost * STEP > _cost(_aligned(now * STEP), gib_month):
        return Decision(now, "misses are dear, but it is as large as it may be", miss_cost * STEP, step_cost)
    smaller = max(bounds.low, now - max(ALIGN, _aligned(now * SHRINK)))
    saved = _cost(now - smaller, gib_month)
    if smaller < now and saved > MARGIN * miss_cost * (now - smaller) / max(now, 1):
        if idle_s >= IDLE_S:
            return Decision(smaller, "it was idle: its bytes cost more than they spare", miss_cost, saved)
        return Decision(now, "it is idle, and shrinks if that lasts", miss_cost, saved)
    return Decision(now, "its size is right", miss_cost, step_cost)


def wants_to_shrink(decision: Decision) -> bool:
    """Whether the time of idleness goes on after this decision."""
    return decision.reason.startswith("it is idle") or decision.reason.startswith("it was idle")


def _aligned(bytes: float) -> int:
    return int(bytes) // ALIGN * ALIGN


def _cost(bytes: int, gib_month: float) -> float:
    """Of so many bytes in an hour."""
    return bytes / GIB * gib_month * 3600.0 / MONTH_S
