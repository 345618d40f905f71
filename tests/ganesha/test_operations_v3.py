"""Every operation of NFS 3, through libnfs against a running server."""

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator

import pytest

from tests.support.caudal import Caudal
from tests.support.nfs3 import Nfs3

KIB, MIB = 1 << 10, 1 << 20
FAR = 1 << 40
_numbers = itertools.count()


@pytest.fixture
def nfs(shared: Caudal) -> Iterator[Nfs3]:
    with shared.connect() as client:
        yield client


@pytest.fixture
def home(nfs: Nfs3) -> str:
    """A directory for the test."""
    path = f"/{next(_numbers)}"
    nfs.mkdir(path)
    return path


def pattern(length: int, seed: int = 0) -> bytes:
    """Bytes that tell where they belong: each 8 of them hold the seed and their offset."""
    words = range(0, length + 7, 8)
    return b"".join(((seed & 0x7FFF) << 48 | at).to_bytes(8, "big") for at in words)[:length]


def refused(number: int, what: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is compared below
        what()
    assert caught.value.errno == number, caught.value


def test_the_export_starts_empty_and_shows_nothing_of_ours(caudal: Callable[..., Caudal]) -> None:
    with caudal() as server, server.connect() as nfs:
        assert nfs.readdir("/") == []
        root = nfs.stat("/")
        assert stat.S_ISDIR(root.mode)
        assert root.nlink == 2


def test_space_is_stated(nfs: Nfs3) -> None:
    space = nfs.space()
    assert space.total_bytes >= space.free_bytes > 0
    assert space.total_files >= space.free_files > 0


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 262_136, 262_137, 3 * MIB + 17])
def test_a_file_reads_as_written(nfs: Nfs3, home: str, length: int) -> None:
    data = pattern(length, seed=length)
    nfs.write_file(f"{home}/f", data)
    assert nfs.read_file(f"{home}/f") == data
    assert nfs.stat(f"{home}/f").size == length


def test_a_file_reads_as_written_from_the_store(shared: Caudal, nfs: Nfs3, home: str) -> None:
    data = pattern(12 * MIB + 5)
    nfs.write_file(f"{home}/f", data)
    shared.flush()
    assert shared.status()["flush"]["dirty_bytes"] == 0
    shared.cli("cache", "drop")
    before = shared.status()["objects"]["gets"]
    assert nfs.read_file(f"{home}/f") == data
    assert shared.status()["objects"]["gets"] > before


def test_overwriting_parts_between_flushes(shared: Caudal, nfs: Nfs3, home: str) -> None:
    content = bytearray(pattern(2 * MIB))
    nfs.write_file(f"{home}/f", bytes(content))
    with nfs.open(f"{home}/f", os.O_RDWR) as file:
        for round_, offset in enumerate([0, 1, 4097, 262_136 - 3, MIB - 1, 2 * MIB - 10, 2 * MIB + 100]):
            piece = pattern(5000, seed=round_ + 1)
            content.extend(bytes(max(0, offset + len(piece) - len(content))))
            content[offset : offset + len(piece)] = piece
            file.pwrite(piece, offset)
            file.fsync()
            if round_ % 2:
                shared.flush()
            assert file.pread(len(content), 0) == content


def test_unwritten_ranges_read_as_zeros(nfs: Nfs3, home: str) -> None:
    with nfs.open(f"{home}/f", os.O_CREAT | os.O_RDWR) as file:
        file.pwrite(b"end", FAR)
        file.fsync()
        assert file.stat().size == FAR + 3
        assert file.pread(10, FAR - 7) == bytes(7) + b"end"
        assert file.pread(100, 12345) == bytes(100)
        assert file.stat().used < MIB


def test_truncating_loses_the_end_for_ever(shared: Caudal, nfs: Nfs3, home: str) -> None:
    for flushed in (False, True):
        path = f"{home}/{flushed}"
        nfs.write_file(path, pattern(700_000))
        if flushed:
            shared.flush()
        nfs.truncate(path, 100_001)
        assert nfs.stat(path).size == 100_001
        nfs.truncate(path, 700_000)
        assert nfs.read_file(path) == pattern(100_001) + bytes(599_999)
        shared.flush()
        shared.cli("cache", "drop")
        assert nfs.read_file(path) == pattern(100_001) + bytes(599_999)


def test_create_unchecked_and_guarded(nfs: Nfs3, home: str) -> None:
    path = f"{home}/f"
    nfs.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640).close()
    assert stat.S_IMODE(nfs.stat(path).mode) == 0o640
    refused(errno.EEXIST, lambda: nfs.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR))
    nfs.write_file(path, b"kept")
    nfs.open(path, os.O_CREAT | os.O_RDWR).close()
    assert nfs.read_file(path) == b"kept"
    nfs.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR).close()
    assert nfs.read_file(path) == b""


