"""The real Ganesha takes every word of the configuration that we render, and keeps to it."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import exports
from gateway.config import Config
from gateway.ganesha_conf import Fsal, render
from gateway.state import StateDir
from tests.support.processes import wait_until
from tests.unit.ctl.test_ganesha_conf import settings

GANESHA = "/usr/bin/ganesha.nfsd"
VFS = Path("/usr/lib/x86_64-linux-gnu/ganesha")
EVERY_KIND = "127.0.0.1,::1,10.0.0.0/8,fd00::/8,*.example.com,@group"
pytestmark = pytest.mark.usefixtures("private_network")


@contextmanager
def serving(chosen: Config, *prefix: str, grace: bool = False) -> Iterator[StateDir]:
    """Ganesha with our configuration and its own FSAL_VFS, until the block ends."""
    state = StateDir(chosen.state)
    state.prepare()
    exported = chosen.state / "files"
    exported.mkdir()
    (exported / "hello").touch()
    conf = state.ganesha / "ganesha.conf"
    conf.write_text(render(chosen, Fsal("VFS", VFS, str(exported)), (4,), grace=grace))
    exports.write_conf(state, exports.Kept(), manage_gids=False)
    log = state.logs / "ganesha.log"
    command = [GANESHA, "-F", "-f", str(conf), "-L", str(log), "-p", str(state.run / "nfsd.lock")]
    process = subprocess.Popen([*prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: (
                process.poll() is not None or (log.exists() and "NFS SERVER INITIALIZED" in log.read_text())
            ),
            "the server is initialized",
        )
        text = log.read_text()
        assert process.poll() is None, text
        # Whatever the parser does not know or cannot use is told in one of these words.
        assert "Config File" not in text
        assert not [line for line in text.splitlines() if ":CRIT :" in line or ":FATAL :" in line]
        yield state
    finally:
        process.terminate()
        process.wait(30)


def listing(chosen: Config) -> subprocess.CompletedProcess[str]:
    url = f"nfs://127.0.0.1{chosen.export}?version=4&nfsport={chosen.nfs_port}"
    return subprocess.run(["nfs-ls", url], capture_output=True, text=True, check=False, timeout=30)


def test_two_servers_side_by_side(disk_path: Path) -> None:
    with (
        serving(settings(disk_path / "one", clients=EVERY_KIND)) as one,
        serving(
            settings(disk_path / "two", clients=EVERY_KIND, squash="all", export="/a/b"), grace=True
        ) as two,
    ):
        assert "skipping GRACE" in (one.logs / "ganesha.log").read_text()
        assert "Now IN GRACE" in (two.logs / "ganesha.log").read_text()
        for state in (one, two):
            assert {path.name for path in state.ganesha.iterdir()} == {
                "ganesha.conf",
                "exports.conf",
                "v4recov",
                "v4old",
            }


LOOPBACK = "ip link set lo up"
IPV4 = "ip tuntap add t0 mode tap; ip addr add 192.168.9.1/24 dev t0; ip link set t0 up"
NO_IPV6 = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1"


@pytest.mark.parametrize(
    "network", [LOOPBACK, f"{LOOPBACK}; {IPV4}; {NO_IPV6}"], ids=["loopback alone", "IPv4 alone"]
)
def test_on_poor_networks(disk_path: Path, network: str) -> None:
    chosen = settings(disk_path / "state", clients=EVERY_KIND)
    with serving(chosen, "unshare", "-n", "sh", "-c", f'{network}; exec "$@"', "sh") as state:
        assert state.logs.exists()


@pytest.mark.parametrize(
    ("clients", "allowed"), [("127.0.0.0/8", True), ("10.0.0.0/8,fd00::/8", False), ("*", True)]
)
def test_nobody_but_the_named_clients_gets_in(disk_path: Path, clients: str, allowed: bool) -> None:
    chosen = settings(disk_path / "state", clients=clients)
    with serving(chosen):
        found = listing(chosen)
    assert ("hello" in found.stdout) is allowed, shlex.join(found.args) + found.stderr
