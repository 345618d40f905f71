"""Values that go in and out of the namespace: plain tuples, so that the shim and the core can take them as they are."""

import stat
from typing import Final, NamedTuple, Protocol

ROOT_INODE: Final = 1
INODE_MAX: Final = 2**63 - 1
"""The largest number that SQL holds; no inode has a greater one."""
ROOT_GENERATION: Final = 1
NAME_MAX_BYTES: Final = 255
TARGET_MAX_BYTES: Final = 4096
XATTR_USER: Final = b"user."
XATTR_NAME_MAX_BYTES: Final = 255
"""Of a whole name, prefix included: a longer one is an error to every Linux client that lists the inode."""
XATTR_VALUE_MAX_BYTES: Final = 65536
XATTR_NAMES_MAX_BYTES: Final = 65536
"""Of an inode: what Linux can list at once, each name with the prefix and a NUL."""
XATTR_VALUES_MAX_BYTES: Final = 1 << 20
"""Of an inode."""
LINK_MAX: Final = 2**31 - 1
SIZE_MAX_BYTES: Final = 2**63 - 1

REGULAR: Final = stat.S_IFREG
DIRECTORY: Final = stat.S_IFDIR
SYMLINK: Final = stat.S_IFLNK
SPECIAL_KINDS: Final = frozenset({stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK})


class Attributes(NamedTuple):
    """One inode as a client sees it. Order and meaning are those of the shim and of the core."""

    inode: int
    generation: int
    kind: int  # one of the S_IFMT values
    mode: int  # the low twelve bits; and acl.MODE_ACL
    nlink: int
    uid: int
    gid: int
    rdev_major: int
    rdev_minor: int
    size: int  # bytes; of a directory: the number of its entries
    space_used: int  # bytes
    atime_ns: int  # times: nanoseconds since 1970, may be negative
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int  # LSN of the last change


class DirEntry(NamedTuple):
    name: bytes
    cookie: int
    attributes: Attributes


class Counts(NamedTuple):
    """What a file system holds, as of the last flush."""

    inodes: int
    bytes: int


class Changes(Protocol):
    """Attributes to set; None leaves one as it is. Any object with these fields will do (the shim has its own)."""

    @property
    def mode(self) -> int | None: ...
    @property
    def uid(self) -> int | None: ...
    @property
    def gid(self) -> int | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def atime_ns(self) -> int | None: ...
    @property
    def mtime_ns(self) -> int | None: ...
    @property
    def acl(self) -> bytes | None: ...


class SetAttributes(NamedTuple):
    """The plain form of `Changes`."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    acl: bytes | None = None  # an access control list as gateway.metadata.acl has it


UNCHANGED: Final = SetAttributes()
