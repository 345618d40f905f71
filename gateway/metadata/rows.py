"""Row operations: what one ROWS record of the journal says. The format is described in docs/formats/rows.md.

A record is the msgpack array of its operations, each an array that begins with its tag. Fields are only ever added at
the end, with defaults; an operation that changes meaning takes a new tag, which older readers refuse.
"""

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import DecodeError, Meta, Struct, ValidationError
from msgspec.msgpack import Decoder, Encoder

from gateway.metadata.errors import RowsError

FORMAT: Final = 4
"""Written into the database's meta table; raised when an old reader would misread new rows."""

MAX: Final = 2**63 - 1
Count = Annotated[int, Meta(ge=0, le=MAX)]
Time = Annotated[int, Meta(ge=-(2**63), le=MAX)]
Small = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Name = Annotated[bytes, Meta(min_length=1, max_length=255)]
XattrValue = Annotated[bytes, Meta(max_length=65536)]
Delta = Annotated[int, Meta(ge=-MAX, le=MAX)]


class InodeRow(Struct, array_like=True, gc=False):
    """After-image of one inode.

    `size`, `space_used`, `atime_ns` and `mtime_ns` of a regular file are as of its last flush: while it is live in the
    core, the core knows better. Of a directory, `size` is the number of its entries and `nlink` two more than the
    number of its subdirectories. `parent` is the directory that a directory is in (the root's is itself), and of others
    their home, one that holds a name of them and counts them (`links`); 0 in records of format 1 and 2. A row with `orphan`
    has no name left and waits for its last close. `change` 0 stands for the LSN of the record that holds the row.
    `links` says where further names of a file are. `mode` has the bit acl.MODE_ACL where it has an
    access control list.
    `xattr_name_bytes` sums its extended attributes' names, each with one byte more, `xattr_value_bytes` their values.
    Rows in memory are shared between threads without a lock and never modified: copy first.
    """

    ino: Count
    generation: Count
    kind: Small
    mode: Small
    nlink: Small
    uid: Small
    gid: Small
    rdev_major: Small
    rdev_minor: Small
    parent: Count
    size: Count
    space_used: Count
    atime_ns: Time
    mtime_ns: Time
    ctime_ns: Time
    btime_ns: Time
    change: Count
    target: bytes | None = None
    orphan: bool = False
    xattr_name_bytes: Count = 0
    xattr_value_bytes: Count = 0
    links: bytes | None = None


class PutInode(Struct, array_like=True, tag=1, gc=False):
    """The inode is now `row`. With `keep_data` its size, space_used, atime and mtime stay as they were before: set on
    every change of a regular file after its creation, since only flushes move those of a row."""

    row: InodeRow
    keep_data: bool


class DropInode(Struct, array_like=True, tag=2, gc=False):
    """The inode is gone, with all its extents and extended attributes."""

    ino: Count


class PutDirent(Struct, array_like=True, tag=3, gc=False):
    """Directory `dir` has an entry `name`. A name that is replaced keeps its cookie."""

    dir: Count
    name: Name
    cookie: Count
    ino: Count
    kind: Small


class DropDirent(Struct, array_like=True, tag=4, gc=False):
    dir: Count
    name: Name


class FlushInode(Struct, array_like=True, tag=5, gc=False):
    """What a flush found at `taken_lsn`; the splices of the same inode follow it in the record. ctime and change only
    ever rise by it."""

    ino: Count
    taken_lsn: Count
    size: Count
    space_used: Count
    atime_ns: Time
    mtime_ns: Time
    ctime_ns: Time
    change: Count


class Splice(Struct, array_like=True, tag=6, gc=False):
    """Replaces [offset, offset + length) of the extent map; `pack` 0 leaves a hole. A hole's length may reach up to
    2^64 - 1, which means to the end of everything."""

    ino: Count
    offset: Count
    length: Annotated[int, Meta(ge=1)]
    pack: Count
    pack_offset: Count


class PutPack(Struct, array_like=True, tag=7, gc=False):
    """A pack was written. Its live bytes are counted by the splices that name it, from `live_bytes` (0) up."""

    id: Count
    bytes: Count
    live_bytes: Count = 0


class DropPack(Struct, array_like=True, tag=8, gc=False):
    id: Count


class PutMeta(Struct, array_like=True, tag=9, gc=False):
    key: str
    value: str


class PutXattr(Struct, array_like=True, tag=10, gc=False):
    """The inode has an extended attribute of that name, which is whole: `user.` and what a client calls it, say. The
    PutInode that counts it, with the new ctime and change, is in the same record."""

    ino: Count
    name: Name
    value: XattrValue


class DropXattr(Struct, array_like=True, tag=11, gc=False):
    """The inode has no extended attribute of that name. As of PutXattr, a PutInode goes with it."""

    ino: Count
    name: Name


class PutQuota(Struct, array_like=True, tag=12, gc=False):
    """Directory `dir` has limits; None: not of this kind. `grace_s` is how long a soft limit may be exceeded,
    `…_since_ns` since when it is (0: it is not). `version` counts changes of the limits."""

    dir: Count
    hard_bytes: Count | None
    soft_bytes: Count | None
    hard_inodes: Count | None
    soft_inodes: Count | None
    grace_s: Count
    bytes_since_ns: Count
    inodes_since_ns: Count
    version: Count


class DropQuota(Struct, array_like=True, tag=13, gc=False):
    """Directory `dir` has no limits any more. Those of a directory that is gone go with it."""

    dir: Count


class MendTree(Struct, array_like=True, tag=14, gc=False):
    """fsck: the sums of directory `dir`, and of it alone, lack so much."""

    dir: Count
    files: Delta
    directories: Delta
    bytes: Delta
    space: Delta


class MendUsage(Struct, array_like=True, tag=15, gc=False):
    """fsck: the sums of a user (`kind` 0) or group (1) lack so much."""

    kind: Small
    id: Count
    inodes: Delta
    bytes: Delta
    space: Delta


RowOp = (
    PutInode
    | DropInode
    | PutDirent
    | DropDirent
    | FlushInode
    | Splice
    | PutPack
    | DropPack
    | PutMeta
    | PutXattr
    | DropXattr
    | PutQuota
    | DropQuota
    | MendTree
    | MendUsage
)

_encoder = Encoder()
_decoder = Decoder(list[RowOp])


def encode(ops: Sequence[RowOp]) -> bytes:
    """Payload of one ROWS record."""
    return _encoder.encode(ops)


def decode(payload: bytes) -> list[RowOp]:
    """The operations of a ROWS payload, in order. Raises RowsError when it is not one that `encode` could have made."""
    try:
        return _decoder.decode(payload)
    except (DecodeError, ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise RowsError(f"unreadable ROWS record of {len(payload)} bytes: {error}") from error
