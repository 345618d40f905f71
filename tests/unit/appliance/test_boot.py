"""Boots of one machine, one after another: what is served, what is missing, and that nothing is lost by another boot."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from appliance.firstboot import domain, store
from appliance.firstboot.boot import Boot
from appliance.firstboot.disks import Disk
from appliance.firstboot.host import Paths
from appliance.firstboot.report import Report
from gateway import mirrors_file, preflight
from gateway.config import Config, load
from gateway.errors import StartError
from gateway.state import StateDir
from tests.unit.appliance.fake_host import FakeHost
from tests.unit.appliance.sysfs import GIB, disk, labelled

CONFIG = 'store = "az://box"\nclients = ["10.0.0.0/8"]\n'


class Machine:
    """A machine with two journal disks and a cache disk, and a store that answers."""

    def __init__(self, root: Path, *disks: Disk) -> None:
        self.paths = Paths(root)
        self.host = FakeHost(
            root, disks or (disk("sdb"), disk("sdc"), disk("nvme0n1", nvme=True, ephemeral=True))
        )
        self.store_says = ""
        for directory in ("etc/caudal", "run", "srv/caudal", "var/lib/caudal"):
            (root / directory).mkdir(parents=True)

    def configure(self, text: str = CONFIG) -> None:
        self.paths.config.write_text(text)

    def boot(self) -> Report:
        return Boot(self.paths, self.host, self._check_store).run()

    def _check_store(self, config: Config) -> None:
        if self.store_says:
            raise StartError(self.store_says, "see to it")

    def reboot(self) -> Report:
        self.host.reboot()
        for file in self.paths.run.iterdir():
            file.unlink()
        return self.boot()

    def serve(self) -> None:
        """What a server leaves: an identity, and a journal on every mirror whose disk is there."""
        (self.paths.state / "fs.json").write_text("{}")
        for mirror in self.effective().journal:
            if mirror.parent.name in self.host.closed:
                continue
            mirror.mkdir(exist_ok=True)
            (mirror / "0000010000000001.seg").write_bytes(b"x")

    def effective(self) -> Config:
        return load(self.paths.effective)

    def setup(self) -> dict[str, Any]:
        return json.loads(self.paths.setup.read_bytes())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_blank_disks_become_mirrors_and_cache_and_the_server_starts(machine: Machine) -> None:
    machine.configure()
    report = machine.boot()
    assert report.problems == []
    assert machine.host.formatted == [
        ("sdb", "caudal-journal0"),
        ("sdc", "caudal-journal1"),
        ("nvme0n1", "caudal-l2-0"),
    ]
    found, data = machine.effective(), machine.paths.data
    assert found.journal == (data / "journal0/journal", data / "journal1/journal")
    (shelf,) = found.shelves
    assert shelf.path.is_dir()
    assert (shelf.path, found.state, found.store) == (data / "l2-0/l2", machine.paths.state, "az://box")
    assert found.clients == ("10.0.0.0/8",)
    assert found.l1_bytes == pytest.approx(16 * GIB / 3, rel=0.01)
    assert shelf.bytes == pytest.approx(64 * GIB * 0.9, rel=0.01)
    assert found.journal_limit_bytes == 32 * GIB
    assert found.admin_port == 0, "the appliance's admin service is a unit of its own"
    assert machine.host.started == ["caudal.service"]
    settings = json.loads(machine.paths.admin_settings.read_bytes())
    assert settings["port"] == 8443
    assert (machine.paths.state / "run/admin.sock").readlink() == machine.paths.admin_run / "admin.sock"
    assert machine.setup()["ready"]


def test_what_the_operator_gives_counts(machine: Machine) -> None:
    machine.configure(CONFIG + 'l1_bytes = "1GiB"\nexport = "/team"\nadmin_port = 9443\nnlm_port = 4045\n')
    assert machine.boot().ready
    found = machine.effective()
    assert (found.l1_bytes, found.export, found.nlm_port, found.admin_port) == (GIB, "/team", 4045, 0)
    assert json.loads(machine.paths.admin_settings.read_bytes())["port"] == 9443


def test_it_is_safe_to_run_again_in_the_same_boot_and_in_the_next(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    machine.serve()
    first = machine.paths.effective.read_text()
    machine.host.formatted.clear()
    machine.host.restarted.clear()
    assert machine.boot().ready
    assert machine.host.restarted == [], "nothing changed, so nobody is disturbed"
    assert machine.reboot().ready
    assert machine.paths.effective.read_text() == first
    assert machine.host.formatted == []
    assert machine.host.recovered == []


@pytest.mark.parametrize(
    ("text", "part", "says"),
    [
        (None, "configuration", "there is no"),
        ('store = az://box"\n', "configuration", "not valid TOML"),
        ('stroe = "az://box"\n', "configuration", "unknown key stroe"),
        ('store = "s3://box"\n', "configuration", "not the URL of a store"),
    ],
    ids=["none", "no TOML", "unknown key", "wrong value"],
)
def test_without_a_configuration_no_disk_is_touched_and_the_page_says_what_is_missing(
    machine: Machine, text: str | None, part: str, says: str
) -> None:
    if text is not None:
        machine.configure(text)
    report = machine.boot()
    assert machine.host.formatted == []
    assert machine.host.started == []
    assert not machine.paths.admin_settings.exists()
    (problem,) = machine.setup()["problems"]
    assert (problem["part"], says in problem["text"], bool(problem["hint"])) == (part, True, True)
    assert not report.ready
    machine.configure()
    assert machine.boot().ready, "and the next look finds what came meanwhile"
    assert machine.setup()["problems"] == []


def test_no_disk_is_a_problem_until_one_is_attached(tmp_path: Path) -> None:
    machine = Machine(tmp_path, disk("sdb", contents=labelled("photos")))
    machine.configure()
    assert [problem.part for problem in machine.boot().problems] == ["disks"]
    machine.host.attached["sdc"] = disk("sdc")
    assert machine.boot().ready
    assert machine.host.formatted == [("sdc", "caudal-journal0")]


def test_a_store_that_does_not_answer_is_told_and_tried_again(machine: Machine) -> None:
    machine.configure()
    machine.store_says = "the store refuses this identity"
    report = machine.boot()
    assert [(one.part, one.text, one.hint) for one in report.problems] == [
        ("store", "the store refuses this identity", "see to it")
    ]
    assert machine.host.started == []
    machine.store_says = ""
    assert machine.boot().ready


def test_a_machine_that_was_ready_and_is_not_any_more_shows_the_page_again(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    machine.configure("nonsense")
    machine.host.restarted.clear()
    assert not machine.boot().ready
    assert machine.host.restarted == ["caudal-admin.service"]


def test_a_second_mirror_that_is_away_is_still_a_mirror_and_its_place_is_closed(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    machine.serve()
    both = machine.effective().journal
    away = machine.host.attached.pop("sdc")
    for _ in range(2):
        report = machine.reboot()
        assert report.ready
        assert "1 of 2 journal mirrors missing" in report.notes[0]
        assert machine.effective().journal == both, "the server shows it as lost"
        assert machine.host.closed == ["journal1"], "a mirror on the system's disk would be none"
    machine.host.attached["sdc"] = away
    # It is attached while the machine runs: a disk of ours has first boot look again.
    report = machine.boot()
    assert (report.notes, machine.effective().journal) == ([], both)
    assert "caudal-mirrors.service" not in machine.host.started, "it is known by its files"
    report = machine.reboot()
    assert (report.notes, machine.host.closed) == ([], [])


def test_a_mirror_that_is_away_before_anything_was_served_is_no_mirror_yet(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    away = machine.host.attached.pop("sdc")
    assert machine.reboot().ready
    assert len(machine.effective().journal) == 1
    machine.host.attached["sdc"] = away
    machine.reboot()
    assert len(machine.effective().journal) == 2


def test_a_blank_disk_in_the_place_of_a_mirror_is_told_to_the_server(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    machine.serve()
    assert not machine.paths.fresh_mirrors.exists()
    machine.host.attached.pop("sdc")
    machine.host.attached["sdd"] = disk("sdd")
    for _ in range(2):
        # Until it has been rebuilt, at each boot.
        report = machine.reboot()
        assert report.ready
        assert machine.host.started == ["caudal.service", "caudal-mirrors.service"]
        (journal,) = machine.paths.fresh_mirrors.read_text().splitlines()
        assert journal == str(machine.paths.data / "journal1/journal")
    machine.serve()
    assert machine.reboot().ready
    assert machine.host.started == ["caudal.service"]


def test_nothing_takes_the_place_of_a_mirror_that_was_taken_out_by_hand(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    machine.serve()
    changes = mirrors_file.Changes().with_removed(machine.paths.data / "journal1/journal")
    mirrors_file.write(StateDir(machine.paths.state), changes)
    machine.host.attached["sdc"] = disk("sdc")
    assert machine.reboot().notes == ["not used: /dev/sdc"]
    assert (machine.host.formatted, machine.host.closed) == ([], [])


def test_every_local_disk_is_a_shelf_of_the_cache(tmp_path: Path) -> None:
    local = [disk(f"nvme{n}n1", nvme=True, ephemeral=True) for n in range(3)]
    machine = Machine(tmp_path, disk("sdb"), disk("sdc"), *local)
    machine.configure()
    assert machine.boot().notes == []
    data = machine.paths.data
    assert [shelf.path for shelf in machine.effective().shelves] == [data / f"l2-{n}/l2" for n in range(3)]
    machine.serve()
    # After a deallocation local disks are blank, and one of them is gone.
    for name in ("nvme0n1", "nvme1n1"):
        machine.host.attached[name] = disk(name, nvme=True, ephemeral=True)
    del machine.host.attached["nvme2n1"]
    assert machine.reboot().notes == []
    assert [shelf.path for shelf in machine.effective().shelves] == [data / f"l2-{n}/l2" for n in range(2)]


@pytest.mark.parametrize(
    ("given", "shelves"),
    [
        ('l2_bytes = "10GiB"', [("srv/caudal/l2-0/l2", 10 * GIB)]),
        ("l2_bytes = 0", []),
        ('shelf = ["/cache=20GiB"]', [("/cache", 20 * GIB)]),
    ],
)
def test_what_the_operator_says_of_the_cache_on_disk_counts(
    machine: Machine, given: str, shelves: list[tuple[str, int]]
) -> None:
    machine.configure(CONFIG + given)
    assert machine.boot().ready
    found = [(shelf.path, shelf.bytes) for shelf in machine.effective().shelves]
    assert found == [(machine.paths.root / path, size) for path, size in shelves]


def test_the_loss_of_the_state_directorys_disk_brings_it_back_from_store_and_journal(
    machine: Machine,
) -> None:
    machine.configure()
    machine.boot()
    machine.serve()
    lost = machine.host.attached.pop("sdb")
    machine.host.fail_recover = "another server's lease runs"
    report = machine.reboot()
    assert [(one.part, one.text) for one in report.problems] == [("store", "another server's lease runs")]
    machine.host.fail_recover = ""
    report = machine.reboot()
    assert report.ready
    assert machine.host.recovered == [("az://box", "journal1")]
    assert any("came back" in note for note in report.notes)
    machine.serve()
    # The disk returns: a mirror again, and what it remembers of the state directory is old.
    machine.host.attached = {"sdb": lost, **machine.host.attached}
    assert machine.reboot().ready
    assert machine.host.recovered == [("az://box", "journal1")]
    assert len(machine.effective().journal) == 2
    assert machine.paths.state.resolve().parent.name == "sdc"


def test_files_that_lay_on_the_lost_disk_itself_are_not_made_up(tmp_path: Path) -> None:
    machine = Machine(tmp_path, disk("sdb"), disk("sdc"))
    machine.configure('clients = ["10.0.0.0/8"]\n')
    assert machine.boot().ready
    machine.serve()
    machine.host.attached.pop("sdb")
    report = machine.reboot()
    assert [one.text for one in report.problems] == ["the disk that held the files' data is missing"]
    assert machine.host.started == []


def test_a_boot_that_was_cut_off_before_the_record_goes_on_where_it_was(machine: Machine) -> None:
    machine.configure()
    first = machine.host.attached["sdb"]
    machine.host.make_file_system(first, "caudal-journal0")
    report = machine.boot()
    assert report.ready
    assert machine.host.formatted[1:] == [("sdc", "caudal-journal1"), ("nvme0n1", "caudal-l2-0")]


def test_a_damaged_record_is_as_good_as_none(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    machine.serve()
    (machine.paths.data / "journal0/appliance.json").write_bytes(b"\0\0\0")
    assert machine.reboot().ready
    assert json.loads((machine.paths.data / "journal0/appliance.json").read_bytes())["mirrors"] == 2


def test_where_the_file_names_the_journal_the_disks_are_the_operators(machine: Machine) -> None:
    own = machine.paths.root / "own"
    machine.configure(f'{CONFIG}state = "{own / "state"}"\njournal = ["{own / "j0"}"]\n')
    (own / "state").mkdir(parents=True)
    report = machine.boot()
    assert report.ready
    assert machine.host.formatted == []
    assert machine.effective().journal == (own / "j0",)


def test_the_effective_file_is_what_the_server_reads(machine: Machine) -> None:
    machine.configure()
    machine.boot()
    text = machine.paths.effective.read_text()
    assert tomllib.loads(text)["store"] == "az://box"
    assert "admin_certificate" not in text


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


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def monotonic_s(self) -> float:
        return self.now_s


def test_the_store_is_waited_for_a_minute(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.configure()
    machine.boot()
    clock, answers = Clock(), []

    def refuse(config: Config, identity: object, env: object) -> None:
        answers.append(clock.now_s)
        if clock.now_s < 30:
            raise StartError("no identity yet", "wait")

    monkeypatch.setattr(preflight, "check_store", refuse)
    store.check(machine.effective(), {}, clock.sleep, clock.monotonic_s)
    assert answers[-1] == 30
    monkeypatch.setattr(preflight, "check_store", lambda *_: (_ for _ in ()).throw(StartError("no", "x")))
    with pytest.raises(StartError, match="no"):
        store.check(machine.effective(), {}, clock.sleep, clock.monotonic_s)
    assert clock.now_s <= 30 + 65
