"""The control socket's end: what is under way ends first, and what cannot is no error of the server."""

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import control
from gateway.control import ControlClient, ControlServer
from gateway.errors import NotRunningError
from tests.support.processes import wait_until


class _Held:
    """A handler that begins, says so, and goes on when it is let."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun, self.let, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._failure = failure

    def __call__(self, _: Mapping[str, Any]) -> str:
        self.begun.set()
        assert self.let.wait(20)
        self.ended.set()
        if self._failure is not None:
            raise self._failure
        return "done"


def _call_and_forget(path: Path, op: str) -> threading.Thread:
    def call() -> None:
        with contextlib.suppress(NotRunningError), ControlClient(path) as client:
            client.call(op)

    caller = threading.Thread(target=call)
    caller.start()
    return caller


def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """What handlers use is closed after the socket: a deletion of packs, say, ends before the core does."""
    held = _Held()
    running = ControlServer(tmp_path / "control.sock", {"held": held})
    running.start()
    caller = _call_and_forget(tmp_path / "control.sock", "held")
    assert held.begun.wait(10)
    closing = threading.Thread(target=running.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    held.let.set()
    closing.join(10)
    assert held.ended.is_set()
    assert not closing.is_alive()
    caller.join(10)


def test_a_handler_that_does_not_end_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CLOSE_WAIT_S", 0.2)
    held = _Held(RuntimeError("the core is closed"))
    running = ControlServer(tmp_path / "control.sock", {"held": held})
    running.start()
    with structlog.testing.capture_logs() as logs:
        caller = _call_and_forget(tmp_path / "control.sock", "held")
        assert held.begun.wait(10)
        running.close()
        assert not held.ended.is_set()
        held.let.set()
        # Its failure is the stop's, not the server's: nothing that an operator must see to.
        wait_until(lambda: any(line["event"] == "control.cut_off" for line in logs), "it is told", 10)
    assert not [line for line in logs if line["log_level"] == "error"]
    caller.join(10)


def test_a_handler_may_close_the_socket_itself(tmp_path: Path) -> None:
    closed = threading.Event()

    def close(_: Mapping[str, Any]) -> None:
        running.close()
        closed.set()

    running = ControlServer(tmp_path / "control.sock", {"close": close})
    running.start()
    caller = _call_and_forget(tmp_path / "control.sock", "close")
    assert closed.wait(4)
    caller.join(10)


def test_who_only_waits_is_not_waited_for(tmp_path: Path) -> None:
    """The steward asks for work at all times: a stop that waited for that would always take longer."""
    held = _Held()
    running = ControlServer(tmp_path / "control.sock")
    running.register("held", held, only_waits=True)
    running.start()
    caller = _call_and_forget(tmp_path / "control.sock", "held")
    assert held.begun.wait(10)
    with structlog.testing.capture_logs() as logs:
        running.close()
    assert not held.ended.is_set()
    assert not logs
    held.let.set()
    caller.join(10)
