"""Samples and meter: what a minute comes to, what is counted once, and what it costs."""

import copy
import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin_api import forecast, meter, samples
from admin_api.meter import GIB, MIB, Meter, Position, Usage, since
from admin_api.samples import Bucket, decode, encode
from admin_api.series import BY_NAME, SERIES, Readings
from tests.unit.admin_api.conftest import STATUS, Api

SHEET = {
    "currency": "EUR",
    "prices": {
        "capacity_gib_month": 0.73,
        "throughput_mibs_hour": 3.6,
        "store_reads_10k": 2.0,
        "vm_hour": 1.0,
    },
}


def figures(**more: float) -> dict[str, Any]:
    """A status with counters."""
    status = copy.deepcopy(STATUS)
    counters = {"read_bytes": 0, "written_bytes": 0, "gets": 0, "used": 0, "epoch": 1, **more}
    status["epoch"], status["pid"] = counters["epoch"], 7
    status["io"] = {
        "reads": 0,
        "read_bytes": counters["read_bytes"],
        "written_bytes": counters["written_bytes"],
    }
    status["objects"] = {"gets": counters["gets"], "get_bytes": 0}
    status["namespace"] = {"bytes": counters["used"], "inodes": 1}
    status["exports"] = [
        {"name": "main", "reads": 0, "read_bytes": counters["read_bytes"], "writes": 0, "written_bytes": 0}
    ]
    return status


def run(api: Api, seconds: int, **more: float) -> None:
    """Seconds that end with these counters; a second is a tick."""
    api.gateway.status = figures(**more)
    for _ in range(seconds):
        api.now_s += 1
        api.services.sampler.tick()


def ask(api: Api, path: str, **query: float | str) -> dict[str, Any]:
    words = "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items())
    answer = api.local("GET", f"{path}?{words}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_burst_costs_what_it_moved_and_idling_moves_nothing(api: Api) -> None:
    start = api.now_s
    run(api, 120, used=GIB)
    before = api.now_s
    run(api, 60, used=GIB, read_bytes=36_000 * MIB, gets=20_000)
    after = api.now_s
    run(api, 180, used=GIB, read_bytes=36_000 * MIB, gets=20_000)
    tag = api.local("GET", "meter/prices").headers["etag"]
    assert ask(api, "meter", from_=start, to=api.now_s)["cost"] is None
    assert api.local("PUT", "meter/prices", SHEET).status_code == 428
    assert api.local("PUT", "meter/prices", SHEET, If_Match=tag).status_code == 200
    assert api.local("PUT", "meter/prices", SHEET, If_Match=tag).status_code == 412
    burst = ask(api, "meter", from_=before, to=after)["cost_by_item"]
    assert burst["throughput_mibs_hour"] == pytest.approx(36_000 / 3600 * 3.6)
    assert burst["store_reads_10k"] == pytest.approx(4.0)
    idle = ask(api, "meter", from_=after, to=api.now_s)["cost_by_item"]
    assert idle["throughput_mibs_hour"] == 0
    whole = ask(api, "meter", from_=start, to=api.now_s + 1)
    # The first second has no second before it.
    assert whole["quantities"]["up_s"] == pytest.approx(359)
    assert whole["cost_by_item"]["vm_hour"] == pytest.approx(359 / 3600)
    assert whole["cost_by_item"]["capacity_gib_month"] == pytest.approx(0.73 * 359 / 3600 / 730)
    assert sum(hour["cost"] for hour in whole["hours"]) == pytest.approx(whole["cost"])
    assert [one["name"] for one in whole["exports"]] == ["main"]
    assert whole["exports"][0]["cost"] == pytest.approx(36.0)


def test_the_csv_says_the_same(api: Api) -> None:
    start = api.now_s
    run(api, 61, written_bytes=5 * MIB)
    text = api.local("GET", f"meter.csv?from={start}&to={api.now_s}")
    assert text.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert sum(float(row["written_bytes"]) for row in rows) == 5 * MIB
    assert {row["cost"] for row in rows} == {""}


def test_what_the_gateway_counted_while_the_service_was_away_comes_later_and_once(api: Api) -> None:
    start = api.now_s
    run(api, 10, read_bytes=100)
    api.services.sampler.stop()
    api.now_s += 300
    again = meter.last_position(api.services.engine)
    assert again is not None
    later = Meter(again)
    later.take(figures(read_bytes=250), 0)
    with api.services.engine.begin() as connection:
        later.keep(connection, int(api.now_s) // 60 * 60)
    later.kept()
    # A gateway that began anew counts from zero.
    later.take(figures(read_bytes=30, epoch=2), 0)
    with api.services.engine.begin() as connection:
        later.keep(connection, int(api.now_s) // 60 * 60)
    hours = meter.used_between(api.services.engine, int(start) - 60, int(api.now_s) + 60, api.now_s)
    whole = meter.total(hours.values())
    assert whole.quantities["read_bytes"] == 280
    assert whole.exports["main"]["read_bytes"] == 280


counters = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000)), max_size=30)


