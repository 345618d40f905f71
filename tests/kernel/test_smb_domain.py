"""The appliance in an Active Directory: Samba's own domain controller, a machine that joins it, and users of the domain who
write files by Kerberos and by password. Takes over a minute, so only with TEST_VERSIONS=all.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import netns, uml
from tests.support.active_directory import ADMINISTRATOR, PASSWORD, PROGRAMS, REALM, SHORT, Directory
from tests.support.caudal import EXPORT, Caudal, undisturbed
from tests.support.smb_member import (
    FIRST_ID,
    LOCAL_PASSWORD,
    LOCAL_UID,
    LOCAL_USER,
    NAME,
    Machine,
    local_user,
    smbclient,
)

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="over a minute: make test-all"),
]
USER, USER_PASSWORD = "ada", "Her-own-w0rd"
OTHER_PASSWORD = "Not-her-own-w0rd"
BY_PASSWORD = f"{SHORT}\\{USER}%{USER_PASSWORD}"
JOINED = f"member of {REALM} as {NAME}; DNS knows it as {NAME.lower()}.{REALM.lower()}"
NOT_IN_DNS = (
    f"member of {REALM} as {NAME}; DNS did not take its name: enter {NAME.lower()}.{REALM.lower()} with the address {{}},"
    " or Kerberos finds no way to it"
)


@pytest.fixture(scope="module")
def shared(private_network: None, module_disk_path: Path) -> Iterator[Caudal]:
    """With a longer lease than tests usually have: the mount is idle while others work the machine."""
    with undisturbed(module_disk_path) as make:
        yield make(options=("--lease-s", "30", "--grace-s", "30")).start()


@pytest.fixture(scope="module")
def host(private_network: None) -> Iterator[uml.Client]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    assert not missing, f"install {', '.join(missing)}: tools/setup client"
    with uml.Client(memory_mib=768) as client:
        yield client


@pytest.fixture(scope="module")
def directory(host: uml.Client, module_disk_path: Path) -> Iterator[Directory]:
    with Directory(module_disk_path / "directory", host.server_address) as running:
        running.unit("Files")
        yield running


@pytest.fixture(scope="module")
def uid(directory: Directory) -> int:
    """Of the user, as it follows from the account's RID in the domain."""
    return FIRST_ID + directory.user(USER, USER_PASSWORD)


@pytest.fixture(scope="module")
def machine(host: uml.Client, directory: Directory, shared: Caudal) -> Machine:
    """Not a member yet."""
    (host.work / "resolv.conf").write_text(f"nameserver {directory.address}\noptions timeout:2 attempts:1\n")
    host.run(f"mount --bind {host.work}/resolv.conf /etc/resolv.conf")
    one = Machine(host, shared, "first")
    notes = one.boot(more='ou = "Files"')
    assert f"no member of {REALM}" in notes
    assert "caudal-smb-join" in notes
    host.run(f"mkdir -m 1777 {one.root}/srv/smb/team; chmod 755 {one.root}/srv/smb")
    local_user(host, one)
    return one


def said(result: uml.Result) -> str:
    return " ".join(result.output.split())


def test_what_stands_against_a_join_is_told_with_what_to_do(machine: Machine, directory: Directory) -> None:
    """And none of it makes a membership."""
    administrator = (ADMINISTRATOR,)
    wrong = machine.join(*administrator, password=OTHER_PASSWORD)
    assert wrong.status == 1
    assert "password is wrong" in said(wrong)
    machine.configure(realm="WRONG.EXAMPLE")
    unknown = machine.join(*administrator, password=PASSWORD)
    assert unknown.status == 1
    assert "DNS knows no domain controller of WRONG.EXAMPLE" in said(unknown)
    assert "dns = [" in said(unknown)
    machine.configure(more='workgroup = "OTHER"')
    short = machine.join(*administrator, password=PASSWORD)
    assert (short.status, f'workgroup = "{SHORT}"' in said(short)) == (1, True), short.output
    machine.configure(more='ou = "Nowhere"')
    nowhere = machine.join(*administrator, password=PASSWORD)
    assert (nowhere.status, "such an ou" in said(nowhere)) == (1, True), nowhere.output
    machine.configure(more='ou = "Files"')
    shut = "add table inet shut; add chain inet shut in { type filter hook input priority 0; };"
    netns.run("nft", f"{shut} add rule inet shut in tcp dport {{ 389, 88 }} reject with tcp reset")
    try:
        shut_off = machine.join(*administrator, password=PASSWORD)
    finally:
        netns.run("nft", "delete table inet shut")
    assert shut_off.status == 1
    assert f"no domain controller of {REALM} answers: {directory.address}" in said(shut_off)
    assert "open the way" in said(shut_off)
    assert f"{NAME}$" not in directory.computers()
    shown = machine.join("--show")
    assert (shown.status, "no member" in said(shown)) == (1, True), shown.output


def test_local_users_are_served_before_the_join(machine: Machine, directory: Directory) -> None:
    machine.serve(winbind=False)
    done = smbclient(machine.client, directory, f"{LOCAL_USER}%{LOCAL_PASSWORD}", "mkdir team/local")
    assert done.returncode == 0, done.stdout + done.stderr + machine.logs()
    machine.stop()
    made = machine.client.run(f"stat -c %u {machine.root}/srv/smb/team/local").output
    assert made.strip() == str(LOCAL_UID)


