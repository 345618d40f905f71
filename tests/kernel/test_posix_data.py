"""Data at a real client: large and sparse files, limits, appends by two, direct and mapped writes, space."""

import pytest

from tests.kernel.conftest import Mount, mount
from tests.support import uml
from tests.support.caudal import Caudal


def test_a_sparse_file_of_a_tebibyte(mounted: Mount) -> None:
    mounted.python("""
TIB = 1 << 40
fd = os.open("sparse", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, TIB)
for offset in (0, 4095, (1 << 31) - 2, (1 << 32) - 2, TIB // 2, TIB - 4):
    assert os.pwrite(fd, b"data", offset) == 4
os.fsync(fd); os.close(fd)
    """)
    mounted.server.flush()
    again = mounted.remount()
    again.python("""
TIB = 1 << 40
found = os.stat("sparse")
assert found.st_size == TIB and found.st_blocks * 512 < 64 << 20, found
fd = os.open("sparse", os.O_RDWR)
for offset in (0, 4095, (1 << 31) - 2, (1 << 32) - 2, TIB // 2, TIB - 4):
    assert os.pread(fd, 4, offset) == b"data", offset
assert os.pread(fd, 1 << 20, TIB // 4) == bytes(1 << 20) and os.pread(fd, 10, TIB) == b""
os.ftruncate(fd, TIB // 2 + 2); assert os.pread(fd, 10, TIB // 2) == b"da"
os.ftruncate(fd, TIB // 2 + 9); assert os.pread(fd, 10, TIB // 2) == b"da" + bytes(7)
os.ftruncate(fd, 0); os.close(fd); assert os.stat("sparse").st_blocks == 0
    """)


def test_the_largest_offsets(mounted: Mount) -> None:
    mounted.python("""
import resource, signal
END = 2**63 - 1
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, END); assert os.fstat(fd).st_size == END
assert os.pread(fd, 4, END - 8192) == bytes(4)  # Linux reads its last page short
os.pwrite(fd, b"end", END - 3 - 4096); os.fsync(fd)
assert os.pread(fd, 3, END - 3 - 4096) == b"end"
with fails(errno.EFBIG, errno.EINVAL): os.pwrite(fd, b"x", END)
assert os.lseek(fd, END, os.SEEK_SET) == END
with fails(errno.EOVERFLOW, errno.EINVAL): os.lseek(fd, 1, os.SEEK_CUR)
os.ftruncate(fd, 0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
with fails(errno.EFBIG): os.pwrite(fd, b"x", 100)
assert os.pwrite(fd, b"xx", 98) == 2
    """)


def test_direct_writes_and_reads(mounted: Mount) -> None:
    mounted.python("""
fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
page = mmap.mmap(-1, 1 << 20)
page[:] = bytes(range(256)) * 4096
for offset in (0, 4 << 20, 512, (1 << 32) + 4096):
    assert os.pwrite(fd, page, offset) == 1 << 20
buffered = os.open("f", os.O_RDWR)
assert os.pread(buffered, 1 << 20, 4 << 20) == page[:]
os.pwrite(buffered, b"buffered", 4 << 20); os.fsync(buffered)
back = mmap.mmap(-1, 4096)
assert os.preadv(fd, [back], 4 << 20) == 4096 and back[:8] == b"buffered" and back[8:] == page[8:4096]
assert os.preadv(fd, [back], (1 << 32) + 4096 + (1 << 20) - 512) == 512
assert os.fstat(fd).st_size == (1 << 32) + 4096 + (1 << 20)
    """)


def test_mapped_writes(mounted: Mount) -> None:
    mounted.python("""
write("f", b"a" * 10000)
with open("f", "r+b") as file:
    with mmap.mmap(file.fileno(), 10000) as view:
        view[4090:4100] = b"0123456789"; view.flush()
        assert os.pread(file.fileno(), 10, 4090) == b"0123456789"
        view[9999:] = b"z"
    """)
    mounted.remount().python("""
data = read("f"); assert len(data) == 10000 and data[4090:4100] == b"0123456789" and data[-2:] == b"az"
    """)


def test_syncing_files_and_directories(mounted: Mount) -> None:
    mounted.python("""
os.mkdir("d"); fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
write("d/f", b"x"); os.fsync(fd); os.fdatasync(fd)
with fails(errno.EISDIR): os.open("d", os.O_WRONLY)
with fails(errno.EISDIR): os.read(fd, 10)
os.unlink("d/f"); os.rmdir("d"); os.fsync(fd); os.close(fd)
fd = os.open("f", os.O_WRONLY | os.O_CREAT | os.O_SYNC); os.write(fd, b"stable"); os.close(fd); os.sync()
assert read("f") == b"stable"
    """)


def test_space_adds_up(mounted: Mount) -> None:
    mounted.python("""
def space(): found = os.statvfs("."); return found
before = space()
assert 0 < before.f_bavail <= before.f_bfree <= before.f_blocks and before.f_namemax == 255
assert 0 < before.f_favail <= before.f_ffree <= before.f_files
for number in range(50): write(f"f{number}", b"x" * 100_000)
os.sync()
assert os.stat("f7").st_blocks * 512 >= 100_000
    """)
    mounted.server.flush()
    mounted.remount().python("""
after = os.statvfs(".")
used = (after.f_blocks - after.f_bfree) * after.f_frsize
assert used >= 5_000_000, used
assert after.f_files - after.f_ffree >= 50
for name in os.listdir("."): os.unlink(name)
    """)


@pytest.mark.parametrize("version", uml.DISTINCT)
def test_two_clients_append_under_a_lock(
    client: uml.Client, second: uml.Client, shared: Caudal, version: str
) -> None:
    here, there = mount(client, shared, version), mount(second, shared, version)
    name = f"log-{version}"
    program = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number in range(40):
    fcntl.lockf(fd, fcntl.LOCK_EX)
    os.write(fd, b"%s %d\\n" % (sys.argv[2].encode(), number))
    fcntl.lockf(fd, fcntl.LOCK_UN)
"""
    running = [
        each.start_command(f"python3 - {point}/{name} {who} <<'END'\n{program}END")
        for each, point, who in ((client, here, "one"), (second, there, "two"))
    ]
    for each in running:
        each.wait(180)
    lines = client.run(f"cat {here}/{name}").output.splitlines()
    assert sorted(lines) == sorted(f"{who} {number}" for who in ("one", "two") for number in range(40))
    for who in ("one", "two"):
        assert [line for line in lines if line.startswith(who)] == [f"{who} {number}" for number in range(40)]
    client.unmount(here)
    second.unmount(there)
