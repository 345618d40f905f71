"""The command line: words, errors, exit codes. What needs a server talks to a control socket of the test."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import cli
from gateway.control import ControlServer
from gateway.errors import CaudalError, ControlError, Exit
from gateway.state import Identity, StateDir

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line as a shell would: (exit code, stdout, stderr)."""
    monkeypatch.setattr("sys.argv", ["caudal"])
    monkeypatch.setenv("TERM", "dumb")
    for name in list(os.environ):
        if name.startswith(("CAUDAL_", "AZURE_")):
            monkeypatch.delenv(name)

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(left.value.code or 0), said.out, said.err

    return call


class Server:
    """What answers for a server: the lock of a state directory and a control socket."""

    def __init__(self, root: Path) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.state = StateDir(root)
        self.state.prepare()
        self.lock = self.state.lock()
        self.control = ControlServer(self.state.control_socket)
        for op in ("status", "flush", "cache_drop"):
            self.answer(op, {})
        self.control.start()

    def answer(self, op: str, value: object) -> None:
        def handle(fields: Mapping[str, Any]) -> object:
            self.calls.append((op, fields))
            if isinstance(value, Exception):
                raise value
            return value

        self.control.register(op, handle)

    def close(self) -> None:
        self.control.close()
        os.close(self.lock)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "state")
    yield running
    running.close()


def test_help_names_the_commands() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    for word in ("up", "down", "status", "flush", "cache", "fsck", "version", "config"):
        assert word in shown.output


def test_every_key_is_an_option_of_up() -> None:
    shown = CliRunner().invoke(cli.app, ["up", "--help"], env={"COLUMNS": "200"})
    for key in cli.KEYS:
        assert "--" + key.replace("_", "-") in shown.output


def test_version(run: Run) -> None:
    code, out, _ = run("version")
    assert code == 0
    assert out.startswith("caudal ")


@pytest.mark.parametrize(
    "words",
    [("status",), ("flush", "--wait"), ("cache", "drop"), ("fsck",), ("status", "--json")],
    ids=" ".join,
)
def test_commands_without_a_server_say_so(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, _, err = run(*words, "--state", tmp_path)
    assert code == Exit.NOT_RUNNING
    assert str(tmp_path) in err
    assert list(tmp_path.iterdir()) == []


def test_down_without_a_server_is_no_failure(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("down", "--state", tmp_path)
    assert code == 0
    assert "no server is running" in out


def test_wrong_words_are_refused_with_a_suggestion(run: Run) -> None:
    code, _, err = run("up", "--nfs-prt", "1")
    assert code == Exit.USAGE
    assert "--nfs-port" in err
    code, _, _ = run("stat")
    assert code == Exit.USAGE


def test_wrong_values_are_refused_before_anything_happens(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    code, _, err = run("up", "--state", state, "--nfs-port", "99999", "--detach")
    assert code == Exit.USAGE
    assert "error: nfs_port: 99999 is not a port number (in option --nfs-port)" in err
    assert "1 to 65535" in err
    assert not state.exists()


def test_status_for_people_and_programs(run: Run, server: Server) -> None:
    server.answer(
        "status", {"cache": {"l1": {"bytes": 3 << 20, "hits": 5}}, "journal": {"mirrors": [{"path": "/j"}]}}
    )
    server.state.nfs_file.write_text('{"pid": 7, "versions": ["4.2"], "exports": ["/data"]}')
    code, out, _ = run("status", "--json", "--state", server.state.root)
    assert code == 0
    found = json.loads(out)
    assert found["nfs"] == {"pid": 7, "versions": ["4.2"], "exports": ["/data"]}
    assert found["cache"]["l1"]["bytes"] == 3 << 20
    code, out, _ = run("status", "--state", server.state.root)
    assert code == 0
    assert "3MiB" in out
    assert "mirrors[0].path" in out


def test_status_while_the_server_starts_again(run: Run, server: Server) -> None:
    server.control.close()
    code, _, err = run("status", "--state", server.state.root)
    assert code == Exit.NOT_RUNNING
    assert "no server answers" in err


def test_flush_and_cache_drop_pass_their_options(run: Run, server: Server) -> None:
    root = server.state.root
    assert run("flush", "--wait", "--state", root)[0] == 0
    assert run("flush", "--state", root)[0] == 0
    for words in ((), ("--l1",), ("--l2",), ("--l1", "--l2")):
        assert run("cache", "drop", *words, "--state", root)[0] == 0
    assert server.calls == [
        ("flush", {"wait": True}),
        ("flush", {"wait": False}),
        ("cache_drop", {"l1": True, "l2": True}),
        ("cache_drop", {"l1": True, "l2": False}),
        ("cache_drop", {"l1": False, "l2": True}),
        ("cache_drop", {"l1": True, "l2": True}),
    ]


@pytest.mark.parametrize(
    "error", [ControlError("busy", "not [now]", "wait"), ValueError("odd [/x]"), CaudalError("no")]
)
def test_what_the_server_refuses_is_told(run: Run, server: Server, error: Exception) -> None:
    server.answer("flush", error)
    code, _, err = run("flush", "--state", server.state.root)
    assert code == Exit.FAILED
    assert str(error) in err


def test_a_failed_flush_keeps_the_server_up(run: Run, server: Server) -> None:
    server.answer("flush", ControlError("not_flushed", "the store does not answer"))
    code, _, err = run("down", "--flush", "--state", server.state.root)
    assert code == Exit.FAILED
    assert "the store does not answer" in err
    assert server.state.is_locked()


def test_a_newer_state_directory_is_left_alone(run: Run, tmp_path: Path) -> None:
    StateDir(tmp_path).identity_file.write_text('{"format": 9}')
    for words in (("fsck",), ("up", "--detach")):
        code, _, err = run(*words, "--state", tmp_path)
        assert code == Exit.FAILED
        assert "newer version (format 9" in err
    assert [path.name for path in tmp_path.iterdir()] == ["fs.json"]


def test_the_unforeseen_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("gateway.launch.down", fail)
    code, _, err = run("down", "--state", tmp_path)
    assert code == Exit.FAILED
    assert "RuntimeError: out of luck" in err
    monkeypatch.setenv("CAUDAL_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["down"])


def test_config_check_and_show(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "caudal.toml"
    file.write_text('nfs_port = 2050\nstore = "az://box"\n')
    code, out, _ = run("config", "check", "--config", file)
    assert code == 0
    assert "2 keys given" in out
    monkeypatch.setenv("CAUDAL_EXPORT", "/team")
    code, out, _ = run("config", "show", "--config", file)
    assert code == 0
    assert out == 'store = "az://box"\nexport = "/team"\nnfs_port = 2050\n'
    code, out, _ = run("config", "show", "--all", "--config", file)
    assert 'squash = "none"' in out
    file.write_text("nfs_port = 'x'\n")
    code, _, err = run("config", "check", "--config", file)
    assert code == Exit.USAGE
    assert f"in {file}" in err


def test_the_last_configuration_is_the_next_ones_start(run: Run, tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.write_identity(Identity(b"x" * 16))
    state.config_file.write_text("nfs_port = 2051\n")
    assert "nfs_port = 2051" in run("config", "show", "--state", tmp_path)[1]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("up --clients a b --detach", "up --clients a --clients b --detach"),
        ("up --clients a --journal x y z", "up --clients a --journal x --journal y --journal z"),
        ("up --store s --clients a", "up --store s --clients a"),
        ("up --clients=a b", "up --clients=a b"),
    ],
)
def test_lists_may_be_given_in_a_row(given: str, meant: str) -> None:
    assert cli.spread(given.split()) == meant.split()
