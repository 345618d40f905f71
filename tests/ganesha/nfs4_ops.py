"""NFS 4 on the wire: each operation as a value with its arguments encoded, and how its result is read.

Nothing is checked or mended on the way out: tests send what a kernel's client never would.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.ganesha.nfs3_client import Reader, opaque

OK, PERM, NOENT, IO, ACCESS, EXIST, XDEV, NOTDIR, ISDIR, INVAL, FBIG = 0, 1, 2, 5, 13, 17, 18, 20, 21, 22, 27
NAMETOOLONG, NOTEMPTY, STALE = 63, 66, 70
BADHANDLE, BAD_COOKIE, NOTSUPP, TOOSMALL, BADTYPE, DELAY, SAME, DENIED = (
    10001, 10003, 10004, 10005, 10007, 10008, 10009, 10010
)  # fmt: skip
EXPIRED, LOCKED, GRACE, SHARE_DENIED, STALE_STATEID, BAD_STATEID, NOT_SAME, LOCK_RANGE, SYMLINK = (
    10011, 10012, 10013, 10015, 10023, 10025, 10027, 10028, 10029
)  # fmt: skip
NOFILEHANDLE, RESTOREFH, ATTRNOTSUPP, NO_GRACE, BADXDR, LOCKS_HELD, OPENMODE, BADCHAR, BADNAME, BAD_RANGE = (
    10020, 10030, 10032, 10033, 10036, 10037, 10038, 10040, 10041, 10042
)  # fmt: skip
LOCK_NOTSUPP, DEADLOCK, WRONG_TYPE, RECLAIM_BAD, RECLAIM_CONFLICT = 10043, 10045, 10083, 10034, 10035

# Kinds of objects
REG, DIR, BLK, CHR, LNK, SOCK, FIFO = 1, 2, 3, 4, 5, 6, 7
# Attributes: number → how its value is written
SUPPORTED, TYPE, CHANGE, SIZE, FSID, RDATTR_ERROR, FILEID, MAXNAME, MODE, NUMLINKS, OWNER, GROUP = (
    0, 1, 3, 4, 8, 11, 20, 29, 33, 35, 36, 37
)  # fmt: skip
RAWDEV, SPACE_USED, ATIME, ATIME_SET, CTIME, TIME_DELTA, MTIME, MTIME_SET = 41, 45, 47, 48, 52, 51, 53, 54
MOUNTED_ON_FILEID: Final = 55
Attributes = Mapping[int, Any]
Time = tuple[int, int]
SERVER_TIME: Final = None

READ, WRITE, BOTH = 1, 2, 3
DENY_NONE, DENY_READ, DENY_WRITE, DENY_BOTH = 0, 1, 2, 3
READ_LT, WRITE_LT, READW_LT, WRITEW_LT = 1, 2, 3, 4
TO_END: Final = 2**64 - 1
UNSTABLE, DATA_SYNC, FILE_SYNC = 0, 1, 2
ANONYMOUS, BYPASS = bytes(16), b"\xff" * 16


class Nfs4Error(Exception):
    """An operation of a compound failed; those after it were not tried."""

    def __init__(self, status: int, operation: int) -> None:
        super().__init__(f"NFS4 status {status} of operation {operation}")
        self.status, self.operation = status, operation


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}Q", *numbers)


def _nothing(_: Reader) -> None:
    return None


@dataclass(frozen=True)
class Op:
    """One operation of a compound."""

    number: int
    arguments: bytes = b""
    decode: Callable[[Reader], Any] = _nothing


def bitmap(numbers: Sequence[int]) -> bytes:
    words = [0] * (max(numbers, default=-1) // 32 + 1)
    for number in numbers:
        words[number // 32] |= 1 << number % 32
    return u32(len(words), *words)


def _time(value: Time) -> bytes:
    return struct.pack(">qI", *value)


def _time_set(value: Time | None) -> bytes:
    return u32(0) if value is SERVER_TIME else u32(1) + _time(value)


def _text(value: str) -> bytes:
    return opaque(value.encode())


_WRITERS: Final[dict[int, Callable[[Any], bytes]]] = {
    TYPE: u32, CHANGE: u64, SIZE: u64, FSID: lambda pair: u64(*pair), FILEID: u64, MODE: u32, NUMLINKS: u32, OWNER: _text,
    GROUP: _text, RAWDEV: lambda pair: u32(*pair), SPACE_USED: u64, ATIME: _time, ATIME_SET: _time_set, CTIME: _time,
    MTIME: _time, MTIME_SET: _time_set, MAXNAME: u32,
}  # fmt: skip


def read_bitmap(r: Reader) -> set[int]:
    return {
        32 * word + bit
        for word, bits in enumerate([r.u32() for _ in range(r.u32())])
        for bit in range(32)
        if bits >> bit & 1
    }


def _read_time(r: Reader) -> Time:
    seconds = struct.unpack(">q", r.fixed(8))[0]
    return seconds, r.u32()


_READERS: Final[dict[int, Callable[[Reader], Any]]] = {
    SUPPORTED: read_bitmap, TYPE: Reader.u32, CHANGE: Reader.u64, SIZE: Reader.u64,
    FSID: lambda r: (r.u64(), r.u64()), RDATTR_ERROR: Reader.u32, FILEID: Reader.u64, MAXNAME: Reader.u32, MODE: Reader.u32,
    NUMLINKS: Reader.u32, OWNER: lambda r: r.opaque().decode(), GROUP: lambda r: r.opaque().decode(),
    RAWDEV: lambda r: (r.u32(), r.u32()), SPACE_USED: Reader.u64, ATIME: _read_time, CTIME: _read_time,
    TIME_DELTA: _read_time,
    MTIME: _read_time, MOUNTED_ON_FILEID: Reader.u64,
}  # fmt: skip


def fattr(attributes: Attributes) -> bytes:
    """fattr4. A value that is bytes is taken as it is, for attributes unknown here."""
    values = (
        value if isinstance(value, bytes) else _WRITERS[number](value)
        for number, value in sorted(attributes.items())
    )
    return bitmap(list(attributes)) + opaque(b"".join(values))


def read_fattr(r: Reader) -> dict[int, Any]:
    numbers = sorted(read_bitmap(r))
    values = Reader(r.opaque())
    return {number: _READERS[number](values) for number in numbers}


def putrootfh() -> Op:
    return Op(24)


def putfh(handle: bytes) -> Op:
    return Op(22, opaque(handle))


def savefh() -> Op:
    return Op(32)


def getfh() -> Op:
    return Op(10, b"", Reader.opaque)


def lookup(name: bytes) -> Op:
    return Op(15, opaque(name))


def lookupp() -> Op:
    return Op(16)


def access(wanted: int) -> Op:
    """→ (supported, allowed)"""
    return Op(3, u32(wanted), lambda r: (r.u32(), r.u32()))


def getattr_(*numbers: int) -> Op:
    return Op(9, bitmap(numbers), read_fattr)


def setattr_(attributes: Attributes, stateid: bytes = ANONYMOUS) -> Op:
    """→ the set of attributes that were set"""
    return Op(34, stateid + fattr(attributes), read_bitmap)


def verify(attributes: Attributes, *, negated: bool = False) -> Op:
    return Op(17 if negated else 37, fattr(attributes))


def _change_info(r: Reader) -> tuple[bool, int, int]:
    return bool(r.u32()), r.u64(), r.u64()


def create(
    kind: int,
    name: bytes,
    attributes: Attributes = {},  # noqa: B006 - never changed
    *,
    target: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> Op:
    more = opaque(target) if kind == LNK else u32(*device) if kind in (BLK, CHR) else b""
    return Op(
        6, u32(kind) + more + opaque(name) + fattr(attributes), lambda r: (*_change_info(r), read_bitmap(r))
    )


def link(name: bytes) -> Op:
    """Of the saved file handle, in the current directory."""
    return Op(11, opaque(name), _change_info)


def remove(name: bytes) -> Op:
    return Op(28, opaque(name), _change_info)


def rename(old: bytes, new: bytes) -> Op:
    """From the saved directory to the current one."""
    return Op(29, opaque(old) + opaque(new), lambda r: (_change_info(r), _change_info(r)))


def readlink() -> Op:
    return Op(27, b"", Reader.opaque)


def read(offset: int, count: int, stateid: bytes = ANONYMOUS) -> Op:
    """→ (eof, data)"""
    return Op(25, stateid + struct.pack(">QI", offset, count), lambda r: (bool(r.u32()), r.opaque()))


def write(offset: int, data: bytes, stateid: bytes = ANONYMOUS, stable: int = FILE_SYNC) -> Op:
    """→ (count, committed, verifier)"""
    return Op(
        38,
        stateid + struct.pack(">QI", offset, stable) + opaque(data),
        lambda r: (r.u32(), r.u32(), r.fixed(8)),
    )


def commit(offset: int = 0, count: int = 0) -> Op:
    return Op(5, struct.pack(">QI", offset, count), lambda r: r.fixed(8))


def readdir(
    cookie: int = 0,
    verifier: bytes = bytes(8),
    dircount: int = 4096,
    maxcount: int = 8192,
    wanted: Sequence[int] = (),
) -> Op:
    """→ (verifier, [(cookie, name, attributes)], eof)"""

    def decode(r: Reader) -> tuple[bytes, list[tuple[int, bytes, dict[int, Any]]], bool]:
        found = r.fixed(8)
        entries: list[tuple[int, bytes, dict[int, Any]]] = []
        while r.u32():
            entries.append((r.u64(), r.opaque(), read_fattr(r)))
        return found, entries, bool(r.u32())

    return Op(26, u64(cookie) + verifier + u32(dircount, maxcount) + bitmap(wanted), decode)