@pytest.fixture(scope="module")
def member(machine: Machine, directory: Directory, uid: int) -> Machine:
    joined = machine.join(ADMINISTRATOR, password=PASSWORD)
    assert (joined.status, said(joined)) == (0, JOINED), joined.output
    assert machine.client.address in directory.addresses(NAME)
    assert f"{NAME}$" in directory.computers()
    machine.serve()
    return machine


@pytest.fixture(scope="module")
def ticket(directory: Directory, uid: int) -> Path:
    return directory.ticket(USER, USER_PASSWORD)


def owner(client: uml.Client, server: Caudal, path: str) -> int:
    """The number that a client of NFS sees, who is in no domain."""
    with client.mounted("4.2", server.nfs_port, EXPORT, "sec=sys") as point:
        return int(client.run(f"stat -c %u {point}/{path}").output)


def test_the_membership_is_sound_and_its_secrets_are_roots(member: Machine) -> None:
    shown = member.join("--show")
    assert (shown.status, "the clock fits" in said(shown)) == (0, True), shown.output
    kept = f"{member.root}/var/lib/caudal/samba"
    modes = member.client.run(
        f"stat -c %a {kept}/private/secrets.tdb {kept}/member.json {kept}/private"
    ).output
    assert modes.split() == ["600", "600", "700"]


def test_users_of_the_domain_get_in_by_kerberos_and_by_password(
    member: Machine, directory: Directory, uid: int, client: uml.Client, ticket: Path
) -> None:
    for name, user, cache in (("kerberos", "", ticket), ("password", BY_PASSWORD, None)):
        done = smbclient(member.client, directory, user, f"put /etc/hostname team/{name}", cache)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}\n{member.logs()}"
        assert owner(client, member.server, f"team/{name}") == uid
    # Names come by nsswitch, as nfs-ganesha asks for them.
    listed = member.client.run(f"ls -l {member.root}/srv/smb/team/kerberos; id {USER}").output
    assert f" {USER} " in listed
    assert f"uid={uid}({USER})" in listed
    # What is the user's alone is nobody else's.
    local = f"{NAME}\\{LOCAL_USER}%{LOCAL_PASSWORD}"
    member.client.run(f"chmod 600 {member.root}/srv/smb/team/kerberos")
    refused = smbclient(member.client, directory, local, "get team/kerberos -")
    assert "ACCESS_DENIED" in refused.stdout + refused.stderr
    served = smbclient(member.client, directory, local, "mkdir team/too")
    assert served.returncode == 0, served.stdout + served.stderr
    assert owner(client, member.server, "team/too") == LOCAL_UID


def test_nobody_else_gets_in(member: Machine, directory: Directory) -> None:
    for user in (f"{SHORT}\\{USER}%{OTHER_PASSWORD}", f"{SHORT}\\nobody%{USER_PASSWORD}", "root%x", "%"):
        done = smbclient(member.client, directory, user, "ls")
        assert done.returncode != 0, user
        assert any(word in done.stdout for word in ("LOGON_FAILURE", "ACCESS_DENIED")), (
            f"{user}: {done.stdout}"
        )


def test_another_machine_with_the_state_directory_is_the_member(
    member: Machine, directory: Directory, uid: int, client: uml.Client, ticket: Path
) -> None:
    """Another system image at its first boot, with another host name; and afterwards it leaves."""
    member.stop(for_good=True)
    other = Machine(member.client, member.server, "second")
    notes = other.boot(state_of=member, more='ou = "Files"')
    assert not notes.strip()
    other.serve()
    for name, user, cache in (("kerberos-2", "", ticket), ("password-2", BY_PASSWORD, None)):
        done = smbclient(other.client, directory, user, f"put /etc/hostname team/{name}", cache)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}\n{other.logs()}"
        assert owner(client, other.server, f"team/{name}") == uid
    refused = other.join("--leave", ADMINISTRATOR, password=OTHER_PASSWORD)
    assert (refused.status, "password is wrong" in said(refused)) == (1, True), refused.output
    assert other.join("--show").status == 0
    left = other.join("--leave", ADMINISTRATOR, password=PASSWORD)
    assert (left.status, "no member" in said(left)) == (0, True), left.output
    assert f"{NAME}$" not in directory.computers()
    assert other.client.address not in directory.addresses(NAME)
    other.stop()
    assert f"no member of {REALM}" in other.first_boot()
    # Without a password, by a file of the domain's administrator.
    joined = other.join("--blob", other.blob(ADMINISTRATOR, PASSWORD))
    # Its name in DNS is still the deleted account's, so the domain may not let the new one enter it: then that is told.
    assert (joined.status, said(joined)) in ((0, JOINED), (0, NOT_IN_DNS.format(other.client.address))), (
        joined.output
    )
    other.serve()
    done = smbclient(other.client, directory, BY_PASSWORD, "put /etc/hostname team/password-3")
    assert done.returncode == 0, done.stdout + done.stderr + other.logs()
    assert owner(client, other.server, "team/password-3") == uid


def test_a_clock_that_is_wrong_is_told_with_what_to_do(machine: Machine) -> None:
    """Last, so that no other test has it on a clock that jumps."""
    machine.client.run("date -s '+1 hour'")
    skewed = machine.join(ADMINISTRATOR, password=PASSWORD)
    assert skewed.status == 1
    assert "s ahead of the domain's" in said(skewed)
    assert "chronyc" in said(skewed)
