"""The checkpoint: idempotent, the same however records are batched, and right about extents and packs."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.metadata import checkpoint, rows
from gateway.metadata import checkpoint_extents as big_files
from gateway.metadata.attributes import DIRECTORY, SetAttributes
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.errors import FsError, RowsError
from gateway.metadata.rows import DropInode, DropPack, FlushInode, InodeRow, PutInode, PutPack, RowOp, Splice
from gateway.metadata.tables import extent, owner_usage, pack, tree
from gateway.metadata.usage import compaction_candidates, dead_packs, live_extents, pack_usage
from tests.unit.metadata.audit import audit, dump
from tests.unit.metadata.harness import FS_ID, FakeHarness

Record = tuple[int, bytes]


def file_row(ino: int, size: int = 0) -> InodeRow:
    return InodeRow(ino, 1, 0o100000, 0o644, 0, 0, 0, 0, 0, 0, size, 0, 0, 0, 0, 0, 0, None, orphan=True)


def records(*transactions: list[RowOp]) -> list[Record]:
    return [(lsn, rows.encode(ops)) for lsn, ops in enumerate(transactions, start=1)]


class Sandbox:
    """A database to apply to."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(sqlite_url(folder / "metadata.db"), FS_ID)

    def apply(self, some: list[Record], now_s: int = 1000, upto_lsn: int = 0) -> int:
        with self.database.writer() as connection:
            return checkpoint.apply(connection, some, now_s=now_s, upto_lsn=upto_lsn)

    def dump(self) -> dict[str, object]:
        with self.database.reader() as connection:
            audit(connection)
            return dump(connection)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def history(harness: FakeHarness) -> list[Record]:
    """A few hundred operations of all kinds."""
    random = Random(4)
    fs = harness.fs
    directories = [1]
    for step in range(400):
        directory, name = random.choice(directories), b"n%d" % random.randrange(12)
        try:
            kind = random.randrange(10)
            if kind < 4:
                ino = fs.create(directory, name, uid=0, gid=0, guarded=True)[0].inode
                harness.write(ino, random.randrange(100), b"x" * random.randrange(1, 50))
            elif kind == 4:
                directories.append(fs.mkdir(directory, name, uid=0, gid=0).inode)
            elif kind == 5:
                fs.rename(directory, name, random.choice(directories), b"n%d" % random.randrange(12))
            elif kind == 6:
                fs.unlink(directory, name)
            elif kind == 7:
                fs.setattr(fs.lookup(directory, name).inode, SetAttributes(size=random.randrange(80)))
            elif kind == 8:
                fs.link(fs.lookup(directory, name).inode, random.choice(directories), b"l%d" % step)
            else:
                fs.flush_commit(harness.flush())
        except (FsError, AttributeError):
            pass
    fs.flush_commit(harness.flush())
    harness.core.wait_durable(harness.core.last_lsn)
    return harness.rows(0)


def of_before(payload: bytes) -> bytes:
    """A record as versions wrote it that did not know where files count."""
    ops = rows.decode(payload)
    for op in ops:
        if isinstance(op, PutInode) and op.row.kind != DIRECTORY:
            op.row.parent, op.row.links = 0, None
    return rows.encode(ops)


def test_records_of_before_lead_to_the_same_homes_and_sums(harness: FakeHarness, tmp_path: Path) -> None:
    every = history(harness)
    (tmp_path / "now").mkdir()
    (tmp_path / "before").mkdir()
    now, before = Sandbox(tmp_path / "now"), Sandbox(tmp_path / "before")
    now.apply(every)
    before.apply([(lsn, of_before(payload)) for lsn, payload in every])
    assert before.dump() == now.dump()


def test_replaying_from_anywhere_changes_nothing(harness: FakeHarness, tmp_path: Path) -> None:
    every = history(harness)
    random = Random(1)
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    at_once, bit_by_bit = Sandbox(tmp_path / "one"), Sandbox(tmp_path / "many")
    last_lsn = every[-1][0]
    assert at_once.apply(every) == last_lsn
    done = 0
    while done < len(every):
        begin = random.randrange(done + 1)
        done = min(len(every), done + random.randrange(1, 40))
        bit_by_bit.apply(every[begin:done])
    expected = at_once.dump()
    assert bit_by_bit.dump() == expected
    for begin in (0, 1, len(every) // 2, len(every) - 1):
        assert at_once.apply(every[begin:], now_s=5) == last_lsn
        assert at_once.dump() == expected


def test_a_batch_that_cannot_be_read_leaves_everything_as_it_was(sandbox: Sandbox) -> None:
    good = records([PutInode(file_row(5), False)])
    before = sandbox.dump()
    with pytest.raises(RowsError):
        sandbox.apply([*good, (2, b"\xff")])
    assert sandbox.dump() == before


def test_the_checkpoint_passes_over_records_that_are_not_rows(sandbox: Sandbox) -> None:
    assert sandbox.apply([], upto_lsn=9) == 9
    assert sandbox.apply([], upto_lsn=3) == 9
    assert sandbox.apply(records([PutInode(file_row(5), False)])) == 9
    assert sandbox.dump()["inode"] == []


SIZE = 48


@st.composite
def splices(draw: st.DrawFn) -> Splice:
    offset = draw(st.integers(0, SIZE - 1))
    length = draw(st.integers(1, SIZE - offset))
    return Splice(5, offset, length, draw(st.integers(0, 3)), draw(st.sampled_from([offset, 0])))


@pytest.mark.parametrize("whole_map_bytes", [0, 1 << 20], ids=["around the splice", "whole map"])
def test_splices_in_sql_are_those_of_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_map_bytes: int
) -> None:
    monkeypatch.setattr(big_files, "WHOLE_MAP_BYTES", whole_map_bytes)
    sandbox = Sandbox(tmp_path)
    start: list[RowOp] = [PutPack(pack_id, 100) for pack_id in (1, 2, 3)]
    lsn = sandbox.apply([(1, rows.encode(start))])

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.lists(splices(), min_size=1, max_size=4), min_size=1, max_size=6))
    def check(batches: list[list[Splice]]) -> None:
        nonlocal lsn
        lsn = sandbox.apply(
            [
                (lsn + 1, rows.encode([DropInode(5)])),
                (lsn + 2, rows.encode([PutInode(file_row(5, 9), False)])),
            ]
        )
        cells: list[tuple[int, int] | None] = [None] * SIZE
        for batch in batches:
            lsn = sandbox.apply([(lsn + 1, rows.encode(batch))])
            for op in batch:
                for i in range(op.length):
                    cells[op.offset + i] = (op.pack, op.pack_offset + i) if op.pack else None
            found: list[tuple[int, int] | None] = [None] * SIZE
            with sandbox.database.reader() as connection:
                audit(connection)
                for row in connection.execute(select(extent)):
                    for i in range(row.length):
                        found[row.file_offset + i] = (row.pack, row.pack_offset + i)
            assert found == cells

    check()


