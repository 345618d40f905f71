"""Kerberos from an MIT KDC to a real client: who signs in, who does not, and what passes on the wire."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import uml
from tests.support.caudal import EXPORT, Caudal, undisturbed
from tests.support.kerberos import REALM, Realm
from tests.support.kerberos_client import GID, SERVER, UID, USER, as_user, gssd_log, join, sign_in, sign_out
from tests.support.processes import wait_until
from tests.support.wire import Wire

ALLOWED = ("--allow", "192.168.0.0/16=rw,none")
SECURE = "/secure"
FLAVOURS = ("krb5", "krb5i", "krb5p")
STRANGER = "nobody-here"
REFUSED = ("Permission denied", "Operation not permitted", "access denied", "Stale file handle")


@pytest.fixture(scope="module")
def member(private_network: None) -> Iterator[uml.Client]:
    """A client of its own: others do not have its name, and wait for no gssd."""
    with uml.Client() as running:
        yield running


@pytest.fixture(scope="module")
def realm(member: uml.Client, module_disk_path: Path) -> Iterator[Realm]:
    module_disk_path.chmod(0o755)
    with Realm(module_disk_path / "realm", member.server_address) as running:
        running.user(USER)
        running.user(STRANGER)
        join(member, running)
        yield running


@pytest.fixture(scope="module")
def keytab(realm: Realm) -> Path:
    return realm.keytab("server.keytab", f"nfs/{SERVER}")


@pytest.fixture(scope="module")
def server(realm: Realm, module_disk_path: Path) -> Iterator[Caudal]:
    """The server has no configuration of Kerberos but its keytab."""
    with undisturbed(module_disk_path) as make:
        # A busy machine spends the usual 5 s of tests before the server answers.
        made = make(admin=True, options=("--grace-s", "12")).start()
        with made.connect() as nfs:
            nfs.mkdir("/secret")
        yield made


def refusal(server: Caudal, *words: str) -> str:
    done = server.run(*words, "--state", str(server.state))
    assert done.returncode, done.stdout
    return " ".join((done.stdout + done.stderr).split())


def kept(server: Caudal) -> dict[str, object]:
    return json.loads(server.cli("kerberos", "show", "--json"))


@pytest.fixture(scope="module")
def secure(server: Caudal, keytab: Path) -> Caudal:
    """The server with its keytab, and an export that asks for Kerberos."""
    server.cli("kerberos", "keytab", str(keytab), timeout_s=120)
    flavours = [word for flavour in FLAVOURS for word in ("--security", flavour)]
    server.cli("export", "add", "secure", "--path", "/secret", *ALLOWED, *flavours)
    return server


def mount(client: uml.Client, server: Caudal, version: str, flavour: str) -> str:
    """Mounts by the server's name, which its principal has."""
    point = f"/mnt/{flavour}-{version}"
    ports = f"port={server.nfs_port},proto=tcp"
    if version == "3":
        ports += f",mountport={server.mountd_port},mountproto=tcp"
    done = client.run(
        f"mkdir -p {point} && mount -t nfs -o vers={version},{ports},sec={flavour} {SERVER}:{SECURE} {point}",
        check=False,
        timeout_s=90,
    )
    assert done.status == 0, f"{done.output}\n{gssd_log(client)}\n{server.log_tail()}"
    return point


# Holds a lock and writes until it is told to stop; the kernel ends the writing where the lock was lost.
HOLDER = """
exec 5>{point}/held && flock -n 5 && : >{work}/holds
while [ ! -e {work}/stop ]; do echo more >&5 && sync {point}/held || exit 1; : >{work}/written; sleep 0.2; done
"""


def test_clients_go_on_when_the_first_keytab_comes(member: uml.Client, server: Caudal, keytab: Path) -> None:
    asks = ("export", "add", "secure", "--path", "/secret", *ALLOWED, "--security", "krb5p")
    assert "keytab" in refusal(server, *asks)
    assert "no keytab" in refusal(server, "kerberos", "keytab", "/etc/passwd")
    assert "no keytab" in refusal(server, "kerberos", "remove")
    assert kept(server)["version"] == 0
    work = member.work
    with member.mounted("4.2", server.nfs_port, EXPORT, "sec=sys") as point:
        holder = member.start_command(HOLDER.format(point=point, work=work))
        wait_until((work / "holds").exists, "a client holds a lock")
        before = server.pid("ganesha")
        server.cli("kerberos", "keytab", str(keytab), timeout_s=120)
        assert server.pid("ganesha") not in {None, before}
        (work / "written").unlink(missing_ok=True)
        wait_until(lambda: (work / "written").exists() or holder.done(), "it goes on writing", 60)
        (work / "stop").touch()
        holder.wait()
        member.run(f"rm {point}/held")
    assert (server.state / "krb5.keytab").stat().st_mode & 0o777 == 0o600
    assert kept(server)["realms"] == [REALM]


