"""State directory: identity, lock, and files that survive a crash whole."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from gateway.errors import Reason, StartError
from gateway.state import Identity, StateDir, write_atomically


def test_identity_is_kept(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert state.read_identity() is None
    for started in (False, True):
        state.write_identity(Identity(b"0123456789abcdef", started))
        assert state.read_identity() == Identity(b"0123456789abcdef", started)
    assert [path.name for path in tmp_path.iterdir()] == ["fs.json"]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.identity_file.write_text('{"format": 2, "everything": "else changed"}')
    with pytest.raises(StartError, match=r"newer version \(format 2; this one knows 1\)") as caught:
        state.read_identity()
    assert caught.value.reason is Reason.NEWER_FORMAT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": "x", "fs_id": "00"}',
        '{"format": 1, "fs_id": "00"}',
        "\x00",
    ],
)
def test_a_damaged_identity_is_refused(tmp_path: Path, text: str) -> None:
    state = StateDir(tmp_path)
    state.identity_file.write_text(text)
    with pytest.raises(StartError, match="damaged") as caught:
        state.read_identity()
    assert caught.value.reason is Reason.STATE_UNUSABLE


def test_atomic_writes_leave_the_old_file_when_they_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    write_atomically(file, b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def _hold(root: str, pipe: Connection, after: Callable[[int], object]) -> None:
    descriptor = StateDir(Path(root)).lock()
    StateDir(Path(root)).pid_file("supervisor").write_text(f"{os.getpid()}\n")
    after(descriptor)
    pipe.send("held")
    pipe.recv()


def _keep(descriptor: int) -> None:
    assert descriptor >= 0


def test_one_server_at_a_time_and_death_frees_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    assert not state.is_locked()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path), theirs, _keep))
    process.start()
    try:
        assert ours.recv() == "held"
        assert state.is_locked()
        assert state.owner() == process.pid
        with pytest.raises(
            StartError, match=f"already running on {tmp_path} .process {process.pid}."
        ) as caught:
            state.lock()
        assert caught.value.reason is Reason.STATE_IN_USE
        assert not state.wait_unlocked(0.1)
    finally:
        process.kill()
        process.join()
    assert state.wait_unlocked(2.0)
    os.close(state.lock())


def test_a_stale_pid_file_names_nobody(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    state.pid_file("supervisor").write_text(f"{os.getpid()}\n")
    state.pid_file("ganesha").write_text("not a number")
    assert state.owner() is None


def test_start_errors_travel_through_their_file(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    assert state.read_start_error() is None
    state.write_start_error(StartError("it broke", "mend it", Reason.NO_SPACE))
    found = state.read_start_error()
    assert found is not None
    assert (found.message, found.hint, found.reason) == ("it broke", "mend it", Reason.NO_SPACE)
    state.write_start_error(ValueError("odd"))
    found = state.read_start_error()
    assert found is not None
    assert "odd" in found.message


@pytest.mark.parametrize("text", ["", "[]", "{", '{"reason": "unheard of"}', '{"message": 5}'])
def test_a_start_error_is_told_even_when_its_file_is_odd(tmp_path: Path, text: str) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    state.start_error_file.write_text(text)
    found = state.read_start_error()
    assert found is not None
    assert found.reason is Reason.FAILED


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot be used") as caught:
        StateDir(tmp_path / "file" / "state").prepare()
    assert caught.value.reason is Reason.STATE_UNUSABLE
