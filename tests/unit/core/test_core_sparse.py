"""Sparse files: holes and where they are, space asked for in advance, and any mixture of it all against a plain array."""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import _core
from tests.unit.core.harness import MIB, Files

INODE = 10
SPACE = 60_000


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path / "fs")
    files.create(INODE)
    yield files
    files.core.close()


def layout(files: Files) -> list[tuple[int, int]]:
    """The ranges that hold data, found by seeking alone."""
    found: list[tuple[int, int]] = []
    attributes = files.core.attributes(INODE)
    assert attributes is not None
    at = 0
    while at < attributes.size:
        start = files.core.seek(INODE, at, hole=False)
        if start is None:
            break
        end = files.core.seek(INODE, start, hole=True)
        assert end is not None
        assert end > start >= at
        found.append((start, end))
        at = end
    return found


def size_and_space(files: Files) -> tuple[int, int]:
    attributes = files.core.attributes(INODE)
    assert attributes is not None
    return attributes.size, attributes.space_used


def refused(call: object, *arguments: object) -> int | None:
    assert callable(call)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is the answer
        call(*arguments)
    return caught.value.errno


def test_where_data_are_dirty_flushed_and_both(files: Files) -> None:
    core = files.core
    core.write(INODE, 100, b"a" * 100)
    core.write(INODE, 1000, bytes(50))  # zeros that were written are data
    assert layout(files) == [(100, 200), (1000, 1050)]
    files.flush()
    assert layout(files) == [(100, 200), (1000, 1050)]
    core.write(INODE, 200, b"b" * 100)
    core.deallocate(INODE, 120, 10)
    assert layout(files) == [(100, 120), (130, 300), (1000, 1050)]
    assert core.seek(INODE, 250, hole=False) == 250
    assert core.seek(INODE, 1049, hole=True) == 1050
    assert core.seek(INODE, 300, hole=True) == 300
    files.flush()
    assert layout(files) == [(100, 120), (130, 300), (1000, 1050)]
    core.set_data_attributes(INODE, size=2000, ctime_ns=1)
    assert core.seek(INODE, 1050, hole=False) is None
    assert core.seek(INODE, 1050, hole=True) == 1050
    for hole in (False, True):
        with pytest.raises(OSError, match="end of the file") as caught:
            core.seek(INODE, 2000, hole=hole)
        assert caught.value.errno == errno.ENXIO


def test_a_long_run_of_extents_is_gone_over_to_its_end(files: Files) -> None:
    """More pieces than a seek looks at in one turn, first dirty, then flushed."""
    pieces = 6000
    for number in reversed(range(pieces)):
        files.core.write(INODE, number * 7, b"%07d" % number)
    assert layout(files) == [(0, pieces * 7)]
    files.flush()
    extents = files.core.extents(INODE)
    assert extents is not None
    assert layout(files) == [(0, pieces * 7)]
    files.core.deallocate(INODE, pieces * 7 - 1, 1)
    assert files.core.seek(INODE, 0, hole=True) == pieces * 7 - 1


def test_deallocate_frees_and_keeps_the_size(files: Files) -> None:
    core = files.core
    core.write(INODE, 0, b"x" * 1000)
    files.flush()
    core.deallocate(INODE, 900, 2**63)
    assert size_and_space(files) == (1000, 900)
    assert core.read(INODE, 890, 200) == b"x" * 10 + bytes(100)
    core.deallocate(INODE, 5000, 10)
    core.deallocate(INODE, 0, 1000)
    assert size_and_space(files) == (1000, 0)
    assert layout(files) == []
    files.flush()
    assert core.extents(INODE) == []
    assert size_and_space(files) == (1000, 0)


def test_allocate_grows_and_gives_no_data(files: Files) -> None:
    core = files.core
    core.write(INODE, 0, b"x" * 100)
    core.set_data_attributes(INODE, size=50, ctime_ns=1)
    core.allocate(INODE, 20, 1000)
    assert size_and_space(files) == (1020, 50)
    assert core.read(INODE, 0, 2000) == b"x" * 50 + bytes(970)
    core.allocate(INODE, 10, 10)
    assert size_and_space(files) == (1020, 50)
    files.flush()
    assert layout(files) == [(0, 50)]


def test_allocate_is_refused_where_it_belongs(files: Files) -> None:
    core = files.core
    disk = os.statvfs(files.directory)
    more_than_there_is = disk.f_bavail * disk.f_frsize + (1 << 40)
    before = core.attributes(INODE)
    assert refused(core.allocate, INODE, 2**63 - 10, 11) == errno.EFBIG
    assert refused(core.allocate, INODE, 2**63, 2**63) == errno.EFBIG
    assert refused(core.allocate, INODE, 0, more_than_there_is) == errno.ENOSPC
    assert core.attributes(INODE) == before
    assert core.dirty().inodes == 0
    # What the file has already needs no more room, and far away is not much.
    core.allocate(INODE, more_than_there_is, 100)
    assert size_and_space(files) == (more_than_there_is + 100, 0)


def test_both_are_durable_when_they_return(files: Files) -> None:
    core = files.core
    core.write(INODE, 0, b"x" * 100)
    for change in (core.allocate, core.deallocate):
        assert change(INODE, 50, 100) <= core.durable_lsn


