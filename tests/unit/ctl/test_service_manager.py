"""What a service manager hears, and when it hears nothing any more."""

import os
import socket
from pathlib import Path

import pytest

from gateway.service_manager import ServiceManager, send

ENV = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "60000000"}


class Told:
    """A manager at whom everything arrives."""

    def __init__(self, env: dict[str, str]) -> None:
        self.texts: list[str] = []
        self.answers = True
        self.manager = ServiceManager(
            env, lambda: self.answers, 100.0, lambda _, text: self.texts.append(text), pid=7
        )


def test_says_ready_and_then_alive_three_times_within_the_limit() -> None:
    told = Told(ENV)
    told.manager.ready(0.0, "serving")
    for second in range(1, 61):
        told.manager.tend(float(second), serving=True)
    told.manager.stopping()
    assert told.texts == ["READY=1\nSTATUS=serving", *["WATCHDOG=1"] * 3, "STOPPING=1"]
    assert told.manager.due_at_s is None


def test_a_server_that_hangs_is_not_alive() -> None:
    told = Told(ENV)
    told.manager.ready(0.0, "serving")
    told.answers = False
    for second in range(1, 200):
        told.manager.tend(float(second), serving=True)
    assert told.texts[1:] == []


def test_a_server_that_starts_again_has_its_time_and_no_more() -> None:
    told = Told(ENV)
    told.manager.ready(0.0, "serving")
    told.answers = False
    for second in range(1, 300):
        told.manager.tend(float(second), serving=False)
    assert told.texts[1:] == ["WATCHDOG=1"] * 5, "100 s in steps of 20"


@pytest.mark.parametrize(
    "env",
    [{}, {"WATCHDOG_USEC": "60000000"}, {**ENV, "WATCHDOG_PID": "8"}, {**ENV, "WATCHDOG_USEC": "soon"}],
    ids=["no manager", "no address", "for another process", "no number"],
)
def test_without_a_limit_nothing_is_due(env: dict[str, str]) -> None:
    told = Told(env)
    told.manager.ready(0.0, "serving")
    told.manager.tend(1e6, serving=True)
    assert told.manager.due_at_s is None
    assert "WATCHDOG=1" not in told.texts


def test_the_datagram_arrives_and_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(address))
        send(os.fspath(address), "READY=1")
        assert listener.recv(100) == b"READY=1"
    send(os.fspath(address), "WATCHDOG=1")