@pytest.mark.parametrize(("version", "flavour"), [*(("4.2", each) for each in FLAVOURS), ("3", "krb5i")])
def test_who_signs_in_is_whom_files_belong_to(
    member: uml.Client, realm: Realm, secure: Caudal, version: str, flavour: str
) -> None:
    point = mount(member, secure, version, flavour)
    assert f"sec={flavour}," in member.run(f"grep {point} /proc/mounts").output
    # The machine's credential is root's, as far as the export lets root be root.
    member.run(f"chmod 777 {point} && echo root > {point}/root && test $(stat -c %u:%g {point}/root) = 0:0")
    denied = member.run(as_user(realm, f"echo x > {point}/none"), check=False)
    assert denied.status
    assert any(word in denied.output for word in REFUSED), denied.output
    sign_in(member, realm)
    member.run(
        as_user(
            realm,
            f"echo mine > {point}/user; test $(stat -c %u:%g {point}/user) = {UID}:{GID}; chmod 600 {point}/user;"
            f" grep -q mine {point}/user; ls {point} > /dev/null",
        )
    )
    sign_out(member, realm)
    member.run(f"set -e; ls -ln {point}; rm {point}/user {point}/root; umount {point}")


def test_who_is_no_user_of_the_server_is_nobody(member: uml.Client, realm: Realm, secure: Caudal) -> None:
    """Whatever number the client gives the user."""
    point = mount(member, secure, "4.2", "krb5p")
    member.run(f"mkdir -m 777 {point}/open && mkdir -m 700 {point}/shut && chown {UID}:{GID} {point}/shut")
    assert member.run(f"stat -c %u:%g {point}/shut").output.split() == [f"{UID}:{GID}"]
    sign_in(member, realm, STRANGER)
    member.run(as_user(realm, f"touch {point}/open/new; test $(stat -c %u {point}/open/new) != {UID}"))
    assert member.run(as_user(realm, f"touch {point}/shut/new"), check=False).status
    sign_out(member, realm)
    member.run(f"set -e; rm -r {point}/open {point}/shut; umount {point}")


def test_without_kerberos_nobody_gets_in(member: uml.Client, secure: Caudal) -> None:
    for version, ports in (("4.2", ""), ("3", f",mountport={secure.mountd_port},mountproto=tcp")):
        refused = member.run(
            f"mkdir -p /mnt/sys && mount -t nfs -o vers={version},port={secure.nfs_port},proto=tcp{ports},sec=sys"
            f" {SERVER}:{SECURE} /mnt/sys",
            check=False,
        )
        assert refused.status, version
    # The export of the configuration is as it was.
    with member.mounted("4.2", secure.nfs_port, EXPORT, "sec=sys") as point:
        assert "secret" in member.run(f"ls {point}").output


def test_krb5p_shows_nothing_on_the_wire(member: uml.Client, secure: Caudal) -> None:
    for flavour, shown in (("krb5", True), ("krb5p", False)):
        text, name = f"the plain text of {flavour} " * 40, f"name-of-{flavour}"
        with Wire(member.tap) as wire:
            point = mount(member, secure, "4.2", flavour)
            member.run(
                f"set -e; echo {text} > {point}/{name}; sync {point}/{name}; rm {point}/{name}; umount {point}"
            )
        assert wire.holds(text.encode()[:60]) == shown, flavour
        assert wire.holds(name.encode()) == shown, flavour


def test_new_keys_hold_without_a_restart(
    member: uml.Client, realm: Realm, secure: Caudal, keytab: Path
) -> None:
    before = kept(secure)
    realm.admin(f"ktadd -k {keytab} nfs/{SERVER}")
    pid = secure.pid("ganesha")
    secure.cli("kerberos", "keytab", str(keytab))
    after = kept(secure)
    assert after["version"] != before["version"]
    assert secure.pid("ganesha") == pid
    # A ticket of the new key.
    member.run("rm -f /run/krb5/*")
    point = mount(member, secure, "4.2", "krb5p")
    member.run(f"ls {point} && umount {point}")
    # One of the old key is worth something only as long as it is in the keytab, and none is without a keytab for it.
    other = realm.keytab("other.keytab", f"nfs/other.{SERVER}")
    secure.cli("kerberos", "keytab", str(other))
    assert secure.pid("ganesha") == pid
    member.run("rm -f /run/krb5/*")
    refused = member.run(
        f"mkdir -p /mnt/other && timeout 20 mount -t nfs -o vers=4.2,port={secure.nfs_port},proto=tcp,sec=krb5"
        f" {SERVER}:{SECURE} /mnt/other",
        check=False,
        timeout_s=60,
    )
    assert refused.status
    secure.cli("kerberos", "keytab", str(keytab))


def test_a_keytab_in_use_stays(secure: Caudal) -> None:
    assert "secure" in refusal(secure, "kerberos", "remove")
    assert kept(secure)["version"]
    assert (secure.state / "krb5.keytab").exists()
    secure.cli("export", "remove", "secure")
    secure.cli("kerberos", "remove", timeout_s=120)
    assert kept(secure)["version"] == 0
    assert not (secure.state / "krb5.keytab").exists()
    assert "keytab" in refusal(
        secure, "export", "add", "secure", "--path", "/secret", *ALLOWED, "--security", "krb5p"
    )
