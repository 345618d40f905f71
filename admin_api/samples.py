"""Samples of three widths: seconds of the last hour in memory, minutes of a week and hours of two years in the database.

Each is a ring of fixed size: what is older than its width keeps goes.
"""

import math
import threading
from array import array
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, select

from admin_api import tables
from admin_api.series import NOTHING, SERIES

SECOND_S: Final = 1
MINUTE_S: Final = 60
HOUR_S: Final = 3600
KEPT_S: Final = {SECOND_S: 3600, MINUTE_S: 7 * 86400, HOUR_S: 730 * 86400}
MAX_POINTS: Final = 1500

Point = tuple[float, float]
"""Mean and largest value of a time."""


class Seconds:
    """The last hour, a value for each second and series. For any number of threads."""

    def __init__(self) -> None:
        self._size = KEPT_S[SECOND_S]
        self._at = array("q", [-1]) * self._size
        self._values = [array("f", [NOTHING]) * self._size for _ in SERIES]
        self._lock = threading.Lock()

    def put(self, second: int, values: Sequence[float]) -> None:
        slot = second % self._size
        with self._lock:
            self._at[slot] = second
            for column, value in zip(self._values, values, strict=True):
                column[slot] = value

    def get(self, number: int, from_s: int, to_s: int) -> list[tuple[int, Point]]:
        """Seconds from from_s to before to_s that have a value."""
        with self._lock:
            column = self._values[number]
            slots = ((second, second % self._size) for second in range(max(from_s, to_s - self._size), to_s))
            return [
                (second, (column[slot], column[slot]))
                for second, slot in slots
                if self._at[slot] == second and not math.isnan(column[slot])
            ]


class Bucket:
    """Mean and largest of what a minute had."""

    def __init__(self) -> None:
        self._sums = [0.0] * len(SERIES)
        self._counts = [0] * len(SERIES)
        self._largest = [NOTHING] * len(SERIES)

    def add(self, values: Sequence[float]) -> None:
        for number, value in enumerate(values):
            if not math.isnan(value):
                self._sums[number] += value
                self._counts[number] += 1
                self._largest[number] = (
                    value if math.isnan(self._largest[number]) else max(self._largest[number], value)
                )

    def points(self) -> list[Point]:
        return [
            (total / count if count else NOTHING, largest)
            for total, count, largest in zip(self._sums, self._counts, self._largest, strict=True)
        ]


def encode(points: Sequence[Point]) -> bytes:
    """Means and largest values in turn, in the order of SERIES, as little-endian floats of 32 bits."""
    return array("f", [number for point in points for number in point]).tobytes()


def decode(data: bytes) -> list[Point]:
    """Of a row of any version: series that it did not know have nothing."""
    numbers = array("f")
    numbers.frombytes(data[: len(data) // 8 * 8])
    points = list(zip(numbers[::2], numbers[1::2], strict=True))[: len(SERIES)]
    return points + [(NOTHING, NOTHING)] * (len(SERIES) - len(points))


def keep_minute(connection: Connection, at_s: int, points: Sequence[Point]) -> None:
    """Keeps a minute and what its hour has come to, and lets the oldest go."""
    _put(connection, MINUTE_S, at_s, points)
    hour_s = at_s // HOUR_S * HOUR_S
    table = tables.samples
    query = select(table.c.data).where(
        table.c.step_s == MINUTE_S, table.c.at_s >= hour_s, table.c.at_s < hour_s + HOUR_S
    )
    minutes = [decode(row.data) for row in connection.execute(query)]
    _put(
        connection,
        HOUR_S,
        hour_s,
        [_whole([minute[number] for minute in minutes]) for number in range(len(SERIES))],
    )
    for step_s in (MINUTE_S, HOUR_S):
        old = (table.c.step_s == step_s) & (table.c.at_s < at_s - KEPT_S[step_s])
        connection.execute(delete(table).where(old))


def _whole(points: Sequence[Point]) -> Point:
    known = [point for point in points if not math.isnan(point[0])]
    if not known:
        return (NOTHING, NOTHING)
    return (sum(mean for mean, _ in known) / len(known), max(largest for _, largest in known))


def _put(connection: Connection, step_s: int, at_s: int, points: Sequence[Point]) -> None:
    table = tables.samples
    connection.execute(delete(table).where(table.c.step_s == step_s, table.c.at_s == at_s))
    connection.execute(table.insert().values(step_s=step_s, at_s=at_s, data=encode(points)))


def kept(
    engine: Engine, numbers: Sequence[int], step_s: int, from_s: int, to_s: int
) -> dict[int, list[tuple[int, Point]]]:
    """Of minutes or hours those that begin from from_s to before to_s, by series."""
    table = tables.samples
    query = (
        select(table.c.at_s, table.c.data)
        .where(table.c.step_s == step_s, table.c.at_s >= from_s, table.c.at_s < to_s)
        .order_by(table.c.at_s)
    )
    found: dict[int, list[tuple[int, Point]]] = {number: [] for number in numbers}
    with engine.connect() as connection:
        for row in connection.execute(query):
            points = decode(row.data)
            for number in numbers:
                if not math.isnan(points[number][0]):
                    found[number].append((row.at_s, points[number]))
    return found


def step_for(from_s: float, to_s: float, now_s: float) -> int:
    """The finest width that still holds the time and gives no more than MAX_POINTS."""
    for step_s in (SECOND_S, MINUTE_S):
        if from_s >= now_s - KEPT_S[step_s] and (to_s - from_s) / step_s <= MAX_POINTS:
            return step_s
    return HOUR_S


def shown(points: Sequence[tuple[int, Point]]) -> list[Any]:
    """As JSON: time, mean, largest."""
    return [[at_s, mean, largest] for at_s, (mean, largest) in points]
