"""Sparse files at the kernel's own client: fallocate, lseek for data and holes, copies, and what du counts."""

from collections.abc import Callable, Iterator

import pytest

from tests.kernel.conftest import Mount, mount
from tests.support import uml
from tests.support.caudal import Caudal

# What each script begins with. Written ranges are of whole pages: the client may widen others.
PRELUDE = r"""
python3 - <<'END'
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO = 1, 2, 8, 16
K = 1 << 10

def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), f"fallocate {mode}")

def error(function, *arguments):
    try:
        function(*arguments)
    except OSError as failure:
        return failure.errno

def layout(fd):
    found, at = [], 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as failure:
            assert failure.errno == errno.ENXIO
            return found
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))

def space(fd):
    return os.fstat(fd).st_blocks * 512

"""
END = "\nEND\n"


@pytest.fixture
def v42(client: uml.Client, shared: Caudal, request: pytest.FixtureRequest) -> Iterator[Mount]:
    """The shared server, mounted by version 4.2."""
    point = mount(client, shared, "4.2")
    client.run(f"mkdir {point}/{request.node.name}")
    yield Mount(client, shared, "4.2", f"{point}/{request.node.name}")
    client.run("cd /; for point in $(awk '$3 ~ /^nfs/ {print $2}' /proc/mounts); do umount -f $point; done")


def test_what_fallocate_does(v42: Mount) -> None:
    v42.sh(
        PRELUDE
        + r"""
fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
os.pwrite(fd, b"d" * 64 * K, 128 * K)
assert layout(fd) == [(128 * K, 192 * K)], layout(fd)
os.fsync(fd)
assert space(fd) == 64 * K
fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 144 * K, 8 * K)
assert os.fstat(fd).st_size == 192 * K and space(fd) == 56 * K
assert layout(fd) == [(128 * K, 144 * K), (152 * K, 192 * K)]
assert os.pread(fd, 64 * K, 128 * K) == b"d" * 16 * K + bytes(8 * K) + b"d" * 40 * K
fallocate(fd, 0, 0, 1024 * K)
assert os.fstat(fd).st_size == 1024 * K and space(fd) == 56 * K
assert layout(fd) == [(128 * K, 144 * K), (152 * K, 192 * K)]
assert os.pread(fd, 1000, 1000 * K) == bytes(1000)
os.posix_fallocate(fd, 0, 2048 * K)
assert os.fstat(fd).st_size == 2048 * K
for mode in (KEEP_SIZE, ZERO, COLLAPSE):
    assert error(fallocate, fd, mode, 0, 4 * K) == errno.EOPNOTSUPP
assert error(fallocate, fd, 0, 0, 1 << 60) == errno.ENOSPC
assert error(os.lseek, fd, 2048 * K, os.SEEK_HOLE) == errno.ENXIO
# A range that is still dirty at the client, and one beyond the end.
os.pwrite(fd, b"n" * 64 * K, 512 * K)
fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 520 * K, 4 * K)
fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4096 * K, 4096 * K)
assert os.fstat(fd).st_size == 2048 * K
assert os.pread(fd, 64 * K, 512 * K) == b"n" * 8 * K + bytes(4 * K) + b"n" * 52 * K
before = os.fstat(fd)
fallocate(fd, 0, 0, 4 * K)
assert os.fstat(fd).st_mtime_ns > before.st_mtime_ns
readonly = os.open("f", os.O_RDONLY)
assert error(fallocate, readonly, 0, 0, 10) == errno.EBADF
"""
        + END
        + r"""
        touch program; chown 1000:1000 program; chmod 6755 program
        setpriv --reuid 1000 --regid 1000 --clear-groups fallocate -l 4096 program
        test "$(stat -c '%a %s' program)" = '755 4096'
        """
    )


