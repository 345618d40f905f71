"""Journal, live inodes, flush, store, namespace and checkpoint together, in thousands of simulated histories."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway._core import SimWorld
from gateway.metadata.namespace import Namespace
from tests.simulation.history import HistoryFailure, Plant, play
from tests.simulation.machine import Spoil
from tests.simulation.run import Sum, play_all, quiet

ROOT = Path(__file__).parents[2]
HISTORIES = 1500
PLANTED_FOUND_WITHIN = 100
MIRRORS = ("m0", "m1", "m2")


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    quiet()
    yield
    structlog.reset_defaults()


@pytest.mark.timeout(1200)  # half a minute where nothing else wants the processors
def test_what_was_acknowledged_is_there_in_every_history() -> None:
    total = Sum()
    for some in play_all(range(HISTORIES), min(2, os.cpu_count() or 1)):
        total.join(some)
    failed = [text for _, text, _ in total.failures]
    assert not failed, "\n".join(
        [*failed[:10], f"python -m bench.simulate --seed {total.failures[0][0]} --trace"]
    )
    # They are as hard as they are meant to be.
    assert total.deaths > HISTORIES / 2
    assert total.lost_changes > HISTORIES / 10


def test_a_seed_is_one_history() -> None:
    first = play(1234)
    again = play(1234)
    assert (again.digest, again.trace) == (first.digest, first.trace)
    assert first.machine_steps > 50
    code = "from tests.simulation import run, history; run.quiet(); print(history.play(1234).digest)"
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(elsewhere.stdout) == first.digest
    assert play(1235).digest != first.digest


def forgetful_disk(world: SimWorld) -> None:
    for mirror in MIRRORS:
        world.forget_syncs(mirror)


def skipped_record(namespace: Namespace) -> None:
    """The third row transaction of each recovery is passed over."""
    apply: Callable[..., Any] = namespace.apply_replayed
    count = 0

    def apply_replayed(lsn: int, payload: bytes) -> Any:
        nonlocal count
        count += 1
        return [] if count == 3 else apply(lsn, payload)

    namespace.apply_replayed = apply_replayed


def deaf_flush(namespace: Namespace) -> None:
    """Row transactions of flushes leave out the extents."""
    flushed: Callable[..., Any] = namespace._flushed  # pyright: ignore[reportPrivateUsage]

    def without_splices(row: Any, item: Any) -> Any:
        return [op for op in flushed(row, item) if type(op).__name__ != "Splice"]

    namespace._flushed = without_splices  # pyright: ignore[reportPrivateUsage]


def blind_collector(namespace: Namespace) -> None:
    """Packs of older epochs count as named by nothing."""
    namespace.live_bytes = lambda pack: None


def forgetful_store(world: SimWorld) -> None:
    world.lose_puts(0.5)


def first_failure(plant: Plant | None, spoil: Spoil | None) -> HistoryFailure:
    for seed in range(PLANTED_FOUND_WITHIN):
        try:
            play(seed, plant=plant, spoil=spoil)
        except HistoryFailure as failure:
            return failure
    pytest.fail(f"{PLANTED_FOUND_WITHIN} histories do not find it")


@pytest.mark.parametrize(
    ("plant", "spoil"),
    [
        (forgetful_disk, None),
        (forgetful_store, None),
        (None, skipped_record),
        (None, deaf_flush),
        (None, blind_collector),
    ],
)
def test_a_planted_fault_is_found(plant: Plant | None, spoil: Spoil | None) -> None:
    failure = first_failure(plant, spoil)
    assert f"history {failure.seed}:" in str(failure)
    assert failure.trace
    with pytest.raises(HistoryFailure) as again:
        play(failure.seed, plant=plant, spoil=spoil)
    assert (str(again.value), again.value.trace) == (str(failure), failure.trace)