def test_names(nfs: Nfs3, home: str) -> None:
    for name in (
        "x" * 255,
        "ü" * 127,
        "with space",
        "new\nline",
        "back\\slash",
        "...",
        "-rf",
        "\udcff\udcfe",
    ):
        nfs.write_file(f"{home}/{name}", name.encode(errors="surrogateescape"))
        assert nfs.read_file(f"{home}/{name}") == name.encode(errors="surrogateescape")
    assert len(nfs.readdir(home)) == 8
    refused(errno.ENAMETOOLONG, lambda: nfs.write_file(f"{home}/{'x' * 256}", b""))
    refused(errno.ENOENT, lambda: nfs.stat(f"{home}/absent"))
    refused(errno.ENOENT, lambda: nfs.unlink(f"{home}/absent"))
    nfs.write_file(f"{home}/file", b"")
    refused(errno.ENOTDIR, lambda: nfs.stat(f"{home}/file/below"))


def test_directories(nfs: Nfs3, home: str) -> None:
    links = nfs.stat(home).nlink
    nfs.mkdir(f"{home}/d", 0o750)
    assert nfs.stat(home).nlink == links + 1
    made = nfs.stat(f"{home}/d")
    assert (stat.S_IMODE(made.mode), made.nlink) == (0o750, 2)
    refused(errno.EEXIST, lambda: nfs.mkdir(f"{home}/d"))
    nfs.write_file(f"{home}/d/f", b"1")
    refused(errno.ENOTEMPTY, lambda: nfs.rmdir(f"{home}/d"))
    nfs.unlink(f"{home}/d/f")
    nfs.rmdir(f"{home}/d")
    assert nfs.stat(home).nlink == links
    assert not nfs.exists(f"{home}/d")
    nfs.write_file(f"{home}/f", b"")
    refused(errno.ENOTDIR, lambda: nfs.rmdir(f"{home}/f"))


def test_a_large_directory_is_listed_once_each(nfs: Nfs3, home: str) -> None:
    names = {f"a fairly long name, number {number:05}".encode() for number in range(1500)}
    for name in names:
        nfs.open(f"{home}/{name.decode()}", os.O_CREAT | os.O_EXCL | os.O_RDWR).close()
    listed = [entry.name for entry in nfs.readdir(home)]
    assert len(listed) == len(set(listed))
    assert set(listed) == names


def test_entries_carry_attributes(nfs: Nfs3, home: str) -> None:
    nfs.write_file(f"{home}/f", b"12345")
    nfs.mkdir(f"{home}/d")
    nfs.symlink("f", f"{home}/l")
    found = {entry.name: entry for entry in nfs.readdir(home)}
    assert {name: entry.kind for name, entry in found.items()} == {b"f": 1, b"d": 2, b"l": 5}
    assert found[b"f"].size == 5
    assert found[b"f"].inode == nfs.stat(f"{home}/f").inode


def test_symlinks(nfs: Nfs3, home: str) -> None:
    for number, target in enumerate(["f", "../elsewhere", "/absolute", "x" * 1000, "ünïcode"]):
        nfs.symlink(target, f"{home}/{number}")
        assert nfs.readlink(f"{home}/{number}") == target
        assert stat.S_ISLNK(nfs.stat(f"{home}/{number}").mode)
    refused(errno.EEXIST, lambda: nfs.symlink("other", f"{home}/0"))


def test_hard_links(nfs: Nfs3, home: str) -> None:
    nfs.write_file(f"{home}/a", b"shared")
    nfs.link(f"{home}/a", f"{home}/b")
    assert nfs.stat(f"{home}/a").inode == nfs.stat(f"{home}/b").inode
    assert nfs.stat(f"{home}/a").nlink == 2
    refused(errno.EEXIST, lambda: nfs.link(f"{home}/a", f"{home}/b"))
    nfs.unlink(f"{home}/a")
    assert nfs.stat(f"{home}/b").nlink == 1
    assert nfs.read_file(f"{home}/b") == b"shared"


