"""Control socket: honest callers are served, hostile bytes get errors, and nothing takes the server down."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import control
from gateway.control import ControlClient, ControlServer
from gateway.errors import ControlError, NotRunningError, StartError
from tests.support.processes import wait_until


def _divide(fields: Mapping[str, Any]) -> float:
    return fields["a"] / fields["b"]


def _refuse(_: Mapping[str, Any]) -> None:
    raise ControlError("busy", "not now", "later")


def _start_error(_: Mapping[str, Any]) -> None:
    raise StartError("cannot", "do")


def _boom(_: Mapping[str, Any]) -> None:
    raise RuntimeError("inside")


def _odd(_: Mapping[str, Any]) -> object:
    return object()


HANDLERS = {
    "echo": dict,
    "divide": _divide,
    "refuse": _refuse,
    "start_error": _start_error,
    "boom": _boom,
    "odd": _odd,
    "path": lambda _: {"path": Path("/a b")},
    "big": lambda fields: "x" * fields["size"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("control") / "control.sock"
    running = ControlServer(path, HANDLERS)
    running.start()
    yield path
    running.close()
    assert not path.exists()


def raw(path: Path, data: bytes, *, end: bool = True) -> list[dict[str, Any]]:
    """Sends bytes as they are; the answers until the server or this side has no more to say."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as lines:
            return [json.loads(line) for line in lines]


def test_calls_and_answers(server: Path) -> None:
    with ControlClient(server) as client:
        assert client.call("ping") == "pong"
        assert client.call("echo", a=[1, {"b": None}], c="ü") == {"a": [1, {"b": None}], "c": "ü"}
        assert client.call("divide", a=1, b=4) == 0.25
        assert client.call("path") == {"path": "/a b"}
        assert len(client.call("big", size=3 << 20)) == 3 << 20


@pytest.mark.parametrize(
    ("op", "fields", "code"),
    [
        ("nothing", {}, "unknown_op"),
        ("divide", {"a": 1}, "bad_request"),
        ("divide", {"a": "x", "b": 2}, "bad_request"),
        ("refuse", {}, "busy"),
        ("start_error", {}, "failed"),
        ("boom", {}, "internal"),
        ("divide", {"a": 1, "b": 0}, "internal"),
        ("odd", {}, "bad_request"),
    ],
)
def test_failures_are_told_and_the_connection_lives_on(
    server: Path, op: str, fields: dict[str, Any], code: str
) -> None:
    with ControlClient(server) as client:
        with pytest.raises(ControlError) as caught:
            client.call(op, **fields)
        assert caught.value.code == code
        assert client.call("ping") == "pong"


