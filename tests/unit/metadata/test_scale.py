"""What a million names cost: how much one operation looks at, how much stays in memory, what a start reads.

Counted, never timed: entries touched, rows read, entries held.
"""

import errno
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.metadata import usage
from gateway.metadata import view as view_module
from gateway.metadata.by_cookie import BLOCK, ByCookie, Dirent
from gateway.metadata.cache import InodeCache
from gateway.metadata.database import Snapshot
from gateway.metadata.directories import SHED, Directories
from gateway.metadata.errors import FsError
from gateway.metadata.namespace import Limits
from gateway.metadata.operations import base
from gateway.metadata.operations import lookup as lookup_module
from gateway.metadata.rows import InodeRow
from tests.unit.metadata.harness import FakeHarness

HUGE = 100_000


class Touched:
    """An entry that counts how often its cookie is looked at."""

    looks = 0

    def __init__(self, cookie: int) -> None:
        self._cookie = cookie

    @property
    def cookie(self) -> int:
        Touched.looks += 1
        return self._cookie


@pytest.fixture
def huge() -> Iterator[ByCookie]:
    order = ByCookie()
    for cookie in range(3, HUGE + 3):
        order.add(Touched(2 * cookie))  # type: ignore[arg-type]
    Touched.looks = 0
    yield order
    assert Touched.looks < 100, "one operation looked at a good part of a huge directory"


def test_a_page_of_a_huge_directory(huge: ByCookie) -> None:
    page = huge.after(HUGE, 128)
    Touched.looks = 0
    assert [entry.cookie for entry in page] == [HUGE + 2 * i for i in range(1, 129)]
    Touched.looks = 0


def test_an_entry_in_the_middle_of_a_huge_directory(huge: ByCookie) -> None:
    huge.add(Touched(HUGE + 1))  # type: ignore[arg-type]
    huge.discard(HUGE + 1)
    huge.discard(HUGE + 3)  # none such


def test_a_page_after_many_entries_went(huge: ByCookie) -> None:
    for cookie in range(3, HUGE - 3):
        huge.discard(2 * cookie)
    Touched.looks = 0
    assert len(huge.after(0, 128)) == 6


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=300),
    st.integers(0, 410),
    st.integers(1, 50),
)
def test_the_order_is_that_of_a_sorted_list(changes: list[tuple[bool, int]], after: int, most: int) -> None:
    order, model = ByCookie(), {}
    for add, cookie in changes:
        if add:
            model[cookie] = Dirent(b"%d" % cookie, cookie, 1, 1, 0)
            order.add(model[cookie])
        else:
            model.pop(cookie, None)
            order.discard(cookie)
    assert order.after(after, most) == [model[cookie] for cookie in sorted(model) if cookie > after][:most]
    assert len(order) == len(model)
    assert ByCookie(model.values()).after(0, 1000) == order.after(0, 1000)


def test_blocks_are_cut_and_go() -> None:
    order = ByCookie()
    cookies = list(range(10, 10 + 6 * BLOCK))
    for cookie in cookies[::-1]:
        order.add(Dirent(b"x", cookie, 1, 1, 0))
    found, after = [], 0
    while page := order.after(after, 100):
        found += [entry.cookie for entry in page]
        after = found[-1]
    assert found == cookies
    for cookie in cookies:
        order.discard(cookie)
        assert order.after(0, 1) == order.after(cookie, 1)
    assert len(order) == 0


def settled(directories: Directories, ino: int, count: int, changed: range = range(0)) -> None:
    directories.open(ino, empty=True)
    for i in range(count):
        directories.put(ino, b"f%d" % i, 3 + i, 100 + i, 1, 5)
        if i not in changed:
            directories.forget(ino, b"f%d" % i, 5)


