"""The policy of the cache's size: what holds for any figures, and a day of it on a clock of the test's."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache import policy
from gateway.cache.elastic import Elastic
from gateway.cache.policy import Bounds, Figures, Prices
from gateway.cache.settings import Settings, ShelfSetting
from gateway.cache.tiers import Tiers
from gateway.errors import ControlError

MIB, GIB = 1 << 20, 1 << 30
sizes = st.integers(0, 1 << 45)
money = st.floats(0, 1e4)
all_figures = st.builds(
    Figures,
    span_s=st.floats(0, 1e6),
    bytes=sizes,
    used=sizes,
    again=st.integers(0, 10**9),
    asked=st.integers(0, 10**12),
    miss_s=st.floats(0, 100),
    reads=st.floats(0, 1),
)
all_bounds = st.tuples(sizes, sizes).map(lambda pair: Bounds(min(pair), max(pair)))
all_prices = st.builds(Prices, money, money, money, money)


@given(all_figures, all_bounds, all_prices, money, st.floats(0, 1e6))
def test_a_size_stays_in_its_bounds_and_has_a_reason(
    figures: Figures, bounds: Bounds, prices: Prices, price: float, idle_s: float
) -> None:
    decision = policy.decide(figures, bounds, prices, price, idle_s)
    assert decision.reason
    if bounds.high > bounds.low:
        assert bounds.low <= decision.bytes <= bounds.high
    else:
        assert decision.bytes == figures.bytes
    assert policy.decide(figures, bounds, prices, price, idle_s) == decision


@given(all_figures, all_bounds, all_prices, money, st.floats(0, 1e6), st.integers(1, 10**9))
def test_more_misses_never_make_it_smaller(
    figures: Figures, bounds: Bounds, prices: Prices, price: float, idle_s: float, more: int
) -> None:
    fewer = policy.decide(figures, bounds, prices, price, idle_s)
    worse = Figures(
        figures.span_s,
        figures.bytes,
        figures.used,
        figures.again + more,
        figures.asked,
        figures.miss_s,
        figures.reads,
    )
    assert policy.decide(worse, bounds, prices, price, idle_s).bytes >= fewer.bytes


@given(all_figures, all_bounds, all_prices, money)
def test_it_grows_only_for_misses_that_cost_more_than_the_step(
    figures: Figures, bounds: Bounds, prices: Prices, price: float
) -> None:
    decision = policy.decide(figures, bounds, prices, price, 0.0)
    if bounds.low <= figures.bytes < decision.bytes:
        assert figures.again > 0
        assert decision.miss_cost > decision.step_cost
    if figures.bytes > decision.bytes:
        assert figures.bytes > bounds.high, "nothing shrinks at once"


class Machine:
    """A cache whose figures the test sets, and what was done to it."""

    def __init__(self, file: Path) -> None:
        self.now_s = 0.0
        self.l1_bytes = 64 * MIB
        self.l2_bytes = GIB
        self.again = {"fetched_again": 0, "raised_again": 0}
        self.broken = False
        self.tiers = Tiers(
            self,
            self,
            file,
            Settings(),
            l1_bytes=self.l1_bytes,
            shelves=[ShelfSetting("/s", GIB)],
            reserved=[],
            errors=OSError,
        )
        self.elastic = Elastic(
            self.stats,
            self.tiers,
            bounds={"l1": Bounds(64 * MIB, 256 * MIB), "l2": Bounds(GIB // 2, 4 * GIB)},
            prices=Prices(memory_gib_month=3.0, disk_gib_month=0.1, read=5e-7, wait_hour=1.0),
            clock=lambda: self.now_s,
            now_s=lambda: self.now_s,
        )

    def resize_l1(self, bytes: int) -> None:
        self.l1_bytes = bytes

    def add_shelf(self, directory: str, bytes: int) -> None: ...
    def remove_shelf(self, directory: str) -> None: ...
    def drain_shelf(self, directory: str, draining: bool) -> None: ...

    def resize_shelf(self, directory: str, bytes: int) -> None:
        if self.broken:
            raise ControlError("failed", "its disk is gone")
        self.l2_bytes = bytes

    def stats(self) -> dict[str, Any]:
        def tier(bytes: int) -> dict[str, Any]:
            return {"hits": 0, "misses": 0, "capacity_bytes": bytes, "bytes": bytes}

        shelf = {**tier(self.l2_bytes), "state": "ok"}
        cache = {"l1": tier(self.l1_bytes), "l2": tier(self.l2_bytes), "shelves": [shelf], **self.again}
        return {"cache": cache, "objects": {"get_us_p50": 40_000.0}}

    def pass_time(self, rounds: int, fetched_again: int = 0, raised_again: int = 0) -> None:
        for _ in range(rounds):
            self.now_s += 30.0
            self.again["fetched_again"] += fetched_again
            self.again["raised_again"] += raised_again
            self.elastic.look()


def test_a_busy_day_and_a_quiet_night(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "cache.json")
    machine.pass_time(20, fetched_again=3000)
    assert (machine.l1_bytes, machine.l2_bytes) == (64 * MIB, 4 * GIB)
    machine.pass_time(20, raised_again=200_000)
    assert machine.l1_bytes == 256 * MIB
    told = machine.elastic.describe()
    assert told["on"]
    assert "misses are dear" in told["latest"]["l1"]["reason"]
    assert {change["reason"] for change in told["changes"]} == {"misses cost more than a larger cache"}
    grown = machine.l2_bytes
    machine.pass_time(10)
    assert machine.l2_bytes <= grown
    machine.pass_time(2000)
    assert (machine.l1_bytes, machine.l2_bytes) == (64 * MIB, GIB // 2)
    assert machine.elastic.describe()["changes"][0]["reason"].startswith("it was idle")


def test_a_change_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "cache.json")
    machine.broken = True
    machine.pass_time(5, fetched_again=3000)
    assert machine.l2_bytes == GIB
    assert not machine.elastic.describe()["changes"]
    machine.broken = False
    machine.pass_time(20, fetched_again=3000)
    assert machine.l2_bytes == 4 * GIB
