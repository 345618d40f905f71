"""Objects of backups on the wire: golden bytes, round trips, and refusal of everything else."""

import hashlib
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._core import KeyRing
from gateway.objects.backup_chain import Increment, Snapshot
from gateway.objects.backup_format import (
    BackupError,
    Head,
    IncrementHead,
    NewerBackupError,
    Part,
    PartHead,
    SnapshotHead,
    decode,
    decode_records,
    encode,
    encode_records,
)
from gateway.objects.backup_store import BackupStore
from tests.unit.ctl.backup_bench import Objects

GOLDEN = Path(__file__).parent / "golden"
FS_ID = bytes(range(16))
ID = FS_ID.hex()
EPOCH = 5
LSN = EPOCH << 40 | 17
COMPLETE_NS = 1_800_000_000_123_000_000
RECORDS = [(LSN + 1, b"\x91\x93\x02\x07"), (LSN + 4, b"rows")]


def examples() -> dict[str, tuple[Head, bytes]]:
    records = encode_records(RECORDS)
    piece = b"a piece of a database" * 9
    return {
        "increment": (
            IncrementHead(
                fs_id=ID,
                epoch=EPOCH,
                from_lsn=LSN,
                to_lsn=LSN + 9,
                complete_ns=COMPLETE_NS,
                bytes=len(records),
            ),
            records,
        ),
        "part": (
            PartHead(fs_id=ID, epoch=EPOCH, token="0123456789abcdef", number=3, bytes=len(piece)),
            piece,
        ),
        "snapshot": (
            SnapshotHead(
                fs_id=ID,
                epoch=EPOCH,
                lsn=LSN,
                complete_ns=COMPLETE_NS,
                token="0123456789abcdef",
                schema="0003",
                inodes=12,
                file_bytes=345678,
                parts=(Part(len(piece), hashlib.sha256(piece).hexdigest()),),
            ),
            b"",
        ),
    }


@pytest.mark.parametrize("name", ["increment", "part", "snapshot"])
def test_golden_objects_are_read_for_ever(name: str) -> None:
    head, payload = examples()[name]
    assert decode((GOLDEN / f"{name}-v1.backup").read_bytes()) == (head, payload)
    # Packing may change with zlib; all else may not.
    written, golden = encode(head, payload), (GOLDEN / f"{name}-v1.backup").read_bytes()
    size = 16 + int.from_bytes(written[12:16], "little")
    assert written[:size] == golden[:size]


def test_records_come_back_in_order_and_within_their_bounds() -> None:
    head, payload = examples()["increment"]
    assert isinstance(head, IncrementHead)
    assert decode_records(head, payload) == RECORDS
    for records in (RECORDS[::-1], [(LSN, b"")], [(LSN + 10, b"")], [RECORDS[0], RECORDS[0]]):
        with pytest.raises(BackupError, match="out of order"):
            decode_records(head, encode_records(records))
    with pytest.raises(BackupError, match="unreadable"):
        decode_records(head, b"\xc1")


