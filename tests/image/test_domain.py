"""The booted image as a member of an Active Directory: one command, and it stays one over a restart and with another system
disk. What users and commands of a domain may is shown in tests/kernel/test_smb_domain.py. Takes some boots, so only with
TEST_VERSIONS=all.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.active_directory import ADMINISTRATOR, PASSWORD, REALM, SHORT, Directory
from tests.support.appliance import Appliance
from tests.support.processes import wait_until
from tests.support.smb_member import CONFIG, FIRST_ID, NAME, smbclient

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="takes some boots: make test-all"),
]
USER, USER_PASSWORD = "ada", "Her-own-w0rd"
UNITS = "-u caudal-smb -u caudal-winbind -u caudal-firstboot"
BY_PASSWORD = f"{SHORT}\\{USER}%{USER_PASSWORD}"


@pytest.fixture(scope="module")
def appliance(appliances: Callable[..., Appliance]) -> Appliance:
    """Not started."""
    one = appliances()
    # The network's DNS server does not know the domain: there is none here.
    more = f'dns = ["{one.gateway}"]'
    config = CONFIG.format(realm=REALM, first_id=FIRST_ID, name=NAME, more=more)
    one.put("etc/caudal/smb.toml", config)
    one.disks = [one.new_disk("j0", 1024), one.new_disk("j1", 1024), one.new_disk("files", 2048)]
    return one


@pytest.fixture(scope="module")
def directory(appliance: Appliance) -> Iterator[Directory]:
    with Directory(appliance.work / "directory", appliance.gateway) as running:
        yield running


@pytest.fixture(scope="module")
def uid(directory: Directory) -> int:
    return FIRST_ID + directory.user(USER, USER_PASSWORD)


@pytest.fixture(scope="module")
def ticket(directory: Directory, uid: int) -> Path:
    return directory.ticket(USER, USER_PASSWORD)


def start(appliance: Appliance) -> None:
    appliance.start().wait_serving()
    appliance.ssh("systemctl is-system-running --wait", timeout_s=300, check=False)


def active(appliance: Appliance) -> list[str]:
    return appliance.ssh("systemctl is-active caudal-smb caudal-winbind", check=False).split()


def writes(appliance: Appliance, directory: Directory, uid: int, ticket: Path, name: str) -> None:
    """The user gets in both ways, and is the same on the appliance."""
    for way, user, cache in (("kerberos", "", ticket), ("password", BY_PASSWORD, None)):
        file = f"team/{name}-{way}"
        done = smbclient(appliance, directory, user, f"put /etc/hostname {file}", cache)
        said = f"{done.stdout}{done.stderr}{appliance.ssh(f'journalctl -b --no-pager -n 40 {UNITS}', check=False)}"
        assert done.returncode == 0, f"{way}: {said}"
        assert appliance.ssh(f"stat -c %u:%U /srv/smb/{file}").strip() == f"{uid}:{USER}"


def test_before_the_join_the_machine_says_what_is_missing(appliance: Appliance, directory: Directory) -> None:
    start(appliance)
    (note,) = appliance.setup()["notes"]
    assert f"no member of {REALM}" in note
    assert "caudal-smb-join" in note
    assert active(appliance) == ["active", "inactive"]
    appliance.ssh("mkdir -m 1777 /srv/smb/team && chmod 755 /srv/smb")


def test_one_command_makes_it_a_member(
    appliance: Appliance, directory: Directory, uid: int, ticket: Path
) -> None:
    said = appliance.ssh(f"echo '{PASSWORD}' | caudal-smb-join {ADMINISTRATOR}", timeout_s=180)
    assert f"member of {REALM} as {NAME}" in said
    assert f"{NAME}$" in directory.computers()
    assert active(appliance) == ["active", "active"]
    writes(appliance, directory, uid, ticket, "joined")
    assert "the clock fits" in appliance.ssh("caudal-smb-join --show", timeout_s=120)
    wait_until(lambda: appliance.setup()["notes"] == [], "first boot has nothing to say any more", 60, 1)


def test_it_is_a_member_after_a_restart_and_with_another_system_disk(
    appliance: Appliance, directory: Directory, uid: int, ticket: Path
) -> None:
    appliance.shut_down()
    start(appliance)
    writes(appliance, directory, uid, ticket, "restarted")
    appliance.shut_down()
    appliance.replace_root()
    start(appliance)
    assert active(appliance) == ["active", "active"]
    writes(appliance, directory, uid, ticket, "replaced")
    assert appliance.ssh("stat -c %U /srv/smb/team/joined-kerberos").strip() == USER


def test_who_leaves_serves_users_of_the_machine_alone(
    appliance: Appliance, directory: Directory, ticket: Path
) -> None:
    appliance.ssh(f"echo '{PASSWORD}' | caudal-smb-join --leave {ADMINISTRATOR}", timeout_s=180)
    assert f"{NAME}$" not in directory.computers()
    wait_until(lambda: active(appliance) == ["active", "inactive"], "winbindd ends", 60, 1)
    wait_until(lambda: appliance.setup()["notes"] != [], "first boot says that it is no member", 60, 1)
    done = smbclient(appliance, directory, BY_PASSWORD, "ls")
    assert done.returncode != 0
    appliance.ssh(f"echo correct-horse | caudal-smb-user add eve && test $(id -u eve) -lt {FIRST_ID}")
    local = smbclient(appliance, directory, f"{NAME}\\eve%correct-horse", "ls")
    assert local.returncode == 0, local.stdout + local.stderr
