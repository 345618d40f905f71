"""The core at its edges: damaged journals, deletions in the midst of a flush, privileges, eviction, the C table."""

import ctypes
import threading
from pathlib import Path

import pytest

from gateway import _core
from tests.unit.core.harness import MIB, Files

NOT_RESIDENT = 2


def spilled(directory: Path) -> Files:
    """A file system whose file 10 has 256 KiB of dirty data that are in the journal only."""
    files = Files(directory, dirty_memory_bytes=1)
    files.create(10)
    files.core.write(10, 0, b"dirty" * 52_000, stable=True)
    for _ in range(500):
        if files.core.dirty().memory_bytes == 0:
            break
        threading.Event().wait(0.01)
    assert files.core.dirty().memory_bytes == 0
    return files


def test_journaled_data_that_were_damaged_are_never_served_nor_flushed(tmp_path: Path) -> None:
    files = spilled(tmp_path / "fs")
    assert files.core.read(10, 0, 10) == b"dirtydirty"
    for segment in (tmp_path / "fs" / "journal").rglob("*.seg"):
        raw = segment.read_bytes()
        at = raw.find(b"dirtydirty")
        if at >= 0:
            with segment.open("r+b") as file:
                file.seek(at + 1000)
                file.write(b"X")
    with pytest.raises(_core.CorruptError):
        files.core.read(10, 0, 10)
    batch = files.core.flush_take(inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=MIB)
    assert batch is not None
    with pytest.raises(_core.CorruptError):
        batch.write()
    batch.abort()
    files.core.close()


def test_a_file_deleted_before_its_journaled_data_are_flushed(tmp_path: Path) -> None:
    files = spilled(tmp_path / "fs")
    batch = files.core.flush_take(inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=MIB)
    assert batch is not None
    files.delete(10)
    for inode in range(100, 110):
        files.create(inode)
        files.core.write(inode, 0, b"y" * MIB, stable=True)
    files.core.trim(files.core.durable_lsn)
    batch.write()
    files.finish(batch)
    files.core.close()


def test_pieces_of_an_overwritten_write_come_back_from_the_journal(tmp_path: Path) -> None:
    files = spilled(tmp_path / "fs")
    expected = bytearray(b"dirty" * 52_000)
    for offset in range(1000, 200_000, 10_000):
        files.core.write(10, offset, b"NEW")
        expected[offset : offset + 3] = b"NEW"
    assert files.core.read(10, 0, MIB) == expected
    files.flush()
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, MIB) == expected
    files.core.close()


def test_privileges_that_a_write_took_stay_gone_after_a_crash(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10, mode=0o6755)
    files.create(11, mode=0o6755)
    files.core.write(10, 0, b"x", uid=1000)
    files.core.write(11, 0, b"x", uid=0)
    files = files.restart()
    modes = [found.mode for inode in (10, 11) if (found := files.core.attributes(inode))]
    assert modes == [0o755, 0o6755]
    batch = files.core.flush_take(inodes=[10], dirty_before_ns=None, upto_lsn=None, max_bytes=MIB)
    assert batch is not None
    assert batch.inodes[0].attributes.mode == 0o755
    files.core.close()


def test_what_was_evicted_comes_back_from_its_row(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", max_inodes=20)
    for inode in range(100, 400):
        files.create(inode)
        files.core.write(inode, 0, b"%d" % inode)
        if inode % 30 == 29:
            files.flush()
    gone = [inode for inode in files.rows if files.core.attributes(inode) is None]
    assert gone
    for inode in gone:
        files.load(inode)
        files.core.commit(inode)
        assert files.core.read(inode, 0, 10) == b"%d" % inode
    files.core.close()


def test_files_that_wait_for_the_flush_are_bounded(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", max_inodes=20)
    for inode in range(100, 140):
        files.create(inode)
        files.core.write(inode, 0, b"x")
    for inode in (140, 141):
        files.create(inode)
    with pytest.raises(_core.Busy, match="wait for the flush"):
        files.core.set_data_attributes(140, mtime_ns=5, ctime_ns=5)
    done: list[int] = []
    writer = threading.Thread(target=lambda: done.append(files.core.write(140, 0, b"late")))
    writer.start()
    # What is dirty already takes no further place; names are no business of this.
    files.core.write(100, 1, b"y")
    assert files.core.read(100, 0, 10) == b"xy"
    files.create(142)
    writer.join(0.1)
    assert writer.is_alive(), "a write to a further file did not wait"
    files.flush()
    writer.join(30)
    assert len(done) == 1
    files.core.set_data_attributes(141, mtime_ns=5, ctime_ns=5)
    files = files.restart()
    assert files.core.read(140, 0, 10) == b"late"
    files.core.close()


def test_many_threads_share_group_commits(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    for inode in range(10, 18):
        files.create(inode)

    def work(inode: int) -> None:
        for round_ in range(20):
            files.core.write(inode, round_ * 10, b"0123456789", stable=round_ % 2 == 0)
            files.core.commit(inode)

    threads = [threading.Thread(target=work, args=(inode,)) for inode in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(files.core.read(inode, 0, 999) == b"0123456789" * 20 for inode in range(10, 18))
    journal = files.core.stats()["journal"]
    assert isinstance(journal, dict)
    assert journal["commits"] < 8 * 20
    assert [mirror["state"] for mirror in journal["mirrors"]] == ["healthy"]
    files.core.close()


class Table(ctypes.Structure):
    """struct pyganesha_io, as far as the tests call it."""

    _fields_ = (
        ("abi", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("core", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", ctypes.c_void_p),
        ("commit", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)),
        (
            "getattributes",
            ctypes.CFUNCTYPE(
                ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p
            ),
        ),
        ("seek_allocate_deallocate_will_need", ctypes.c_void_p * 4),
        ("begin", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("settle", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)),
        ("caller", ctypes.c_void_p),
    )


def test_the_capsule_holds_the_table_and_the_core(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10, size=0, btime_ns=77)
    capsule = files.core.io_capsule()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    table = Table.from_address(pointer(capsule, b"pyganesha.io"))
    del files
    assert (table.abi, table.size) == (4, ctypes.sizeof(Table))
    out = (ctypes.c_uint64 * 13)()
    assert table.getattributes(table.core, 10, 1, out) == 0
    assert (out[0], out[1], out[8]) == (10, 1, 77)
    assert table.getattributes(table.core, 11, 1, out) == NOT_RESIDENT
    assert table.commit(table.core, 10, 1) == 0
    assert table.commit(table.core, 10, 2) < 0


def test_an_operation_of_the_server_waits_when_it_settles(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    core = files.core
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    capsule = core.io_capsule()
    table = Table.from_address(pointer(capsule, b"pyganesha.io"))

    def append() -> int:
        core.reserve(100)
        return core.append_rows(b"rows")

    table.begin(table.core)
    lsn = append()
    core.wait_durable(lsn)
    assert table.settle(table.core) == 0
    assert core.durable_lsn >= lsn
    # What can never become durable tells who waits: here the operation's end, elsewhere the call.
    table.begin(table.core)
    core.wait_durable(append() + 1)
    assert table.settle(table.core) < 0
    with pytest.raises(_core.CoreError):
        core.wait_durable(append() + 1)
    core.close()
