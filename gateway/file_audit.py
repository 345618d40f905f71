"""The audit of file operations as the steward writes it: JSON lines in files that are rotated, and syslog where there is a
collector.

Events come from the server's queue. What a full queue dropped, and what a collector that is away missed, is a record of its
own.
"""

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from gateway import syslog
from gateway.errors import CaudalError

log = structlog.get_logger(__name__)
FILE: Final = "audit.jsonl"
FILE_BYTES: Final = 64 << 20
FILES: Final = 16
BATCH: Final = 1000
QUEUE: Final = 1 << 16
"""Events that wait in the server, at most."""
POLL_S: Final = 0.5
AWAY_MAX: Final = 20_000
"""Records that wait for a collector."""

Event = Mapping[str, Any]


class AuditFile:
    """FILE in a directory, and those before it as FILE.1 and so on, the newest first: `files` of about `file_bytes` each."""

    def __init__(self, directory: Path, file_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self._path = directory / FILE
        self._file_bytes = file_bytes
        self._files = files

    def append(self, lines: Sequence[bytes]) -> None:
        """Whole lines. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size >= self._file_bytes:
            self._rotate()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = self._path.with_name(f"{FILE}.{number}")
            newer = self._path.with_name(f"{FILE}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)


class Sender:
    """Sends records to a collector; those of the time while it is away wait, within a bound."""

    def __init__(self, collector: syslog.Collector, host: str, most: int = AWAY_MAX) -> None:
        self._collector = collector
        self._host = host
        self._waiting: deque[Event] = deque()
        self._most = most
        self._missed = 0
        self._away = False

    def send(self, events: Sequence[Event], now_s: float) -> None:
        for event in events:
            if len(self._waiting) < self._most:
                self._waiting.append(event)
            else:
                self._missed += 1
        while self._waiting:
            batch = [self._waiting[number] for number in range(min(200, len(self._waiting)))]
            try:
                self._collector.send([record(self._host, event) for event in batch])
            except OSError as error:
                self._collector.close()
                if not self._away:
                    log.warning("audit.collector_away", why=str(error)[:200])
                self._away = True
                return
            self._away = False
            for _ in batch:
                self._waiting.popleft()
            if self._missed and len(self._waiting) < self._most:
                self._waiting.append(dropped_event(self._missed, now_s, "the collector was away"))
                self._missed = 0


def dropped_event(count: int, now_s: float, why: str) -> dict[str, Any]:
    """The record that others are missing."""
    return {"at_s": now_s, "op": "audit.dropped", "count": count, "why": why}


def record(host: str, event: Event) -> bytes:
    """An event as a message."""
    fields = {name: "" if value is None else str(value) for name, value in event.items() if name != "at_s"}
    severity = (
        syslog.NOTICE if event.get("result") in (None, "ok") and "count" not in event else syslog.WARNING
    )
    return syslog.message(host, float(event["at_s"]), severity, f"file.{event['op']}", fields)


class Owner(Protocol):
    def audit_take(self, most: int) -> dict[str, Any]: ...


class FileAudit:
    """turn() is called again and again by one thread. now_s: seconds since 1970."""

    def __init__(
        self, owner: Owner, file: AuditFile, sender: Sender | None, now_s: Callable[[], float]
    ) -> None:
        self._owner = owner
        self._file = file
        self._sender = sender
        self._now_s = now_s
        self._dropped = 0
        # Turns since it was seen that some were dropped.
        self._behind = 0
        self._run: str | None = None

    def turn(self) -> bool:
        """Takes what waits; True when there is more."""
        taken = self._owner.audit_take(BATCH)
        events: list[dict[str, Any]] = list(taken["events"])
        if taken["run"] != self._run:
            self._run, self._dropped, self._behind = str(taken["run"]), 0, 0
        if (lost := int(taken["dropped"]) - self._dropped) > 0:
            self._behind += 1
            # Those that were dropped came after all that waited then: a whole queue.
            if len(taken["events"]) < BATCH or self._behind > QUEUE // BATCH:
                events.append(dropped_event(lost, self._now_s(), "the queue was full"))
                self._dropped += lost
                self._behind = 0
        if events:
            try:
                self._file.append([json.dumps(event, ensure_ascii=False).encode() for event in events])
            except OSError as error:
                log.warning("audit.not_written", why=str(error), events=len(events))
        if self._sender is not None:
            self._sender.send(events, self._now_s())
        return len(taken["events"]) >= BATCH


def run(audit: FileAudit, stop: threading.Event, close: Callable[[], None]) -> None:
    """Until told to stop. While the owner is away there is nothing to take."""
    while not stop.is_set():
        more = False
        try:
            more = audit.turn()
        except CaudalError:
            close()
        except Exception:
            log.exception("audit.failed")
            close()
        if not more:
            stop.wait(POLL_S)
