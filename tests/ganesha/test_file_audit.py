"""The audit of file operations where nobody takes what it tells: its queue fills under a real client's load."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import compare
from gateway.file_audit import QUEUE
from tests.support.caudal import Caudal, undisturbed
from tests.support.processes import wait_until

FILES = 6000


@pytest.fixture
def server(private_network: None, disk_path: Path) -> Iterator[Caudal]:
    with undisturbed(disk_path) as make:
        yield make(options=("--audit", "changes", "--metadata-memory-bytes", "1GiB")).start()


def test_a_receiver_that_stands_still_holds_up_no_client_and_learns_what_it_missed(server: Caudal) -> None:
    log = server.state / "audit/audit.jsonl"
    steward = server.pid("steward")
    assert steward is not None
    told = server.status()["audit"]
    os.kill(steward, signal.SIGSTOP)
    try:
        for number in range(20):
            for mode in ("create", "unlink"):
                done = compare.once(server.url, mode, (f"files={FILES}",), f"round{number}")
                assert done["errors"] == 0
            told = server.status()["audit"]
            if told["dropped"]:
                break
        assert told["waiting"] == QUEUE, "the oldest are kept"
        assert told["dropped"] > 0
    finally:
        os.kill(steward, signal.SIGCONT)

    def told_so_far() -> list[dict[str, Any]]:
        # What is being written ends with no line yet.
        text = log.read_text() if log.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def missed() -> int:
        return sum(one["count"] for one in told_so_far() if one["op"] == "audit.dropped")

    wait_until(lambda: missed() == told["dropped"], "what found no room is a record", timeout_s=60)
    kinds = [one["op"] for one in told_so_far()]
    assert kinds.index("audit.dropped") == QUEUE, "after those that were waiting"
    with server.connect() as nfs:
        nfs.mkdir("/after")
    wait_until(lambda: '"/data/after"' in log.read_text(), "it goes on")
    assert server.status()["audit"]["dropped"] == told["dropped"]
