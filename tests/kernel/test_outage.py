"""Kernel clients in an outage of the object store: programs wait and go on, and none sees an error."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import mount
from tests.support import uml
from tests.support.azurite import Azurite
from tests.support.caudal import Caudal, undisturbed
from tests.support.fault_proxy import FaultProxy
from tests.support.processes import wait_until

VERSIONS = ("3", "4.2")
# With a short lease, a client that sat still for a flush and two dropped caches may have lost it; until it has noticed and
# recovered, what programs ask for ends in EIO.
LEASE = ("--lease-s", "30", "--grace-s", "30")
OPTIONS = ("--store-wait-s", "0.5", "--flush-age-s", "0.2", "--l2-bytes", "0", *LEASE)


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[FaultProxy]:
    with FaultProxy(azurite.port) as running:
        yield running


@pytest.fixture
def server(private_network: None, module_disk_path: Path, proxy: FaultProxy) -> Iterator[Caudal]:
    with undisturbed(module_disk_path) as make:
        yield make(store="az://outage/kernel", options=OPTIONS, env=proxy.environment).start()


def test_programs_wait_for_the_store(client: uml.Client, server: Caudal, proxy: FaultProxy) -> None:
    points = {version: mount(client, server, version) for version in VERSIONS}
    for version, point in points.items():
        client.run(f"yes {version} | head -c 200000 > {point}/cold-{version}; sync {point}/cold-{version}")
    server.flush()
    server.cli("cache", "drop")
    client.run("echo 3 > /proc/sys/vm/drop_caches")
    with proxy.down():
        readers = {
            version: client.start_command(f"sha256sum < {at}/cold-{version}")
            for version, at in points.items()
        }
        for version, point in points.items():
            # Writes, and what is made of them, do not wait for the store.
            client.run(
                f"cd {point} && echo new > new-{version} && sync new-{version} && mv new-{version} moved-{version}"
            )
        wait_until(lambda: server.status()["store"]["state"] == "unreachable", "the store is missed")
        assert not any(reader.done() for reader in readers.values())
    for version, reader in readers.items():
        expected = hashlib.sha256((f"{version}\n" * 200_000)[:200_000].encode()).hexdigest()
        assert reader.wait(60).output.split()[0] == expected
    server.flush()
    server.cli("cache", "drop")
    client.run("echo 3 > /proc/sys/vm/drop_caches")
    for version, point in points.items():
        assert client.run(f"cat {point}/moved-{version}").output == "new\n"
        client.run(f"umount {point}")
    assert "clean" in server.fsck()
