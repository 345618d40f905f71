"""Limits and exports on a real server: what is capped takes its time and arrives whole; what was told survives a kill."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlClient
from tests.support import keytabs
from tests.support.caudal import Caudal, undisturbed
from tests.support.nfs3 import Nfs3

MIB = 1 << 20
DATA = os.urandom(2 * MIB)


@pytest.fixture(scope="module")
def server(private_network: None, module_disk_path: Path) -> Iterator[Caudal]:
    with undisturbed(module_disk_path) as make:
        made = make(admin=True).start()
        with made.connect() as nfs:
            nfs.write_file("/data", DATA)
        made.cli("export", "add", "free", "--path", "/", "--allow", "127.0.0.1=rw,none")
        yield made


def limits(server: Caudal) -> dict[str, dict[str, Any]]:
    with ControlClient(server.state / "run/control.sock") as control:
        return {one["name"]: one for one in control.call("limits")}


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_an_export_is_held_to_its_rate_and_another_is_not(server: Caudal) -> None:
    server.cli("limit", "set", "slow", "--export", "main", "--read", "1MiB", "--burst", "1s")
    with server.connect() as nfs, Nfs3(server.nfs_port, "/free", mountd_port=server.mountd_port) as free:
        # A burst of one MiB is there at once, for the other the cap wants a second.
        read: list[bytes] = []
        assert timed(lambda: read.append(nfs.read_file("/data"))) >= 0.9
        assert read == [DATA]
        before = limits(server)["slow"]
        assert before["delayed"] > 0
        assert before["delayed_s"] > 0
        assert free.read_file("/data") == DATA
        assert limits(server)["slow"]["delayed"] == before["delayed"]
        server.cli("limit", "set", "slow", "--export", "main", "--write", "1MiB")
        assert nfs.read_file("/data") == DATA
        assert limits(server)["slow"]["delayed"] == 0
        assert timed(lambda: nfs.write_file("/written", DATA)) >= 0.9
        assert limits(server)["slow"]["delayed"] > 0
        server.cli("limit", "remove", "slow")
        assert nfs.read_file("/written") == DATA
    assert limits(server) == {}
    assert server.cli("limit", "list", "--json").strip() == "[]"


def test_each_client_is_held_to_its_requests(server: Caudal) -> None:
    server.cli("limit", "set", "calm", "--client", "127.0.0.0/8", "--ops", "20", "--burst", "0.1s")
    try:
        with server.connect() as nfs, nfs.open("/data") as file:
            assert timed(lambda: [file.pread(512, 512 * number) for number in range(30)]) >= 1.0
        assert limits(server)["calm"]["delayed"] > 0
        server.cli("limit", "set", "calm", "--client", "10.0.0.0/8", "--ops", "20")
        with server.connect() as nfs:
            assert nfs.read_file("/data") == DATA
        assert limits(server)["calm"]["passed"] == 0
    finally:
        server.cli("limit", "remove", "calm")


def test_an_export_and_its_limit_go_together_and_come_back(server: Caudal) -> None:
    server.cli("limit", "set", "later", "--export", "coming", "--ops", "1000")
    assert not limits(server)["later"]["active"]
    server.cli("export", "add", "coming", "--path", "/", "--allow", "127.0.0.1=ro")
    assert limits(server)["later"]["active"]
    server.cli("export", "remove", "coming")
    assert not limits(server)["later"]["active"]
    server.cli("limit", "remove", "later")


@pytest.mark.crash
def test_what_was_written_before_a_kill_is_there_after_it(
    caudal: Callable[..., Caudal], tmp_path: Path
) -> None:
    server = caudal(admin=True, options=("--trial", "true"))
    keytab = tmp_path / "keytab"
    keytab.write_bytes(keytabs.SERVER)
    commands = {
        "limits.after_file": ("limit", "set", "kept", "--ops", "500"),
        "exports.after_file": ("export", "add", "kept", "--path", "/", "--allow", "127.0.0.1=rw,none"),
        "kerberos.after_file": ("kerberos", "keytab", str(keytab)),
        "kerberos.after_removal": ("kerberos", "remove"),
    }
    for failpoint, words in commands.items():
        server.start(f"{failpoint}=kill")
        before = server.pid("ganesha")
        assert before is not None
        # Nobody was told that it is done.
        assert server.run(*words, "--state", str(server.state)).returncode
        server.wait_restarted(before)
        assert (server.state / "krb5.keytab").exists() == (failpoint == "kerberos.after_file")
        server.stop()
    server.start()
    found = limits(server)
    assert set(found) == {"trial", "kept"}
    assert found["trial"]["trial"]
    with Nfs3(server.nfs_port, "/kept", mountd_port=server.mountd_port) as nfs:
        nfs.write_file("/x", b"x")
