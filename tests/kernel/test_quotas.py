"""Limits on directories at the kernel's own client: what programs are told, and what df shows."""

from collections.abc import Callable, Iterator

import pytest

from tests.kernel.conftest import Mount, mount
from tests.support import uml
from tests.support.caudal import Caudal


@pytest.fixture
def place(client: uml.Client, caudal: Callable[..., Caudal]) -> Iterator[Mount]:
    server = caudal(admin=True).start()
    point = mount(client, server, "4.2")
    client.run(f"mkdir {point}/q {point}/other")
    server.cli("quota", "set", "/data/q", "--bytes", "1MiB", "--inodes", "5")
    yield Mount(client, server, "4.2", point)
    client.run("cd /; for point in $(awk '$3 ~ /^nfs/ {print $2}' /proc/mounts); do umount -f $point; done")


def test_programs_meet_the_limit_and_df_shows_it(place: Mount) -> None:
    place.sh(
        r"""
head -c 1048576 /dev/zero > q/full && sync q/full
test "$(stat -c %s q/full)" = 1048576
df -B1 --output=size,avail q | tail -1 | grep -qx ' *1048576 *0'
df --output=itotal,iavail q | tail -1 | grep -qx ' *5 *4'
df -B1 --output=avail . | tail -1 | grep -qvx ' *0'
python3 - <<'END'
import errno, os

def refused(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return error.errno
    return 0

def append():
    descriptor = os.open("q/full", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, b"x")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

assert refused(append) == errno.EDQUOT
assert os.stat("q/full").st_size == 1 << 20, "nothing of a refused write stays"
with open("other/file", "wb") as file:
    file.write(b"y" * 4096)
assert refused(os.rename, "other/file", "q/file") == errno.EDQUOT
os.mkdir("other/directory")
assert refused(os.rename, "other/directory", "q/directory") == errno.EXDEV
assert refused(os.link, "other/file", "q/file") == errno.EXDEV
for number in range(4):
    os.mkdir(f"q/{number}")
assert refused(os.mkdir, "q/more") == errno.EDQUOT
os.truncate("q/full", 1000)
os.rmdir("q/0")
os.rename("other/file", "q/file")
END
mv other/directory q/1/directory 2>&1 | grep -q 'quota' # mv copies across trees, as across file systems, and meets the limit
"""
    )
