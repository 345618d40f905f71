"""The firewall's rules, loaded in a network of their own and asked by packets."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

RULES = ROOT / "appliance/files/caudal-appliance/usr/lib/caudal/firewall.nft"
OPEN = (22, 111, 445, 2049, 8443, 20048, 32765, 32803)
LOCAL = 9999  # what the rules of a place let in
CLOSED = (23, 80, 139, 3306, 5355, 8080, 9100, 10000, 49152)
_LISTEN = """
import socket, sys
found = [socket.create_server(("10.99.0.1", int(port))) for port in sys.argv[1:]]
found.append(socket.create_server(("127.0.0.1", 9)))
print("listening", flush=True)
sys.stdin.read()
"""
_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()
except TimeoutError:
    sys.exit(3)
"""


def inside(space: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", space, *command], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def spaces(private_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(the appliance's network with the rules, and everybody else's), one cable between them."""
    rules, own = tmp_path_factory.mktemp("rules") / "firewall.nft", tmp_path_factory.mktemp("own")
    (own / "local.nft").write_text(f"# rules of this place\ntcp dport {LOCAL} accept\n")
    rules.write_text(RULES.read_text().replace("/etc/caudal/firewall.d", str(own)))
    names = ("fw-appliance", "fw-others")
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        cable = [
            "ip",
            "-n",
            names[0],
            "link",
            "add",
            "v0",
            "type",
            "veth",
            "peer",
            "name",
            "v0",
            "netns",
            names[1],
        ]
        subprocess.run(cable, check=True)
        for number, name in enumerate(names, 1):
            for words in (f"addr add 10.99.0.{number}/24 dev v0", "link set v0 up", "link set lo up"):
                subprocess.run(["ip", "-n", name, *words.split()], check=True)
        loaded = inside(names[0], "nft", "-f", str(rules))
        assert loaded.returncode == 0, loaded.stderr
        again = inside(names[0], "nft", "-f", str(rules))
        assert again.returncode == 0, f"loading it again replaces it: {again.stderr}"
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=True)


def test_what_is_served_gets_in_and_nothing_else(spaces: tuple[str, str]) -> None:
    ours, others = spaces
    ports = list(map(str, (*OPEN, LOCAL, *CLOSED)))
    listener = ["ip", "netns", "exec", ours, sys.executable, "-c", _LISTEN, *ports]
    with subprocess.Popen(listener, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "listening"

        def reaches(space: str, port: int, address: str = "10.99.0.1") -> bool:
            done = inside(space, sys.executable, "-c", _CONNECT, address, str(port))
            assert done.returncode in {0, 3}, done.stderr
            return done.returncode == 0

        assert [port for port in (*OPEN, LOCAL) if not reaches(others, port)] == []
        assert [port for port in CLOSED if reaches(others, port)] == []
        assert reaches(ours, 9, "127.0.0.1"), "services on the machine reach each other"
        assert reaches(ours, 9100), "by its own address, too"
        server.communicate()


def test_pings_get_in_and_what_goes_out_is_free(spaces: tuple[str, str]) -> None:
    ours, others = spaces
    assert inside(others, "/bin/busybox", "ping", "-c", "1", "-W", "2", "10.99.0.1").returncode == 0
    assert inside(ours, "/bin/busybox", "ping", "-c", "1", "-W", "2", "10.99.0.2").returncode == 0


def test_the_rules_of_a_place_have_a_file_of_their_own() -> None:
    assert (ROOT / "appliance/files/caudal-appliance/etc/caudal/firewall.d/local.nft").is_file()
    assert 'include "/etc/caudal/firewall.d/*.nft"' in Path(RULES).read_text()
