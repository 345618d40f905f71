"""The core's data path: write, read, flush, cold read, truncate, punch, attributes, errors."""

import errno
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import _core
from tests.unit.core.harness import MIB, Files, attributes, build


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path / "fs")
    yield files
    files.core.close()


def test_what_is_written_is_read_warm_flushed_and_cold(files: Files) -> None:
    data = random.Random(1).randbytes(3 * MIB + 17)
    files.create(10)
    files.core.write(10, 0, data)
    assert files.core.read(10, 0, 4 * MIB) == data
    assert files.flush() == 1
    assert files.core.dirty() == (0, 0, 0, 0.0, 0)
    assert files.core.read(10, 1000, 100) == data[1000:1100]
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, 4 * MIB) == data
    found = files.core.attributes(10)
    assert found is not None
    assert (found.size, found.space_used) == (len(data), len(data))


def test_overwrites_holes_and_truncates_show_at_once(files: Files) -> None:
    files.create(10)
    files.core.write(10, 100, b"a" * 100)
    files.core.write(10, 150, b"b" * 10)
    files.flush()
    files.core.write(10, 120, b"c" * 5)
    files.core.deallocate(10, 180, 10)
    expected = bytearray(200)
    expected[100:200] = b"a" * 100
    expected[150:160] = b"b" * 10
    expected[120:125] = b"c" * 5
    expected[180:190] = bytes(10)
    assert files.core.read(10, 0, 999) == expected
    files.core.set_data_attributes(10, size=130, ctime_ns=8)
    files.core.set_data_attributes(10, size=200, ctime_ns=9)
    assert files.core.read(10, 0, 999) == bytes(expected[:130]) + bytes(70)
    files.flush()
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, 999) == bytes(expected[:130]) + bytes(70)
    files.core.set_data_attributes(10, size=0, ctime_ns=9)
    files.flush()
    assert files.core.extents(10) == []


def test_many_small_files_share_a_pack(files: Files) -> None:
    for inode in range(10, 60):
        files.create(inode)
        files.core.write(inode, 0, b"%d" % inode)
    assert files.flush() == 1
    assert len(files.core.list_packs()) == 1
    files.core.cache_drop(True, True)
    for inode in range(10, 60):
        assert files.core.read(inode, 0, 10) == b"%d" % inode


def test_a_large_file_is_flushed_in_parts_and_packs(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", pack_bytes=MIB)
    data = random.Random(2).randbytes(5 * MIB)
    files.create(10)
    for offset in range(0, len(data), 100_000):
        files.core.write(10, offset, data[offset : offset + 100_000])
    batch = files.core.flush_take(inodes=[10], dirty_before_ns=None, upto_lsn=None, max_bytes=2 * MIB)
    assert batch is not None
    assert 2 * MIB <= batch.bytes < 3 * MIB
    batch.write()
    assert len(batch.packs) == 3
    assert sum(live for _, _, live in batch.packs) == batch.bytes
    assert files.core.flush_take(inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=MIB) is None
    files.core.write(10, 50, b"newer")
    files.finish(batch)
    data = data[:50] + b"newer" + data[55:]
    assert files.core.read(10, 0, 9 * MIB) == data
    files.flush()
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, 9 * MIB) == data
    files.core.close()