def sealed_up(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def test_a_later_version_is_refused_as_such() -> None:
    data = encode(*examples()["part"])
    body = data[:8] + struct.pack("<I", 2) + data[12:-32]
    with pytest.raises(NewerBackupError, match="format 2; this one knows 1"):
        decode(sealed_up(body))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "cut short"),
        (b"CAUDALBK" + bytes(100), "checksum"),
        (b"CAUDALPK" + bytes(100), "no object of a backup"),
        (sealed_up(b"CAUDALBK" + struct.pack("<II", 0, 0)), "beginning"),
        (sealed_up(b"CAUDALBK" + struct.pack("<II", 1, 1 << 31)), "beginning"),
        (sealed_up(b"CAUDALBK" + struct.pack("<II", 1, 2) + b"{}"), "head"),
        (sealed_up(b"CAUDALBK" + struct.pack("<II", 1, 4) + b"\xff\xfe{}"), "head"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(BackupError, match=why):
        decode(body)


def test_payloads_are_as_long_as_they_say() -> None:
    head = PartHead(fs_id=ID, epoch=1, token="t", number=0, bytes=10)
    text = encode(head, bytes(10))[:-32]
    prefix = text[: 16 + int.from_bytes(text[12:16], "little")]
    # The last one would fill the memory.
    for payload in (bytes(9), bytes(11), bytes(50 << 20)):
        with pytest.raises(BackupError, match="another number of bytes"):
            decode(sealed_up(prefix + zlib.compress(payload)))
    with pytest.raises(BackupError, match="unpack"):
        decode(sealed_up(prefix + b"nothing that was packed"))
    text = text[16 : len(prefix)].replace(b'"bytes":10', b'"bytes":%d' % 2**40)
    huge = b"CAUDALBK" + struct.pack("<II", 1, len(text)) + text
    with pytest.raises(BackupError, match="claims"):
        decode(sealed_up(huge + zlib.compress(bytes(10))))


@given(st.sampled_from(sorted(examples())), st.integers(0), st.integers(0, 7))
def test_no_flipped_bit_is_read(name: str, place: int, bit: int) -> None:
    data = bytearray(encode(*examples()[name]))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(BackupError):
        decode(bytes(data))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, checked: bool) -> None:
    body = b"CAUDALBK" + struct.pack("<II", 1, max(0, len(data) // 2)) + data
    try:
        decode(sealed_up(body) if checked else data)
    except BackupError:
        pass


@given(st.binary(max_size=200))
def test_any_records_are_read_or_refused(data: bytes) -> None:
    head, _ = examples()["increment"]
    assert isinstance(head, IncrementHead)
    try:
        decode_records(head, data)
    except BackupError:
        pass


# The store: sealed, in their place, of this file system


def ring(*names: str, seals: bool = True) -> KeyRing:
    return KeyRing(FS_ID, [(name, hashlib.sha256(name.encode()).digest()) for name in names], seals=seals)


NAME = Increment(EPOCH, LSN + 9, LSN, COMPLETE_NS // 10**6)
SNAPSHOT = Snapshot(EPOCH, LSN, COMPLETE_NS // 10**6, "0123456789abcdef")


def filled(keys: KeyRing | None) -> Objects:
    objects = Objects()
    store = BackupStore(objects, FS_ID, keys)
    heads = examples()
    store.put(NAME.key, *heads["increment"])
    store.put(SNAPSHOT.key, *heads["snapshot"])
    store.put(SNAPSHOT.part(3), *heads["part"])
    return objects


def test_everything_comes_back_sealed_or_plain() -> None:
    for keys in (None, ring("a", "b")):
        objects = filled(keys)
        store = BackupStore(objects, FS_ID, keys)
        assert store.increment(NAME) == RECORDS
        assert store.snapshot(SNAPSHOT) == examples()["snapshot"][0]
        assert store.part(SNAPSHOT, 3) == examples()["part"][1]
        assert store.sealed_with(SNAPSHOT) == (None if keys is None else "a")
        listing = store.list()
        assert set(listing.increments) == {NAME}
        assert set(listing.snapshots) == {SNAPSHOT}
        assert set(listing.parts[SNAPSHOT]) == {3}
        assert listing.bytes == sum(map(len, objects.data.values()))
        readable = any(
            b"a piece of a database" in data or ID.encode() in data for data in objects.data.values()
        )
        assert readable == (keys is None)


def test_without_the_key_nothing_is_read_and_its_name_is_told() -> None:
    objects = filled(ring("a"))
    for keys in (None, ring("b")):
        with pytest.raises(BackupError, match=r"\ba\b"):
            BackupStore(objects, FS_ID, keys).increment(NAME)
    # Keys that seal no more still open.
    assert BackupStore(objects, FS_ID, ring("a", seals=False)).increment(NAME) == RECORDS


def test_where_keys_seal_what_is_plain_is_refused() -> None:
    objects = filled(None)
    with pytest.raises(BackupError, match="not encrypted, though the file system is"):
        BackupStore(objects, FS_ID, ring("a")).increment(NAME)
    assert BackupStore(objects, FS_ID, ring("a", seals=False)).increment(NAME) == RECORDS


@pytest.mark.parametrize("keys", [None, ring("a")], ids=["plain", "sealed"])
def test_objects_in_another_s_place_are_refused(keys: KeyRing | None) -> None:
    objects = filled(keys)
    store = BackupStore(objects, FS_ID, keys)
    other = Increment(EPOCH, LSN + 10, LSN, 1)
    objects.data[other.key] = objects.data[NAME.key]
    with pytest.raises(BackupError):
        store.increment(other)
    objects.data[SNAPSHOT.part(4)] = objects.data[SNAPSHOT.part(3)]
    with pytest.raises(BackupError):
        store.part(SNAPSHOT, 4)
    objects.data[SNAPSHOT.key] = objects.data[NAME.key]
    with pytest.raises(BackupError):
        store.snapshot(SNAPSHOT)
    with pytest.raises(BackupError, match="missing"):
        store.part(SNAPSHOT, 9)


def test_objects_of_another_file_system_are_refused() -> None:
    with pytest.raises(BackupError, match="another file system"):
        BackupStore(filled(None), b"X" * 16, None).increment(NAME)
