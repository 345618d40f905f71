"""Disks that go and come back, system disks that are replaced, packages that are upgraded: clients go on, and nothing that
was acknowledged is lost. Takes many boots, so only with TEST_VERSIONS=all.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import netns, uml
from tests.support.appliance import Appliance
from tests.support.processes import ROOT, wait_until

pytestmark = [
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="takes many boots: make test-all"),
]
LATER = "+later"
# Whose certificate it is the tests of the page look at.
ASK_PAGE = """import ssl, urllib.request
context = ssl._create_unverified_context()
print(urllib.request.urlopen("https://localhost:8443/", context=context, timeout=20).read().decode())
"""


class Files:
    """What a client was told is there: files with known contents, added between the faults."""

    def __init__(self, client: uml.Client, appliance: Appliance) -> None:
        self._client, self._appliance = client, appliance
        self.point = client.mount("4.2", 2049, "/data")
        self._rounds = 0

    def add(self) -> None:
        self._rounds += 1
        folder = f"{self.point}/round{self._rounds}"
        self._client.run(
            f"mkdir {folder} && for i in $(seq 60); do echo {self._rounds} $i >{folder}/f$i || exit 1; done;"
            f"dd if=/dev/zero of={folder}/large bs=64k count=40 conv=fsync 2>&1 && sync -f {folder}",
            timeout_s=300,
        )

    def check(self) -> None:
        """Also after the longest wait for a server that comes back."""
        for number in range(1, self._rounds + 1):
            folder = f"{self.point}/round{number}"
            check = f'for i in $(seq 60); do test "$(cat {folder}/f$i)" = "{number} $i" || exit 1; done;'
            size = f"test $(stat -c %s {folder}/large) = {64 * 1024 * 40}"
            try:
                self._client.run(check + size, timeout_s=300)
            except uml.CommandFailed as error:
                words = self._client.kernel_messages()[-3000:]
                raise AssertionError(f"{error}\n{words}\n{self._appliance.state_of_things()}") from None


@pytest.fixture(scope="module")
def appliance(appliances: Callable[..., Appliance]) -> Appliance:
    one = appliances()
    names = {"j0": 1024, "j1": 1024, "files": 2048, "cache": 512}
    one.disks = [one.new_disk(name, mib) for name, mib in names.items()]
    one.start().wait_serving()
    assert [shelf["state"] for shelf in one.status()["cache"]["shelves"]] == ["ok"]
    return one


@pytest.fixture(scope="module")
def files(private_network: None, appliance: Appliance) -> Iterator[Files]:
    netns.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    with uml.Client() as client:
        client.run(f"ip route add default via {client.server_address}")
        client.server_address = appliance.address
        found = Files(client, appliance)
        found.add()
        yield found


def with_disks(appliance: Appliance, *names: str) -> None:
    """Switched off, the disks changed, and on again."""
    appliance.power_off()
    appliance.disks = [appliance.work / name for name in names]
    appliance.start()
    appliance.wait_serving()


def healthy_mirrors(appliance: Appliance) -> int:
    return sum(mirror["state"] == "healthy" for mirror in appliance.status()["journal"]["mirrors"])


def mirrors(appliance: Appliance) -> dict[str, str]:
    """The state of each, by the name of its disk's mount point."""
    found = appliance.status()["journal"]["mirrors"]
    return {Path(mirror["path"]).parent.name: mirror["state"] for mirror in found}


def attach(appliance: Appliance, name: str, *, healthy: int) -> None:
    """A disk that comes while the machine runs, and is rebuilt."""
    appliance.attach(appliance.work / name)
    wait_until(lambda: healthy_mirrors(appliance) == healthy, f"{healthy} mirrors are healthy", 240, 1)
    wait_until(lambda: appliance.setup()["notes"] == [], "first boot has looked again", 120, 1)


def test_a_journal_disk_goes_and_comes_back(appliance: Appliance, files: Files) -> None:
    assert healthy_mirrors(appliance) == 2
    for _ in range(2):
        # Also at the second start without it, when the journal's own list does not name it any more.
        with_disks(appliance, "j0", "files", "cache")
        assert "1 of 2 journal mirrors missing" in " ".join(appliance.setup()["notes"])
        assert mirrors(appliance) == {"journal0": "healthy", "journal1": "lost"}
        alerts = {alert["what"] for alert in appliance.status()["alerts"]}
        assert {"journal_mirror_lost", "journal_one_mirror_left"} <= alerts
        files.check()
        files.add()
    assert appliance.ssh("find /srv/caudal/journal1 | wc -l").strip() == "1", "nothing on the system's disk"
    attach(appliance, "j1", healthy=2)