def test_dirty_data_above_the_limit_are_read_back_from_the_journal(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", dirty_memory_bytes=MIB)
    data = random.Random(3).randbytes(4 * MIB)
    files.create(10)
    for offset in range(0, len(data), MIB // 2):
        files.core.write(10, offset, data[offset : offset + MIB // 2])
    deadline_s = time.monotonic() + 5
    while files.core.dirty().memory_bytes > MIB and time.monotonic() < deadline_s:
        time.sleep(0.01)
    summary = files.core.dirty()
    assert summary.bytes == 4 * MIB
    assert summary.memory_bytes <= MIB
    assert files.core.read(10, 12345, 3 * MIB) == data[12345 : 12345 + 3 * MIB]
    files.flush()
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, 4 * MIB) == data
    files.core.close()


def test_flush_conditions(files: Files) -> None:
    files.create(10)
    files.create(11)
    first = files.core.write(10, 0, b"x")
    files.core.write(11, 0, b"y")
    take = {"inodes": None, "dirty_before_ns": None, "upto_lsn": None, "max_bytes": MIB}
    assert files.core.flush_take(**(take | {"dirty_before_ns": time.monotonic_ns() - 60_000_000_000})) is None
    batch = files.core.flush_take(**(take | {"upto_lsn": first}))
    assert batch is not None
    assert [f.inode for f in batch.inodes] == [10]
    batch.abort()
    batch.abort()
    batch = files.core.flush_take(**(take | {"inodes": [11, 99]}))
    assert batch is not None
    assert [f.inode for f in batch.inodes] == [11]
    with pytest.raises(_core.CoreError):
        batch.commit(1)
    del batch
    batch = files.core.flush_take(**take)
    assert batch is not None
    assert [f.inode for f in batch.inodes] == [10, 11]


def test_a_file_deleted_while_it_is_flushed(files: Files) -> None:
    files.create(10)
    files.create(11)
    files.core.write(10, 0, b"gone")
    files.core.write(11, 0, b"here")
    batch = files.core.flush_take(inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=MIB)
    assert batch is not None
    batch.write()
    files.delete(10)
    files.finish(batch)
    with pytest.raises(_core.NotResident):
        files.core.read(10, 0, 1)
    assert files.core.dirty().inodes == 0
    assert files.core.read(11, 0, 10) == b"here"


def test_relocation_moves_only_what_still_lies_there(files: Files) -> None:
    files.create(10)
    files.core.write(10, 0, b"a" * 1000)
    files.flush()
    [(offset, length, pack, pack_offset)] = files.core.extents(10) or []
    files.core.write(10, 100, b"b" * 10)
    files.flush()
    files.core.write(10, 200, b"c" * 10)
    batch = files.core.relocate([(10, offset, length, pack, pack_offset), (99, 0, 1, pack, 0)], 10 * MIB)
    assert batch is not None
    assert batch.bytes == 990
    batch.write()
    files.finish(batch)
    assert pack not in {e[2] for e in files.core.extents(10) or []}
    expected = b"a" * 100 + b"b" * 10 + b"a" * 90 + b"c" * 10 + b"a" * 790
    assert files.core.read(10, 0, 2000) == expected
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, 2000) == expected
    files.core.delete_pack(pack)
    assert pack not in [one for one, _, _ in files.core.list_packs()]
    assert files.core.dirty().bytes == 10


def test_attributes_follow_the_data(files: Files) -> None:
    files.create(10, mode=0o6755, uid=5, ctime_ns=3)
    lsn = files.core.write(10, 0, b"x" * 10, uid=1000)
    found = files.core.attributes(10)
    assert found is not None
    assert (found.mode, found.size, found.change) == (0o755, 10, lsn)
    assert found.mtime_ns == found.ctime_ns > 3
    assert files.core.update_names(10, mode=0o600, uid=7, gid=8, nlink=2, ctime_ns=4, lsn=1)
    renamed = files.core.attributes(10)
    assert renamed is not None
    assert (renamed.mode, renamed.uid, renamed.gid, renamed.nlink) == (0o600, 7, 8, 2)
    assert (renamed.ctime_ns, renamed.change) == (found.ctime_ns, lsn)
    lsn = files.core.set_data_attributes(10, atime_ns=11, mtime_ns=12, ctime_ns=found.ctime_ns + 1)
    after = files.core.attributes(10)
    assert after is not None
    assert (after.atime_ns, after.mtime_ns, after.change) == (11, 12, lsn)
    files.core.read(10, 0, 1)
    read = files.core.attributes(10)
    assert read is not None
    assert read.atime_ns > after.ctime_ns
    assert read.change == after.change


def test_what_is_not_resident_says_so(files: Files) -> None:
    for call in (
        lambda: files.core.read(5, 0, 1),
        lambda: files.core.write(5, 0, b"x"),
        lambda: files.core.commit(5),
        lambda: files.core.seek(5, 0, hole=True),
        lambda: files.core.allocate(5, 0, 1),
        lambda: files.core.deallocate(5, 0, 1),
        lambda: files.core.will_need(5, 0, 1),
    ):
        with pytest.raises(_core.NotResident):
            call()
    assert files.core.attributes(5) is None
    assert files.core.extents(5) is None
    assert files.core.set_data_attributes(5, size=1, ctime_ns=1) is None
    assert not files.core.update_names(5, mode=1, uid=1, gid=1, nlink=1, ctime_ns=1, lsn=1)
    files.core.forget(5)


def test_limits(files: Files) -> None:
    files.create(10)
    with pytest.raises(OSError, match="largest size") as caught:
        files.core.write(10, 2**63 - 5, b"123456")
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="largest size"):
        files.core.set_data_attributes(10, size=2**63, ctime_ns=1)
    files.core.write(10, 2**63 - 7, b"123456")
    assert files.core.read(10, 2**63 - 7, 100) == b"123456"
    assert files.core.read(10, 2**63 - 1, 100) == b""
    files.flush()
    assert files.core.read(10, 2**63 - 10, 100) == b"\0\0\x00123456"
    with pytest.raises(ValueError, match="overlap"):
        files.core.activate(attributes(77), [(0, 10, 1, 0), (5, 10, 1, 0)])


def test_clean_inodes_are_evicted_and_dirty_ones_stay(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", max_inodes=50)
    files.create(10)
    files.core.write(10, 0, b"dirty")
    for inode in range(100, 400):
        files.create(inode)
    resident = [inode for inode in files.rows if files.core.attributes(inode) is not None]
    assert 10 in resident
    assert len(resident) < 150
    files.core.close()


def test_a_full_journal_says_busy_until_it_is_trimmed(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", journal_limit_bytes=12 * MIB)
    files.create(10)
    done: list[int] = []

    def fill() -> None:
        for offset in range(0, 24 * MIB, MIB):
            files.core.write(10, offset, b"x" * MIB)
            done.append(offset)

    writer = threading.Thread(target=fill)
    writer.start()
    deadline_s = time.monotonic() + 8
    seen_busy = False
    while not seen_busy and time.monotonic() < deadline_s:
        try:
            files.core.reserve(4 * MIB)
            files.core.release()
            time.sleep(0.01)
        except _core.Busy:
            seen_busy = True
    assert seen_busy
    while writer.is_alive() and time.monotonic() < deadline_s:
        while batch := files.core.flush_take(
            inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=64 * MIB
        ):
            batch.write()
            files.rows[10] = (list(batch.inodes[0].attributes), files.rows[10][1])
            lsn = files.core.append_rows(b'{"flushed": []}')
            batch.commit(lsn)
            files.core.wait_durable(lsn)
        files.core.trim(files.core.durable_lsn)
        time.sleep(0.01)
    writer.join()
    assert len(done) == 24
    files.core.close()


def test_wait_slots_are_bounded(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", wait_slots=1)
    files.core.reserve(100)
    files.core.reserve(100)
    failed: list[Exception] = []

    def other() -> None:
        try:
            files.core.reserve(100)
        except _core.Busy as error:
            failed.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(failed) == 1
    files.core.release()
    files.core.reserve(100)
    files.core.wait_durable(files.core.append_rows(b"{}"))
    files.core.reserve(100)
    files.core.close()


def test_a_core_out_of_turn(tmp_path: Path) -> None:
    core = build(tmp_path, epoch=1)
    with pytest.raises(_core.CoreError):
        core.start()
    with pytest.raises(_core.CoreError):
        core.append_rows(b"x")
    core.replay(from_lsn=0, on_rows=lambda *_: [], load=lambda _: None)
    with pytest.raises(_core.CoreError):
        core.replay(from_lsn=0, on_rows=lambda *_: [], load=lambda _: None)
    core.start()
    core.close()
    core.close()
    with pytest.raises(_core.CoreError):
        core.append_rows(b"x")
    with pytest.raises(ValueError, match="16 bytes"):
        build(tmp_path, epoch=2, fs_id=b"x")
    with pytest.raises(ValueError, match="epoch"):
        build(tmp_path, epoch=0)


def test_statistics_are_plain(files: Files) -> None:
    files.create(10)
    files.core.write(10, 0, b"x", stable=True)
    files.core.commit(10)
    files.core.read(10, 0, 1)
    stats = files.core.stats()
    io = stats["io"]
    assert isinstance(io, dict)
    assert (io["reads"], io["writes"], io["commits"]) == (1, 1, 1)
    assert set(stats) == {"cache", "store", "objects", "journal", "dirty", "io", "inodes"}
