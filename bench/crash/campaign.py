"""Rounds: clients work, the server meets its faults, comes back, and everything acknowledged is checked."""

import contextlib
import dataclasses
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from bench.crash import check
from bench.crash.client import Endpoint, Report, Verify, Work, serve
from bench.crash.faults import Faults, Stores
from bench.crash.model import rebuilt
from bench.crash.plan import WHILE_DEAD, Disturbance, Plan
from bench.crash.wire import connect
from gateway.control import ControlClient
from tests.ganesha.nfs3_client import Client, NfsError
from tests.support.caudal import EXPORT, Caudal, StartFailed
from tests.support.processes import TimedOut, alive, kill, wait_until

# Small and quick everything, so that segments roll, packs are written, compacted and deleted within seconds.
OPTIONS = (
    *(
        "--segment-bytes",
        "4MiB",
        "--pack-bytes",
        "1MiB",
        "--flush-age-s",
        "0.3",
        "--checkpoint-interval-s",
        "0.1",
    ),
    *(
        "--gc-interval-s",
        "0.5",
        "--gc-grace-s",
        "3",
        "--store-wait-s",
        "1",
        "--l1-bytes",
        "16MiB",
        "--l2-bytes",
        "64MiB",
    ),
    *("--dirty-memory-bytes", "8MiB", "--metadata-memory-bytes", "32MiB"),
)
ANSWER_S = 240.0
FAILPOINT_PATIENCE_S = 2.5


class RoundFailed(AssertionError):
    """Something acknowledged is lost, or something is there that should not be, or the server does not come back."""


@dataclasses.dataclass
class Round:
    """What a round came to; times in seconds."""

    number: int
    faults: list[str] = dataclasses.field(default_factory=list[str])
    operations: Counter[str] = dataclasses.field(default_factory=Counter[str])
    checked: int = 0
    files: int = 0
    file_bytes: int = 0
    sent_again: int = 0
    under_way: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    waits: int = 0
    recovery_s: float | None = None
    grace: bool = False
    took_s: float = 0.0