def test_the_disk_with_the_state_directory_goes_and_comes_back(appliance: Appliance, files: Files) -> None:
    """Soon after the other one was rebuilt: that one has everything."""
    files.add()
    with_disks(appliance, "j1", "files", "cache")
    assert "came back" in " ".join(appliance.setup()["notes"])
    files.check()
    files.add()
    with_disks(appliance, "j1", "cache", "j0", "files")
    assert appliance.setup()["notes"] == []
    wait_until(lambda: healthy_mirrors(appliance) == 2, "both mirrors are healthy", 240, 1)
    files.check()


def test_a_blank_disk_takes_the_place_of_a_mirror(appliance: Appliance, files: Files) -> None:
    appliance.new_disk("fresh", 1024)
    # Under another name than the lost one had, so the server has to be told that it is meant.
    with_disks(appliance, "files", "cache", "fresh", "j1")
    assert "takes the place of the missing" in " ".join(appliance.setup()["notes"])
    wait_until(lambda: healthy_mirrors(appliance) == 2, "both mirrors are healthy", 240, 1)
    files.check()
    files.add()
    # The new one alone has everything.
    appliance.power_off()
    (appliance.work / "j0").unlink()
    (appliance.work / "fresh").rename(appliance.work / "j0")
    with_disks(appliance, "j0", "files", "cache")
    files.check()
    attach(appliance, "j1", healthy=2)


def test_a_mirror_added_by_hand_stays_and_one_taken_out_stays_out(appliance: Appliance, files: Files) -> None:
    third = appliance.new_disk("third", 1024)
    subprocess.run(["mkfs.ext4", "-q", "-L", "third", third], check=True)
    appliance.attach(third)
    entry = "LABEL=third /srv/caudal/third ext4 noatime,nofail 0 2"
    appliance.ssh(f"mkdir /srv/caudal/third && echo '{entry}' >>/etc/fstab && mount /srv/caudal/third")
    appliance.ssh("caudal journal mirror add /srv/caudal/third/journal")
    wait_until(lambda: healthy_mirrors(appliance) == 3, "the third mirror is healthy", 240, 1)
    appliance.ssh("caudal journal mirror remove /srv/caudal/journal1/journal")
    files.add()
    with_disks(appliance, "j0", "files", "cache", "third")
    expected = {"journal0": "healthy", "third": "healthy"}
    wait_until(lambda: mirrors(appliance) == expected, "what was said by hand holds", 240, 1)
    assert appliance.setup()["notes"] == [], "nobody misses what was taken out"
    files.check()
    files.add()
    # Its disk alone does not bring it back, nor does a restart of the server.
    appliance.attach(appliance.work / "j1")
    mounted = "findmnt -no LABEL /srv/caudal/journal1"
    wait_until(lambda: "journal1" in appliance.ssh(mounted, check=False), "it is mounted", 120, 1)
    appliance.ssh("systemctl restart caudal", timeout_s=300)
    appliance.wait_serving()
    assert set(mirrors(appliance)) == {"journal0", "third"}
    appliance.ssh("caudal journal mirror add /srv/caudal/journal1/journal")
    wait_until(lambda: healthy_mirrors(appliance) == 3, "three mirrors", 240, 1)
    appliance.ssh("caudal journal mirror remove /srv/caudal/third/journal && sed -i /third/d /etc/fstab")
    files.check()


def test_there_may_be_several_cache_disks(appliance: Appliance, files: Files) -> None:
    second = appliance.new_disk("cache2", 512)
    subprocess.run(["mkfs.ext4", "-q", "-L", "caudal-l2-1", second], check=True)
    with_disks(appliance, "j0", "j1", "files", "cache", "cache2")
    assert mirrors(appliance) == {"journal0": "healthy", "journal1": "healthy"}
    shelves = appliance.status()["cache"]["shelves"]
    assert {shelf["path"]: shelf["state"] for shelf in shelves} == {
        "/srv/caudal/l2-0/l2": "ok",
        "/srv/caudal/l2-1/l2": "ok",
    }
    files.check()