@given(st.binary(max_size=2000))
@settings(max_examples=150, deadline=None)
def test_any_bytes_get_errors_only(server: Path, data: bytes) -> None:
    for answer in raw(server, data):
        assert set(answer) == {"error"}
    assert raw(server, b'{"op":"ping"}\n') == [{"ok": "pong"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.sampled_from([*HANDLERS, "ping", ""]), st.dictionaries(st.sampled_from(["a", "b", "size", "op"]), JSON)
)
@settings(max_examples=150, deadline=None)
def test_any_json_gets_one_answer(server: Path, op: str, fields: dict[str, Any]) -> None:
    if isinstance(fields.get("size"), int):
        fields["size"] = min(fields["size"], 1000)
    answers = raw(server, json.dumps({**fields, "op": op}).encode() + b"\n")
    assert len(answers) == 1
    assert len(answers[0].keys() & {"ok", "error"}) == 1


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"op":' * 20_000, b'"' + b"a" * 900_000, b"\xff" * 5000])
def test_deep_long_and_broken_lines(server: Path, line: bytes) -> None:
    assert [answer["error"]["code"] for answer in raw(server, line + b"\n")] == ["bad_request"]


def test_an_endless_line_is_cut_off(server: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(server))
        answer = b""
        try:
            connection.sendall(b"a" * (control.MAX_REQUEST_BYTES + 4096))
            answer = connection.recv(4096)
            assert connection.recv(4096) == b""
        except ConnectionError:
            # The server closed with bytes of ours unread: that is the point.
            pass
        assert not answer or json.loads(answer)["error"]["code"] == "too_large"
    assert raw(server, b'{"op":"ping"}\n') == [{"ok": "pong"}]


def test_more_connections_than_allowed_are_told_so(tmp_path: Path) -> None:
    running = ControlServer(tmp_path / "s")
    running.start()
    held: list[ControlClient] = []
    try:
        for _ in range(control.MAX_CONNECTIONS):
            held.append(ControlClient(tmp_path / "s"))
            held[-1].call("ping")
        with ControlClient(tmp_path / "s") as late, pytest.raises((ControlError, NotRunningError)):
            late.call("ping")
    finally:
        for client in held:
            client.close()
        running.close()


def test_many_threads_call_at_once(server: Path) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        with ControlClient(server) as client:
            for turn in range(50):
                found = client.call("echo", n=number * 1000 + turn)
                if found != {"n": number * 1000 + turn}:
                    wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_paths_longer_than_a_socket_address(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 80) / ("y" * 80)
    directory.mkdir(parents=True)
    running = ControlServer(directory / "control.sock")
    running.start()
    with ControlClient(directory / "control.sock") as client:
        assert client.call("ping") == "pong"
    running.close()
    assert list(directory.iterdir()) == []


def test_the_socket_is_roots_alone_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    running = ControlServer(path)
    assert path.stat().st_mode & 0o777 == 0o600
    running.close()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no server answers"):
        ControlClient(tmp_path / "none").call("ping")


def test_a_server_that_stops_is_noticed_and_a_new_one_found(tmp_path: Path) -> None:
    first = ControlServer(tmp_path / "s")
    first.start()
    client = ControlClient(tmp_path / "s")
    assert client.call("ping") == "pong"
    first.close()
    with pytest.raises(NotRunningError):
        client.call("ping")
    second = ControlServer(tmp_path / "s")
    second.start()
    assert client.call("ping") == "pong"
    client.close()
    second.close()


def test_a_server_that_does_not_answer_in_time(tmp_path: Path) -> None:
    silent = ControlServer(tmp_path / "s")
    with pytest.raises(NotRunningError, match=r"did not answer `ping` in 0\.1 s"):
        ControlClient(tmp_path / "s", timeout_s=0.1).call("ping")
    silent.close()


@pytest.mark.parametrize("reply", [b"\n", b"[]\n", b"not json\n", b'{"error": 5}\n', b'{"neither": 1}\n'])
def test_a_client_survives_odd_replies(tmp_path: Path, reply: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        with ControlClient(tmp_path / "s") as client, pytest.raises(ControlError) as caught:
            client.call("ping")
        thread.join()
    assert caught.value.code == "bad_reply"


STARVED = """
import resource, sys, threading, time
from pathlib import Path
from gateway.control import ControlClient, ControlServer
from gateway.errors import NotRunningError

path = Path(sys.argv[1])
server = ControlServer(path)
server.start()
early = ControlClient(path)
assert early.call("ping") == "pong"
late = ControlClient(path, timeout_s=20)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
# What the next connection takes on this side is the last one: the server's accept finds none.
free = open("/dev/null")
taken = free.fileno()
free.close()
resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
answers = []

def ask():
    while not answers:
        try:
            answers.append(late.call("ping"))
        except NotRunningError:
            # Somebody in this process had the last descriptor for a moment.
            time.sleep(0.02)

waiting = threading.Thread(target=ask)
waiting.start()
time.sleep(0.3)
assert early.call("ping") == "pong"
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
waiting.join()
server.close()
print(answers)
"""


def test_a_moment_without_descriptors_is_not_the_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(tmp_path / "control.sock")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "['pong']", done.stdout + done.stderr
    assert "control.accept_failed" in done.stdout


def test_more_connections_than_there_may_be(tmp_path: Path) -> None:
    """Those too many are told so; when some go, the next one is served."""
    path = tmp_path / "many.sock"
    running = ControlServer(path, HANDLERS)
    running.start()
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(ControlClient(path)) for _ in range(control.MAX_CONNECTIONS)]
        assert {client.call("ping") for client in clients} == {"pong"}
        with ControlClient(path) as late, pytest.raises((ControlError, NotRunningError)) as refused:
            late.call("ping")
        assert "too many" in str(refused.value) or isinstance(refused.value, NotRunningError)
        clients[0].close()
        again = held.enter_context(ControlClient(path))

        def served() -> bool:
            try:
                return again.call("ping") == "pong"
            except (ControlError, NotRunningError):
                again.close()
                return False

        wait_until(served, "a place is free again")
    running.close()


def test_a_group_that_may_enter_the_directory_may_call(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o750)
    group = directory.stat().st_gid
    server = ControlServer(directory / "control.sock")
    try:
        found = (directory / "control.sock").stat()
        assert (found.st_mode & 0o777, found.st_gid) == (0o660, group)
    finally:
        server.close()
