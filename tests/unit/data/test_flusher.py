"""The flush's policy, against a core that only counts."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from gateway._core import StoreError
from gateway.data.flusher import Flusher, FlushSettings

SECOND_NS = 1_000_000_000


@dataclass
class Dirty:
    bytes: int = 0
    memory_bytes: int = 0
    inodes: int = 0
    oldest_age_s: float = 0.0
    oldest_lsn: int = 0


@dataclass
class Batch:
    core: "Core"
    lsns: list[int]
    aborted: bool = False

    def write(self) -> None:
        if self.core.outage:
            raise StoreError("no store")

    def abort(self) -> None:
        self.aborted = True
        self.core.dirty_lsns += self.lsns


@dataclass
class Core:
    """One dirty inode for each LSN, all dirty since moment 0."""

    dirty_lsns: list[int] = field(default_factory=list[int])
    last_lsn: int = 0
    outage: bool = False
    takes: list[tuple[int | None, int | None]] = field(default_factory=list[tuple[int | None, int | None]])
    waited: list[int] = field(default_factory=list[int])
    batches: list[Batch] = field(default_factory=list[Batch])

    def write(self) -> None:
        self.last_lsn += 1
        self.dirty_lsns.append(self.last_lsn)

    def dirty(self) -> Dirty:
        count = len(self.dirty_lsns)
        return Dirty(count * 100, count * 100, count, 1.0, min(self.dirty_lsns, default=0))

    def wait_durable(self, lsn: int) -> None:
        self.waited.append(lsn)

    def flush_take(
        self,
        *,
        inodes: Sequence[int] | None,
        dirty_before_ns: int | None,
        upto_lsn: int | None,
        max_bytes: int,
    ) -> Batch | None:
        self.takes.append((dirty_before_ns, upto_lsn))
        if dirty_before_ns is not None and dirty_before_ns < 0:
            return None
        taken = [lsn for lsn in self.dirty_lsns if upto_lsn is None or lsn <= upto_lsn]
        if not taken:
            return None
        self.dirty_lsns = [lsn for lsn in self.dirty_lsns if lsn not in taken]
        self.batches.append(Batch(self, taken))
        return self.batches[-1]


@dataclass
class Names:
    committed: list[Batch] = field(default_factory=list[Batch])

    def flush_commit(self, batch: Batch) -> int:
        self.committed.append(batch)
        return 0


def flusher(
    core: Core,
    names: Names,
    *,
    now_ns: int = 0,
    fill: float = 0.0,
    high_bytes: int = 10_000,
    high_inodes: int = 100,
) -> Flusher:
    return Flusher(
        core,
        names,  # type: ignore[arg-type]
        FlushSettings(age_s=2.0, high_bytes=high_bytes, high_inodes=high_inodes),
        journal_fill=lambda: fill,
        random=random.Random(1),
        monotonic_ns=lambda: now_ns,
    )


def test_young_data_stay_and_old_data_go() -> None:
    core, names = Core(), Names()
    core.write()
    assert not flusher(core, names, now_ns=SECOND_NS).step()
    assert flusher(core, names, now_ns=3 * SECOND_NS).step()
    assert len(names.committed) == 1
    assert core.dirty().inodes == 0


@pytest.mark.parametrize(
    ("fill", "high_bytes", "high_inodes"), [(0.5, 10_000, 100), (0.0, 100, 100), (0.0, 10_000, 1)]
)
def test_under_pressure_everything_goes_whatever_its_age(
    fill: float, high_bytes: int, high_inodes: int
) -> None:
    core, names = Core(), Names()
    core.write()
    assert flusher(core, names, now_ns=1, fill=fill, high_bytes=high_bytes, high_inodes=high_inodes).step()
    assert names.committed


def test_an_outage_gives_everything_back_and_is_told() -> None:
    core, names = Core(outage=True), Names()
    core.write()
    subject = flusher(core, names, now_ns=3 * SECOND_NS)
    assert not subject.step()
    assert core.batches[0].aborted
    assert core.dirty_lsns == [1]
    assert subject.last_error == "no store"
    core.outage = False
    assert subject.step()
    assert subject.last_error is None


def test_waiting_returns_when_what_was_there_is_gone_and_durable() -> None:
    core, names = Core(), Names()
    for _ in range(5):
        core.write()
    subject = flusher(core, names)
    subject.start()
    try:
        assert subject.wait_until_flushed(10.0)
    finally:
        subject.stop()
    assert core.dirty().inodes == 0
    assert core.waited == [5]


def test_waiting_ends_with_the_time_given_while_the_store_is_away() -> None:
    core, names = Core(outage=True), Names()
    core.write()
    clock = iter(range(0, 10**12, SECOND_NS))
    lock = threading.Lock()

    def now_ns() -> int:
        with lock:
            return next(clock)

    subject = Flusher(
        core,
        names,  # type: ignore[arg-type]
        FlushSettings(age_s=2.0, high_bytes=10_000, high_inodes=100),
        journal_fill=lambda: 0.0,
        random=random.Random(1),
        monotonic_ns=now_ns,
    )
    subject.start()
    try:
        assert not subject.wait_until_flushed(3.0)
    finally:
        subject.stop()
    assert core.dirty_lsns == [1]
