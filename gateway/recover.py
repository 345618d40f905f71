"""`caudal recover`: a state directory out of the container alone, or out of the container and one journal mirror.

Nothing is served, and in the container only the root object changes, by which an owner that was alive is refused. In the
state directory stands `recovering` until everything else is on the disk, then it is the file system's by one rename: a
recovery that was cut off leaves nothing that anybody could start, and is run again.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway import _core, exports
from gateway.config import Config
from gateway.data.restore import NothingToRestoreError, Restored, restore
from gateway.errors import Reason, StartError
from gateway.fsal.mirrors import FACT, membership_epoch
from gateway.fsal.replay_rows import replay_rows
from gateway.metadata import checkpoint, snapshot
from gateway.metadata.attributes import Counts
from gateway.metadata.database import Database, forget_fact, read_meta, sqlite_url
from gateway.metadata.errors import MetadataError
from gateway.objects import backup_chain, core_options, keys, open_root_store, settings_backup
from gateway.objects.backup_format import NewerBackupError
from gateway.objects.backup_store import BackupStore
from gateway.objects.container import RootStore
from gateway.objects.epoch import RootRecord, in_use, parse_record
from gateway.objects.key_file import read_key_file
from gateway.objects.ownership import Claim, Ownership
from gateway.objects.place import owner_here, place_of
from gateway.state import Identity, StateDir, sync_directory, unusable, write_atomically
from gateway.undo import Undo

MARKER: Final = "recovering"
# What a disk that was just made, or this very command, may have left.
HARMLESS: Final = frozenset({"lost+found", "lock"})


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery came to. `lsn`: everything up to it is back; `last_lsn` of the journal, where one was given."""

    fs_id: bytes
    restored: Restored
    lsn: int
    counts: Counts
    journal: bool


def recover(
    config: Config,
    env: Mapping[str, str],
    *,
    take_over: bool,
    upto_ms: int | None = None,
    tell: Callable[[str], None],
) -> Recovered:
    """Makes the state directory of `config` from the container of `config`.

    With `journal` among the keys that were given, its directories are taken as they are and their rows come back too.
    take_over: though another owner's lease may run. upto_ms: only what was complete by then (milliseconds since 1970). tell:
    progress, for people. Raises StartError; then nothing is left behind.
    """
    state = StateDir(config.state)
    adopts = "journal" in config.explicit
    if adopts and upto_ms is not None:
        raise StartError(
            "a journal brings back everything, a time less than that", "give --journal or --at, not both"
        )
    _check_empty(state)
    _check_journals(config, adopts=adopts)
    roots = open_root_store(config.store, env)
    try:
        record = _root(config, roots, take_over=take_over)
        store = _store(config, record, env)
        with _marked(state, record.fs_id) as making:
            restored = _restored(store, state, record.fs_id, upto_ms, tell)
            membership = membership_epoch(record.membership)
            _rebuild(state, config, env, restored, epoch=record.epoch + 1, membership=membership)
            # From here on an owner that was alive is refused; what it put until then is brought back, too.
            ownership = _take(making, config, roots, take_over=take_over)
            try:
                if _further(store, restored, upto_ms):
                    restored = _restored(store, state, record.fs_id, upto_ms, tell)
                membership = membership_epoch(ownership.membership)
                lsn, counts = _rebuild(
                    state, config, env, restored, epoch=ownership.epoch, membership=membership
                )
                _core.failpoint("recover.after_database")
                write_atomically(state.config_file, config.file_text().encode())
                _bring_settings(store, state, upto_ms, tell)
                if not adopts:
                    # The journal of before is given up: the next start begins one.
                    ownership.update(membership=None)
            finally:
                ownership.end()
            _core.failpoint("recover.before_identity")
    finally:
        roots.close()
    _core.failpoint("recover.after_identity")
    return Recovered(record.fs_id, restored, lsn, counts, adopts)


def _rebuild(
    state: StateDir,
    config: Config,
    env: Mapping[str, str],
    restored: Restored,
    *,
    epoch: int,
    membership: int,
) -> tuple[int, Counts]:
    """Brings into the restored database what a journal has beyond it; returns what it comes to. Harmless when repeated."""
    database = Database(sqlite_url(state.metadata_file), restored.fs_id)
    try:
        if "journal" in config.explicit:
            _adopt(database, config, env, restored.lsn, membership)
        else:
            # The mirrors that the backup knows are given up.
            with database.writer() as connection:
                forget_fact(connection, FACT)
        # Of epochs before this one there may be packs and backups that this database knows nothing of.
        snapshot.mark_forked(database, epoch)
        return _facts(database)
    finally:
        database.close()