def test_special_files(nfs: Nfs3, home: str) -> None:
    nfs.mknod(f"{home}/fifo", stat.S_IFIFO | 0o600)
    nfs.mknod(f"{home}/socket", stat.S_IFSOCK | 0o600)
    nfs.mknod(f"{home}/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert stat.S_ISFIFO(nfs.stat(f"{home}/fifo").mode)
    assert stat.S_ISSOCK(nfs.stat(f"{home}/socket").mode)
    assert stat.S_ISCHR(nfs.stat(f"{home}/device").mode)


def test_rename_of_files(nfs: Nfs3, home: str) -> None:
    nfs.write_file(f"{home}/a", b"a")
    nfs.write_file(f"{home}/b", b"b")
    inode = nfs.stat(f"{home}/a").inode
    nfs.rename(f"{home}/a", f"{home}/b")
    assert nfs.read_file(f"{home}/b") == b"a"
    assert nfs.stat(f"{home}/b").inode == inode
    assert [entry.name for entry in nfs.readdir(home)] == [b"b"]
    refused(errno.ENOENT, lambda: nfs.rename(f"{home}/a", f"{home}/c"))
    nfs.rename(f"{home}/b", f"{home}/b")
    nfs.link(f"{home}/b", f"{home}/same")
    nfs.rename(f"{home}/b", f"{home}/same")
    assert nfs.read_file(f"{home}/same") == b"a"


def test_rename_of_directories(nfs: Nfs3, home: str) -> None:
    for name in ("x", "x/sub", "y", "y/full", "z"):
        nfs.mkdir(f"{home}/{name}")
    nfs.write_file(f"{home}/x/sub/f", b"deep")
    nfs.rename(f"{home}/x/sub", f"{home}/z/moved")
    assert nfs.read_file(f"{home}/z/moved/f") == b"deep"
    assert nfs.stat(f"{home}/x").nlink == 2
    assert nfs.stat(f"{home}/z").nlink == 3
    refused(errno.EINVAL, lambda: nfs.rename(f"{home}/z", f"{home}/z/moved/inside"))
    nfs.rename(f"{home}/z", f"{home}/x")
    refused(errno.ENOTEMPTY, lambda: nfs.rename(f"{home}/x", f"{home}/y"))
    nfs.write_file(f"{home}/f", b"")
    with pytest.raises(OSError, match=r"NOTDIR|ISDIR|EXIST|Not a directory|Is a directory|File exists"):
        nfs.rename(f"{home}/x", f"{home}/f")


def test_attributes_are_kept(nfs: Nfs3, home: str) -> None:
    path = f"{home}/f"
    nfs.write_file(path, b"x")
    nfs.chmod(path, 0o4711)
    assert stat.S_IMODE(nfs.stat(path).mode) == 0o4711
    nfs.chown(path, 1234, 4321)
    assert (nfs.stat(path).uid, nfs.stat(path).gid) == (1234, 4321)
    nfs.utimes(path, 1_000_000_000_000_001, 2_000_000_000_000_002)
    found = nfs.stat(path)
    assert (found.atime_ns, found.mtime_ns) == (1_000_000_000_000_001_000, 2_000_000_000_000_002_000)


def test_times_follow_changes(nfs: Nfs3, home: str) -> None:
    path = f"{home}/f"
    nfs.write_file(path, b"x")
    first, parent = nfs.stat(path), nfs.stat(home)
    nfs.write_file(path, b"y")
    second = nfs.stat(path)
    assert second.mtime_ns > first.mtime_ns
    assert second.ctime_ns > first.ctime_ns
    nfs.chmod(path, 0o600)
    third = nfs.stat(path)
    assert third.mtime_ns == second.mtime_ns
    assert third.ctime_ns > second.ctime_ns
    nfs.unlink(path)
    assert nfs.stat(home).mtime_ns > parent.mtime_ns


def test_permissions_hold_for_others(shared: Caudal, nfs: Nfs3, home: str) -> None:
    nfs.write_file(f"{home}/secret", b"x")
    nfs.chmod(f"{home}/secret", 0o600)
    with shared.connect(uid=1000, gid=1000) as other:
        refused(errno.EACCES, lambda: other.open(f"{home}/secret"))
        refused(errno.EACCES, lambda: other.mkdir(f"{home}/d"))
        assert not other.access(f"{home}/secret", os.R_OK)
        nfs.chown(f"{home}/secret", 1000, 1000)
        assert other.read_file(f"{home}/secret") == b"x"
        with pytest.raises(PermissionError):
            other.chown(f"{home}/secret", 0, 0)


def test_many_small_files_share_packs(shared: Caudal, nfs: Nfs3, home: str) -> None:
    shared.flush()
    before = shared.status()["objects"]["puts"]
    for number in range(300):
        nfs.write_file(f"{home}/{number}", pattern(1000, seed=number))
    shared.flush()
    assert shared.status()["objects"]["puts"] - before < 100
    shared.cli("cache", "drop")
    for number in range(300):
        assert nfs.read_file(f"{home}/{number}") == pattern(1000, seed=number)


def test_what_was_done_is_still_there_after_a_restart(caudal: Callable[..., Caudal]) -> None:
    server = caudal().start()
    with server.connect() as nfs:
        nfs.mkdir("/d")
        nfs.write_file("/d/f", pattern(MIB))
        nfs.symlink("f", "/d/l")
        inode = nfs.stat("/d/f").inode
    server.stop()
    server.start()
    with server.connect() as nfs:
        assert nfs.read_file("/d/f") == pattern(MIB)
        assert nfs.readlink("/d/l") == "f"
        assert nfs.stat("/d/f").inode == inode
    server.fsck()
