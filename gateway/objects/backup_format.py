"""Objects of a metadata backup: what their bytes say. The format is described in docs/formats/backup.md.

A backup is a chain: a snapshot of the database at some LSN, and increments, each with the row transactions between two
LSNs. An LSN belongs to one epoch, and an epoch has one history: so two objects that name the same LSN fit together,
whoever wrote them.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

MAGIC: Final = b"CAUDALBK"
VERSION: Final = 1
_PREFIX: Final = struct.Struct("<8sII")
DIGEST_BYTES: Final = 32
HEAD_MAX_BYTES: Final = 64 << 20
LEVEL: Final = 1
"""Of zlib: rows shrink to a third, at more than a hundred megabytes a second."""
PAYLOAD_MAX_BYTES: Final = 256 << 20
"""Of one object, unpacked: nothing that anybody wrote is near it."""

_MAX: Final = 2**63 - 1
Count = Annotated[int, Meta(ge=0, le=_MAX)]
Time = Annotated[int, Meta(ge=0, le=_MAX)]
Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class BackupError(Exception):
    """An object of a backup cannot be used; the message says why."""


class NewerBackupError(BackupError):
    """A later version wrote it."""


class IncrementHead(Struct, tag="increment", kw_only=True, frozen=True):
    """Row transactions after `from_lsn`, up to `to_lsn`. `complete_ns`: seconds since 1970 × 10^9 before which every
    acknowledged change of names and attributes is at or below `to_lsn`. `epoch`: of the owner that wrote it.
    """

    fs_id: Id
    epoch: Count
    from_lsn: Count
    to_lsn: Count
    complete_ns: Time
    bytes: Count


class Part(Struct, frozen=True):
    """One piece of the database: number of its bytes as they are in the database, and their SHA-256."""

    bytes: Count
    sha256: Digest


class SnapshotHead(Struct, tag="snapshot", kw_only=True, frozen=True):
    """A snapshot of the database, put when all its parts are there. Times as in an increment's.

    `schema`: the database's. `inodes` and `file_bytes`: what it holds. `token`: makes the names of its parts its own.
    """

    fs_id: Id
    epoch: Count
    lsn: Count
    complete_ns: Time
    token: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    schema: str
    inodes: Count
    file_bytes: Count
    parts: tuple[Part, ...]
    bytes: Count = 0


class PartHead(Struct, tag="part", kw_only=True, frozen=True):
    """One piece of the database, in the order of `number`."""

    fs_id: Id
    epoch: Count
    token: str
    number: Count
    bytes: Count


class SettingsHead(Struct, tag="settings", kw_only=True, frozen=True):
    """A copy of the files that hold what operators set, as they were at `complete_ns`. `token`: the first 16 digits of the
    payload's SHA-256.
    """

    fs_id: Id
    epoch: Count
    complete_ns: Time
    token: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    bytes: Count


Head = IncrementHead | SnapshotHead | PartHead | SettingsHead
_heads = msgspec.json.Decoder(Head)
_records_encoder = msgspec.msgpack.Encoder()
_records_decoder = msgspec.msgpack.Decoder(list[tuple[Count, bytes]])


def encode(head: Head, payload: bytes) -> bytes:
    """The object. `head.bytes` is the length of the payload, which is packed here."""
    if head.bytes != len(payload):
        raise ValueError(f"the head says {head.bytes} bytes, the payload has {len(payload)}")
    text = msgspec.json.encode(head)
    body = _PREFIX.pack(MAGIC, VERSION, len(text)) + text + zlib.compress(payload, LEVEL)
    return body + hashlib.sha256(body).digest()


def decode(data: bytes) -> tuple[Head, bytes]:
    """Head and payload of an object. Raises BackupError for anything that `encode` did not make, NewerBackupError."""
    if len(data) < _PREFIX.size + DIGEST_BYTES:
        raise BackupError("it is cut short")
    magic, version, head_bytes = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise BackupError("it is no object of a backup")
    if version > VERSION:
        raise NewerBackupError(f"a later version wrote it (format {version}; this one knows {VERSION})")
    body = memoryview(data)[:-DIGEST_BYTES]
    if hashlib.sha256(body).digest() != data[-DIGEST_BYTES:]:
        raise BackupError("its checksum is wrong")
    if version != VERSION or head_bytes > min(HEAD_MAX_BYTES, len(body) - _PREFIX.size):
        raise BackupError("its beginning is wrong")
    try:
        head = _heads.decode(body[_PREFIX.size : _PREFIX.size + head_bytes])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BackupError(f"its head is unreadable: {error}") from error
    return head, _unpacked(body[_PREFIX.size + head_bytes :], head.bytes)


def _unpacked(packed: memoryview, length: int) -> bytes:
    if length > PAYLOAD_MAX_BYTES:
        raise BackupError(f"it claims to hold {length} bytes")
    unpacker = zlib.decompressobj()
    try:
        payload = unpacker.decompress(packed, length + 1)
    except zlib.error as error:
        raise BackupError(f"it does not unpack: {error}") from error
    if len(payload) != length or not unpacker.eof or unpacker.unused_data:
        raise BackupError("it holds another number of bytes than it says")
    return payload


def encode_records(records: Iterable[tuple[int, bytes]]) -> bytes:
    """Payload of an increment: (LSN, ROWS payload) in the order of LSNs."""
    return _records_encoder.encode(list(records))


def decode_records(head: IncrementHead, payload: bytes) -> Sequence[tuple[int, bytes]]:
    """The transactions of an increment. Raises BackupError where they are not in order, or not those it names."""
    try:
        records = _records_decoder.decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise BackupError(f"its records are unreadable: {error}") from error
    before = head.from_lsn
    for lsn, _ in records:
        if not before < lsn <= head.to_lsn:
            raise BackupError(f"its records are out of order at LSN {lsn}")
        before = lsn
    return records