def test_a_huge_directory_leaves_memory_by_turns() -> None:
    directories = Directories(limit=1000)
    settled(directories, 1, 20_000, changed=range(0, 20_000, 40))
    sizes = [len(directories)]
    while directories.shrink():
        sizes.append(len(directories))
    sizes.append(len(directories))
    assert max(before - after for before, after in pairwise(sizes)) <= SHED
    assert len(directories) <= 1000
    names = directories.of(1)
    assert names is not None
    assert not names.complete
    # What SQL does not have stays, in its order.
    assert {b"f%d" % i for i in range(0, 20_000, 40)} <= names.names.keys()
    page = names.after(0, 10_000)
    assert [entry.cookie for entry in page if entry.lsn] == list(range(3, 20_003, 40))
    assert names.live == len(names.names) == len(directories) - 1
    assert names.dirty == 500


def test_a_full_cache_makes_room_for_many_at_once() -> None:
    directories = Directories(limit=8 * SHED)
    settled(directories, 1, 8 * SHED)
    assert directories.full
    turns = 0
    for i in range(3 * SHED):
        directories.fill(2, [(b"g%d" % i, 3 + i, 9, 1)])
        if directories.full:
            directories.shrink()
            turns += 1
    assert turns <= 4


def test_what_changed_and_what_is_used_stays() -> None:
    directories = Directories(limit=100)
    settled(directories, 1, 60, changed=range(60))
    settled(directories, 2, 60)
    used = directories.of(1)
    assert used is not None
    directories.shrink()
    assert len(used.names) == 60
    assert used.complete
    assert len(directories) <= 100


def test_many_directories_leave_as_they_came() -> None:
    directories = Directories(limit=3000)
    for ino in range(10_000):
        settled(directories, ino, 1)
        if directories.full:
            directories.shrink()
            assert len(directories) <= 3000
    assert directories.of(0) is None
    assert directories.of(9_999) is not None


def test_inode_rows_leave_a_few_at_a_time() -> None:
    cache = InodeCache(1000, threading.RLock())  # type: ignore[arg-type]
    sizes = [0]
    for ino in range(5000):
        cache.put(InodeRow(ino, *[0] * 16))
        sizes.append(len(cache))
    assert max(sizes) <= 1000
    assert max(before - after for before, after in pairwise(sizes)) <= 1
    recent = [ino for ino in range(5000) if cache.get(ino) is not None]
    assert recent[-500:] == list(range(4500, 5000))


