"""One client: a process that changes its own files over NFS, keeps a log of it, and checks them after each recovery.

The log has a line for each intent before it is sent and one for each acknowledgement after it came; the model is what the
lines add up to.
"""

import json
import random
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from bench.crash import check
from bench.crash.model import Directory, File, Model, Record
from bench.crash.operations import Chooser
from bench.crash.wire import STALE, Lost, Refused, Wire, connect

ANSWER_LIMIT_S = 45.0
GONE_KEPT = 8
WRONG_TOLD = 20


@dataclass(frozen=True)
class Endpoint:
    """Where the server is, and how it is talked to: 3, 41 or 42."""

    port: int
    mount_port: int
    version: int


@dataclass(frozen=True)
class Work:
    """Do things until told to stop or until the server is lost."""

    endpoint: Endpoint
    seed: str


@dataclass(frozen=True)
class Verify:
    """Compare all with the model. died: the server was another one since; keep: stay connected for more work."""

    endpoint: Endpoint
    died: bool


@dataclass
class Report:
    """What came of it."""

    acknowledged: Counter[str] = field(default_factory=Counter[str])
    lost: str = ""
    error: str = ""
    wrong: list[str] = field(default_factory=list[str])
    checked: int = 0
    files: int = 0
    file_bytes: int = 0
    sent_again: int = 0
    found_after: int = 0
    found_before: int = 0
    waits: int = 0


