"""What is sampled of the gateway each second: gauges as they are, of counters and sums what they grew by."""

import math
from typing import Any, Final, Literal, NamedTuple

from admin_api.metrics import at


class Series(NamedTuple):
    """path: where the figure stands in the status. kind: of a counter its growth a second is sampled; of a mean that of
    the sum at `path` by that of the count at `per`; nothing while nothing is counted.
    """

    name: str
    unit: str
    kind: Literal["gauge", "counter", "mean"]
    path: str
    per: str = ""


# The order is that of the numbers in kept rows: new ones are added at the end, and none is ever taken out.
SERIES: Final = (
    Series("read_bytes", "bytes/s", "counter", "io.read_bytes"),
    Series("written_bytes", "bytes/s", "counter", "io.written_bytes"),
    Series("reads", "1/s", "counter", "io.reads"),
    Series("writes", "1/s", "counter", "io.writes"),
    Series("commits", "1/s", "counter", "io.commits"),
    Series("read_us_p99", "us", "gauge", "io.read_us_p99"),
    Series("write_us_p99", "us", "gauge", "io.write_us_p99"),
    Series("commit_us_p99", "us", "gauge", "io.commit_us_p99"),
    Series("journal_bytes", "bytes", "gauge", "journal.bytes"),
    Series("journal_age_s", "s", "gauge", "journal.oldest_unflushed_s"),
    Series("journal_commits", "1/s", "counter", "journal.commits"),
    Series("journal_commit_us_p99", "us", "gauge", "journal.commit_us_p99"),
    Series("dirty_bytes", "bytes", "gauge", "flush.dirty_bytes"),
    Series("dirty_inodes", "1", "gauge", "flush.dirty_inodes"),
    Series("used_bytes", "bytes", "gauge", "namespace.bytes"),
    Series("used_inodes", "1", "gauge", "namespace.inodes"),
    Series("l1_bytes", "bytes", "gauge", "cache.l1.bytes"),
    Series("l1_hits", "1/s", "counter", "cache.l1.hits"),
    Series("l1_misses", "1/s", "counter", "cache.l1.misses"),
    Series("l2_bytes", "bytes", "gauge", "cache.l2.bytes"),
    Series("l2_hits", "1/s", "counter", "cache.l2.hits"),
    Series("l2_misses", "1/s", "counter", "cache.l2.misses"),
    Series("store_gets", "1/s", "counter", "objects.gets"),
    Series("store_puts", "1/s", "counter", "objects.puts"),
    Series("store_deletes", "1/s", "counter", "objects.deletes"),
    Series("store_lists", "1/s", "counter", "objects.lists"),
    Series("store_received_bytes", "bytes/s", "counter", "objects.get_bytes"),
    Series("store_sent_bytes", "bytes/s", "counter", "objects.put_bytes"),
    Series("store_errors", "1/s", "counter", "objects.errors"),
    Series("store_retries", "1/s", "counter", "objects.retries"),
    Series("store_get_us_p99", "us", "gauge", "objects.get_us_p99"),
    Series("store_put_us_p99", "us", "gauge", "objects.put_us_p99"),
    Series("read_us_mean", "us", "mean", "io.read_us_sum", "io.reads"),
    Series("write_us_mean", "us", "mean", "io.write_us_sum", "io.writes"),
    Series("commit_us_mean", "us", "mean", "io.commit_us_sum", "io.commits"),
)
BY_NAME: Final = {one.name: number for number, one in enumerate(SERIES)}
NOTHING: Final = math.nan


class Readings:
    """Turns one status after the other into samples. Not for several threads."""

    def __init__(self) -> None:
        self._last: list[float | None] = [None] * len(SERIES)
        self._last_per: list[float | None] = [None] * len(SERIES)
        self._last_s: float | None = None

    def take(self, status: dict[str, Any], at_s: float) -> list[float]:
        """A value for each of SERIES, NOTHING where there is none. at_s: of a clock that never goes back."""
        values: list[float] = []
        elapsed_s = None if self._last_s is None else at_s - self._last_s
        for number, one in enumerate(SERIES):
            found = at(status, one.path)
            if one.kind == "gauge":
                # A journal with nothing in it has no age: as a line on a page that is zero.
                values.append(
                    0.0 if found is None and one.unit == "s" else NOTHING if found is None else found
                )
                continue
            rate = grown(self._last[number], found, elapsed_s)
            self._last[number] = found
            if one.kind == "mean":
                counted = at(status, one.per)
                times = grown(self._last_per[number], counted, elapsed_s)
                self._last_per[number] = counted
                rate = rate / times if times > 0 else NOTHING
            values.append(rate)
        self._last_s = at_s
        return values

    def forget(self) -> None:
        """The gateway was away: what its counters grew by meanwhile is no rate of any second."""
        self._last = [None] * len(SERIES)
        self._last_per = [None] * len(SERIES)
        self._last_s = None


def grown(before: float | None, now: float | None, elapsed_s: float | None) -> float:
    """Growth of a counter a second; one that is smaller than before began anew."""
    if before is None or now is None or not elapsed_s or elapsed_s <= 0:
        return NOTHING
    return (now - before if now >= before else now) / elapsed_s
