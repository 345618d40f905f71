"""caudal-steward: the work behind a file system that burns CPU or may take long: checkpoint, backup, garbage
collection.

It can crash and start again at any time without a client noticing, and outlives starts of the owner, whom it
reaches through the control socket. It ends with the supervisor.
"""

import argparse
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from gateway import _core, backuper, checkpointer, file_audit, log, pack_work
from gateway.backuper import Backuper
from gateway.checkpointer import Checkpointer
from gateway.config import Config, effective
from gateway.control import ControlClient
from gateway.errors import BUSY, STORE_AWAY, CaudalError, ControlError, NotRunningError, Reason, StartError
from gateway.journal_reader import MirroredTail
from gateway.metadata import usage
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.usage import Move
from gateway.objects import backup_memo, core_options, keys
from gateway.objects.backup_store import BackupStore
from gateway.objects.key_file import read_key_file
from gateway.objects.settings_backup import SettingsBackup
from gateway.objects.tiers import open_tiers
from gateway.pack_tiering import Tiering
from gateway.processes import die_with_parent
from gateway.state import StateDir
from gateway.syslog import Collector

logger = structlog.get_logger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
CALL_TIMEOUT_S: Final = 30.0
# A round of compaction reads and writes packs before it answers.
PACKS_TIMEOUT_S: Final = 900.0
JOIN_TIMEOUT_S: Final = 5.0
WAKE_PAUSE_S: Final = 0.01
NICENESS: Final = 5


