"""The contents of a file under everything that programs do to it, compared byte by byte with a copy in memory.

tests/support/fsx.c runs in a kernel client. Meanwhile the server flushes, compacts, collects and evicts as fast as it can,
so that what is read back was resolved over dirty pieces, splices of extent maps and packs that moved.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from gateway.control import ControlClient
from gateway.state import StateDir
from tests.kernel.conftest import mount
from tests.support import uml
from tests.support.caudal import Caudal
from tests.support.processes import ROOT, compiled, wait_until

OPERATIONS = 5000
RESTLESS = (
    *(
        "--flush-age-s",
        "0.2",
        "--checkpoint-interval-s",
        "0.2",
        "--gc-interval-s",
        "0.3",
        "--gc-grace-s",
        "2",
    ),
    *("--pack-bytes", "1M", "--segment-bytes", "4M", "--l1-bytes", "16M", "--l2-bytes", "0"),
)


@pytest.fixture
def restless(caudal: Callable[..., Caudal]) -> Iterator[Caudal]:
    """A server that does at once whatever it would do some time; its file system is whole afterwards."""
    server = caudal(options=RESTLESS).start()
    yield server
    server.flush()
    server.cli("fsck", "--deep", timeout_s=120)


def program() -> str:
    return str(compiled(ROOT / "tests/support/fsx.c", "fsx"))


@pytest.mark.parametrize("version", ["3", "4.2"])
def test_a_file_under_random_operations(client: uml.Client, restless: Caudal, version: str) -> None:
    point = mount(client, restless, version)
    command = client.start_command(f"{program()} seed=1 operations={OPERATIONS} {point}/file")
    with ControlClient(StateDir(restless.state).control_socket, None) as control:
        while not command.done():
            control.call("cache_drop")
            time.sleep(0.02)
    assert "fsx: agreed" in command.wait(300).output
    # It was the store that was written and read, again and again: not one flush at the end.
    objects = restless.status()["objects"]
    assert objects["puts"] > 5
    assert objects["gets"] > 10
    client.run(f"umount {point}")


@pytest.mark.parametrize("version", ["3", "4.2"])
def test_a_file_under_random_operations_and_kills(client: uml.Client, restless: Caudal, version: str) -> None:
    """The client stays mounted: what it has not committed it sends again when the write verifier has changed."""
    point = mount(client, restless, version)
    command = client.start_command(f"{program()} seed=2 operations=3000 only=rRmwaMtosh {point}/file")
    for passed in ("fsx: 500 done", "fsx: 1500 done"):
        wait_until(lambda passed=passed: passed in command.output(), passed, 120)
        killed = restless.kill_server()
        assert not command.done()
        restless.wait_restarted(killed)
    assert "fsx: agreed" in command.wait(300).output
    client.run(f"umount {point}")
