"""The disk as clouds get it: GRUB, Debian's own kernel, cloud-init with a seed, and the firewall, in an emulated machine.

Emulation is slow, so only with TEST_VERSIONS=all.
"""

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Daemon, TimedOut, free_port, wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="slow emulation: make test-all"),
]
USER_DATA = """#cloud-config
hostname: files1
users:
  - name: azureuser
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    ssh_authorized_keys: ["{key}"]
write_files:
  - path: /etc/caudal/caudal.toml
    permissions: "0600"
    content: |
      clients = ["10.0.2.0/24"]
"""


class Machine:
    """One emulated machine; its ports are on this side's loopback."""

    def __init__(self, work: Path, image: Path) -> None:
        self.work = work
        self.ports = {22: free_port(), 2049: free_port(), 8443: free_port(), 5000: free_port()}
        self._key = work / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        disk = image.parent.resolve() / "caudal.qcow2"
        overlay = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            str(disk),
            str(work / "disk"),
            "8G",
        ]
        subprocess.run(overlay, check=True)
        self._seed()
        for name in ("j0", "j1"):
            subprocess.run(["truncate", "-s", "1G", work / name], check=True)

    def _seed(self) -> None:
        files = {"user-data": USER_DATA.format(key=self._key.with_suffix(".pub").read_text().strip())}
        files["meta-data"] = "instance-id: one\n"
        seed = self.work / "seed"
        subprocess.run(["truncate", "-s", "2M", seed], check=True)
        subprocess.run(["mkfs.vfat", "-n", "CIDATA", seed], check=True, stdout=subprocess.DEVNULL)
        for name, text in files.items():
            (self.work / name).write_text(text)
            subprocess.run(["mcopy", "-i", seed, self.work / name, f"::/{name}"], check=True)

    def start(self) -> Daemon:
        forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{ours}-:{theirs}" for theirs, ours in self.ports.items())
        drives = [f"file={self.work / 'disk'},format=qcow2"]
        drives += [f"file={self.work / name},format=raw" for name in ("seed", "j0", "j1")]
        machine = [
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "1536",
            "-display",
            "none",
        ]
        words = [word for drive in drives for word in ("-drive", f"{drive},if=virtio,cache=unsafe")]
        network = ["-nic", f"user,model=virtio-net-pci,{forwards}"]
        serial = ["-serial", f"file:{self.work / 'console'}"]
        return Daemon(["qemu-system-x86_64", *machine, *words, *network, *serial], self.work / "qemu")

    def ssh(self, command: str, timeout_s: float = 120, *, check: bool = True) -> str:
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
        ]
        words = ["ssh", "-i", str(self._key), "-p", str(self.ports[22]), "-o", "ConnectTimeout=15"]
        words += [word for option in options for word in ("-o", option)]
        done = subprocess.run(
            [*words, "azureuser@127.0.0.1", f"sudo sh -c '{command}'"],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def machine(private_network: None, image: Path, module_disk_path: Path) -> Iterator[Machine]:
    made = Machine(module_disk_path, image)
    with made.start():
        try:
            wait_until(
                lambda: made.ssh("systemctl is-active caudal.service", check=False).strip() == "active",
                "the emulated machine serves files",
                900,
                5,
            )
        except TimedOut as error:
            console = (made.work / "console").read_text(errors="replace")
            raise TimedOut(f"{error}; the end of its console:\n{console[-6000:]}") from None
        yield made


def test_user_data_reached_first_boot(machine: Machine) -> None:
    setup = json.loads(machine.ssh("cat /run/caudal/setup.json"))
    assert setup["problems"] == []
    assert machine.ssh("hostname").strip() == "files1"
    assert machine.ssh("stat -c %a /etc/caudal/caudal.toml").strip() == "600"
    labels = machine.ssh("lsblk -no LABEL")
    assert "caudal-journal0" in labels
    assert "caudal-journal1" in labels


def test_nothing_failed_and_the_root_file_system_has_grown(machine: Machine) -> None:
    assert machine.ssh("systemctl list-units --failed --plain --no-legend --no-pager").strip() == ""
    assert int(machine.ssh("df --output=size -m / | tail -n 1")) > 6000


def test_the_firewall_stands(machine: Machine) -> None:
    """Two services that listen on every address: one is let in, of the other a connection never comes to stand."""
    assert "policy drop" in machine.ssh("nft list ruleset")
    context = ssl.create_default_context(cadata=machine.ssh("cat /var/lib/caudal/admin/tls.crt"))
    url = f"https://localhost:{machine.ports[8443]}/v1/ping"
    with urllib.request.urlopen(url, context=context, timeout=60) as answer:
        assert answer.status == 200
    machine.ssh("systemd-run --quiet python3 -m http.server 5000; sleep 3; ss -Hltn | grep -q :5000")
    with pytest.raises((TimeoutError, ConnectionError, urllib.error.URLError)):
        urllib.request.urlopen(f"http://127.0.0.1:{machine.ports[5000]}/", timeout=10)


def test_time_comes_from_chrony(machine: Machine) -> None:
    assert "Reference ID" in machine.ssh("chronyc tracking")
