"""The owner's side of backups: who waits is told in time, and the steward is woken when somebody does."""

import threading
from collections.abc import Callable

import pytest

from gateway.fsal.backups import Progress

SOON_S = 20.0


class Clock:
    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(clock)


def later(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    return thread, results


def test_who_waits_wakes_the_steward_and_is_woken(progress: Progress) -> None:
    assert not progress.wait_until(7, 0.0)
    progress.checkpointed(5)
    waiting, results = later(lambda: progress.wait_until(9, SOON_S))
    # First the checkpoint has to come further, then the backup can.
    assert progress.wait_work("checkpoint", SOON_S)
    progress.backed_up(5, 0, 0, {})
    assert not progress.wait_work("backup", 0.0)
    progress.checkpointed(9)
    assert not progress.wait_work("checkpoint", 0.0)
    assert progress.wait_work("backup", SOON_S)
    progress.backed_up(9, 0, 0, {})
    waiting.join(SOON_S)
    assert results == [True]
    assert not progress.wait_work("backup", 0.0)


def test_a_snapshot_that_was_under_way_is_not_the_one_that_is_wanted(progress: Progress) -> None:
    progress.want(0)
    first, first_results = later(lambda: progress.wait_snapshot(SOON_S))
    assert progress.wait_work("backup", SOON_S)
    begun = progress.snapshots_wanted
    second, second_results = later(lambda: progress.wait_snapshot(SOON_S))
    while progress.snapshots_wanted == begun:
        threading.Event().wait(0.001)
    progress.backed_up(1, 0, begun, {})
    first.join(SOON_S)
    assert (first_results, second_results) == ([True], [])
    progress.backed_up(1, 0, progress.snapshots_wanted, {})
    second.join(SOON_S)
    assert second_results == [True]


def test_the_status_tells_how_old_a_backup_is(progress: Progress, clock: Clock) -> None:
    assert progress.status(5)["age_s"] is None
    progress.backed_up(
        5, int(990e9), 0, {"snapshots": 2, "bytes": 10, "oldest_lsn": 1, "key": None, "odd": 1}
    )
    told = progress.status(5)
    assert told == {
        "lsn": 5,
        "age_s": 0.0,
        "error": None,
        "snapshots": 2,
        "bytes": 10,
        "oldest_lsn": 1,
        "key": None,
    }
    assert progress.status(6)["age_s"] == 10.0
    # Nothing was missing at that time, however long ago the last change was.
    clock.at_s = 5000.0
    progress.seen(5)
    clock.at_s = 5002.0
    progress.seen(6)
    assert progress.status(6)["age_s"] == 2.0
    progress.trouble("no room")
    assert progress.status(6)["error"] == "no room"
