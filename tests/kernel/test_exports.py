"""Exports that come, change and go under real clients, while another client goes on reading."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.control import ControlClient
from tests.support import uml
from tests.support.caudal import EXPORT, Caudal, undisturbed
from tests.support.processes import wait_until

ALLOWED = ("--allow", "127.0.0.0/8=rw,none", "--allow", "192.168.0.0/16=rw,none")


@pytest.fixture(scope="module")
def server(private_network: None, module_disk_path: Path) -> Iterator[Caudal]:
    with undisturbed(module_disk_path) as make:
        made = make(admin=True).start()
        with made.connect() as nfs:
            nfs.mkdir("/projects")
            nfs.write_file("/projects/a", b"x" * 4096)
            nfs.write_file("/read", bytes(range(256)) * 1024)
        yield made


def listed(server: Caudal) -> dict[str, dict[str, object]]:
    with ControlClient(server.state / "run/control.sock") as control:
        return {one["name"]: one for one in control.call("exports")}


READER = """
import os, sys, time
rounds = 0
while not os.path.exists(sys.argv[2]):
    fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, 'rb', buffering=0) as file:
        assert file.read() == bytes(range(256)) * 1024
    rounds += 1
    with open(sys.argv[3], 'w') as told:
        told.write(str(rounds))
