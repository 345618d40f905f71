"""The flush's policy, against a core that only counts."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from gateway._core import StoreError
from gateway.data.flusher import Flusher, FlushSettings

SECOND_NS = 1_000_000_000
BYTES = 100
BATCH_BYTES = 500 * BYTES


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

    @property
    def bytes(self) -> int:
        return len(self.lsns) * BYTES

    def write(self) -> None:
        if self.core.outage:
            raise StoreError("no store")
        self.core.while_writing()

    def abort(self) -> None:
        self.aborted = True
        self.core.taken -= set(self.lsns)

    def commit(self) -> None:
        self.core.taken -= set(self.lsns)
        self.core.dirty_lsns = [lsn for lsn in self.core.dirty_lsns if lsn not in self.lsns]


@dataclass
class Core:
    """One dirty inode for each LSN. What is taken counts as dirty until it is committed."""

    now_ns: int = 0
    dirty_lsns: list[int] = field(default_factory=list[int])
    since_ns: dict[int, int] = field(default_factory=dict[int, int])
    taken: set[int] = field(default_factory=set[int])
    while_writing: Callable[[], object] = lambda: None
    last_lsn: int = 0
    outage: bool = False
    takes: list[tuple[int | None, int | None]] = field(default_factory=list[tuple[int | None, int | None]])
    waited: list[int] = field(default_factory=list[int])
    batches: list[Batch] = field(default_factory=list[Batch])

    def write(self) -> None:
        self.last_lsn += 1
        self.dirty_lsns.append(self.last_lsn)
        self.since_ns[self.last_lsn] = self.now_ns

    def dirty(self) -> Dirty:
        count, oldest = len(self.dirty_lsns), min(self.dirty_lsns, default=0)
        age_s = (self.now_ns - self.since_ns[oldest]) / SECOND_NS if oldest else 0.0
        return Dirty(count * BYTES, count * BYTES, count, age_s, oldest)

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
        taken = [
            lsn
            for lsn in self.dirty_lsns
            if lsn not in self.taken
            and (upto_lsn is None or lsn <= upto_lsn)
            and (dirty_before_ns is None or self.since_ns[lsn] <= dirty_before_ns)
        ][: max_bytes // BYTES]
        if not taken:
            return None
        self.taken |= set(taken)
        self.batches.append(Batch(self, taken))
        return self.batches[-1]


@dataclass
class Names:
    committed: list[Batch] = field(default_factory=list[Batch])

    def flush_commit(self, batch: Batch) -> int:
        batch.commit()
        self.committed.append(batch)
        return 0


def flusher(
    core: Core,
    names: Names,
    *,
    now_ns: int = 0,
    fill: float = 0.0,
    high_bytes: int = 10**9,
    high_inodes: int = 10**6,
) -> Flusher:
    core.now_ns = now_ns
    return Flusher(
        core,
        names,  # type: ignore[arg-type]
        FlushSettings(age_s=2.0, high_bytes=high_bytes, high_inodes=high_inodes, batch_bytes=BATCH_BYTES),
        journal_fill=lambda: fill,
        random=random.Random(1),
        monotonic_ns=lambda: core.now_ns,
    )


def test_young_data_stay_and_old_data_go() -> None:
    core, names = Core(), Names()
    core.write()
    assert not flusher(core, names, now_ns=SECOND_NS).step()
    assert flusher(core, names, now_ns=3 * SECOND_NS).step()
    assert len(names.committed) == 1
    assert core.dirty().inodes == 0


def test_what_comes_of_age_goes_together() -> None:
    """A file every 10 ms for 20 s: a batch takes more than a second of them, not each as it gets old enough."""
    core, names = Core(), Names()
    subject = flusher(core, names)
    for _ in range(2000):
        core.now_ns += SECOND_NS // 100
        core.write()
        while subject.step():
            pass
    sizes = [len(batch.lsns) for batch in names.committed]
    assert sum(sizes) >= 1700
    assert min(sizes) >= 140
    # None is left for longer than the age that was asked for.
    assert core.dirty().oldest_age_s < 2.0


def test_while_a_batch_is_under_way_the_next_one_gathers() -> None:
    core, names = Core(), Names()
    subject = flusher(core, names)
    started: list[bool] = []

    def meanwhile() -> None:
        """The other worker, at a slow PUT of 20 s: 25 new files a second do not fill a batch before that."""
        core.while_writing = lambda: None
        for _ in range(500):
            core.now_ns += SECOND_NS // 25
            core.write()
            started.append(subject.step())

    core.write()
    core.now_ns = 3 * SECOND_NS
    core.while_writing = meanwhile
    assert subject.step()
    assert started.index(True) == 499
    assert len(names.committed[0].lsns) >= BATCH_BYTES // BYTES * 9 // 10


@pytest.mark.parametrize(
    ("fill", "high_bytes", "high_inodes"), [(0.5, 10**9, 100), (0.0, 100, 100), (0.0, 10**9, 1)]
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