def test_the_cache_disks_go(appliance: Appliance, files: Files) -> None:
    files.add()
    with_disks(appliance, "j0", "j1", "files")
    files.check()


@pytest.fixture(scope="module")
def later(image: Path, module_disk_path: Path) -> Path:
    """The folder of an image that was built later, of a version of its own, and its packages."""
    folder = module_disk_path / "later"
    # There is no network in here; what the first build fetched is kept.
    environment = {**os.environ, "CAUDAL_VERSION_SUFFIX": LATER, "CARGO_NET_OFFLINE": "true"}
    words = [ROOT / "tools/image", folder]
    done = subprocess.run(words, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def runs_later(appliance: Appliance) -> bool:
    return appliance.ssh("dpkg-query -W -f '${Version}' caudal").endswith(LATER)


def test_a_later_image_takes_over_the_data_disks_and_the_earlier_one_again(
    appliance: Appliance, files: Files, image: Path, later: Path
) -> None:
    """With a cache disk that comes back, too."""
    token = appliance.ssh("cat /etc/caudal/admin-token || true")
    for disk in (later / "caudal.img", image):
        appliance.shut_down()
        appliance.replace_root(disk)
        appliance.disks = [appliance.work / name for name in ("j0", "j1", "files", "cache")]
        appliance.start()
        appliance.wait_serving()
        assert runs_later(appliance) == (disk != image)
        files.check()
        files.add()
        assert appliance.setup()["problems"] == []
        if token:
            assert "first" in appliance.ssh("caudal token list"), "users and tokens lie with the data"


def test_packages_are_upgraded_in_place_and_rolled_back(
    appliance: Appliance, files: Files, image: Path, later: Path
) -> None:
    for folder in (later, image.parent):
        appliance.ssh("mkdir -p /var/debs && rm -f /var/debs/*")
        for package in (folder / "debs").glob("*.deb"):
            appliance.copy_in(package, "/var/debs/")
        appliance.ssh("dpkg --install --force-downgrade /var/debs/*.deb", timeout_s=600)
        appliance.wait_serving()
        assert runs_later(appliance) == (folder == later)
        files.check()
        files.add()


def test_a_blank_device_is_a_shelf(appliance: Appliance, files: Files) -> None:
    """The server's unit lets it at block devices, also at those that came after its start."""
    appliance.attach(appliance.new_disk("raw", 512))
    device = f"/dev/ubd{chr(ord('a') + len(appliance.disks))}"
    wait_until(lambda: "disk" in appliance.ssh(f"lsblk -no TYPE {device}", check=False), "it is there", 60, 1)
    appliance.ssh(f"caudal cache shelf add {device}", timeout_s=120)
    appliance.ssh("systemctl restart caudal", timeout_s=300)
    appliance.wait_serving()
    shelves = {shelf["path"]: shelf["state"] for shelf in appliance.status()["cache"]["shelves"]}
    assert shelves[device] == "ok", shelves
    files.check()
    appliance.ssh(f"caudal cache shelf drain {device} && caudal cache shelf remove {device}", timeout_s=180)
    assert device not in {shelf["path"] for shelf in appliance.status()["cache"]["shelves"]}


def test_a_configuration_that_is_wrong_is_on_the_page(appliance: Appliance, files: Files) -> None:
    """And once it is right files are served again, without a boot."""
    ask = f"python3 -c {shlex.quote(ASK_PAGE)}"
    appliance.ssh("cp -p /etc/caudal/caudal.toml /tmp/ && echo 'no_such_key = 1' >>/etc/caudal/caudal.toml")
    appliance.ssh("systemctl stop caudal && systemctl restart --no-block caudal-firstboot", timeout_s=300)
    wait_until(lambda: "no_such_key" in appliance.ssh(ask, check=False), "the page says it", 180, 2)
    assert appliance.ssh("systemctl is-active caudal", check=False).strip() != "active"
    appliance.ssh("cp -p /tmp/caudal.toml /etc/caudal/caudal.toml")
    appliance.wait_serving()
    assert appliance.setup()["problems"] == []
    files.check()
