"""The audit of file operations as the steward writes it: rotation, what was dropped, a collector that is away."""

import json
import socketserver
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import NotRunningError
from gateway.file_audit import BATCH, FILE, QUEUE, AuditFile, FileAudit, Sender, record, run
from gateway.syslog import Collector


class Owner:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.dropped = 0
        self.run = "1"

    def audit_take(self, most: int) -> dict[str, Any]:
        taken, self.events = self.events[:most], self.events[most:]
        return {"events": taken, "dropped": self.dropped, "run": self.run}


class Scripted(Collector):
    """Takes messages, or is away."""

    def __init__(self) -> None:
        super().__init__("tcp://127.0.0.1:1")
        self.away = False
        self.texts: list[bytes] = []

    def send(self, texts: Any) -> None:
        if self.away:
            raise ConnectionRefusedError
        self.texts += texts


def event(number: int, **more: Any) -> dict[str, Any]:
    fields = {"at_s": 1e9 + number, "op": "remove", "export": "main", "client": "10.0.0.1", "uid": 5}
    return {**fields, "path": f"/data/{number}", "inode": None, "result": "ok", **more}


def lines(directory: Path, name: str = FILE) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / name).read_text().splitlines()]


def test_lines_in_files_that_are_rotated(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    owner = Owner()
    audit = FileAudit(owner, AuditFile(folder, file_bytes=400, files=3), None, lambda: 7.0)
    for number in range(12):
        owner.events = [event(2 * number), event(2 * number + 1, path="/data/\u00e9\n]")]
        assert audit.turn() is False
    assert sorted(path.name for path in folder.iterdir()) == [FILE, f"{FILE}.1", f"{FILE}.2"]
    kept = [one["at_s"] for name in (f"{FILE}.2", f"{FILE}.1", FILE) for one in lines(folder, name)]
    assert kept == [1e9 + number for number in range(24 - len(kept), 24)]
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


def test_what_was_dropped_is_a_record(tmp_path: Path) -> None:
    owner = Owner()
    audit = FileAudit(owner, AuditFile(tmp_path), None, lambda: 7.0)
    owner.events, owner.dropped = [event(1)], 5
    audit.turn()
    audit.turn()
    assert lines(tmp_path)[1] == {"at_s": 7.0, "op": "audit.dropped", "count": 5, "why": "the queue was full"}
    owner.run, owner.dropped = "2", 2
    audit.turn()
    assert [one.get("count") for one in lines(tmp_path)] == [None, 5, 2]


def test_what_was_dropped_is_told_where_it_is_missing(tmp_path: Path) -> None:
    owner = Owner()
    audit = FileAudit(owner, AuditFile(tmp_path), None, lambda: 7.0)
    owner.events, owner.dropped = [event(number) for number in range(BATCH + 2)], 5
    while audit.turn():
        pass
    assert [one["op"] for one in lines(tmp_path)] == ["remove"] * (BATCH + 2) + ["audit.dropped"]
    # A queue that never becomes empty does not keep it for ever.
    owner.dropped = 9
    for _ in range(QUEUE // BATCH + 2):
        owner.events = [event(number) for number in range(BATCH)]
        assert audit.turn()
    assert [one["count"] for one in lines(tmp_path) if one["op"] == "audit.dropped"] == [5, 4]


def test_a_collector_that_is_away_gets_it_later_and_learns_what_it_missed() -> None:
    collector = Scripted()
    sender = Sender(collector, "nas", most=3)
    sender.send([event(1)], 7.0)
    collector.away = True
    sender.send([event(2), event(3)], 8.0)
    sender.send([event(4), event(5), event(6)], 9.0)
    assert len(collector.texts) == 1
    collector.away = False
    sender.send([], 10.0)
    assert [b"/data/%d" % number in text for number, text in enumerate(collector.texts[:4], 1)] == [True] * 4
    assert b'count="2"' in collector.texts[4]


def test_a_message_is_rfc_5424() -> None:
    text = record("nas", event(0, path='/data/a"b]', result="EACCES")).decode()
    assert text.startswith("<108>1 2001-09-09T01:46:40.000Z nas caudal - file.remove [audit@32473 op=")
    assert 'path="/data/a\\"b\\]"' in text
    assert text.endswith('result="EACCES"]')


def test_it_arrives_at_a_real_collector(tmp_path: Path) -> None:
    got: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while size := b"".join(iter(lambda: self.rfile.read(1).strip(), b"")):
                got.append(self.rfile.read(int(size)))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        collector = Collector(f"tcp://127.0.0.1:{server.server_address[1]}")
        sender = Sender(collector, "nas")
        owner = Owner()
        owner.events = [event(1), event(2)]
        stop = threading.Event()

        def close() -> None:
            stop.set()

        audit = FileAudit(owner, AuditFile(tmp_path), sender, lambda: 7.0)
        audit.turn()
        for _ in range(500):
            if len(got) == 2:
                break
            stop.wait(0.01)
        assert [b"file.remove" in text for text in got] == [True, True]

        class Gone(Owner):
            def audit_take(self, most: int) -> dict[str, Any]:
                raise NotRunningError("away")

        run(FileAudit(Gone(), AuditFile(tmp_path), None, lambda: 7.0), stop, close)
        collector.close()
        server.shutdown()


def test_a_disk_that_is_full_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner()
    file = AuditFile(tmp_path)
    audit = FileAudit(owner, file, None, lambda: 7.0)

    def full(_lines: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(file, "append", full)
    owner.events = [event(1)]
    assert audit.turn() is False