def _check_empty(state: StateDir) -> None:
    root = state.root
    if state.is_locked():
        raise StartError(
            f"the state directory {root} is in use", "give another --state, an empty one", Reason.STATE_IN_USE
        )
    try:
        names = {entry.name for entry in root.iterdir()} if root.exists() else set[str]()
    except OSError as error:
        raise unusable(root, error) from error
    if state.identity_file.name in names:
        raise StartError(
            f"the state directory {root} holds a file system already",
            f"`caudal up --state {root}` serves it; to recover beside it, give another --state, an empty one",
            Reason.STATE_IN_USE,
        )
    if names - HARMLESS and MARKER not in names:
        raise StartError(
            f"the state directory {root} is not empty",
            "give another --state, an empty one",
            Reason.STATE_IN_USE,
        )


def _check_journals(config: Config, *, adopts: bool) -> None:
    for journal in config.journal if adopts else ():
        if not journal.is_dir() or not any(journal.glob("*.seg")):
            raise StartError(
                f"{journal} holds no journal",
                "give the directory of a journal mirror of the lost machine, or leave --journal out",
                Reason.STATE_UNUSABLE,
            )
        if config.state in (journal, *journal.parents):
            raise StartError(f"the journal {journal} lies in the new state directory", "give another --state")


def _root(config: Config, roots: RootStore, *, take_over: bool) -> RootRecord:
    """What the root object says, if nobody serves the file system, or is to be replaced."""
    root = roots.read_root()
    if root is None:
        raise StartError(
            f"the store {config.store} holds no file system", "check --store", Reason.STORE_FOREIGN
        )
    record = parse_record(root, roots.url)
    owner = record.owner
    if (
        root.leased
        and not take_over
        and (owner is None or owner.place != place_of(config.state, config.store))
    ):
        raise in_use(record, roots.url)
    return record


def _take(making: StateDir, config: Config, roots: RootStore, *, take_over: bool) -> Ownership:
    """The lease and the next epoch, for the state directory that is made in `making`."""
    owner = owner_here(
        config.state,
        config.store,
        port=config.nfs_port,
        lease_s=config.owner_lease_s,
        now_s=time.clock_gettime(time.CLOCK_REALTIME),
    )
    claim = Claim.TAKE_OVER if take_over else Claim.FREE
    return Ownership.take(making, roots, owner, claim=claim, new_id=lambda: secrets.token_hex(16))


def _further(store: BackupStore, restored: Restored, upto_ms: int | None) -> bool:
    """Whether the owner that was replaced put something after what was restored had been listed."""
    if upto_ms is not None:
        return False
    listing = store.list()
    best = backup_chain.best(listing.snapshots, listing.increments)
    return best is not None and best.rank[:2] > restored.chain.rank[:2] and not restored.skipped


def _store(config: Config, record: RootRecord, env: Mapping[str, str]) -> BackupStore:
    file = None if config.encryption_key is None else read_key_file(config.encryption_key)
    ring = keys.ring_of(file, record.fs_id)
    try:
        objects = _core.PackStore(config.store, core_options(config.store, env), ring)
        keys.check(objects, file, ring)
    except _core.StoreError as error:
        raise _away(config, error) from error
    return BackupStore(objects, record.fs_id, ring)


def _away(config: Config, error: Exception) -> StartError:
    return StartError(f"the store {config.store} failed: {error}", "try again", Reason.STORE_UNREACHABLE)


