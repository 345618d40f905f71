"""Row operations on the wire: golden bytes, round trips, and refusal of everything else."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metadata import rows
from gateway.metadata.errors import RowsError
from gateway.metadata.links import packed
from gateway.metadata.rows import (
    DropDirent,
    DropInode,
    DropPack,
    DropQuota,
    DropXattr,
    FlushInode,
    InodeRow,
    MendTree,
    MendUsage,
    PutDirent,
    PutInode,
    PutMeta,
    PutPack,
    PutQuota,
    PutXattr,
    Splice,
)

GOLDEN = Path(__file__).with_name("golden_rows.json")
BIG = 5 << 40 | 77


def examples() -> dict[str, list[rows.RowOp]]:
    row = InodeRow(BIG, 5, 0o100000, 0o644, 1, 1000, 100, 0, 0, 0, 4096, 4096, -1, 2**62, 3, 4, 0)
    tagged = InodeRow(BIG, 5, 0o100000, 0o644, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, None, False, 11, 3)
    linked = InodeRow(
        BIG, 5, 0o100000, 0o644, 4, 0, 0, 0, 0, 7, 0, 0, 1, 2, 3, 4, 0, links=packed({9: 2, BIG: 1})
    )
    link = InodeRow(7, 5, 0o120000, 0o777, 1, 0, 0, 0, 0, 0, 3, 0, 1, 2, 3, 4, 9, b"a/\xff", orphan=True)
    return {
        "put_inode": [PutInode(row, True)],
        "put_symlink": [PutInode(link, False)],
        "drop_inode": [DropInode(BIG)],
        "put_dirent": [PutDirent(1, b"name\xff", BIG + 1, BIG, 0o100000)],
        "drop_dirent": [DropDirent(1, b"n")],
        "flush": [FlushInode(BIG, 9, 10, 11, -12, 13, 14, 15), Splice(BIG, 0, 10, 3, 0)],
        "hole": [Splice(BIG, 4, 2**64 - 5, 0, 0)],
        "packs": [PutPack(3, 8 << 20), DropPack(4)],
        "meta": [PutMeta("key", "value")],
        "put_xattr": [PutXattr(BIG, b"user.\xff/x", b"\0\1\2"), PutInode(tagged, True)],
        "drop_xattr": [DropXattr(1, b"system.a")],
        "put_linked": [PutInode(linked, True)],
        "put_quota": [PutQuota(7, 1 << 40, None, None, 100, 604800, 0, 2**62, 3)],
        "drop_quota": [DropQuota(7)],
        "mend": [MendTree(7, -1, 2, -(2**40), 4096), MendUsage(1, 2**32 - 2, 1, -2, 3)],
        "nothing": [],
    }


def test_bytes_are_as_they_were() -> None:
    """Journals of earlier versions hold just these bytes."""
    golden = json.loads(GOLDEN.read_text())
    assert {name: rows.encode(ops).hex() for name, ops in examples().items()} == golden["written"]
    for name, encoded in [item for part in golden.values() for item in part.items()]:
        assert rows.decode(bytes.fromhex(encoded)) == examples()[name]


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(payload: bytes) -> None:
    try:
        ops = rows.decode(payload)
    except RowsError:
        return
    assert rows.decode(rows.encode(ops)) == ops


@given(st.sampled_from(sorted(examples())), st.data())
def test_damaged_records_are_refused_or_read(name: str, data: st.DataObject) -> None:
    payload = bytearray(rows.encode(examples()[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    del payload[data.draw(st.integers(0, len(payload))) :]
    try:
        rows.decode(bytes(payload))
    except RowsError:
        pass


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "truncated"),
        (b"\x90\x00", "trailing"),
        (b"\x91\x92\x63\x01", "99"),
        (rows.encode([DropInode(2**63)]), "9223372036854775807"),
        (rows.encode([PutDirent(1, b"", 3, 4, 5)]), "length"),
        (rows.encode([PutDirent(1, b"x" * 256, 3, 4, 5)]), "length"),
        (rows.encode([Splice(1, 0, 0, 0, 0)]), ">= 1"),
        (rows.encode([PutXattr(1, b"", b"")]), "length"),
        (rows.encode([PutXattr(1, b"x" * 256, b"")]), "length"),
        (rows.encode([PutXattr(1, b"x", bytes(65537))]), "length"),
        (rows.encode([DropXattr(1, b"")]), "length"),
        (b"\x91\x93\x09\xa3\x80ey\xa1v", "utf-8"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(RowsError, match=reason):
        rows.decode(payload)


def test_fields_added_later_are_passed_over() -> None:
    """A newer version may add fields at the end of an operation."""
    assert rows.decode(b"\x91\x93\x02\x07\x08") == [DropInode(7)]
