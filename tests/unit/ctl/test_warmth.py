"""Bringing a tree into the cache while its packs come and go."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gateway._core import BLOCK_PAYLOAD_BYTES, PackGone, StoreError
from gateway.cache.jobs import Job
from gateway.cache.warmth import Warmth
from gateway.errors import ControlError
from gateway.metadata.attributes import REGULAR

FILE = SimpleNamespace(inode=7, kind=REGULAR)
PACKS = 6


class Store:
    """A cache whose packs are all there, but for one."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: list[int] = []

    def warm(self, run: tuple[int, int, int]) -> int:
        self.asked.append(run[0])
        if run[0] == 3:
            raise self.error
        return run[2]

    def held(self, runs: list[tuple[int, int, int]]) -> int:
        return 0

    def pin(self, runs: list[tuple[int, int, int]]) -> None:
        pass


class NoDirectories:
    def readdir(self, directory: int, after_cookie: int, limit: int) -> list[Any]:
        return []


def warm(store: Store) -> dict[str, Any]:
    extents = [(pack << 30, BLOCK_PAYLOAD_BYTES, pack, 0) for pack in range(1, PACKS + 1)]
    warmth = Warmth(
        store,
        NoDirectories(),
        lambda _: extents,
        SimpleNamespace(pins=[]),  # type: ignore[arg-type]  # only its pins are asked for
        resolve=lambda _: FILE,
        l1_bytes=lambda: 1 << 30,
        l2_bytes=lambda: 1 << 30,
    )
    job = Job("1", "warm", time.thread_time)
    warmth.warm("/data/file")(job)
    return job.progress


def test_a_pack_that_was_rewritten_meanwhile_is_passed_over() -> None:
    store = Store(PackGone("packs/3: no such object"))
    progress = warm(store)
    assert sorted(store.asked) == list(range(1, PACKS + 1))
    assert progress["done_bytes"] == progress["bytes"]
    assert progress["fetched_bytes"] == progress["bytes"] * (PACKS - 1) // PACKS


def test_a_store_that_is_away_ends_it_and_what_was_brought_stays() -> None:
    with pytest.raises(ControlError, match="503"):
        warm(Store(StoreError("503")))
