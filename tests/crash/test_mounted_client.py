"""A kernel client that is mounted while the server dies and comes back goes on: no ESTALE, nothing lost."""

import time
from collections.abc import Callable

import pytest

from tests.support import uml
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import wait_until

# Writes files by all means, reads back what it wrote before, keeps one file open and its working directory throughout.
WORK = r"""
set -eu
mkdir -p work; cd work
exec 5>>kept-open
number=0
until [ -e /run/enough ]; do
    number=$((number + 1))
    yes "file $number" | head -c $((number % 7 * 50000 + 1)) >f.$number.new
    sync f.$number.new
    mv f.$number.new f.$number
    echo "line $number" >&5; sync kept-open
    ls >/dev/null
    old=$((number / 2 + 1))
    [ "$(head -c 6 f.$old)" = "$(yes "file $old" | head -c $((old % 7 * 50000 + 1)) | head -c 6)" ]
    echo "acknowledged $number"
done
exec 5>&-
[ "$(wc -l <kept-open)" = $number ]
for check in $(seq $number); do
    yes "file $check" | head -c $((check % 7 * 50000 + 1)) | cmp - f.$check
done
echo "all $number are right"
"""


def acknowledged(running: uml.Running) -> int:
    return running.output().count("acknowledged")


@pytest.mark.timeout(280)
@pytest.mark.parametrize("version", uml.DISTINCT)
def test_a_mounted_client_goes_on(caudal: Callable[..., Caudal], client: uml.Client, version: str) -> None:
    server = caudal(options=("--flush-age-s", "0.3"))
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    server.start()
    point = client.mount(version, server.nfs_port, EXPORT, mountd_port=server.mountd_port)
    running = client.start_command(f"rm -f /run/enough; cd {point}\n{WORK}")
    for everything in (False, True):
        before = acknowledged(running)
        wait_until(
            lambda before=before: acknowledged(running) > before + 5 or running.done(),
            "the client writes",
            90,
        )
        assert not running.done(), running.output()
        if everything:
            server.kill_everything()
            time.sleep(1)
            server.start()
        else:
            server.wait_restarted(server.kill_server())
    before = acknowledged(running)
    wait_until(lambda: acknowledged(running) > before + 5 or running.done(), "the client goes on", 120)
    client.run("touch /run/enough")
    output = running.wait(120).output
    assert "are right" in output
    assert "Stale" not in output
    client.run(f"umount {point}")
    server.fsck()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("version", ["3", "4.2"])
def test_writes_without_fsync_are_sent_again(
    caudal: Callable[..., Caudal], client: uml.Client, version: str
) -> None:
    """The write verifier changes with each start: a client then sends again what was not committed."""
    server = caudal()
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    server.start()
    point = client.mount(version, server.nfs_port, EXPORT, mountd_port=server.mountd_port)
    writing = client.start_command(
        f"cd {point}; for part in 1 2 3 4 5 6; do seq -f 'part '$part' line %.0f' 400000; sleep 0.4; done >f && sync f"
    )
    client.run(f"until [ $(stat -c %s {point}/f) -gt 1000000 ]; do sleep 0.1; done", timeout_s=60)
    number = server.kill_server()
    server.wait_restarted(number)
    writing.wait(120)
    expected = "for part in 1 2 3 4 5 6; do seq -f 'part '$part' line %.0f' 400000; done"
    # Six parts of 400,000 lines: "part N line " and a newline around each number's digits.
    whole_bytes = 6 * sum(len(f"part 1 line {number}\n") for number in range(1, 400_001))
    with server.connect() as nfs:
        assert nfs.stat("/f").size == whole_bytes
    client.run(
        f"{expected} | cmp - {point}/f; echo 3 >/proc/sys/vm/drop_caches; {expected} | cmp - {point}/f", 120
    )
    client.run(f"umount {point}")
