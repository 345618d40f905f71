"""A minute of what bench/soak.py does for hours: nothing that the server's processes hold may stay with them."""

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from bench import compare
from tests.support import sampling, uml
from tests.support.caudal import EXPORT, PROCESSES, Caudal
from tests.support.processes import TimedOut, wait_until

ROUNDS = 3
LOAD = (
    ("create", "files=800", "fsize=4096", "depth=16"),
    ("readfiles", "files=800", "fsize=4096", "depth=16", "secs=1", "verify=1"),
    ("unlink", "files=800", "depth=16"),
    ("write", "size=16M", "bs=1M", "depth=8"),
    ("randread", "size=16M", "bs=4K", "depth=16", "secs=1", "verify=1"),
    ("randwrite", "size=16M", "bs=4K", "depth=16", "secs=1"),
)
KERNEL = "set -e; cd {}; cp -a /usr/include/linux/netfilter copy; diff -r /usr/include/linux/netfilter copy; rm -rf copy"


def round_of(server: Caudal, client: uml.Client, point: str) -> None:
    kernel = client.start_command(KERNEL.format(point))
    for mode, *keys in LOAD:
        command = [compare.binary(), server.url, mode, "dir=endurance", "conns=3", *keys]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{mode}: {done.stderr[-1000:]}"
        assert json.loads(done.stdout)["errors"] == 0
    kernel.wait(120)


@pytest.mark.timeout(280)
def test_descriptors_threads_and_memory_come_back(caudal: Callable[..., Caudal], client: uml.Client) -> None:
    small = ("--l1-bytes", "32MiB", "--dirty-memory-bytes", "32MiB", "--metadata-memory-bytes", "32MiB")
    server = caudal(options=(*small, "--gc-interval-s", "2", "--gc-grace-s", "2"))
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    server.start()
    point = client.mount("4.2", server.nfs_port, EXPORT, mountd_port=server.mountd_port)
    round_of(server, client, point)
    server.wait_restarted(server.kill_server())
    # Threads are made as they are needed, and caches fill: the first round after a start does not count.
    round_of(server, client, point)
    before = {one.process: one for one in sampling.now(server)}
    assert before.keys() == set(PROCESSES)
    for _ in range(ROUNDS):
        round_of(server, client, point)

    def held() -> dict[str, sampling.Held]:
        return {one.process: one for one in sampling.now(server)}

    def back() -> bool:
        # Workers of Ganesha's pool, which grows with the load at hand, end a while after it.
        return all(
            held()[name].threads <= before[name].threads + 2
            and held()[name].descriptors <= before[name].descriptors + 2
            for name in PROCESSES
        )

    try:
        wait_until(back, "threads and descriptors come back", 60, interval_s=0.5)
    except TimedOut:
        pytest.fail(f"before: {before}\nafter: {held()}")
    after = held()
    for name in PROCESSES:
        assert after[name].pid == before[name].pid, f"{name} did not survive the load"
        assert after[name].anonymous < before[name].anonymous + 150, f"{name}: {before[name]}, {after[name]}"
    client.run(f"cd /; umount {point}")
    time.sleep(0.1)
    server.fsck()
