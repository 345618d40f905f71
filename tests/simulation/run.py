"""Plays many histories, in several processes; each is decided by its seed alone, so it does not matter where."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

import structlog

from tests.simulation.history import HistoryFailure, Told, play

CHUNK: Final = 25


@dataclass(slots=True)
class Sum:
    """Figures of many histories. `failures`: those that failed, with the steps that led to it."""

    histories: int = 0
    steps: int = 0
    starts: int = 0
    deaths: int = 0
    lost_changes: int = 0
    machine_steps: int = 0
    failures: list[tuple[int, str, list[str]]] = field(default_factory=list[tuple[int, str, list[str]]])

    def add(self, told: Told) -> None:
        self.histories += 1
        self.steps += told.steps
        self.starts += told.starts
        self.deaths += told.deaths
        self.lost_changes += told.lost_changes
        self.machine_steps += told.machine_steps

    def join(self, other: "Sum") -> None:
        self.histories += other.histories
        self.steps += other.steps
        self.starts += other.starts
        self.deaths += other.deaths
        self.lost_changes += other.lost_changes
        self.machine_steps += other.machine_steps
        self.failures += other.failures


def quiet() -> None:
    """The parts under test have much to say about what is done to them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def play_some(seeds: Sequence[int]) -> Sum:
    quiet()
    total = Sum()
    for seed in seeds:
        try:
            total.add(play(seed))
        except HistoryFailure as failure:
            total.histories += 1
            total.failures.append((seed, str(failure), failure.trace))
    return total


def play_all(seeds: range, processes: int) -> Iterator[Sum]:
    """Sums of some histories each, as they are done."""
    chunks = [seeds[begin : begin + CHUNK] for begin in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play_some, chunks)
