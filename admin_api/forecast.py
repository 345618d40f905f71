"""How the used bytes grow, and what they come to if they go on so: the line that fits best through the days seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MIN_POINTS: Final = 24
DAY_S: Final = 86400


@dataclass(frozen=True, slots=True)
class Growth:
    """bytes_a_day: slope of the line. fit: share of the changes that the line explains, 0 to 1."""

    bytes_a_day: float
    fit: float
    latest_bytes: float


def growth(points: Sequence[tuple[float, float]]) -> Growth | None:
    """The line through times (seconds) and bytes; None for fewer than MIN_POINTS."""
    if len(points) < MIN_POINTS:
        return None
    count = len(points)
    mean_t = sum(t for t, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    if spread == 0:
        return None
    slope = sum((t - mean_t) * (y - mean_y) for t, y in points) / spread
    whole = sum((y - mean_y) ** 2 for _, y in points)
    left = sum((y - mean_y - slope * (t - mean_t)) ** 2 for t, y in points)
    fit = 1.0 if whole == 0 else max(0.0, 1 - left / whole)
    return Growth(slope * DAY_S, fit, points[-1][1])


def after(found: Growth, days: float) -> float:
    """Bytes in so many days; never fewer than none."""
    return max(0.0, found.latest_bytes + found.bytes_a_day * days)