class _Process:
    """A client's process and its channel."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.log = directory / f"client{number}.log"
        context = multiprocessing.get_context("spawn")
        self.channel: Connection
        self.channel, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(number, self.log, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, order: Work | Verify) -> None:
        self.channel.send(order)

    def report(self) -> Report:
        if not self.channel.poll(ANSWER_S):
            raise RoundFailed(f"client {self.number} hangs: it has not reported for {ANSWER_S:.0f} s")
        return self.channel.recv()

    def close(self) -> None:
        self.channel.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Campaign:
    """One long-lived file system in `directory`, its clients, and what is done to it."""

    def __init__(
        self, directory: Path, *, clients: int = 4, store: str = "directory", more: Sequence[str] = ()
    ) -> None:
        """more: options of `caudal up`, which come last."""
        self.directory = directory
        self.processes = [_Process(number, directory) for number in range(clients)]
        self._stores = Stores(store, directory)
        mirrors = [directory / "journal-a", directory / "journal-b"]
        options = [*OPTIONS, *(part for mirror in mirrors for part in ("--journal", str(mirror))), *more]
        self.server = Caudal(
            directory / "state", store=self._stores.url, options=options, env=self._stores.env
        )
        self._round = Round(0)
        self._died_s = 0.0
        self._faults = Faults(self.server, self._stores, mirrors, self._hit)

    def _hit(self, kind: str) -> None:
        self._round.faults.append(kind)

    def __enter__(self) -> Self:
        self.server.start()
        with self._mounted() as nfs:
            nfs.mkdir(nfs.root, check.SHARED.encode())
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.close()
        self._faults.end_all()
        self.server.stop()
        self._stores.close()

    def _mounted(self) -> Client:
        return Client(self.server.nfs_port, self.server.mountd_port, EXPORT)

    @contextlib.contextmanager
    def _control(self) -> Iterator[ControlClient]:
        with ControlClient(self.server.state / "run" / "control.sock", 120.0) as control:
            yield control

    # A round

    def play(self, plan: Plan) -> Round:
        """Raises RoundFailed with everything that is wrong."""
        began_s = time.monotonic()
        self._round = Round(plan.number)
        if plan.failpoints:
            self._restart(plan.failpoints)
        before = self.server.pid("ganesha")
        for process in self.processes:
            process.ask(Work(self._endpoint(plan.versions[process.number]), plan.work_seed(process.number)))
        if self._disturb(plan, before):
            self._recover(plan, before)
        self._stop_clients(died=self.server.pid("ganesha") != before)
        self._faults.end_all()
        died = self.server.pid("ganesha") != before or bool(plan.failpoints)
        self._look(plan, died=died)
        self._round.took_s = round(time.monotonic() - began_s, 2)
        return self._round

    def _endpoint(self, version: int) -> Endpoint:
        return Endpoint(self.server.nfs_port, self.server.mountd_port, version)

    def _restart(self, failpoints: str) -> None:
        """Kill -9 of an idle server, and a start with failpoints, of which some lie on the way of a start."""
        self.server.kill_everything()
        try:
            self.server.start(failpoints=failpoints)
        except StartFailed:
            self._round.faults.append("killed_while_starting")
            self.server.kill_everything()
            self.server.start()

    def _disturb(self, plan: Plan, before: int | None) -> bool:
        """Until the server's end, which is not waited for; False where it is to live on."""
        events: list[tuple[float, str, Disturbance | None]] = [(plan.death_at_s, "death", None)]
        for one in plan.disturbances:
            if one.kind not in WHILE_DEAD and one.kind != "mirror_error":
                events.append((one.at_s, "begin", one))
                events.append((one.at_s + one.for_s, "end", one))
        began_s = time.monotonic()
        ended = False
        for at_s, what, one in sorted(events, key=lambda event: event[0]):
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            if one and what == "begin":
                self._faults.begin(one)
            elif one:
                self._faults.end(one)
            else:
                ended = self._end(plan, before)
        return ended or self.server.pid("ganesha") != before

    def _end(self, plan: Plan, before: int | None) -> bool:
        """The server's death as planned; what only a dead one can meet comes with it."""
        healthy = self._faults.all_healthy()
        if any(one.kind == "mirror_error" for one in plan.disturbances) and self._faults.losses():
            self._round.faults.append("mirror_error")
        self._died_s = time.monotonic()
        if plan.death == "nothing":
            return False
        if plan.death == "failpoint":
            deadline = time.monotonic() + FAILPOINT_PATIENCE_S
            while before and alive(before) and time.monotonic() < deadline:
                time.sleep(0.01)
            self._died_s = time.monotonic()
            if before and alive(before):
                self._round.faults.append("kill_server")
                kill(before)
            else:
                self._round.faults.append(f"failpoint {plan.failpoints.partition('=')[0]}")
            return True
        self._round.faults.append(f"kill_{plan.death}")
        if plan.death == "server":
            if number := self.server.pid("ganesha"):
                kill(number)
            return True
        self.server.kill_everything()
        for one in plan.disturbances:
            if one.kind in WHILE_DEAD and (healthy or not one.kind.startswith("mirror")):
                self._faults.while_dead(one)
        return True

    def _recover(self, plan: Plan, before: int | None) -> None:
        if plan.death == "everything" or self.server.pid("supervisor") is None:
            # `caudal up` wants its store at once; the supervisor's starts would wait for it.
            self._faults.end_all()
            self._died_s = time.monotonic()
            self.server.start()

        def serves() -> bool:
            if self.server.pid("ganesha") in {None, before}:
                return False
            try:
                with self._mounted() as nfs:
                    nfs.getattr(nfs.root)
            except (OSError, NfsError):
                return False
            return True

        try:
            wait_until(serves, "the next server answers", 90, interval_s=0.02)
        except TimedOut as error:
            raise RoundFailed(f"{error}{self.server.log_tail()}") from error
        self._round.recovery_s = round(time.monotonic() - self._died_s, 3)

    def _stop_clients(self, *, died: bool) -> None:
        for process in self.processes:
            process.channel.send("stop")
        problems: list[str] = []
        for process in self.processes:
            report = process.report()
            self._round.operations += report.acknowledged
            self._round.waits += report.waits
            if report.error:
                problems.append(f"client {process.number}: {report.error}")
            elif report.lost and not died and "stopped" not in self._round.faults:
                # On a busy machine a stop may outlast a lease.
                problems.append(f"client {process.number} lost a server that lives: {report.lost}")
        if problems:
            raise RoundFailed("\n".join(problems))

    def faults_so_far(self) -> list[str]:
        return self._round.faults

    # What is there

    def _look(self, plan: Plan, *, died: bool) -> None:
        if plan.drop_caches:
            self._call("cache_drop")
        self._verify(plan, died=died, count=True)
        if plan.flush_and_read:
            self._call("flush", wait=True, timeout_s=90)
            self._call("cache_drop")
            self._verify(plan, died=False, count=False)
        if plan.fsck:
            self.fsck(deep=plan.fsck == "deep")

    def _call(self, operation: str, **fields: Any) -> None:
        with self._control() as control:
            control.call(operation, **fields)

    def fsck(self, *, deep: bool) -> None:
        """An unclean file system is a RoundFailed."""
        done = self.server.run(
            "fsck", "--state", str(self.server.state), *(["--deep"] if deep else []), timeout_s=240
        )
        if done.returncode:
            raise RoundFailed(f"fsck: {done.stdout}{done.stderr}")
        self._round.faults.append("(fsck deep)" if deep else "(fsck)")

    def _verify(self, plan: Plan, *, died: bool, count: bool) -> None:
        for process in self.processes:
            process.ask(Verify(self._endpoint(plan.versions[process.number]), died))
        problems: list[str] = []
        for process in self.processes:
            report = process.report()
            wrong = [*report.wrong, *([report.error] if report.error else [])]
            problems += [f"client {process.number}: {problem}" for problem in wrong]
            self._round.waits += report.waits
            if count:
                self._round.checked += report.checked
                self._round.files += report.files
                self._round.file_bytes += report.file_bytes
                self._round.sent_again += report.sent_again
                self._round.under_way[0] += report.found_before
                self._round.under_way[1] += report.found_after
        if problems:
            raise RoundFailed("\n".join(problems))

    def everything_again(self, plan: Plan) -> None:
        """At the end: flushed, caches emptied, all read once more, fsck of every block."""
        self._call("flush", wait=True, timeout_s=120)
        self._call("cache_drop")
        self._verify(plan, died=False, count=False)
        self.check_logs()
        self.fsck(deep=True)

    def check_logs(self) -> None:
        """The same from outside of the clients' processes, by nothing but their logs. They rest, and all was sent again."""
        problems: list[str] = []
        wire = connect(3, self.server.nfs_port, self.server.mountd_port, name=b"", boot=b"", timeout_s=60)
        for process in self.processes:
            with process.log.open() as log:
                model = rebuilt(process.number, log)
            found = check.observe(wire, process.number)
            problems += [
                f"by the log of client {process.number}: {problem}"
                for problem in check.compare(model, found, {}, strict=True)
            ]
        wire.close()
        if problems:
            raise RoundFailed("\n".join(problems))


def as_record(one: Round) -> str:
    """A round as a line of JSON."""
    return json.dumps(vars(one))
