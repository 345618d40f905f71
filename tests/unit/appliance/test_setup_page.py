"""The page of a machine that does not serve yet, over TLS; and the first token."""

import contextlib
import datetime
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import first_token, setup_page
from appliance.firstboot.report import Problem, Report
from gateway.state import StateDir

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
Get = Callable[[str], tuple[int, str]]


@pytest.fixture
def setup_file(tmp_path: Path) -> Path:
    return tmp_path / "setup.json"


@pytest.fixture
def get(tmp_path: Path, setup_file: Path) -> Iterator[Get]:
    server = setup_page.make(tmp_path, 0, setup_file, lambda: datetime.datetime.now(datetime.UTC))  # noqa: TID251
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    port = server.server_address[1]

    def call(path: str) -> tuple[int, str]:
        url = f"https://localhost:{port}{path}"
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    # Somebody who connects and says nothing holds up nobody.
    with contextlib.closing(socket.create_connection(("localhost", port))):
        yield call
    server.shutdown()
    server.server_close()


def test_it_says_what_is_missing_and_what_to_do(get: Get, setup_file: Path) -> None:
    report = Report([Problem("disks", "there is no <blank> disk", "attach one")], ["clients is not given"])
    report.write(setup_file)
    status, text = get("/")
    assert status == 200
    assert "there is no &lt;blank&gt; disk" in text
    assert "attach one" in text
    assert "clients is not given" in text
    assert json.loads(get("/v1/setup")[1]) == report.fields()


def test_everything_else_is_a_problem_with_the_reason(get: Get, setup_file: Path) -> None:
    Report([Problem("store", "the store refuses", "grant the role")]).write(setup_file)
    status, text = get("/v1/health")
    problem = json.loads(text)
    assert (status, problem["code"], problem["detail"], problem["hint"]) == (
        503,
        "setup_incomplete",
        "the store refuses",
        "grant the role",
    )


def test_it_is_up_before_first_boot_has_said_anything(get: Get, setup_file: Path) -> None:
    assert "Starting" in get("/")[1]
    setup_file.write_bytes(b"\0")
    assert get("/v1/setup")[0] == 200
    assert get("/v1/status")[0] == 503


def test_the_first_token_is_made_once_when_the_service_answers(tmp_path: Path) -> None:
    state, token = tmp_path / "state", tmp_path / "token"
    (state / "admin").mkdir(parents=True)
    asked: list[Path] = []
    made: list[Path] = []

    def answers(path: Path) -> bool:
        asked.append(path)
        return len(asked) > 2

    def make(directory: Path) -> str:
        made.append(directory)
        return f"secret{len(made)}"

    def ensure() -> bool:
        return first_token.ensure(state, token, make, answers, lambda _: None)

    assert ensure()
    assert token.read_text() == "secret1\n"
    assert token.stat().st_mode & 0o777 == 0o600
    assert asked[0] == StateDir(state).admin_socket
    assert not ensure()
    assert made == [state]
    # A crash between token and marker: the next run makes another, and the file has the one that was shown last.
    (state / "admin" / first_token.MARKER).unlink()
    assert ensure()
    assert token.read_text() == "secret2\n"


def test_a_service_that_does_not_come_is_told(tmp_path: Path) -> None:
    (tmp_path / "admin").mkdir()
    with pytest.raises(RuntimeError, match="does not answer"):
        first_token.ensure(tmp_path, tmp_path / "t", lambda _: "x", lambda _: False, lambda _: None, 3)
