"""SMB shares of the server in a running Samba, as first boot sets it up: they come, change and go under connected clients.
And what docs/smb.md says of encryption, signing, change notification, DOS attributes and names without regard to case.
"""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.firstboot import smb
from gateway import smb_shares
from gateway.state import StateDir
from tests.support import uml
from tests.support.caudal import undisturbed
from tests.support.processes import wait_until
from tests.support.smb_share import MOUNT, OTHER, PROGRAMS, SHARE, UID, USER, Share

ROOT = Path(__file__).resolve().parents[2]
MANY = 20_000
LOOKUPS = 4
takes_a_minute = pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="make test-all")


@pytest.fixture(scope="module")
def share(private_network: None, module_disk_path: Path) -> Iterator[Share]:
    missing = [program for program in (*PROGRAMS, "smbclient") if shutil.which(program) is None]
    assert not missing, f"install {', '.join(missing)}: tools/setup client"
    with undisturbed(module_disk_path) as make, uml.Client(memory_mib=768) as client:
        # Leases as long as the appliance's: Samba waits for nothing but its own clients for some seconds at a time.
        server = make(admin=True, options=("--lease-s", "60", "--grace-s", "60")).start()
        with server.connect() as nfs:
            nfs.mkdir("/projects")
            nfs.chown("/projects", UID, UID)
        one = Share(client, server)
        one.start()
        # As first boot leaves it before a start.
        smb_shares.samba_file(StateDir(server.state)).write_bytes(
            smb.for_the_server(smb.Smb(share=SHARE), MOUNT)
        )
        run_applier(one, "remember")
        yield one


def run_applier(share: Share, what: str) -> None:
    """What the appliance's units run when the file of the shares has changed."""
    share.client.run(
        f"cd {ROOT} && {sys.executable} -m appliance.smb_shares {what} --state {share.server.state}"
        f" --samba {share.conf}"
    )


def change(share: Share, *words: str) -> None:
    share.server.cli("share", *words)
    run_applier(share, "apply")


def does(share: Share, name: str, command: str, user: str = USER) -> bool:
    """Whether smbclient does it; what it says goes to the test's output."""
    done, said = share.ask(name, command, user=user)
    print(said, "" if done else share.log_tail())
    return done


class Session:
    """A connected smbclient, on a terminal, so that it says things when they happen."""

    def __init__(self, words: list[str]) -> None:
        ours, its = pty.openpty()
        self._terminal = ours
        # Without a buffer: smbclient waits for input before it looks at what it has read already.
        self._process = subprocess.Popen(
            ["stdbuf", "-i0", *words], stdin=subprocess.PIPE, stdout=its, stderr=its
        )
        os.close(its)
        os.set_blocking(ours, False)
        self._said = ""
        self._asked = 0

    def said(self) -> str:
        while True:
            try:
                self._said += os.read(self._terminal, 65536).decode(errors="replace")
            except (BlockingIOError, OSError):
                return self._said

    def expect(self, holds: Callable[[str], bool], what: str) -> None:
        try:
            wait_until(lambda: holds(self.said()), what, 120)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._said[-1000:]}") from None

    def send(self, command: str) -> None:
        self._said = ""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()

    def ask(self, command: str) -> str:
        """Does a command and returns what is said until it is done."""
        self._asked += 1
        end = f"done {self._asked}"
        self.said()
        self.send(f"{command}\n!echo {end}")
        self.expect(lambda said: end in said, command)
        return self._said

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._terminal)


@contextmanager
def session(share: Share, name: str, *options: str) -> Iterator[Session]:
    made = Session(share.smbclient(name, *options))
    try:
        made.expect(lambda said: 'Try "help"' in said, "smbclient is connected")
        yield made
    finally:
        made.end()


