"""fsck of what sums other rows: where files count, trees, owners; and of limits, which hang on directories."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from gateway.data.problems import Problem
from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.counting import owners, trees
from gateway.metadata.links import further
from gateway.metadata.rows import DropQuota, MendTree, MendUsage
from gateway.metadata.sums import NOTHING, TreeSums
from gateway.metadata.tables import dirent, extent, inode, owner_usage, quota, tree

ROWS_AT_ONCE = 5000
OWNERS = ("user", "group")


def check_sums(connection: Connection, *, settled: bool) -> Iterator[Problem]:
    """All can be mended but a home that is none. Memory: 56 bytes a directory, and owners. settled: nothing is dirty."""
    yield from _check_homes(connection)
    if settled:
        yield from _check_space(connection)
    yield from _check_trees(connection)
    yield from _check_owners(connection)
    yield from _check_quotas(connection)


def _check_homes(connection: Connection) -> Iterator[Problem]:
    """A file's home, and the directories of its further names, are those that hold its names."""
    single = (
        select(inode.c.ino, inode.c.parent, dirent.c.dir)
        .join(dirent, dirent.c.ino == inode.c.ino)
        .where(inode.c.kind != DIRECTORY, inode.c.nlink == 1, inode.c.parent != dirent.c.dir)
    )
    for ino, home, directory in connection.execute(single.execution_options(yield_per=ROWS_AT_ONCE)):
        yield Problem(f"inode {ino} counts in directory {home}, its name is in {directory}")
    several = (
        select(inode.c.ino, inode.c.parent, inode.c.links, dirent.c.dir, func.count())
        .join(dirent, dirent.c.ino == inode.c.ino)
        .where(inode.c.kind != DIRECTORY, inode.c.nlink > 1)
        .group_by(inode.c.ino, inode.c.parent, inode.c.links, dirent.c.dir)
        .order_by(inode.c.ino)
    )
    at, expected, found = 0, dict[int, int](), dict[int, int]()
    for ino, home, packed, directory, count in connection.execute(
        several.execution_options(yield_per=ROWS_AT_ONCE)
    ):
        if ino != at:
            if expected != found:
                yield _wrong_names(at)
            at, found = ino, {}
            row = _Linked(packed)
            expected = further(row)  # type: ignore[arg-type]  # it asks for no other field
            expected[home] = expected.get(home, 0) + 1
        found[directory] = int(count)
    if expected != found:
        yield _wrong_names(at)


class _Linked:
    """What `further` needs of a row."""

    def __init__(self, links: bytes | None) -> None:
        self.links = links


def _wrong_names(ino: int) -> Problem:
    return Problem(f"inode {ino}: its names are not in the directories that its row says")


def _check_space(connection: Connection) -> Iterator[Problem]:
    """What a file has allocated is what its extents cover: limits lean on it."""
    covered = select(extent.c.ino, func.sum(extent.c.length).label("bytes")).group_by(extent.c.ino).subquery()
    truth = func.coalesce(covered.c.bytes, 0)
    wrong = (
        select(inode.c.ino, inode.c.space_used, truth)
        .outerjoin(covered, covered.c.ino == inode.c.ino)
        .where(inode.c.space_used != truth)
    )
    for ino, said, counted in connection.execute(wrong):
        yield Problem(f"inode {ino}: its extents cover {int(counted)} bytes, the row says {said}")


def _check_trees(connection: Connection) -> Iterator[Problem]:
    statement = select(tree).order_by(tree.c.dir)
    stored = iter(connection.execute(statement.execution_options(yield_per=ROWS_AT_ONCE)))
    row = next(stored, None)
    for ino, truth in trees(connection):
        while row is not None and row.dir < ino:
            yield _wrong_tree(row.dir, TreeSums(*row[1:]), NOTHING)
            row = next(stored, None)
        said = TreeSums(*row[1:]) if row is not None and row.dir == ino else NOTHING
        if said != truth:
            yield _wrong_tree(ino, said, truth)
        if row is not None and row.dir == ino:
            row = next(stored, None)
    while row is not None:
        yield _wrong_tree(row.dir, TreeSums(*row[1:]), NOTHING)
        row = next(stored, None)


def _wrong_tree(ino: int, said: TreeSums, truth: TreeSums) -> Problem:
    lacks = (now - was for now, was in zip(truth, said, strict=True))
    return Problem(
        f"directory {ino} has {_words(truth)} below it, the sums say {_words(said)}", (MendTree(ino, *lacks),)
    )


def _words(sums: TreeSums) -> str:
    return f"{sums.files} files, {sums.directories} directories, {sums.bytes} bytes, {sums.space} allocated"


def _check_owners(connection: Connection) -> Iterator[Problem]:
    said = {(row.kind, row.id): tuple(row)[2:] for row in connection.execute(select(owner_usage))}
    for kind, owner, *truth in owners(connection):
        was = said.pop((kind, owner), (0, 0, 0))
        if tuple(truth) != was:
            yield _wrong_owner(kind, owner, was, tuple(truth))
    for (kind, owner), was in said.items():
        yield _wrong_owner(kind, owner, was, (0, 0, 0))


def _wrong_owner(kind: int, owner: int, said: tuple[int, ...], truth: tuple[int, ...]) -> Problem:
    lacks = [now - was for now, was in zip(truth, said, strict=True)]
    mend = MendUsage(kind, owner, lacks[0], lacks[1], lacks[2])
    return Problem(
        f"{OWNERS[kind]} {owner} has {truth[0]} inodes, {truth[1]} bytes, {truth[2]} allocated, the sums say {said}",
        (mend,),
    )


def _check_quotas(connection: Connection) -> Iterator[Problem]:
    lost = (
        select(quota.c.dir)
        .outerjoin(inode, inode.c.ino == quota.c.dir)
        .where(inode.c.ino.is_(None) | (inode.c.kind != DIRECTORY))
    )
    for (directory,) in connection.execute(lost):
        yield Problem(f"limits on inode {directory}, which is no directory", (DropQuota(directory),))
