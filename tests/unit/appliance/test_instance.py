"""Configuration from Azure's instance metadata: what counts, what is refused, and how long a service is waited for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.firstboot import instance
from appliance.firstboot.boot import Boot
from appliance.firstboot.instance import URL_VARIABLE, service_url
from appliance.firstboot.instance_service import InstanceError, Service, wait_for_identity
from appliance.firstboot.report import Report
from gateway.errors import ConfigError
from tests.support.metadata_service import MetadataService, document
from tests.unit.appliance.test_boot import Machine

TAGS = {"caudal-store": "az://box", "Caudal-Clients": "10.0.0.0/8", "costs": "12"}
USER_DATA = """#caudal-config
store = "az://other"
l1_bytes = "1GiB"
[environment]
AZURE_STORAGE_ACCOUNT = "files"
"""


class Clock:
    """Sleeping passes the time of the test's own making; answers take real time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def azure() -> Iterator[MetadataService]:
    with MetadataService() as service:
        yield service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(azure: MetadataService, clock: Clock) -> Service:
    return Service(azure.url, 70, clock.sleep, clock.monotonic_s)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def boot(machine: Machine, service: Service, env: dict[str, str] | None = None) -> Report:
    return Boot(machine.paths, machine.host, lambda _: None, lambda: service, env).run()


def test_tags_alone_do(azure: MetadataService, service: Service, machine: Machine) -> None:
    azure.instance = [
        (200, document(tags={**TAGS, "caudal-storage-account": "files", "caudal-owner": "ada"}))
    ]
    env: dict[str, str] = {}
    report = boot(machine, service, env)
    assert report.problems == []
    found = machine.effective()
    assert (found.store, found.clients) == ("az://box", ("10.0.0.0/8",))
    assert env == {"AZURE_STORAGE_ACCOUNT": "files"}
    assert machine.paths.environment.read_text() == "AZURE_STORAGE_ACCOUNT=files\n"
    assert [note for note in report.notes if "caudal-owner" in note], "a slip of the pen is told"
    assert "resource=https%3A%2F%2Fstorage.azure.com%2F" in azure.asked[-1]


def test_the_file_counts_before_user_data_and_that_before_tags(
    azure: MetadataService, service: Service, machine: Machine
) -> None:
    azure.instance = [(200, document(USER_DATA, {**TAGS, "caudal-storage-account": "third"}))]
    machine.configure('l1_bytes = "2GiB"\n')
    env = {"AZURE_CLIENT_ID": "mine"}
    assert boot(machine, service, env).ready
    found = machine.effective()
    assert (found.store, found.l1_bytes, found.clients) == ("az://other", 2 << 30, ("10.0.0.0/8",))
    assert env == {"AZURE_CLIENT_ID": "mine", "AZURE_STORAGE_ACCOUNT": "files"}
    assert "client_id=mine" in azure.asked[-1]


def test_user_data_of_others_is_left_alone(azure: MetadataService, service: Service) -> None:
    for text in ("#cloud-config\nhostname: x\n", "", "#!/bin/sh\n", "caudal"):
        azure.instance = [(200, document(text))]
        told = instance.ask(service)
        assert (told.keys, told.environment, told.notes) == ({}, {}, [])
    azure.instance = [(200, json.dumps({"compute": {"userData": "not base64!"}}).encode())]
    assert instance.ask(service).keys == {}


@pytest.mark.parametrize(
    ("user_data", "tags", "says"),
    [
        ("#caudal-config\nstore = az://box", {}, "the user data of the instance is not valid TOML"),
        ('#caudal-config\nstroe = "az://box"', {}, "unknown key stroe in the user data"),
        ('#caudal-config\nenvironment = "x"', {}, "environment is no table"),
        ('#caudal-config\n[environment]\nAZURE_STORAGE_KEY = "x"', {}, "AZURE_STORAGE_KEY is not taken from"),
        ("#caudal-config\nnfs_port = 700000", {}, "in the user data of the instance"),
        ("", {"caudal-store": "s3://box"}, "in tag caudal-store"),
        ("", {"caudal-clients": "10.0.0.0/99"}, "in tag caudal-clients"),
    ],
)
def test_mistakes_are_told_with_their_place_and_no_disk_is_touched(
    azure: MetadataService,
    service: Service,
    machine: Machine,
    user_data: str,
    tags: dict[str, str],
    says: str,
) -> None:
    azure.instance = [(200, document(user_data, tags))]
    (problem,) = boot(machine, service).problems
    assert (problem.part, says in problem.text, bool(problem.hint)) == ("configuration", True, True), problem
    assert machine.host.formatted == []


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_a_service_that_asks_for_patience_gets_it(
    azure: MetadataService, service: Service, clock: Clock, status: int
) -> None:
    azure.instance = [(status, b"later")] * 4 + [(200, document(tags=TAGS))]
    assert instance.ask(service).keys["store"] == ("az://box", "tag caudal-store")
    assert len(azure.asked) == 5
    assert clock.now_s == 1 + 2 + 4 + 8
    azure.instance = [(status, b"later")]
    with pytest.raises(InstanceError, match=f"does not answer: {status}"):
        instance.ask(service)
    assert clock.now_s <= 15 + 80
    assert len(azure.asked) < 20, "it is not flooded"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((400, b""), r"refuses to answer \(400\)"),
        ((302, b""), r"refuses to answer \(302\)"),
        ((200, b"<html>"), "something else than JSON"),
        ((200, b"[]"), "something else than JSON"),
        ((200, b'{"compute": {"tagsList": [1]}}'), "something else than JSON"),
        ((200, b"x" * (2 << 20)), "does not end"),
    ],
)
def test_answers_that_make_no_sense_are_told(
    azure: MetadataService, service: Service, answer: tuple[int, bytes], says: str
) -> None:
    azure.instance = [answer]
    with pytest.raises(InstanceError, match=says) as refused:
        instance.ask(service)
    assert refused.value.hint