def fill_journal(files: Files) -> None:
    """Reserves what is left, so that not even a small record fits."""
    fits, too_much = 0, 64 * MIB
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        try:
            files.core.reserve(middle)
            fits = middle
        except _core.Busy:
            too_much = middle
    files.core.reserve(fits)


def test_a_full_journal_changes_nothing(files: Files) -> None:
    core = files.core
    core.write(INODE, 0, b"x" * 100)
    fill_journal(files)
    before = core.attributes(INODE)
    for change in (core.allocate, core.deallocate):
        with pytest.raises(_core.Busy):
            change(INODE, 0, 200)
    assert core.attributes(INODE) == before
    core.release()
    core.deallocate(INODE, 0, 100)


def prefetched(files: Files) -> int:
    blocks = files.core.stats()["cache"]
    assert isinstance(blocks, dict)
    return blocks["prefetched_blocks"]


def test_what_will_be_needed_is_fetched(files: Files) -> None:
    data = os.urandom(3 * MIB)
    files.core.write(INODE, 0, data)
    files.flush()
    files.core.cache_drop(True, True)
    files.core.will_need(INODE, MIB, 100_000)
    few = prefetched(files)
    assert 1 <= few <= 2
    files.core.will_need(INODE, 0, 0)
    assert prefetched(files) >= 12
    deadline = time.monotonic() + 10
    while l1_blocks(files) < 12:
        assert time.monotonic() < deadline, "the blocks do not come"
        time.sleep(0.01)
    files.core.will_need(INODE, 10 * MIB, 5)
    files.core.will_need(INODE, 2**64 - 1, 2**64 - 1)


def l1_blocks(files: Files) -> int:
    cache = files.core.stats()["cache"]
    assert isinstance(cache, dict)
    return cache["l1"]["bytes"] // (256 * 1024 - 4096)


class Model:
    """A file as two arrays: its bytes, and which of them were written."""

    def __init__(self) -> None:
        self.data, self.written = bytearray(), bytearray()

    def grow(self, size: int) -> None:
        for array in (self.data, self.written):
            array.extend(bytes(max(0, size - len(array))))

    def set(self, offset: int, length: int, fill: int, written: int) -> None:
        end = min(offset + length, len(self.data))
        if offset < end:
            self.data[offset:end] = bytes([fill]) * (end - offset)
            self.written[offset:end] = bytes([written]) * (end - offset)

    def truncate(self, size: int) -> None:
        del self.data[size:], self.written[size:]
        self.grow(size)

    def layout(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        at = self.written.find(1)
        while at >= 0:
            end = self.written.find(0, at)
            end = len(self.written) if end < 0 else end
            found.append((at, end))
            at = self.written.find(1, end)
        return found


def same(files: Files, model: Model) -> None:
    assert files.core.read(INODE, 0, 2 * SPACE) == model.data
    assert size_and_space(files) == (len(model.data), model.written.count(1))
    assert layout(files) == model.layout()


OPERATIONS = st.sampled_from(
    ["write", "write", "write", "truncate", "deallocate", "deallocate", "allocate", "flush", "some", "drop",
     "checkpoint", "restart", "crash"]
)  # fmt: skip
STEPS = st.lists(
    st.tuples(OPERATIONS, st.integers(0, SPACE), st.integers(1, SPACE // 3)), min_size=1, max_size=30
)


def step(files: Files, model: Model, name: str, offset: int, length: int, number: int) -> Files:
    core = files.core
    if name == "write":
        fill = number % 255 + 1
        core.write(INODE, offset, bytes([fill]) * length)
        model.grow(offset + length)
        model.set(offset, length, fill, 1)
    elif name == "truncate":
        core.set_data_attributes(INODE, size=offset, ctime_ns=number)
        model.truncate(offset)
    elif name == "deallocate":
        core.deallocate(INODE, offset, length)
        model.set(offset, length, 0, 0)
    elif name == "allocate":
        core.allocate(INODE, offset, length)
        model.grow(offset + length)
    elif name == "drop":
        core.cache_drop(True, True)
    elif name == "checkpoint":
        files.checkpoint()
    elif name in {"flush", "some"}:
        files.flush(**({} if name == "flush" else {"max_bytes": length}))
    else:
        if name == "crash":
            core.wait_durable(core.last_lsn)
            crashed = files.directory.with_name(f"fs{number}")
            shutil.copytree(files.directory, crashed)
            files.directory = crashed
        files = files.restart()
        files.load(INODE)
    return files


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_mixture_reads_and_seeks_as_an_array(steps: list[tuple[str, int, int]]) -> None:
    """As fsx, with crashes: the journal and the store are taken as they are at a moment, and opened again."""
    with tempfile.TemporaryDirectory() as directory:
        files = Files(Path(directory) / "fs", segment_bytes=MIB // 4, dirty_memory_bytes=SPACE // 2)
        files.create(INODE)
        model = Model()
        try:
            for number, (name, offset, length) in enumerate(steps):
                files = step(files, model, name, offset, length, number)
                same(files, model)
            files.flush()
            files.core.cache_drop(True, True)
            same(files, model)
        finally:
            files.core.close()