def test_holes_cold_and_copied(v42: Mount) -> None:
    """Ranges punched while dirty and after a flush, seen by a client and a server that have forgotten all of it."""
    v42.sh(
        PRELUDE
        + r"""
for name in ("flushed", "dirty"):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    for at in range(4):
        os.pwrite(fd, name[:1].encode() * 128 * K, at * 512 * K)
    os.ftruncate(fd, 4096 * K)
    os.fsync(fd)
"""
        + END
    )
    v42.server.flush()
    check = r"""
for name in ("flushed", "dirty"):
    fd = os.open(name, os.O_RDONLY)
    wanted = [(0, 128 * K), (512 * K, 544 * K), (576 * K, 640 * K), (1024 * K, 1088 * K)]
    assert layout(fd) == wanted, layout(fd)
    data = bytearray(4096 * K)
    for start, end in wanted:
        data[start:end] = name[:1].encode() * (end - start)
    assert os.pread(fd, 5000 * K, 0) == data
    assert (os.fstat(fd).st_size, space(fd)) == (4096 * K, 288 * K)
"""
    v42.sh(
        PRELUDE
        + r"""
fd = os.open("dirty", os.O_RDWR)
for at in range(4):
    os.pwrite(fd, b"d" * 128 * K, at * 512 * K)
for name in ("flushed", "dirty"):
    fd = os.open(name, os.O_RDWR)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 544 * K, 32 * K)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 1088 * K, 4096 * K)
"""
        + check
        + END
    )
    v42.server.flush()
    v42.server.cli("cache", "drop")
    cold = v42.remount()
    cold.sh(PRELUDE + check + END)
    cold.sh("""
        cp --sparse=auto flushed auto; cp --sparse=always dirty always; sync
        cmp flushed auto; cmp dirty always
        test $(du -k auto | cut -f1) -le 292; test $(du -k always | cut -f1) -le 292
        test $(du -k --apparent-size always | cut -f1) = 4096
    """)


@pytest.mark.parametrize("version", ["3", "4.0", "4.1"])
def test_older_versions_say_that_they_cannot(shared: Caudal, client: uml.Client, version: str) -> None:
    point = mount(client, shared, version)
    client.run(f"mkdir {point}/older-{version}")
    older = Mount(client, shared, version, f"{point}/older-{version}")
    older.sh(
        PRELUDE
        + r"""
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"d" * 64 * K, 128 * K)
for mode in (0, PUNCH_HOLE | KEEP_SIZE):
    assert error(fallocate, fd, mode, 0, 4 * K) == errno.EOPNOTSUPP
assert layout(fd) == [(0, 192 * K)]
os.posix_fallocate(fd, 0, 256 * K)  # the C library writes
assert os.fstat(fd).st_size == 256 * K
"""
        + END
    )
    client.run(f"umount {point}")


def test_after_the_server_is_killed(caudal: Callable[..., Caudal], client: uml.Client) -> None:
    """What was answered stays, although no fsync came after it; the client goes on with the file that it has open."""
    server = caudal()
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    server.start()
    at = Mount(client, server, "4.2", mount(client, server, "4.2"))
    holder = client.start_command(
        f"set -e; cd {at.at}\n"
        + PRELUDE
        + r"""
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"d" * 1024 * K, 0)
os.fsync(fd)
fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 128 * K, 64 * K)
fallocate(fd, 0, 0, 2048 * K)
open("/run/punched", "w")
while not os.path.exists("/run/killed"):
    __import__("time").sleep(0.1)
fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 512 * K, 64 * K)
wanted = [(0, 128 * K), (192 * K, 512 * K), (576 * K, 1024 * K)]
assert layout(fd) == wanted, layout(fd)
assert (os.fstat(fd).st_size, space(fd)) == (2048 * K, 896 * K)
"""
        + END
    )
    client.run("until [ -e /run/punched ]; do sleep 0.1; done; rm /run/punched")
    server.wait_restarted(server.kill_server())
    client.run("echo 3 >/proc/sys/vm/drop_caches; touch /run/killed")
    holder.wait(90)
    client.run(f"rm /run/killed; umount {at.at}")
    server.fsck()
