"""Times at a real client."""

import pytest

from tests.kernel.conftest import Mount


def test_nanoseconds_and_the_ends_of_time(mounted: Mount) -> None:
    if mounted.version == "3":
        pytest.skip("times of version 3 are 32 bits without a sign: docs/conformance.md")
    times = [0, 1, 10**18 + 123_456_789, 2**31 * 10**9 + 999_999_999, (2**32 - 1) * 10**9 + 1]
    times += [-1, -(10**9) - 1, -(2**31) * 10**9 + 7, 2**32 * 10**9, 2**33 * 10**9 + 5]
    mounted.python(f"""
os.mkdir("dir"); write("file"); os.symlink("x", "link"); os.mkfifo("fifo")
names = ("dir", "file", "link", "fifo")
for at in {times}:
    for name in names:
        os.utime(name, ns=(at, at + 1), follow_symlinks=False)
        found = os.lstat(name)
        assert (found.st_atime_ns, found.st_mtime_ns) == (at, at + 1), (name, at, found)
os.utime("file", ns=(5, 7))
    """)
    mounted.remount().python("""
found = os.stat("file"); assert (found.st_atime_ns, found.st_mtime_ns) == (5, 7)
    """)


def test_each_change_moves_the_times_that_it_should(mounted: Mount) -> None:
    mounted.python("""
os.mkdir("d"); write("d/f", b"data")
def times(name): found = os.lstat(name); return found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns
def moved(name, change):
    before = times(name); time.sleep(0.01); change(); after = times(name)
    assert all(b <= a for b, a in zip(before[1:], after[1:])), (name, before, after)
    return "".join(letter for letter, b, a in zip("amc", before, after) if a != b)
def append():
    with open("d/f", "ab") as file: file.write(b"x")
assert moved("d/f", append) == "mc"
assert moved("d/f", lambda: os.chmod("d/f", 0o600)) == "c"
assert moved("d/f", lambda: os.chown("d/f", 1, 1)) == "c"
assert moved("d/f", lambda: os.link("d/f", "d/g")) == "c"
assert moved("d/f", lambda: os.rename("d/g", "d/h")) == "c"
assert moved("d/f", lambda: os.unlink("d/h")) == "c"
assert moved("d/f", lambda: os.truncate("d/f", 100)) == "mc"
assert moved("d/f", lambda: os.truncate("d/f", 2)) == "mc"
assert moved("d/f", lambda: os.utime("d/f")) == "amc"
assert moved("d", lambda: write("d/new")) == "mc"
assert moved("d", lambda: write("d/new", b"again")) == ""
assert moved("d", lambda: os.rename("d/new", "d/newer")) == "mc"
assert moved("d", lambda: os.mkdir("d/sub")) == "mc"
assert moved("d", lambda: os.rmdir("d/sub")) == "mc"
assert moved("d", lambda: os.symlink("x", "d/link")) == "mc"
assert moved("d", lambda: os.unlink("d/newer")) == "mc"
# A time that is set does not make ctime one's own.
os.utime("d/f", ns=(1, 1)); assert abs(times("d/f")[2] / 1e9 - time.time()) < 300
    """)


def test_reading_moves_the_access_time(mounted: Mount) -> None:
    mounted.python("""
write("f", b"data"); os.utime("f", ns=(10**18, 10**18))
    """)
    again = mounted.remount()
    again.python("read('f')")
    again.remount().python("""
found = os.stat("f")
assert found.st_atime_ns > 10**18 and found.st_mtime_ns == 10**18, found
    """)