class ControlOwner:
    """The owner, reached through its control socket. One for each thread."""

    def __init__(self, socket: Path, timeout_s: float) -> None:
        self._client = ControlClient(socket, timeout_s)

    def checkpoint_position(self) -> checkpointer.Position:
        answer: Any = self._client.call("checkpoint_position")
        return checkpointer.Position(
            int(answer["durable_lsn"]), int(answer["checkpoint_lsn"]), int(answer["wanted_lsn"])
        )

    def journal_mirrors(self) -> list[str]:
        """Directories that hold all of the journal."""
        return [str(path) for path in self._client.call("journal_mirrors")]

    def checkpointed(self, lsn: int) -> None:
        self._client.call("checkpointed", lsn=lsn)

    def checkpoint_trouble(self, error: str | None) -> None:
        """Tells why checkpoints fail, for the status; None: they do not any more."""
        self._client.call("checkpoint_trouble", error=error)

    def checkpoint_lsns(self) -> tuple[int, int]:
        position = self.checkpoint_position()
        return position.durable_lsn, position.known_lsn

    def packs_dead(self, packs: Sequence[int]) -> list[int]:
        return [int(pack) for pack in self._client.call("packs_dead", packs=list(packs))["deleted"]]

    def packs_compact(self, moves: Sequence[Move]) -> int:
        return int(self._client.call("packs_compact", moves=[list(move) for move in moves])["moved_pieces"])

    def packs_unnamed(self, from_epoch: int) -> int:
        return int(self._client.call("packs_unnamed", from_epoch=from_epoch)["deleted"])

    def audit_take(self, most: int) -> dict[str, Any]:
        return dict(self._client.call("audit_take", most=most))

    def packs_read(self) -> list[int]:
        return [int(pack) for pack in self._client.call("packs_read")]

    def tiering(self) -> dict[str, Any]:
        return dict(self._client.call("tiering"))

    def next_job(self, timeout_s: float) -> dict[str, Any] | None:
        return self._client.call("steward_job_next", timeout_s=timeout_s)

    def job_progress(self, number: str, progress: Mapping[str, object]) -> bool:
        return bool(self._client.call("steward_job_progress", id=number, progress=dict(progress)))

    def job_ended(self, number: str, error: str | None) -> None:
        self._client.call("steward_job_ended", id=number, error=error)

    def backup_position(self) -> backuper.Position:
        return backuper.Position(**self._client.call("backup_position"))

    def backed_up(self, lsn: int, complete_ns: int, snapshots_made: int, told: Mapping[str, object]) -> None:
        fields = {**told, "lsn": lsn, "complete_ns": complete_ns, "snapshots_made": snapshots_made}
        self._client.call("backed_up", **fields)

    def backup_trouble(self, error: str | None) -> None:
        """Tells why backups fail, for the status; None: they do not any more."""
        self._client.call("backup_trouble", error=error)

    def may_delete_backups(self) -> bool:
        return bool(self._client.call("backup_may_delete"))

    def wait_work(self, task: str, timeout_s: float) -> None:
        """Until somebody waits for the task, or the time is over. Raises as the owner goes away."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._client.call("steward_wait", task=task, timeout_s=left_s):
                # Were there nothing to do after all, it would be asked for without end.
                time.sleep(min(left_s, WAKE_PAUSE_S))
                return

    def close(self) -> None:
        self._client.close()


class Loop:
    """Does something again and again until told to stop: with a pause after success, with growing ones after
    failures.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        stop: threading.Event,
        idle: Callable[[float], None] | None = None,
    ) -> None:
        """`idle` passes the pause after success, or less of it where something is wanted."""
        self._name = name
        self._interval_s = interval_s
        self._stop = stop
        self._idle = idle

    def run(
        self,
        turn: Callable[[], bool],
        after_failure: Callable[[], None],
        report: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`turn` returns whether more waits to be done at once. `report` is told why turns fail, and None when they do
        not any more.
        """
        retry_s = RETRY_FIRST_S
        trouble = False
        while not self._stop.is_set():
            try:
                pause_s = 0.0 if turn() else self._interval_s
                retry_s = RETRY_FIRST_S
                if trouble:
                    report(None)
                    trouble = False
                if pause_s and self._idle is not None:
                    self._idle(pause_s)
                    pause_s = 0.0
            except NotRunningError:
                # The owner is starting again; the supervisor sees to it, and this process has no other
                # business.
                logger.info("owner.away", task=self._name)
                after_failure()
                pause_s, retry_s = retry_s, min(retry_s * 2, RETRY_MAX_S)
            except Exception as error:
                away = isinstance(error, ControlError) and error.code == STORE_AWAY
                if away or isinstance(error, _core.StoreError):
                    # The status tells what is wrong with it, and the log did when it began.
                    logger.info("store.away", task=self._name, why=str(error))
                elif isinstance(error, ControlError) and error.code == BUSY:
                    logger.info("owner.busy", task=self._name)
                else:
                    logger.exception("task.failed", task=self._name, retry_s=retry_s)
                after_failure()
                pause_s, retry_s = retry_s, min(retry_s * 2, RETRY_MAX_S)
                trouble = True
                with suppress(CaudalError):
                    report(_reason(error))
            self._stop.wait(pause_s)


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def _reason(error: Exception) -> str:
    """One line for people: of the database's errors without the statement."""
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.splitlines()[0][:200]


class Steward:
    """The tasks of one file system."""

    def __init__(self, config: Config, stop: threading.Event) -> None:
        state = StateDir(config.state)
        identity = state.read_identity()
        if identity is None:
            raise StartError(
                f"{state.root} holds no file system", "start it with `caudal up`", Reason.STATE_UNUSABLE
            )
        self._config = config
        self._stop = stop
        self._socket = state.control_socket
        self._fs_id = identity.fs_id
        self._database = Database(sqlite_url(state.metadata_file), identity.fs_id)
        self._backup_owner = ControlOwner(self._socket, CALL_TIMEOUT_S)
        self._backuper = self._make_backuper(state)

    def run(self) -> None:
        """Works until told to stop."""
        others = [
            threading.Thread(target=self._collect, name="collect", daemon=True),
            threading.Thread(target=self._backup, name="backup", daemon=True),
            threading.Thread(target=self._audit, name="audit", daemon=True),
        ]
        for thread in others:
            thread.start()
        try:
            self._checkpoint()
        finally:
            self._stop.set()
            # A round under way may take minutes; cut off, it changes nothing.
            for thread in others:
                thread.join(JOIN_TIMEOUT_S)
            self._database.close()

    def _checkpoint(self) -> None:
        owner = ControlOwner(self._socket, CALL_TIMEOUT_S)
        checkpoints = Checkpointer(
            self._database,
            owner,
            self._tail_by(owner),
            now_s=_now_s,
            monotonic_s=time.monotonic,
            failpoint=_core.failpoint,
        )

        def after_failure() -> None:
            owner.close()
            checkpoints.reset()

        def idle(pause_s: float) -> None:
            owner.wait_work("checkpoint", pause_s)

        Loop("checkpoint", self._config.checkpoint_interval_s, self._stop, idle).run(
            checkpoints.step, after_failure, owner.checkpoint_trouble
        )

    def _make_backuper(self, state: StateDir) -> Backuper:
        config = self._config
        path = config.encryption_key
        ring = keys.ring_of(None if path is None else read_key_file(path), self._fs_id)
        objects = _core.PackStore(config.store, core_options(config.store, os.environ), ring)

        def reload_keys() -> None:
            if path is not None and ring is not None:
                file = read_key_file(path)
                ring.replace(file.keys, seals=file.seals)
                # Whoever seals with a key must have let the store know it.
                keys.remember(objects, ring)

        store = BackupStore(objects, self._fs_id, ring)
        self._settings = SettingsBackup(
            store,
            state,
            retention_s=config.backup_retention_s,
            now_ns=_now_ns,
            may_delete=self._backup_owner.may_delete_backups,
            failpoint=_core.failpoint,
        )
        return Backuper(
            self._database,
            store,
            self._backup_owner,
            self._tail_by(self._backup_owner),
            state.root / backup_memo.FOLDER,
            backuper.Settings(config.backup_retention_s, config.gc_interval_s),
            dead_waiting=self._dead_waiting,
            reload_keys=reload_keys,
            now_ns=_now_ns,
            monotonic_s=time.monotonic,
            token=lambda: secrets.token_hex(8),
            failpoint=_core.failpoint,
        )

    def _tail_by(self, owner: ControlOwner) -> Callable[[int], MirroredTail]:
        def open_tail(dirs: list[str], from_lsn: int) -> _core.JournalTail:
            return _core.JournalTail(dirs, self._fs_id, from_lsn)

        return lambda from_lsn: MirroredTail(owner.journal_mirrors, open_tail, from_lsn)

    def _dead_waiting(self, lsn: int) -> bool:
        dead_before_s = int(_now_s() - self._config.gc_grace_s)
        with self._database.reader() as connection:
            return usage.any_dead_after(connection, lsn=lsn, dead_before_s=dead_before_s)

    def _backup(self) -> None:
        owner = self._backup_owner

        def after_failure() -> None:
            owner.close()
            self._backuper.reset()

        def idle(pause_s: float) -> None:
            owner.wait_work("backup", pause_s)

        Loop("backup", self._config.backup_interval_s, self._stop, idle).run(
            self._backup_step, after_failure, owner.backup_trouble
        )

    def _backup_step(self) -> bool:
        more = self._backuper.step()
        self._settings.step(lambda: self._backup_owner.backup_position().epoch)
        return more

    def _audit(self) -> None:
        owner = ControlOwner(self._socket, CALL_TIMEOUT_S)
        collector = self._config.audit_syslog
        sender = file_audit.Sender(Collector(collector), socket.gethostname()) if collector else None
        state = StateDir(self._config.state)
        audit = file_audit.FileAudit(owner, file_audit.AuditFile(state.audit), sender, _now_s)
        file_audit.run(audit, self._stop, owner.close)

    def _collect(self) -> None:
        owner = ControlOwner(self._socket, PACKS_TIMEOUT_S)
        config = self._config
        settings = pack_work.Settings(config.gc_interval_s, config.gc_grace_s)
        tiers = Tiering(
            self._database,
            owner,
            lambda: open_tiers(config.store, os.environ),
            now_s=_now_s,
            monotonic_s=time.monotonic,
        )
        work = pack_work.PackWork(
            self._database, owner, self._backuper, settings, self._stop, tiers, now_s=_now_s
        )
        Loop("collect", 0.0, self._stop).run(work.turn, owner.close)


def main() -> None:
    """Runs the steward of a state directory until TERM, or the supervisor's death."""
    parser = argparse.ArgumentParser(prog="caudal-steward")
    parser.add_argument("--state", type=Path, required=True)
    state = StateDir(parser.parse_args().state)
    die_with_parent()
    os.nice(NICENESS)
    config = effective(state.root)
    log.configure(config.log_level, state.logs / "steward.log")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    logger.info("steward.started", pid=os.getpid())
    Steward(config, stop).run()
    logger.info("steward.stopped")


if __name__ == "__main__":
    main()
