"""Samba's own test programs against the share, and against a stock share of the same Samba on a directory of its disk:
what passes there and not here is an exclusion with a reason (docs/smb.md), or a failure. The program is `smbtorture` of
Debian's samba-testsuite; SMBTORTURE names another. Takes a while, so only with TEST_VERSIONS=all.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.smb_exclusions import DIFFERENT
from tests.support.appliance import Appliance

PROGRAM = os.environ.get("SMBTORTURE") or shutil.which("smbtorture")
pytestmark = [
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="takes a while: make test-all"),
    pytest.mark.skipif(PROGRAM is None, reason="needs smbtorture: apt-get install samba-testsuite"),
]
USER, PASSWORD = "ada", "correct-horse"
SUITES = (
    "connect",
    "tcon",
    "read",
    "rw",
    "lock",
    "create",
    "mkdir",
    "rename",
    "dir",
    "getinfo",
    "setinfo",
    "sharemode",
    "deny",
    "streams",
    "ea",
    "acls",
    "winattr",
    "openattr",
    "maximum_allowed",
    "delete-on-close-perms",
    "compound",
    "fileid",
)
STOCK_PORT = 4450
STOCK = f"""\
[global]
	workgroup = WORKGROUP
	server role = standalone server
	server min protocol = SMB3_00
	disable netbios = yes
	smb ports = {STOCK_PORT}
	private dir = /var/lib/caudal/samba/private
	state directory = /run/stock
	cache directory = /run/stock
	lock directory = /run/stock
	pid directory = /run/stock
	ncalrpc dir = /run/stock/ncalrpc
	load printers = no
	disable spoolss = yes
[data]
	path = /var/stock
	read only = no
	ea support = yes
	vfs objects = streams_xattr
"""


@pytest.fixture(scope="module")
def appliance(appliances: Callable[..., Appliance]) -> Appliance:
    one = appliances()
    one.put("etc/caudal/smb.toml", "")
    one.put("etc/stock.conf", STOCK)
    one.disks = [one.new_disk("j0", 1024), one.new_disk("j1", 1024), one.new_disk("files", 2048)]
    one.start().wait_serving()
    one.ssh(f"echo '{PASSWORD}' | caudal-smb-user add {USER}", 120)
    one.ssh(f"mkdir -p /var/stock /run/stock && chown {USER} /var/stock /srv/smb")
    one.ssh(
        "systemd-run --quiet --unit=stock smbd --foreground --no-process-group --configfile=/etc/stock.conf"
    )
    return one


def outcomes(appliance: Appliance, suite: str, port: int, log: Path) -> dict[str, str]:
    """What each test of a suite came to: success, failure, error or skip. A program that hangs is ended, and told."""
    assert PROGRAM is not None
    options = ["-U", f"{USER}%{PASSWORD}", "-p", str(port), "--client-protection=encrypt"]
    words = [PROGRAM, *options, f"//{appliance.address}/data", f"smb2.{suite}"]
    with log.open("wb") as out:
        try:
            subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, check=False, timeout=120)
            hung = {}
        except subprocess.TimeoutExpired:
            hung = {f"{suite}: the end": "hung"}
    found = re.findall(r"^(success|failure|error|skip): (\S+)", log.read_text(errors="replace"), re.MULTILINE)
    return {f"{suite}.{name}": what for what, name in found} | hung


@pytest.mark.parametrize("suite", SUITES)
def test_what_passes_on_a_stock_share_passes_here(appliance: Appliance, suite: str, tmp_path: Path) -> None:
    stock = outcomes(appliance, suite, STOCK_PORT, tmp_path / "stock")
    ours = outcomes(appliance, suite, 445, tmp_path / "ours")
    if report := os.environ.get("TORTURE_REPORT"):
        with Path(report).open("a") as out:
            out.write(json.dumps({"suite": suite, "stock": stock, "ours": ours}) + "\n")
    assert stock, (tmp_path / "stock").read_text(errors="replace")[-2000:]
    passed = {name for name, what in stock.items() if what == "success"}
    worse = {name: ours.get(name, "not run") for name in passed if ours.get(name) != "success"}
    unexpected = {name: what for name, what in worse.items() if name not in DIFFERENT}
    assert not unexpected, f"{unexpected}\n{(tmp_path / 'ours').read_text(errors='replace')[-4000:]}"