"""


def test_exports_come_change_and_go_while_another_is_read(client: uml.Client, server: Caudal) -> None:
    script, stop, told = (client.work / name for name in ("reader.py", "reader.stop", "reader.told"))
    script.write_text(READER)

    def rounds() -> int:
        try:
            return int(told.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def goes_on() -> None:
        before = rounds()
        wait_until(lambda: rounds() >= before + 3 or reader.done(), "the other client reads on")
        assert not reader.done(), reader.output()

    with client.mounted("4.2", server.nfs_port, EXPORT) as other:
        reader = client.start_command(f"python3 {script} {other}/read {stop} {told}")
        try:
            goes_on()
            server.cli("export", "add", "projects", "--path", "/projects", *ALLOWED)
            with client.mounted("4.2", server.nfs_port, "/projects") as point:
                # The directory is the root: neither its siblings nor its parent can be reached by name.
                assert client.run(f"ls {point}").output.split() == ["a"]
                client.run(f"echo one > {point}/b && cmp {point}/b {other}/projects/b")
                # Open through one export: the last name goes through the other, and the file stays.
                client.run(
                    f"exec 3< {point}/b && rm {other}/projects/b && test $(cat <&3) = one && exec 3<&-"
                )
                goes_on()
                server.cli("export", "set", "projects", "--read-only")
                assert "Read-only" in client.run(f"echo two > {point}/c", check=False).output
                client.run(f"wc -c {point}/a")
                goes_on()
                server.cli("export", "set", "projects", "--read-write")
                client.run(f"echo two > {point}/c")
                server.cli("export", "remove", "projects")
                assert "projects" not in listed(server)
                assert client.run(f"cat {point}/c", check=False).status
            refused = client.run(
                f"mkdir -p /mnt/none && mount -t nfs -o vers=4.2,port={server.nfs_port}"
                f" {client.server_address}:/projects /mnt/none",
                check=False,
            )
            assert refused.status
            goes_on()
            client.run(f"cat {other}/projects/c")
        finally:
            stop.touch()
        assert reader.wait().status == 0


def test_the_first_rule_that_names_a_client_holds(client: uml.Client, server: Caudal) -> None:
    its_own = f"{client.address}=ro"
    server.cli("export", "add", "ruled", "--path", "/projects", "--allow", its_own, *ALLOWED)
    try:
        with client.mounted("4.2", server.nfs_port, "/ruled") as point:
            assert "Read-only" in client.run(f"touch {point}/new", check=False).output
    finally:
        server.cli("export", "remove", "ruled")


def test_all_versions_of_nfs_and_a_restart(client: uml.Client, server: Caudal) -> None:
    server.cli("export", "add", "kept", "--path", "/projects", "--pseudo", "/team/kept", *ALLOWED)
    server.wait_restarted(server.kill_server())
    assert listed(server)["kept"]["serving"]
    for version in ("3", "4.0", "4.2"):
        mountd = server.mountd_port if version == "3" else None
        with client.mounted(version, server.nfs_port, "/team/kept", mountd_port=mountd) as point:
            client.run(f"echo {version} > {point}/v{version} && test $(stat -c %u {point}/v{version}) = 0")
    server.cli("export", "set", "kept", "--allow", "192.168.0.0/16=rw,all")
    with client.mounted("4.2", server.nfs_port, "/team/kept") as point:
        client.run(f"chmod 777 {point}", check=False)
        assert "Permission denied" in client.run(f"echo x > {point}/v3", check=False).output
    server.cli("export", "remove", "kept")


def test_the_audit_tells_what_clients_did_in_order(client: uml.Client, server: Caudal) -> None:
    server.cli("export", "add", "seen", "--path", "/", "--audit", "changes", *ALLOWED)
    with client.mounted("4.2", server.nfs_port, "/seen") as point:
        client.run(
            f"cd {point} && mkdir told && echo one > told/file && chmod 600 told/file && cat told/file"
            " && mv told/file told/moved && rm told/moved && ! rmdir none && rmdir told"
        )
    with client.mounted("4.2", server.nfs_port, EXPORT) as point:
        client.run(f"touch {point}/untold && rm {point}/untold")
    log = server.state / "audit/audit.jsonl"

    def records() -> list[dict[str, object]]:
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    wait_until(lambda: len(records()) >= 7 and records()[-1]["op"] == "remove", "it is written")
    found = [(one["op"], one["path"]) for one in records() if one["op"] != "setattr"]
    assert found == [
        ("mkdir", "/seen/told"),
        ("create", "/seen/told/file"),
        ("write", "/seen/told/file"),
        ("rename", "/seen/told/file"),
        ("remove", "/seen/told/moved"),
        ("remove", "/seen/told"),
    ]
    assert any(one["op"] == "setattr" for one in records())
    first = records()[0]
    assert (first["export"], first["uid"], first["result"]) == ("seen", 0, "ok")
    assert str(first["client"]).startswith(("127.", "192.168."))
    assert next(one for one in records() if one["op"] == "rename")["to"] == "/seen/told/moved"
    server.cli("export", "set", "seen", "--audit", "all")
    with client.mounted("4.1", server.nfs_port, "/seen") as point:
        client.run(f"cat {point}/read > /dev/null")
    wait_until(lambda: records()[-1]["op"] == "read", "reads are told, too")
    status = server.status()["audit"]
    assert (status["exports"], status["dropped"]) == (1, 0)
    server.cli("export", "remove", "seen")


def test_paths_go_by_the_exports_of_the_moment(server: Caudal) -> None:
    server.cli("export", "add", "inner", "--path", "/projects", "--pseudo", "/inner", *ALLOWED)
    made = json.loads(server.cli("quota", "set", "/inner", "--bytes", "1GiB", "--json"))
    assert made["path"] == "/inner"
    assert json.loads(server.cli("quota", "show", f"{EXPORT}/projects", "--json"))["id"] == made["id"]
    tree = json.loads(server.cli("quota", "tree", "/inner", "--json"))
    assert "a" in [one["name"] for one in tree["items"]]
    server.cli("cache", "warm", "/inner/a")
    server.cli("export", "remove", "inner")
    assert [one["path"] for one in json.loads(server.cli("quota", "list", "--json"))] == [
        f"{EXPORT}/projects"
    ]
    for arguments in (("quota", "show", "/inner"), ("cache", "warm", "/inner/a"), ("cache", "pin", "/inner")):
        done = server.run(*arguments, "--state", str(server.state))
        assert done.returncode != 0
        assert f"begin with one of: {EXPORT}" in " ".join((done.stdout + done.stderr).split())
    server.cli("quota", "remove", f"{EXPORT}/projects")


def test_what_cannot_be_exported_is_refused(server: Caudal) -> None:
    for words, told in (
        (("main",), "already"),
        (("x", "--path", "/nowhere"), "no directory"),
        (("x", "--path", "/read"), "no directory"),
        (("x", "--path", "/projects", "--pseudo", f"{EXPORT}/x"), "meets"),
        (("x", "--path", "/projects", "--security", "krb5"), "needs a keytab"),
        (("x", "--path", "/projects", "--allow", "300.1.1.1/8"), "not a client"),
    ):
        done = server.run("export", "add", *words, "--state", str(server.state))
        assert done.returncode == 1, words
        assert told in done.stderr, done.stderr
    refused = server.run("export", "remove", "main", "--state", str(server.state))
    assert "configuration" in refused.stderr
    assert list(listed(server)) == ["main"]