@contextmanager
def _marked(state: StateDir, fs_id: bytes) -> Generator[StateDir]:
    """The state directory while it is made: locked, and marked until the end. An error takes all of it away again.

    Yields the mark: a directory in it with the files by which the new one will be known as the file system's owner. They
    outlast a recovery that is cut off, so that the next one has the same claim.
    """
    undo = Undo()
    making = StateDir(state.root / MARKER)
    lock = -1
    try:
        undo.directory(state.root)
        undo.remember(state.lock_file)
        lock = state.lock()
        _wipe(state)
        making.root.mkdir(mode=0o700, exist_ok=True)
        making.write_identity(Identity(fs_id, started=True))
        sync_directory(state.root)
        _core.failpoint("recover.after_marker")
        yield making
        making.owner_file.rename(state.owner_file)
        sync_directory(state.root)
        # By this one rename the directory is the file system's.
        making.identity_file.rename(state.identity_file)
        sync_directory(state.root)
        shutil.rmtree(making.root, ignore_errors=True)
    except BaseException as error:
        if lock >= 0:
            _wipe(state)
            shutil.rmtree(making.root, ignore_errors=True)
            undo.run(keep_logs=False)
        if isinstance(error, OSError):
            raise unusable(state.root, error) from error
        raise
    finally:
        if lock >= 0:
            os.close(lock)


def _bring_settings(
    store: BackupStore, state: StateDir, upto_ms: int | None, tell: Callable[[str], None]
) -> None:
    """Exports, limits and tiering, as of their newest copy."""
    try:
        names = settings_backup.restore(store, store.list(), state, upto_ms=upto_ms, tell=tell)
    except NewerBackupError as error:
        raise StartError(str(error), "install that version or a later one", Reason.NEWER_FORMAT) from error
    except _core.StoreError as error:
        raise StartError(f"the store failed: {error}", "try again", Reason.STORE_UNREACHABLE) from error
    if names:
        tell(f"brought back {', '.join(names)}")
    exports.skip_ids(state)


def _wipe(state: StateDir) -> None:
    """Takes away what a recovery makes; the mark stays."""
    database = state.metadata_file
    for suffix in ("", "-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    settings = settings_backup.files_of(state).values()
    for leftover in (state.config_file, state.owner_file, *settings, *state.root.glob(".*.????????")):
        leftover.unlink(missing_ok=True)


def _restored(
    store: BackupStore, state: StateDir, fs_id: bytes, upto_ms: int | None, tell: Callable[[str], None]
) -> Restored:
    try:
        return restore(store, state.metadata_file, fs_id, upto_ms=upto_ms, tell=tell)
    except NothingToRestoreError as error:
        raise StartError(
            str(error), "with the state directory or a journal of the lost machine, more may be possible"
        ) from error
    except NewerBackupError as error:
        raise StartError(str(error), "install that version or a later one", Reason.NEWER_FORMAT) from error
    except _core.StoreError as error:
        raise StartError(f"the store failed: {error}", "try again", Reason.STORE_UNREACHABLE) from error
    except MetadataError as error:
        raise StartError(f"the backup cannot be used: {error}", "", Reason.FAILED) from error


def _adopt(
    database: Database, config: Config, env: Mapping[str, str], backup_lsn: int, membership: int
) -> None:
    """Brings back what the journal holds beyond the backup. Raises StartError where the two do not fit together."""
    paths = [str(path) for path in config.journal]
    told = ", ".join(paths)
    without = "without --journal the recovery comes as far as the backup"
    try:
        if _core.JournalTail(paths, database.fs_id, backup_lsn + 1).is_cut_off:
            raise StartError(f"the journal {told} tells another history than the backup", without)
        report = replay_rows(database, config, env, membership=membership)
    except _core.NewerFormatError as error:
        raise StartError(str(error), "install that version or a later one", Reason.NEWER_FORMAT) from error
    except _core.CoreError as error:
        raise StartError(f"the journal {told} cannot be used: {error}", without) from error
    if report.preceding_lsn > backup_lsn:
        raise StartError(
            f"the journal {told} begins after LSN {report.preceding_lsn:#x}, the backup ends at {backup_lsn:#x}",
            without,
        )
    if report.last_lsn < backup_lsn:
        raise StartError(
            f"the journal {told} ends at LSN {report.last_lsn:#x}, before the backup ({backup_lsn:#x}):"
            " it is of a mirror that was lost earlier",
            f"give a mirror that was in use to the end; {without}",
        )


def _facts(database: Database) -> tuple[int, Counts]:
    with database.reader() as connection:
        facts = read_meta(connection)
        return checkpoint.checkpoint_lsn(connection), Counts(int(facts["inodes"]), int(facts["bytes"]))
