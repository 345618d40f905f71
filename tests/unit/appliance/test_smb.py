"""SMB at a boot: there where it is asked for, with what Samba and the server must know of each other."""

from pathlib import Path

import pytest

from appliance.firstboot import domain
from gateway import smb_shares
from gateway.state import StateDir
from tests.unit.appliance.test_boot import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_smb_is_there_where_it_is_asked_for(machine: Machine) -> None:
    machine.configure()
    assert machine.boot().ready
    assert machine.host.loopback is None
    machine.paths.smb_config.write_text('share = "team"\nencrypt = "desired"\n')
    assert machine.reboot().ready
    assert machine.host.started == ["caudal.service", "caudal-smb.service"]
    assert machine.host.loopback == ("/data", 2049, machine.paths.smb_mount)
    assert machine.effective().clients == ("10.0.0.0/8", "127.0.0.1", "::1")
    text = machine.paths.smb_effective.read_text()
    assert "[team]" in text
    assert "smb encrypt = desired" in text
    assert (machine.paths.state / "samba/private").stat().st_mode & 0o777 == 0o700
    # The server learns where Samba sees the file system, and keeps the other shares where Samba looks for them.
    state = StateDir(machine.paths.state)
    samba = smb_shares.samba_here(state)
    assert samba is not None
    assert (samba.share, samba.encrypt, samba.mount) == ("team", "desired", str(machine.paths.smb_mount))
    assert text.endswith(f"include = {smb_shares.conf_file(state)}\n")
    machine.paths.smb_config.unlink()
    machine.reboot()
    assert smb_shares.samba_here(state) is None


def test_a_domain_is_served_where_the_machine_is_its_member(machine: Machine) -> None:
    machine.configure()
    machine.paths.smb_config.write_text('[domain]\nrealm = "CORP.EXAMPLE"\ndns = ["10.0.0.4"]\n')
    report = machine.boot()
    assert report.ready
    assert any("caudal-smb-join" in note for note in report.notes)
    assert machine.host.started == ["caudal.service", "caudal-smb.service"]
    assert machine.host.restarted == ["caudal-admin.service", "systemd-resolved.service"]
    assert "10.0.0.4" in machine.paths.domain_dns.read_text()
    domain.keep(machine.paths.state, domain.Member("CORP.EXAMPLE", "CORP", "FILES"))
    report = machine.reboot()
    assert not any("caudal-smb-join" in note for note in report.notes)
    assert machine.host.started == ["caudal.service", "caudal-winbind.service", "caudal-smb.service"]
    assert "netbios name = FILES" in machine.paths.smb_effective.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "share = 3",
        'share = "global"',
        'encrypt = "off"',
        'shares = "x"',
        "nonsense",
        'workgroup = "a b"',
        "domain = 1",
    ],
)
def test_a_mistake_in_the_smb_file_is_told_and_nothing_is_touched(machine: Machine, text: str) -> None:
    machine.configure()
    machine.paths.smb_config.write_text(text)
    report = machine.boot()
    assert [(one.part, bool(one.hint)) for one in report.problems] == [("configuration", True)]
    assert machine.host.formatted == []
