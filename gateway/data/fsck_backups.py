"""fsck of the metadata backups: every object that is kept can be read, they lead on without a gap, what they name exists."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway._core import StoreError
from gateway.data.problems import Problem
from gateway.data.restore import fetch_snapshot
from gateway.metadata import rows, snapshot
from gateway.metadata.errors import RowsError
from gateway.metadata.rows import Splice
from gateway.objects import backup_chain
from gateway.objects.backup_chain import Increment, Listing, Snapshot
from gateway.objects.backup_format import BackupError
from gateway.objects.backup_store import BackupStore

TOLD_MAX = 5
"""Missing packs that are named of one object."""


class PackList(Protocol):
    """The packs of a store; see gateway._core.PackStore."""

    def list_packs(self) -> Sequence[tuple[int, int, float]]: ...


@dataclass(slots=True)
class BackupReport:
    """What was looked at, what is wrong, and the keys of objects that are of no use."""

    snapshots: int = 0
    increments: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])
    damaged: list[str] = field(default_factory=list[str])


def check_backups(
    store: BackupStore, packs: PackList, file: Path, *, expected: bool, progress: Callable[[str], None]
) -> BackupReport:
    """Reads everything. `file`: a name for a copy of the database, which is made and taken away again. expected: there
    have been backups, so that having none is wrong.

    The file system may be served meanwhile: what expires under the check is no problem. Raises StoreError where the store
    cannot even be listed.
    """
    listing = store.list()
    report = BackupReport(len(listing.snapshots), len(listing.increments))
    if not listing.snapshots:
        if expected:
            report.problems.append(Problem("backup: the store holds no snapshot of the metadata"))
        return report
    named: dict[str, set[int]] = {}
    unread: dict[str, str] = {}
    for number, entry in enumerate(sorted(listing.snapshots)):
        progress(f"reading snapshot {number + 1} of {len(listing.snapshots)}")
        _look(entry.key, lambda entry=entry: _of_snapshot(store, entry, file), named, unread)
    oldest_lsn = min(entry.lsn for entry in listing.snapshots)
    for number, step in enumerate(sorted(listing.increments)):
        if number % 100 == 0:
            progress(f"reading increment {number + 1} of {len(listing.increments)}")
        _look(step.key, lambda step=step: _of_increment(store, step, oldest_lsn), named, unread)
    file.unlink(missing_ok=True)
    present = {pack for pack, _bytes, _modified_s in packs.list_packs()}
    # What has expired meanwhile took its packs with it.
    after = store.list()
    left = {entry.key for entry in (*after.snapshots, *after.increments)}
    for key, why in unread.items():
        if key in left:
            report.problems.append(Problem(f"backup: {why}"))
            report.damaged.append(key)
    report.problems += [
        Problem(f"backup: {key} names packs that are not in the store: {_some(missing)}")
        for key, found in named.items()
        if key in left and (missing := sorted(found - present))
    ]
    report.problems += _gaps(listing)
    return report


def _look(key: str, read: Callable[[], set[int]], named: dict[str, set[int]], unread: dict[str, str]) -> None:
    try:
        named[key] = read()
    except (BackupError, RowsError, StoreError) as error:
        text = str(error)
        unread[key] = text if key in text else f"{key}: {text}"


def _of_snapshot(store: BackupStore, name: Snapshot, file: Path) -> set[int]:
    """Packs that something lives in, in the database of a snapshot."""
    head = store.snapshot(name)
    fetch_snapshot(store, name, head, file)
    if snapshot.read(file).lsn != name.lsn:
        raise BackupError(f"{name.key}: its database is of another LSN")
    return snapshot.live_packs(file)


def _of_increment(store: BackupStore, name: Increment, oldest_lsn: int) -> set[int]:
    """Packs that its transactions let something live in, at moments that can be recovered."""
    return {
        op.pack
        for lsn, payload in store.increment(name)
        if lsn > oldest_lsn
        for op in rows.decode(payload)
        if isinstance(op, Splice) and op.pack
    }


def _gaps(listing: Listing) -> Iterator[Problem]:
    """The chain from the oldest snapshot reaches the newest one and everything behind it, owner by owner."""
    best = backup_chain.best(listing.snapshots, listing.increments)
    assert best is not None
    newest = max(listing.increments, default=None)
    if newest is not None and newest.to_lsn > best.lsn and newest.epoch >= best.rank[0]:
        yield Problem(f"backup: a gap before {newest.key}: the chain ends at LSN {best.lsn:#x}")


def _some(packs: Sequence[int]) -> str:
    text = ", ".join(f"{pack:016x}" for pack in packs[:TOLD_MAX])
    return text + (f" and {len(packs) - TOLD_MAX} more" if len(packs) > TOLD_MAX else "")