@given(counters)
def test_everything_counted_is_metered_once(history: list[tuple[int, int]]) -> None:
    """A run of the gateway that begins counts from zero; whenever the meter looks, its sum is what was counted."""
    epoch, count, counted = 0, 0, 0
    position: Position | None = None
    used = Usage()
    for kind, amount in history:
        if kind == 0:
            epoch, count = epoch + 1, 0
        count += amount
        counted += amount
        now = Position(str(epoch), {"read_bytes": float(count)}, {"main": {"read_bytes": float(count)}})
        used.add(since(position, now))
        position = now
    assert used.quantities.get("read_bytes", 0) == counted
    assert used.exports.get("main", {}).get("read_bytes", 0) == counted


def test_seconds_become_minutes_become_hours(api: Api) -> None:
    api.now_s = 1_800_000_000.0 // 3600 * 3600
    start = api.now_s
    for second in range(3 * 60):
        run(api, 1, written_bytes=1000 * (second + 1), used=second)
    shown = ask(api, "samples", series="written_bytes,used_bytes", from_=start, to=api.now_s)
    assert shown["step_s"] == 1
    assert len(shown["series"]["used_bytes"]["points"]) == 180
    # Of a counter the first look gives no growth.
    assert [point[1] for point in shown["series"]["written_bytes"]["points"]] == [1000.0] * 179
    api.services.sampler.stop()
    minutes = ask(api, "samples", series="used_bytes", from_=start, to=api.now_s, step=60)
    points = minutes["series"]["used_bytes"]["points"]
    assert [point[0] for point in points] == [start, start + 60, start + 120, start + 180]
    assert points[1][1:] == [pytest.approx(88.5), 118.0]
    hours = ask(api, "samples", series="used_bytes", from_=start, to=api.now_s, step=3600)
    assert hours["series"]["used_bytes"]["points"][0][2] == 179.0


def test_space_is_bounded(api: Api) -> None:
    points = Bucket().points()
    with api.services.engine.begin() as connection:
        for day in range(0, 800, 4):
            samples.keep_minute(connection, 1_700_000_000 // 3600 * 3600 + day * 86400, points)
    with api.services.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT step_s, count(*) FROM samples GROUP BY step_s").all()
    assert dict(kept) == {60: 2, 3600: 183}  # pyright: ignore[reportArgumentType]


def test_a_gateway_that_is_away_leaves_a_gap(api: Api) -> None:
    run(api, 5, written_bytes=10)
    api.gateway.down = True
    run(api, 5)
    api.gateway.down = False
    run(api, 2, written_bytes=1_000_000)
    shown = ask(api, "samples", series="written_bytes,used_bytes", from_=api.now_s - 20, to=api.now_s + 1)
    assert max(point[1] for point in shown["series"]["written_bytes"]["points"]) < 100
    assert len(shown["series"]["used_bytes"]["points"]) == 7


@pytest.mark.parametrize(
    "query",
    [
        "series=nothing",
        "series=",
        "series=reads&from=5&to=4",
        "series=reads&step=7",
        "series=reads&step=1&from=0",
    ],
)
def test_questions_that_have_no_answer(api: Api, query: str) -> None:
    assert api.local("GET", f"samples?{query}").status_code == 422


floats = st.floats(width=32)


@settings(max_examples=30)
@given(st.lists(st.tuples(floats, floats), max_size=len(SERIES)), st.binary(max_size=40))
def test_rows_come_back_and_foreign_bytes_do_no_harm(points: list[tuple[float, float]], junk: bytes) -> None:
    found = decode(encode(points))
    assert len(found) == len(SERIES)
    assert repr(found[: len(points)]) == repr(points)
    assert len(decode(junk)) == len(SERIES)


def test_series_are_never_renumbered() -> None:
    assert list(BY_NAME)[:3] == ["read_bytes", "written_bytes", "reads"]
    assert BY_NAME["store_put_us_p99"] == 31
    readings = Readings()
    readings.take(figures(), 1.0)
    assert readings.take(figures(read_bytes=50), 3.0)[0] == 25.0


def test_growth_is_the_line_that_fits(api: Api) -> None:
    hours = [(hour * 3600.0, 1e9 + hour * 1e6) for hour in range(48)]
    found = forecast.growth(hours)
    assert found is not None
    assert found.bytes_a_day == pytest.approx(24e6)
    assert found.fit == pytest.approx(1.0)
    assert forecast.after(found, 10) == pytest.approx(hours[-1][1] + 240e6)
    assert forecast.growth(hours[:10]) is None
    assert forecast.growth([(5.0, 1.0)] * 30) is None
    start = int(api.now_s) // 3600 * 3600
    with api.services.engine.begin() as connection:
        for hour in range(30):
            bucket = Bucket()
            bucket.add(Readings().take(figures(used=1e9 + hour * 1e8), 1.0))
            samples.keep_minute(connection, start - (30 - hour) * 3600, bucket.points())
    shown = ask(api, "activity/capacity")
    assert shown["bytes_a_day"] == pytest.approx(24e8, rel=1e-3)
    assert [one["days"] for one in shown["forecast"]] == [7, 30, 90]


def test_an_unknown_item_of_the_sheet_is_refused(api: Api) -> None:
    tag = api.local("GET", "meter/prices").headers["etag"]
    wrong = {"currency": "EUR", "prices": {"moon": 1}}
    assert "no item" in api.local("PUT", "meter/prices", wrong, If_Match=tag).json()["detail"]
