"""Which backups fit together: the best chain is what a search of all finds, and what expires is what nobody can need."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from gateway.objects.backup_chain import Increment, Listing, Snapshot, best, expired, parse, reaches

lsns = st.integers(0, 12)
epochs = st.integers(1, 3)
times = st.integers(0, 20)
snapshots = st.builds(Snapshot, epochs, lsns, times, st.sampled_from(["0" * 16, "1" * 16]))
increments = st.builds(
    lambda epoch, low, step, ms: Increment(epoch, low + step, low, ms), epochs, lsns, st.integers(1, 4), times
)


def ways(snapshot: Snapshot, steps: set[Increment]) -> Iterator[tuple[int, int, int]]:
    """(Last writer's epoch, LSN, number of increments, negative) of every way from a snapshot."""
    waiting = [(snapshot.epoch, snapshot.lsn, 0)]
    while waiting:
        epoch, lsn, length = waiting.pop()
        yield epoch, lsn, length
        waiting.extend((step.epoch, step.to_lsn, length - 1) for step in steps if step.from_lsn == lsn)


@given(st.sets(snapshots, max_size=4), st.sets(increments, max_size=8))
def test_the_best_chain_ends_where_a_search_of_all_ways_ends(
    starts: set[Snapshot], steps: set[Increment]
) -> None:
    chain = best(starts, steps)
    if chain is None:
        assert not starts
        return
    at = chain.snapshot.lsn
    for step in chain.increments:
        assert step.from_lsn == at
        at = step.to_lsn
    every = [end for snapshot in starts for end in ways(snapshot, steps)]
    assert chain.rank == max(every)
    assert chain.complete_ms >= chain.snapshot.complete_ms


@given(st.sets(snapshots, max_size=4), st.sets(increments, max_size=8), lsns)
def test_reaching_an_lsn(starts: set[Snapshot], steps: set[Increment], lsn: int) -> None:
    listing = Listing(dict.fromkeys(starts, 1), dict.fromkeys(steps, 1))
    assert reaches(listing, lsn) == any(lsn == end[1] for start in starts for end in ways(start, steps))


@given(st.sets(snapshots, min_size=1, max_size=5), st.sets(increments, max_size=8), times)
def test_what_expires_is_needed_for_no_moment_since(
    starts: set[Snapshot], steps: set[Increment], kept_since_ms: int
) -> None:
    # One history, as an owner that is alone makes it: later means further.
    starts = {Snapshot(1, start.lsn, start.lsn, start.token) for start in starts}
    # And an increment ends where a snapshot begins.
    steps = {
        Increment(1, step.to_lsn, step.from_lsn, step.to_lsn)
        for step in steps
        if not any(step.from_lsn < start.lsn < step.to_lsn for start in starts)
    }
    listing = Listing(dict.fromkeys(starts, 1), dict.fromkeys(steps, 1), {start: {0: 1} for start in starts})
    plan = expired(listing, kept_since_ms=kept_since_ms, epoch=1)
    assert plan is not None
    gone = set(plan.keys)
    left_starts = {start for start in starts if start.key not in gone}
    left_steps = {step for step in steps if step.key not in gone}
    for moment in range(kept_since_ms, 25):
        before = best(
            (start for start in starts if start.complete_ms <= moment),
            (step for step in steps if step.complete_ms <= moment),
        )
        after = best(
            (start for start in left_starts if start.complete_ms <= moment),
            (step for step in left_steps if step.complete_ms <= moment),
        )
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert after.lsn == before.lsn
    assert left_starts
    assert plan.oldest_lsn == min(start.lsn for start in left_starts)
    assert all((start.part(0) in gone) == (start.key in gone) for start in starts)


def test_names_come_back_and_strangers_are_told() -> None:
    snapshot = Snapshot(3, 3 << 40 | 7, 1_800_000_000_000, "0123456789abcdef")
    step = Increment(3, 3 << 40 | 9, 3 << 40 | 7, 1_800_000_000_001)
    listing = parse(
        [
            (snapshot.key, 5),
            (snapshot.part(0), 6),
            (snapshot.part(12), 7),
            (step.key, 8),
            ("caudal/backup/x", 1),
        ]
    )
    assert listing.snapshots == {snapshot: 5}
    assert listing.parts == {snapshot: {0: 6, 12: 7}}
    assert listing.increments == {step: 8}
    assert listing.unknown == ["caudal/backup/x"]
    assert listing.bytes == 26


def test_an_owner_of_the_past_deletes_nothing() -> None:
    starts = {Snapshot(epoch, epoch, 0, "0" * 16): 1 for epoch in (1, 2, 3)}
    assert expired(Listing(starts), kept_since_ms=100, epoch=2) is None
    assert expired(Listing(), kept_since_ms=100, epoch=2) is None
    plan = expired(Listing(starts), kept_since_ms=100, epoch=3)
    assert plan is not None
    assert len(plan.keys) == 2


def test_parts_without_a_manifest_go_unless_they_are_on_their_way() -> None:
    whole, cut, mine, later = (
        Snapshot(epoch, 5, 50, f"{number:016x}") for number, epoch in enumerate((2, 2, 2, 3))
    )
    listing = Listing({whole: 1}, {}, {entry: {0: 1} for entry in (whole, cut, mine, later)})
    plan = expired(listing, kept_since_ms=10, epoch=2, writing=mine.token)
    assert plan is not None
    assert plan.keys == [cut.part(0)]