def test_a_huge_directory_that_is_emptied_while_it_is_listed_again(
    harness: FakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rm -rf`: each listing begins at the start, where everything has gone."""
    monkeypatch.setattr(view_module, "LOAD_NAMES_MAX", 0)
    monkeypatch.setattr(lookup_module, "LOAD_NAMES_MAX", 0)
    for i in range(600):
        harness.fs.create(1, b"f%d" % i, uid=0, gid=0)
    harness.settle()
    harness.crash()
    rows: list[int] = []
    fetch = harness.fs.view.reads._fetch

    def counted(sql, parameters):
        found = fetch(sql, parameters)
        rows.append(len(found))
        return found

    harness.fs.view.reads._fetch = counted
    gone = 0
    while page := harness.fs.readdir(1, 0, 10):
        for entry in page:
            harness.fs.unlink(1, entry.name)
        gone += len(page)
        harness.settle()
    assert gone == 600
    # Names, their inodes, and both once more for each unlink, whose page is the last to know them.
    assert sum(rows) <= 4 * gone


def test_reads_of_the_owner_use_indexes(harness: FakeHarness) -> None:
    reads = harness.fs.view.reads
    statements = [reads._dirent, reads._dirents, reads._extents, reads._pack, *reads._inodes.values()]
    connection = harness.database._connect()
    for sql in statements:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?"))]
        assert all(step.startswith("SEARCH") for step in plan), (sql, plan)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {reads._orphans}")]
    assert plan == ["SCAN inode USING INDEX inode_orphans"]
    connection.close()


def test_collections_use_indexes(harness: FakeHarness) -> None:
    plans: list[list[str]] = []
    with harness.database.reader() as connection:

        class Explaining:
            """Explains what it should execute."""

            def execute(self, statement):
                compiled = statement.compile(connection.engine, compile_kwargs={"literal_binds": True})
                found = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
                plans.append([row[3] for row in found])
                return []

            def scalars(self, statement):
                return self.execute(statement)

        usage.dead_packs(Explaining(), dead_before_s=5, upto_lsn=9, limit=10)  # type: ignore[arg-type]
        usage.live_extents(Explaining(), [1, 2], max_bytes=10)  # type: ignore[arg-type]
    assert len(plans) == 2
    assert all(step.startswith("SEARCH") for plan in plans for step in plan), plans


def test_a_start_reads_no_more_of_a_larger_tree(
    harness: FakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    fetch = Snapshot.fetch

    def counted(self, sql, parameters):
        found = fetch(self, sql, parameters)
        read.append(len(found))
        return found

    monkeypatch.setattr(Snapshot, "fetch", counted)
    seen = []
    for count in (10, 2000):
        for i in range(count):
            harness.fs.create(1, b"%d-%d" % (count, i), uid=0, gid=0)
        harness.settle()
        read.clear()
        harness.crash()
        # Orphans, which are dropped after the grace period, are the only ones that are looked for.
        assert harness.fs.orphans() == []
        seen.append(list(read))
        assert harness.fs.statfs().inodes >= count
    assert seen[0] == seen[1]


def test_orphans_are_found_wherever_they_are(harness: FakeHarness) -> None:
    old = [harness.fs.create(1, b"old%d" % i, uid=0, gid=0)[0].inode for i in range(3)]
    for i in range(3):
        harness.fs.unlink(1, b"old%d" % i, victim_open=True)
    harness.settle()
    new = harness.fs.create(1, b"new", uid=0, gid=0)[0].inode
    harness.fs.unlink(1, b"new", victim_open=True)
    harness.fs.released(old[0])
    assert harness.fs.orphans() == sorted([*old[1:], new])
    harness.settle()
    assert harness.fs.orphans() == sorted([*old[1:], new])
    assert harness.fs.drop_orphans() == 3
    assert harness.fs.orphans() == []


@pytest.fixture
def small(harness: FakeHarness, monkeypatch: pytest.MonkeyPatch) -> FakeHarness:
    """Room for 90 changed rows; replies do not wait."""
    monkeypatch.setattr(base, "CHANGED_WAIT_S", 0.0)
    harness.limits = Limits(changed=90)
    harness.settle()
    harness.crash()
    return harness


def refused(harness: FakeHarness, prefix: str) -> int:
    """Creates files until one is refused; returns how many were made."""
    for i in range(1000):
        try:
            harness.fs.create(1, f"{prefix}{i}".encode(), uid=0, gid=0)
        except FsError as error:
            if error.errno != errno.EAGAIN:
                raise
            return i
    raise AssertionError("changed rows in memory have no bound")


def test_changes_are_refused_while_the_checkpoint_is_too_far_behind(small: FakeHarness) -> None:
    orphan = small.fs.create(1, b"open", uid=0, gid=0)[0].inode
    small.fs.unlink(1, b"open", victim_open=True)
    made = refused(small, "a")
    assert 30 <= made <= 45
    assert small.fs.overlay_rows <= 93
    with pytest.raises(FsError) as caught:
        small.fs.unlink(1, b"a0")
    assert caught.value.errno == errno.EAGAIN
    # Nothing changed, and what reads, or comes but once, goes on.
    assert small.fs.lookup(1, b"a0").nlink == 1
    small.fs.released(orphan)
    assert small.fs.orphans() == []
    small.settle()
    assert small.fs.overlay_rows == 0
    assert refused(small, "b") >= 30
    assert len({entry.name for entry in small.fs.readdir(1, 0, 1000)}) > made


def test_replies_wait_for_a_checkpoint_that_is_behind(
    small: FakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CHANGED_WAIT_S", 60.0)
    i = 0
    while 2 * small.fs.overlay_rows < 90:
        small.fs.create(1, b"f%d" % i, uid=0, gid=0)
        i += 1
    reply = threading.Thread(target=small.fs.create, args=(1, b"late"), kwargs={"uid": 0, "gid": 0})
    reply.start()
    while not small.fs.view.dirent(1, b"late"):
        time.sleep(0.001)
    reply.join(0.05)
    assert reply.is_alive(), "the reply came before the checkpoint"
    small.core.wait_durable(small.core.last_lsn)
    small.fs.checkpointed(small.checkpoint())
    reply.join(20)
    assert not reply.is_alive()