def test_a_pack_dies_with_its_last_extent_and_once_only(sandbox: Sandbox) -> None:
    live = [PutInode(file_row(5), False), PutPack(1, 10), PutPack(2, 10), Splice(5, 0, 10, 1, 0)]
    log = records(
        live,  # pack 2 is dead from the start
        [Splice(5, 0, 4, 0, 0)],
        [FlushInode(5, 1, 10, 6, 0, 0, 0, 1), Splice(5, 4, 6, 2, 0)],
        [DropInode(5)],
        [DropPack(1)],
    )
    seen: list[list[tuple[int, int, int | None]]] = []
    for number, record in enumerate(log):
        sandbox.apply([record], now_s=100 + number)
        with sandbox.database.reader() as connection:
            audit(connection)
            seen.append(
                [(row.id, row.live_bytes, row.dead_since_s) for row in connection.execute(select(pack))]
            )
    assert seen == [
        [(1, 10, None), (2, 0, 100)],
        [(1, 6, None), (2, 0, 100)],
        [(1, 0, 102), (2, 6, None)],
        [(1, 0, 102), (2, 0, 103)],
        [(2, 0, 103)],
    ]


def test_sums_beyond_what_a_column_holds_stop_no_checkpoint(sandbox: Sandbox) -> None:
    most = 2**63 - 1
    root = InodeRow(1, 1, DIRECTORY, 0o755, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0)
    files = [InodeRow(ino, 1, 0o100000, 0o644, 1, 7, 8, 0, 0, 1, most, 0, 0, 0, 0, 0, 0) for ino in (5, 6)]
    log = records(
        [PutInode(root, False)], [PutInode(row, False) for row in files], [DropInode(5), DropInode(6)]
    )
    seen: list[tuple[int, int | None, set[int]]] = []
    for record in log:
        reached = sandbox.apply([record])
        with sandbox.database.reader() as connection:
            tree_bytes = connection.scalar(select(tree.c.bytes).where(tree.c.dir == 1))
            seen.append((reached, tree_bytes, set(connection.scalars(select(owner_usage.c.bytes)))))
    assert seen[0][0] == 1
    # Two times the largest size does not fit: the most that does.
    assert seen[1] == (2, most, {0, most})
    # What remains is wrong, as fsck finds and mends, and within the column's bounds.
    assert seen[2][0] == 3
    assert seen[2][1] == -most


def test_usage_proposes_dead_and_half_empty_packs(sandbox: Sandbox) -> None:
    ops: list[RowOp] = [
        PutInode(file_row(5), False),
        PutPack(1, 100),
        PutPack(2, 100),
        PutPack(3, 100),
        PutPack(4, 5),
    ]
    ops += [
        Splice(5, 0, 90, 1, 0),
        Splice(5, 100, 20, 2, 7),
        Splice(5, 200, 10, 2, 40),
        Splice(5, 300, 1, 4, 0),
    ]
    sandbox.apply(records(ops), now_s=50)
    with sandbox.database.reader() as connection:
        assert pack_usage(connection) == (4, 305, 121, 1, 100)
        assert dead_packs(connection, dead_before_s=50, upto_lsn=1 << 60, limit=9) == []
        assert dead_packs(connection, dead_before_s=51, upto_lsn=1 << 60, limit=9) == [3]
        assert compaction_candidates(connection, live_fraction=0.5, min_bytes=10, limit=9) == [2]
        assert compaction_candidates(connection, live_fraction=0.95, min_bytes=1, limit=9) == [4, 2, 1]
        assert live_extents(connection, [2], max_bytes=1) == [(5, 100, 20, 2, 7)]
        assert live_extents(connection, [2], max_bytes=30) == [(5, 100, 20, 2, 7), (5, 200, 10, 2, 40)]