def test_a_share_comes_changes_and_goes_under_a_client_of_another(share: Share, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\n")
    with session(share, SHARE) as other:
        assert not share.ask("Projects", "ls")[0]
        change(share, "add", "Projects", "--path", "/projects", "--comment", "of the house")
        assert does(share, "PROJECTS", f"put {tmp_path}/file file; get file -")
        with session(share, "Projects") as connected:
            assert "NT_STATUS" not in connected.ask("mkdir before")
            change(share, "change", "projects", "--comment", "other")
            # It allows no less: the connection stays.
            assert "NT_STATUS" not in connected.ask("mkdir after")
            change(share, "change", "Projects", "--read-only")
            assert "NT_STATUS" in connected.ask("mkdir never")
        done, said = share.ask("Projects", "mkdir never")
        assert (done, "MEDIA_WRITE_PROTECTED" in said or "ACCESS_DENIED" in said) == (False, True), said
        assert does(share, "Projects", "ls file")
        with session(share, "Projects") as connected:
            change(share, "remove", "Projects")
            assert "NT_STATUS" in connected.ask("ls")
            assert "BAD_NETWORK_NAME" in connected.ask("tcon projects") + connected.ask("tcon Projects")
        assert "BAD_NETWORK_NAME" in share.ask("Projects", "ls")[1]
        assert "NT_STATUS" not in other.ask("ls projects\\file")


def test_lists_of_users_hold(share: Share) -> None:
    change(share, "add", "private", "--path", "/projects", "--user", OTHER, "--hidden")
    try:
        assert "ACCESS_DENIED" in share.ask("private", "ls")[1]
        assert does(share, "private", "ls", user=OTHER)
        change(share, "change", "private", "--all-users")
        assert does(share, "private", "ls")
    finally:
        change(share, "remove", "private")


OLD = "--option=client min protocol=SMB2_02"
# What a client asks for: what protects its connection where encryption is desired, and where it is required.
CASES = {
    "encryption": (("--client-protection=encrypt",), "encrypted", "encrypted"),
    "signatures": (("--client-protection=sign",), "encrypted", "encrypted"),
    "nothing": (("--client-protection=off",), "encrypted", "encrypted"),
    "SMB 2.1": (("--client-protection=sign", OLD, "-m", "SMB2_10"), "refused", "refused"),
}


def protection(share: Share, *options: str) -> str:
    """What protects a connection, as Samba tells."""
    done, said = share.ask(SHARE, "ls", *options)
    if not done:
        print(said)
        return "refused"
    with session(share, SHARE, *options):
        text = share.client.run(f"smbstatus --processes --configfile={share.conf}").output
    found = re.findall(r" SMB3_\d+ +(\S+) +(\S+)", text)
    assert len(found) == 1, text
    encryption, signing = found[0]
    return "encrypted" if "AES" in encryption else "signed" if "AES" in signing else "neither"


@takes_a_minute
@pytest.mark.parametrize("encrypt", ["desired", "required"])
def test_who_is_let_in_by_encryption_and_signing(share: Share, encrypt: str) -> None:
    share.configure(encrypt)
    share.client.run(f"smbcontrol --configfile={share.conf} all reload-config")
    wanted = {case: after[encrypt == "required"] for case, (_, *after) in CASES.items()}
    assert {case: protection(share, *options) for case, (options, *_) in CASES.items()} == wanted


@takes_a_minute
def test_changes_of_smb_clients_are_notified_and_those_of_nfs_clients_show_at_the_next_listing(
    share: Share, tmp_path: Path
) -> None:
    with session(share, SHARE) as watcher:
        assert "NT_STATUS" not in watcher.ask("mkdir watched")
        watcher.send("notify watched")
        time.sleep(1)  # until it waits; what comes before that is nobody's to notify
        with share.server.connect() as nfs:
            nfs.mkdir("/watched/of_nfs")
        assert does(share, SHARE, "mkdir watched/of_smb")
        watcher.expect(lambda said: "of_smb" in said, "the other client's change is notified")
        assert "of_nfs" not in watcher.said()
    assert "of_nfs" in share.ask(SHARE, "ls watched/*")[1]


@takes_a_minute
def test_names_are_found_without_regard_to_case(share: Share) -> None:
    with share.server.connect() as nfs:
        nfs.mkdir("/many")
        for number in range(MANY):
            nfs.open(f"/many/Name{number:05}", os.O_CREAT | os.O_WRONLY).close()
        nfs.chown("/many", UID, UID)
    # Of a listing in another case it may want to wait for longer than for anything else.
    with session(share, SHARE, "--timeout=120") as asking:
        for command in ("allinfo", "ls"):
            for what, name in (("this case", "Name"), ("another", "nAME")):
                begun_s = time.monotonic()
                for number in range(MANY // 2, MANY // 2 + LOOKUPS):
                    said = asking.ask(f"{command} many/{name}{number:05}")
                    assert "NT_STATUS" not in said
                    assert "altname" in said or f"Name{number:05}" in said
                took_s = (time.monotonic() - begun_s) / LOOKUPS
                print(f"{MANY} names, {command} in {what}: {took_s * 1000:.0f} ms")
        for what in ("first", "second", "third"):
            begun_s = time.monotonic()
            assert "NT_STATUS" not in asking.ask(f"mkdir many/{what}")
            print(f"{MANY} names, {what} new name: {(time.monotonic() - begun_s) * 1000:.0f} ms")


@takes_a_minute
def test_what_cannot_be_shared_is_refused(share: Share) -> None:
    server = share.server
    for words, told in (
        (("DATA", "--path", "/projects"), "there is a share data"),
        (("x", "--path", "/nowhere"), "no directory"),
        (("homes", "--path", "/projects"), "another use"),
        (("x", "--path", "/projects", "--user", "a%U"), "cannot be a user"),
    ):
        done = server.run("share", "add", *words, "--state", str(server.state))
        assert done.returncode == 1, words
        assert told in " ".join(done.stderr.split()), done.stderr
    for words in (("remove", "Data"), ("change", "data", "--read-only")):
        refused = server.run("share", *words, "--state", str(server.state))
        assert "configured" in refused.stderr
    found = json.loads(server.cli("share", "show", "data", "--json"))
    assert (found["configured"], found["path"]) == (True, "/")


@takes_a_minute
def test_dos_attributes_are_kept_across_an_unmount(share: Share, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert does(share, SHARE, f"put {tmp_path}/file dos; setmode dos +rhsa")
    share.mount_anew()
    done, said = share.ask(SHARE, "allinfo dos; ls dos")
    assert done, said
    assert set("RHSA") <= set(said.split("attributes:")[1].split("\n")[0].split("(")[0]), said
