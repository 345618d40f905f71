"""fsck of a file system, served or not: brings the database up to the journal, then checks it in one snapshot.

It runs in the process of the command, never in the server's: it burns CPU, and there every name operation would wait for
Python's lock.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gateway import _core, config
from gateway.config import Config
from gateway.data import fsck
from gateway.data.fsck_backups import check_backups
from gateway.data.problems import Problem
from gateway.errors import CaudalError
from gateway.fsal.encryption import open_ring
from gateway.fsal.replay_rows import replay_rows
from gateway.metadata import checkpoint
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.rows import encode
from gateway.objects import backup_memo, core_options
from gateway.objects.backup_store import BackupStore
from gateway.state import StateDir

CATCH_UP_S = 60.0
SNAPSHOT_TIMEOUT_S = 900.0


class Call(Protocol):
    """Calls an operation of the running server."""

    def __call__(self, op: str, timeout_s: float | None = 30.0, **fields: object) -> Any: ...


def fsck_offline(root: Path, env: Mapping[str, str], *, repair: bool, deep: bool) -> dict[str, object]:
    """Checks a file system that nobody serves; the caller holds its lock. Raises CaudalError, CoreError, MetadataError."""
    settings = config.effective(root)
    database = open_database(root)
    try:
        replay_rows(database, settings, env)
        report = _check(database, settings, env, deep=deep, settled=False)
        if not repair or report.clean:
            return _fields(report, repaired=0, deep=deep)
        ops = [op for problem in report.problems for op in problem.repair]
        # Before the database, of whose mending the journal and so the chain of backups will know nothing; where a backup is
        # damaged, too: the next start begins with a snapshot.
        backup_memo.forget(root)
        with database.writer() as connection:
            checkpoint.repair(connection, ops)
        return _fields(
            _check(database, settings, env, deep=deep, settled=False), repaired=len(ops), deep=deep
        )
    finally:
        database.close()


def fsck_served(
    root: Path, env: Mapping[str, str], call: Call, *, repair: bool, deep: bool
) -> dict[str, object]:
    """Checks a file system that is being served: as of some moment after the call."""
    settings = config.effective(root)
    database = open_database(root)
    try:
        wait_for_steward(call)
        quiet = _quiet_lsn(call)
        report = _check(database, settings, env, deep=deep, settled=quiet is not None)
        if not report.clean and quiet != _quiet_lsn(call):
            # Clients came in between: what was found may be a change on its way.
            wait_for_steward(call)
            report = _check(database, settings, env, deep=deep, settled=False)
        if not repair or report.clean:
            return _fields(report, repaired=0, deep=deep)
        ops = [op for problem in report.problems for op in problem.repair]
        if ops:
            call("repair", rows=encode(ops).hex())
            wait_for_steward(call)
        if report.damaged_backups:
            _replace_backups(settings, env, call, report.damaged_backups)
        return _fields(
            _check(database, settings, env, deep=deep, settled=False), repaired=len(ops), deep=deep
        )
    finally:
        database.close()


def _replace_backups(settings: Config, env: Mapping[str, str], call: Call, damaged: Sequence[str]) -> None:
    """A fresh snapshot, then away with what cannot be read."""
    call("backup_snapshot", SNAPSHOT_TIMEOUT_S)
    store = _core.PackStore(settings.store, core_options(settings.store, env))
    if call("backup_may_delete"):
        for key in damaged:
            store.delete_object(key)


def open_database(root: Path) -> Database:
    state = StateDir(root)
    identity = state.read_identity()
    if identity is None:
        raise CaudalError(f"{root} holds no file system", "give the --state of one")
    return Database(sqlite_url(state.metadata_file), identity.fs_id)


def _quiet_lsn(call: Call) -> int | None:
    """The durable LSN while nothing waits to be flushed; None while something does."""
    status = call("status")
    return int(status["durable_lsn"]) if not status["flush"]["dirty_inodes"] else None


def wait_for_steward(call: Call) -> None:
    """Until the database holds what was durable at the time of the call."""
    target = int(call("checkpoint_position")["durable_lsn"])
    deadline_s = time.monotonic() + CATCH_UP_S
    while int(call("checkpoint_position")["checkpoint_lsn"]) < target:
        if time.monotonic() > deadline_s:
            raise CaudalError(
                f"the database did not catch up with the journal in {CATCH_UP_S:.0f} s",
                "see steward.log in run/log",
            )
        time.sleep(0.05)


def _check(
    database: Database, settings: Config, env: Mapping[str, str], *, deep: bool, settled: bool
) -> fsck.Report:
    keys = open_ring(settings, database.fs_id)
    store = _core.PackStore(settings.store, core_options(settings.store, env), keys)
    with database.scanner() as connection:
        report = fsck.check(connection, store, deep=deep, settled=settled, progress=_silent)
    if deep:
        file = settings.state / backup_memo.FOLDER / "fsck.db"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        backups = BackupStore(store, database.fs_id, keys)
        expected = (file.parent / backup_memo.FILE).exists()
        found = check_backups(backups, store, file, expected=expected, progress=_silent)
        report.add(found.problems)
        report.backups, report.damaged_backups = found.snapshots, found.damaged
    return report


def _silent(_step: str) -> None:
    """Nobody watches."""


def _fields(report: fsck.Report, *, repaired: int, deep: bool) -> dict[str, object]:
    def problem(found: Problem) -> str:
        return found.text + (" (can be repaired)" if found.repair else "")

    return {
        "clean": report.clean,
        "inodes": report.inodes,
        "extents": report.extents,
        "packs": report.packs,
        **({"backups": report.backups} if deep else {}),
        "repaired": repaired,
        "problems": [problem(found) for found in report.problems],
        "more_problems": report.more,
    }


__all__ = ["Call", "fsck_offline", "fsck_served", "open_database", "wait_for_steward"]
