"""fsck: checks that rows, extents, packs and sums of a file system agree.

It reads the database (a view of the journal that the caller has brought up to date) in one snapshot, and the list of packs.
Each check is a function that yields problems; a problem says what is wrong, and carries the row operations that mend it
where mending loses nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import Connection, func, select

from gateway._core import CorruptError, StoreError
from gateway.data.fsck_sums import check_sums
from gateway.data.fsck_tree import check_tree, stream
from gateway.data.fsck_xattrs import check_xattrs
from gateway.data.problems import Problem
from gateway.metadata.tables import extent, inode, pack

PROBLEMS_MAX: Final = 10_000
"""Problems that are told, and mended, in one run."""


class PackStorePort(Protocol):
    """The packs of a store; see gateway._core.PackStore."""

    def list_packs(self) -> Sequence[tuple[int, int, float]]: ...
    def verify_pack(self, id: int, deep: bool) -> None: ...


@dataclass(slots=True)
class Report:
    """What fsck saw: how much it looked at, and what is wrong: the first of the problems, and how many more there are.

    `damaged_backups`: keys of objects that are of no use.
    """

    inodes: int = 0
    extents: int = 0
    packs: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])
    more: int = 0
    backups: int = 0
    damaged_backups: list[str] = field(default_factory=list[str])

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            if len(self.problems) < PROBLEMS_MAX:
                self.problems.append(problem)
            else:
                self.more += 1

    @property
    def clean(self) -> bool:
        return not self.problems


def check(
    connection: Connection,
    store: PackStorePort | None,
    *,
    deep: bool,
    settled: bool,
    progress: Callable[[str], None],
) -> Report:
    """Checks everything; `deep` reads and verifies every block of every pack that has live extents.

    connection: inside one read transaction. store: None leaves out what needs the object store. settled: nothing is
    dirty, so that no truncation waits in the journal, and extents beyond a file's end are wrong.
    """
    report = Report()
    progress("names and inodes")
    report.inodes = _count(connection, inode)
    report.add(check_tree(connection))
    report.add(check_xattrs(connection))
    progress("sums")
    report.add(check_sums(connection, settled=settled))
    progress("extents")
    report.extents = _count(connection, extent)
    report.add(_check_extents(connection, settled=settled))
    progress("packs")
    report.packs = _count(connection, pack)
    report.add(_check_live_bytes(connection))
    if store is not None:
        report.add(_check_store(connection, store, deep=deep, progress=progress))
    return report


def _count(connection: Connection, table: object) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)  # type: ignore[arg-type]


def _check_extents(connection: Connection, *, settled: bool) -> Iterator[Problem]:
    """Extents of a file do not overlap, lie below its size, and name packs that are known."""
    previous_ino, previous_end = 0, 0
    statement = (
        select(
            *(extent.c.ino, extent.c.file_offset, extent.c.length, extent.c.pack),
            inode.c.size,
            pack.c.id,
        )
        .select_from(
            extent.outerjoin(inode, inode.c.ino == extent.c.ino).outerjoin(pack, pack.c.id == extent.c.pack)
        )
        .order_by(extent.c.ino, extent.c.file_offset)
    )
    for ino, offset, length, pack_id, size, known in stream(connection, statement):
        if ino != previous_ino:
            previous_ino, previous_end = ino, 0
        if size is None:
            yield Problem(f"extent at {offset} of inode {ino}, which does not exist")
        elif settled and offset + length > size:
            yield Problem(f"inode {ino}: extent at {offset} ends beyond the size {size}")
        if offset < previous_end:
            yield Problem(f"inode {ino}: extents overlap at {offset}")
        if known is None:
            yield Problem(f"inode {ino}: extent at {offset} is in pack {pack_id:016x}, which is not known")
        previous_end = offset + length


def _check_live_bytes(connection: Connection) -> Iterator[Problem]:
    """A pack's live bytes are the sum of its extents."""
    sums = stream(
        connection,
        select(extent.c.pack, func.sum(extent.c.length)).group_by(extent.c.pack).order_by(extent.c.pack),
    )
    at = next(sums, None)
    for pack_id, live_bytes in stream(connection, select(pack.c.id, pack.c.live_bytes).order_by(pack.c.id)):
        while at is not None and at[0] < pack_id:
            at = next(sums, None)
        truth = int(at[1]) if at is not None and at[0] == pack_id else 0
        if live_bytes != truth:
            yield Problem(f"pack {pack_id:016x}: live bytes are {truth}, the row says {live_bytes}")


def _check_store(
    connection: Connection, store: PackStorePort, *, deep: bool, progress: Callable[[str], None]
) -> Iterator[Problem]:
    """Every pack with live extents is in the store with its size; deep: and each of its blocks is what was written."""
    present = {pack_id: size for pack_id, size, _modified_s in store.list_packs()}
    rows = connection.execute(
        select(pack.c.id, pack.c.bytes).where(pack.c.live_bytes > 0).order_by(pack.c.id)
    ).all()
    for done, (pack_id, size) in enumerate(rows):
        if pack_id not in present:
            yield Problem(f"pack {pack_id:016x} is not in the store")
            continue
        if present[pack_id] != size:
            yield Problem(
                f"pack {pack_id:016x} has {present[pack_id]} bytes in the store, {size} were written"
            )
        if deep:
            progress(f"reading pack {done + 1} of {len(rows)}")
            try:
                store.verify_pack(pack_id, True)
            except StoreError as error:
                yield Problem(f"pack {pack_id:016x} cannot be read: {error}")
            except CorruptError as error:
                yield Problem(f"pack {pack_id:016x} is damaged: {error}")