@given(st.binary(max_size=300), st.text(max_size=80))
def test_any_answer_is_read_or_refused(body: bytes, user_data: str) -> None:
    class Says(Service):
        def wait(self, *_: object) -> tuple[int, bytes]:
            return 200, self.body

    for said in (body, document(user_data), document("#caudal-config\n" + user_data)):
        service = Says("http://127.0.0.1")
        service.body = said  # type: ignore[attr-defined]
        try:
            instance.ask(service)
        except (InstanceError, ConfigError):
            pass


def test_a_slow_service_is_given_up_in_time(
    azure: MetadataService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.firstboot.instance_service.ANSWER_S", 0.1)
    azure.slow_s = 0.3
    with pytest.raises(InstanceError, match="timed out"):
        instance.ask(Service(azure.url, 3, clock.sleep, clock.monotonic_s))
    azure.slow_s = 0.05
    azure.instance = [(200, document(tags=TAGS))]
    assert instance.ask(Service(azure.url, 3, clock.sleep, clock.monotonic_s)).keys


def test_with_a_file_the_machine_serves_without_the_service(clock: Clock, machine: Machine) -> None:
    nobody = Service("http://127.0.0.1:9", 5, clock.sleep, clock.monotonic_s)
    (problem,) = boot(machine, nobody).problems
    assert problem.part == "configuration"
    assert "the instance metadata service does not answer" in problem.text
    machine.configure('store = "file:///srv/files"\nclients = ["10.0.0.0/8"]\n')
    report = boot(machine, nobody)
    assert report.ready
    assert "alone counts" in report.notes[0]


def test_the_identity_is_waited_for_and_its_lack_is_told(
    azure: MetadataService, service: Service, machine: Machine, clock: Clock
) -> None:
    azure.instance = [(200, document(tags={**TAGS, "caudal-storage-account": "files"}))]
    missing = (400, b'{"error":"invalid_request","error_description":"Identity not found"}')
    azure.token = [missing, (500, b""), (200, b"{}")]
    assert boot(machine, service, {}).ready
    azure.token = [missing]
    (problem,) = boot(machine, service, {"AZURE_CLIENT_ID": "mine"}).problems
    assert (problem.part, problem.text) == (
        "store",
        "the managed identity gets no token: 400 Identity not found",
    )
    assert "AZURE_CLIENT_ID is mine" in problem.hint
    assert "secret" not in machine.paths.setup.read_text()
    azure.token = [(429, b"")]
    (problem,) = boot(machine, service, {}).problems
    assert "token service does not answer: 429" in problem.text


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"AZURE_STORAGE_ACCOUNT": "files", "AZURE_STORAGE_KEY": "eA=="},
        {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
        {"AZURE_STORAGE_ACCOUNT": "files", "AZURE_CLIENT_SECRET": "x"},
    ],
)
def test_nobody_waits_for_an_identity_that_is_not_used(
    azure: MetadataService, service: Service, env: dict[str, str]
) -> None:
    wait_for_identity(service, env)
    assert azure.asked == []


def test_where_the_service_is(tmp_path: Path) -> None:
    tag = tmp_path / "chassis_asset_tag"
    assert service_url({}, tag) is None
    tag.write_text("somebody else's\n")
    assert service_url({}, tag) is None
    tag.write_text("7783-7084-3265-9085-8269-3286-77\n")
    assert service_url({}, tag) == "http://169.254.169.254"
    assert service_url({URL_VARIABLE: "http://127.0.0.1:80/"}, tag) == "http://127.0.0.1:80"
    assert service_url({URL_VARIABLE: ""}, tag) is None
    for url in ("file:///etc/passwd", "https://x", "x", "http://", "http://x:99999", "http://x/path"):
        with pytest.raises(ConfigError, match="no address of an instance"):
            Service(url)