class Worker:
    """`number` names its directory. `log`: its file."""

    def __init__(self, number: int, log: Path) -> None:
        self.model = Model(number)
        self._number = number
        self._log = log.open("a", buffering=1)
        self._handles: dict[tuple[int, int], bytes] = {}
        self._gone: deque[bytes] = deque(maxlen=GONE_KEPT)
        self._chooser = Chooser(self.model)
        self._boots = 0
        self._wire: Wire | None = None
        self._unchecked = 0
        self._unanswered = False

    def connect(self, endpoint: Endpoint) -> Wire:
        self._boots += 1
        name = b"crash-client-%d" % self._number
        return connect(
            endpoint.version,
            endpoint.port,
            endpoint.mount_port,
            name=name,
            boot=self._boots.to_bytes(8, "big"),
            timeout_s=ANSWER_LIMIT_S,
        )

    # The log

    def _record(self, record: Record) -> list[int]:
        self._log.write(json.dumps({"s": round(time.monotonic(), 4), **record}) + "\n")
        return self.model.take(record)

    def _did(self, wire: Wire, report: Report, kind: str, verifier: bytes = b"") -> None:
        gone = self._record({"ack": kind, "verifier": verifier.hex()})
        report.acknowledged[kind] += 1
        self._unchecked += 1
        for number in gone:
            handle = self._handles.pop((wire.version == 3, number), None)
            self._handles.pop((wire.version != 3, number), None)
            if wire.version == 3 and handle:
                self._gone.append(handle)

    # Work

    def work(self, order: Work, stopped: Callable[[], bool]) -> Report:
        report = Report()
        chance = random.Random(order.seed)
        try:
            wire = self.connect(order.endpoint)
        except Lost as lost:
            report.lost = str(lost)
            return report
        self._record({"connected": order.endpoint.version, "seed": order.seed})
        try:
            while not stopped():
                self._step(wire, report, self._chooser.next(chance, wire.version))
        except Lost as lost:
            report.lost = str(lost)
            self._record({"lost": str(lost)})
        except Refused as refused:
            report.error = f"{refused}; the last lines of its log tell what was asked"
            self._record({"refused": str(refused)})
        report.waits = wire.waits
        wire.close()
        return report

    def _handle(self, wire: Wire, path: str) -> bytes:
        """Of a path of the model's, or of the directories above."""
        if not path:
            return wire.root
        number = self.model.names.get(path, -1)
        key = (wire.version == 3, number)
        if number in self.model.things and key in self._handles:
            return self._handles[key]
        above, _, name = path.rpartition("/")
        handle = wire.lookup(self._handle(wire, above), name)
        if number in self.model.things:
            self._handles[key] = handle
        return handle

    def _at(self, wire: Wire, path: str) -> tuple[bytes, str]:
        above, _, name = path.rpartition("/")
        return self._handle(wire, above), name

    def _step(self, wire: Wire, report: Report, record: Record) -> None:
        """One operation: its handles first, then the intent, the call, the acknowledgement."""
        kind = record["intent"]
        if kind == "read":
            self._read(wire, record["path"])
            report.acknowledged["read"] += 1
            return
        if kind in {"create", "mkdir"}:
            directory, name = self._at(wire, record["path"])
            self._record(record)
            if kind == "mkdir":
                handle = wire.mkdir(directory, name)
            else:
                handle = wire.create(
                    directory, name, record["mode"] or 0o600, bytes.fromhex(record["exclusive"])
                )
            self._did(wire, report, kind)
            self._handles[wire.version == 3, record["thing"]] = handle
        elif kind in {"unlink", "rmdir"}:
            directory, name = self._at(wire, record["path"])
            self._handle(wire, record["path"])
            self._record(record)
            wire.remove(directory, name, directory_itself=kind == "rmdir")
            self._did(wire, report, kind)
        elif kind == "rename":
            old, new = self._at(wire, record["old"]), self._at(wire, record["new"])
            if record["new"] in self.model.names:
                self._handle(wire, record["new"])
            self._record(record)
            wire.rename(*old, *new)
            self._did(wire, report, kind)
        elif kind == "link":
            handle, (directory, name) = self._of(wire, record["thing"]), self._at(wire, record["path"])
            self._record(record)
            wire.link(handle, directory, name)
            self._did(wire, report, kind)
        else:
            self._on_file(wire, report, record)

    def _of(self, wire: Wire, number: int) -> bytes:
        return self._handle(wire, self.model.paths(number)[0])

    def _on_file(self, wire: Wire, report: Report, record: Record) -> None:
        kind, number = record["intent"], record["thing"]
        handle = self._of(wire, number)
        if kind == "commit":
            self._commit(wire, report, record, handle)
            return
        self._record(record)
        verifier = b""
        if kind == "write":
            data = self.model.file(number).layers[-1].data
            durable, verifier = wire.write(handle, record["offset"], data, stable=record["stable"])
            if record["stable"] and not durable:
                raise Refused("a stable WRITE was answered as UNSTABLE", 0)
        elif kind == "truncate":
            wire.truncate(handle, record["size"])
        elif kind == "chmod":
            wire.chmod(handle, record["mode"])
        elif kind == "chown":
            wire.chown(handle, record["uid"], record["gid"])
        elif kind == "setxattr":
            assert self.model.pending
            changed = self.model.pending.things[number]
            assert isinstance(changed, File)
            wire.set_xattr(handle, record["name"], changed.xattrs[record["name"]])
        else:
            wire.remove_xattr(handle, record["name"])
        self._did(wire, report, kind, verifier)

    def _commit(self, wire: Wire, report: Report, record: Record, handle: bytes) -> None:
        """A COMMIT counts where its verifier is that of the writes."""
        self._record(record)
        verifier = wire.commit(handle)
        written = {layer.verifier for layer in self.model.file(record["thing"]).layers}
        if written - {verifier}:
            raise Refused("COMMIT: another verifier than the WRITEs had, on the same connection", 0)
        self._did(wire, report, "commit")

    def _read(self, wire: Wire, path: str) -> None:
        file = self.model.file(self.model.names[path])
        found = wire.read(self._handle(wire, path))
        if problem := file.wrong(found, strict=True):
            raise Refused(f"{path} read while all went on: {problem}", 0)

    # Checks

    def verify(self, order: Verify) -> Report:
        """Finds out which of the things that may be the case is, and makes it the model; sends again what a crash may have
        lost, and looks again.
        """
        report = Report(checked=self._unchecked)
        wire = self.connect(order.endpoint)
        try:
            strict = not order.died and not self._in_flight()
            if self._settle(wire, report, strict=strict):
                self._stale(wire, report)
                if self._send_again(wire, report, died=order.died):
                    found = check.observe(wire, self._number)
                    report.wrong = [
                        f"after what was lost was sent again: {problem}"
                        for problem in check.compare(self.model, found, self._known(wire), strict=True)
                    ]
            report.waits = wire.waits
        except AssertionError as wrong:
            report.wrong.append(str(wrong))
        except (Lost, Refused) as error:
            report.error = f"while all was checked: {error}"
        finally:
            wire.close()
        report.wrong = report.wrong[:WRONG_TOLD]
        if not report.wrong and not report.error:
            self._unchecked = 0
        return report

    def _in_flight(self) -> bool:
        files = (thing for thing in self.model.things.values() if isinstance(thing, File))
        return any(not layer.verifier for file in files for layer in file.layers)

    def _known(self, wire: Wire) -> dict[int, bytes]:
        return {
            number: handle
            for (version_3, number), handle in self._handles.items()
            if version_3 == (wire.version == 3)
        }

    def _settle(self, wire: Wire, report: Report, *, strict: bool) -> bool:
        found = check.observe(wire, self._number)
        candidates = self.model.candidates()
        wrongs = [check.compare(one, found, self._known(wire), strict=strict) for one in candidates]
        if all(wrongs):
            report.wrong += wrongs[0]
            if len(wrongs) > 1:
                report.wrong += [f"or, with the change that was under way: {one}" for one in wrongs[1]]
            return False
        if len(candidates) > 1:
            after = not wrongs[1]
            report.found_after, report.found_before = int(after), int(not after)
            self._record({"settled": "after" if after else "before"})
        for path, number in self.model.names.items():
            self._handles[wire.version == 3, number] = found[path].handle
        files = [thing for thing in self.model.things.values() if isinstance(thing, File)]
        report.files, report.file_bytes = len(files), sum(len(file.newest) for file in files)
        return True

    def _stale(self, wire: Wire, report: Report) -> None:
        """What was removed stays away."""
        if wire.version != 3:
            return
        for handle in self._gone:
            try:
                wire.facts(handle)
            except Refused as refused:
                if refused.status == STALE:
                    continue
            report.wrong.append(f"a removed file answers by its old handle {handle.hex()}")

    def _send_again(self, wire: Wire, report: Report, *, died: bool) -> int:
        """As the verifier asks clients to: whatever was not committed. Returns how many files."""
        count = 0
        for number, thing in list(self.model.things.items()):
            if isinstance(thing, Directory) or not thing.layers:
                continue
            handle = self._of(wire, number)
            before = {layer.verifier for layer in thing.layers if layer.verifier}
            now = wire.commit(handle)
            if died and now in before:
                report.wrong.append(f"{self.model.paths(number)}: the verifier is that of before the crash")
            if not died and before - {now}:
                report.wrong.append(
                    f"{self.model.paths(number)}: the verifier is another one without a crash"
                )
            for layer in thing.layers:
                _durable, verifier = wire.write(handle, layer.offset, layer.data, stable=False)
                if verifier != now:
                    report.wrong.append(f"{self.model.paths(number)}: two verifiers of one server")
            if wire.commit(handle) == now:
                self._record({"sent_again": number})
                report.sent_again += 1
                count += 1
        return count


def serve(number: int, log: Path, channel: Connection) -> None:
    """The process: orders come in by the channel, reports go out; b"stop" ends work, the channel's end ends it."""
    worker = Worker(number, log)
    while True:
        try:
            order = channel.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if isinstance(order, Work):
                channel.send(worker.work(order, channel.poll))
            elif isinstance(order, Verify):
                channel.send(worker.verify(order))
        except KeyboardInterrupt:
            return
        except Exception:  # noqa: BLE001 - whoever ordered it is told
            channel.send(Report(error=traceback.format_exc()))
