"""Listing directories: pages, changes between pages, and how much is read for them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metadata import view as view_module
from gateway.metadata.attributes import SetAttributes
from gateway.metadata.namespace import Limits
from gateway.metadata.operations import lookup as lookup_module
from tests.unit.metadata.harness import FakeHarness

Names = set[bytes]


def fill(harness: FakeHarness, count: int, prefix: bytes = b"f") -> None:
    for i in range(count):
        harness.fs.create(1, b"%s%d" % (prefix, i), uid=0, gid=0)


def cold(harness: FakeHarness) -> None:
    """Everything into SQL, and out of memory."""
    harness.settle()
    harness.crash()


class Listing:
    """A client in the middle of a listing."""

    def __init__(self, harness: FakeHarness) -> None:
        self.harness = harness
        self.after = 0
        self.names: list[bytes] = []
        self.ended = False

    def page(self, limit: int) -> None:
        page = self.harness.fs.readdir(1, self.after, limit)
        self.names += [entry.name for entry in page]
        self.ended = len(page) < limit
        if page:
            self.after = page[-1].cookie

    def rest(self) -> list[bytes]:
        while not self.ended:
            self.page(7)
        return self.names


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "unlink", "rename", "replace", "page", "checkpoint", "forget"]),
        st.integers(0, 30),
    ),
    max_size=40,
)


class Changes:
    """Changes of the root between pages, and what a listing must and may show afterwards."""

    def __init__(self, harness: FakeHarness, count: int) -> None:
        self.harness = harness
        self.names = [b"f%d" % i for i in range(count)]
        self.all: Names = set(self.names)
        self.stay: Names = set(self.names)  # there from before the listing to its end
        self.made = 0

    def take(self, step: str, number: int) -> None:
        fs = self.harness.fs
        self.made += 1
        new = b"new%d" % self.made
        name = self.names[number % len(self.names)]
        if step == "create":
            fs.create(1, new, uid=0, gid=0)
            self.names.append(new)
        elif step == "unlink" and len(self.names) > 1:
            fs.unlink(1, name)
            self._gone(name)
        elif step == "rename":
            # Half of the time to a name that was there before, which is another entry then.
            free = sorted(self.all - set(self.names))
            new = free[number % len(free)] if free and number % 2 else new
            fs.rename(1, name, 1, new)
            self._gone(name)
            self.names.append(new)
            self.all.add(new)
        elif step == "replace":
            # A name that is replaced is there all the while, and is listed once like the others.
            other = self.names[(number + 1) % len(self.names)]
            if other != name:
                fs.rename(1, other, 1, name)
                self._gone(other)
        elif step == "checkpoint":
            self.harness.checkpoint(number)
        elif step == "forget":
            fs.checkpointed(self.harness.steward.checkpoint_lsn)

    def _gone(self, name: bytes) -> None:
        self.names.remove(name)
        self.stay.discard(name)


@pytest.mark.parametrize("memory", ["complete", "cold", "cold and huge"])
def test_what_stays_is_listed_once_whatever_changes_meanwhile(
    memory: str, harness: FakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    if memory == "cold and huge":
        monkeypatch.setattr(view_module, "LOAD_NAMES_MAX", 0)
        monkeypatch.setattr(lookup_module, "LOAD_NAMES_MAX", 0)

    @settings(max_examples=30, deadline=None)
    @given(STEPS)
    def check(steps: list[tuple[str, int]]) -> None:
        for entry in harness.fs.readdir(1, 0, 1000):
            harness.fs.unlink(1, entry.name)
        fill(harness, 20)
        if memory != "complete":
            cold(harness)
        changes, listing = Changes(harness, 20), Listing(harness)
        for step, number in steps:
            if step != "page":
                changes.take(step, number)
            elif not listing.ended:
                listing.page(number % 4 + 1)
        found = listing.rest()
        assert all(found.count(name) == 1 for name in changes.stay)
        assert changes.stay <= set(found)
        assert sorted(Listing(harness).rest()) == sorted(changes.names)

    check()


def test_attributes_come_with_the_page_from_one_query(harness: FakeHarness) -> None:
    fill(harness, 100)
    cold(harness)
    queries = count_queries(harness)
    page = harness.fs.readdir(1, 0, 64)
    assert [entry.attributes.inode for entry in page] == [harness.fs.lookup(1, e.name).inode for e in page]
    # Names, then inodes; afterwards everything is in memory.
    assert len(queries) == 2


def test_a_huge_directory_is_read_in_pages_only(
    harness: FakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "LOAD_NAMES_MAX", 50)
    monkeypatch.setattr(lookup_module, "LOAD_NAMES_MAX", 50)
    fill(harness, 300)
    cold(harness)
    rows = count_rows(harness)
    page = harness.fs.readdir(1, 0, 10)
    page += harness.fs.readdir(1, page[-1].cookie, 10)
    assert [entry.name for entry in page] == [b"f%d" % i for i in range(20)]
    assert sum(rows) <= 41
    assert len(harness.fs.view.directories) <= 2, (
        "a listing must not fill memory with a huge directory's names"
    )


def test_removed_names_that_sql_still_has_leave_no_gap(harness: FakeHarness) -> None:
    fill(harness, 60)
    cold(harness)
    for i in range(3, 57):
        harness.fs.unlink(1, b"f%d" % i)
    names = [entry.name for entry in harness.fs.readdir(1, 0, 5)]
    assert names == [b"f0", b"f1", b"f2", b"f57", b"f58"]


def test_free_names_of_a_known_directory_need_no_sql(harness: FakeHarness) -> None:
    directory = harness.fs.mkdir(1, b"d", uid=0, gid=0).inode
    queries = count_queries(harness)
    for i in range(10):
        harness.fs.create(directory, b"f%d" % i, SetAttributes(mode=0o600), uid=0, gid=0)
    harness.settle()
    assert harness.fs.lookup(directory, b"f3").size == 0
    for i in range(10):
        harness.fs.create(directory, b"g%d" % i, uid=0, gid=0)
        assert harness.fs.load(harness.fs.lookup(directory, b"g%d" % i).inode)
    assert queries == []


def test_a_small_cold_directory_is_read_whole_when_it_is_asked_much(harness: FakeHarness) -> None:
    fill(harness, 30)
    cold(harness)
    queries = count_queries(harness)
    for i in range(100):
        harness.fs.create(1, b"g%d" % i, uid=0, gid=0)
    assert len(queries) <= 10


def test_memory_is_bounded(harness: FakeHarness) -> None:
    harness.limits = Limits(inodes=50, names=80)
    cold(harness)
    for d in range(10):
        directory = harness.fs.mkdir(1, b"d%d" % d, uid=0, gid=0).inode
        for i in range(30):
            harness.fs.create(directory, b"f%d" % i, uid=0, gid=0)
        harness.settle()
        assert len(harness.fs.view.cache) <= 50
        assert len(harness.fs.view.directories) <= 80
        assert harness.fs.overlay_rows == 0
    for d in range(10):
        directory = harness.fs.lookup(1, b"d%d" % d).inode
        assert len(harness.fs.readdir(directory, 0, 100)) == 30


def count_queries(harness: FakeHarness) -> list[str]:
    queries: list[str] = []
    fetch = harness.fs.view.reads._fetch

    def counted(sql, parameters):
        queries.append(sql)
        return fetch(sql, parameters)

    harness.fs.view.reads._fetch = counted
    return queries


def count_rows(harness: FakeHarness) -> list[int]:
    rows: list[int] = []
    fetch = harness.fs.view.reads._fetch

    def counted(sql, parameters):
        found = fetch(sql, parameters)
        rows.append(len(found))
        return found

    harness.fs.view.reads._fetch = counted
    return rows
