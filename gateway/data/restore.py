"""A database out of a container's backups: the newest state that can be read, and loudly what could not."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway._core import failpoint
from gateway.metadata import checkpoint
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.errors import MetadataError
from gateway.objects import backup_chain
from gateway.objects.backup_chain import Chain, Increment, Listing, Snapshot
from gateway.objects.backup_format import BackupError, NewerBackupError, SnapshotHead
from gateway.objects.backup_store import BackupStore

log = structlog.get_logger(__name__)


class NothingToRestoreError(Exception):
    """No backup, or none that can be read; the message says which."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back: everything up to `lsn`, all that was acknowledged before `complete_ms` (since 1970) with it.

    `skipped`: what could not be used, newest first, each with the reason.
    """

    fs_id: bytes
    chain: Chain
    skipped: list[str] = field(default_factory=list[str])

    @property
    def lsn(self) -> int:
        return self.chain.lsn

    @property
    def complete_ms(self) -> int:
        return self.chain.complete_ms


class _UnusableError(Exception):
    """An object of the chain cannot be used."""

    def __init__(self, entry: Snapshot | Increment, error: Exception) -> None:
        super().__init__(str(error))
        self.entry = entry


def restore(
    store: BackupStore, file: Path, fs_id: bytes, *, upto_ms: int | None, tell: Callable[[str], None]
) -> Restored:
    """Makes the database `file` anew from the best chain whose objects are all sound.

    upto_ms: only what was complete by then (milliseconds since 1970). tell: progress for people. Raises
    NothingToRestoreError, NewerBackupError, StoreError, MetadataError, OSError; then `file` is of no use.
    """
    listing = store.list()
    if upto_ms is not None:
        listing = _before(listing, upto_ms)
    if not listing.snapshots:
        raise NothingToRestoreError(
            "the container holds no backup of the metadata" + (" so old" if upto_ms else "")
        )
    skipped: list[str] = []
    while chain := backup_chain.best(listing.snapshots, listing.increments):
        try:
            _restore_chain(store, chain, file, fs_id, tell)
        except _UnusableError as error:
            log.warning("recover.unusable", key=error.entry.key, why=str(error))
            skipped.append(str(error))
            tell(f"skipped: {error}")
            if isinstance(error.entry, Snapshot):
                del listing.snapshots[error.entry]
            else:
                del listing.increments[error.entry]
            continue
        return Restored(fs_id, chain, skipped)
    raise NothingToRestoreError(f"no backup can be read: {skipped[0]}")


def _before(listing: Listing, upto_ms: int) -> Listing:
    return Listing(
        {entry: size for entry, size in listing.snapshots.items() if entry.complete_ms <= upto_ms},
        {entry: size for entry, size in listing.increments.items() if entry.complete_ms <= upto_ms},
    )


def _restore_chain(
    store: BackupStore, chain: Chain, file: Path, fs_id: bytes, tell: Callable[[str], None]
) -> None:
    try:
        head = store.snapshot(chain.snapshot)
        tell(f"snapshot of {head.inodes} inodes at LSN {head.lsn:#x}")
        fetch_snapshot(store, chain.snapshot, head, file)
    except NewerBackupError:
        raise
    except BackupError as error:
        raise _UnusableError(chain.snapshot, error) from error
    failpoint("recover.after_snapshot")
    database = Database(sqlite_url(file), fs_id)
    try:
        for number, step in enumerate(chain.increments, 1):
            if number % 100 == 0:
                tell(f"increment {number} of {len(chain.increments)}")
            _apply(database, store, step)
    finally:
        database.close()


def fetch_snapshot(store: BackupStore, name: Snapshot, head: SnapshotHead, file: Path) -> None:
    """Writes the database of a snapshot, durably, in place of what was there. Raises BackupError, StoreError, OSError."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        for number, part in enumerate(head.parts):
            piece = store.part(name, number)
            if len(piece) != part.bytes or hashlib.sha256(piece).hexdigest() != part.sha256:
                raise BackupError(f"{name.part(number)} is not the part that its manifest names")
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())


def _apply(database: Database, store: BackupStore, step: Increment) -> None:
    try:
        records = store.increment(step)
        with database.writer() as connection:
            checkpoint.apply(connection, records, upto_lsn=step.to_lsn)
    except NewerBackupError:
        raise
    except (BackupError, MetadataError) as error:
        raise _UnusableError(step, error) from error
