"""Plain values that cross the border between Ganesha and an :class:`~.fsal.Fsal`."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Attributes(NamedTuple):
    """All attributes of an inode. Any tuple with these sixteen fields in this order will do.

    ``kind`` is the S_IFMT part of a POSIX mode (``stat.S_IFREG`` …), ``mode`` the permission bits only (07777; 0x10000 says
    that there is a list for ``Fsal.getacl``), sizes are
    bytes, times nanoseconds since 1970 (signed 64 bit). ``change`` must grow with every change of the inode. ``inode``
    and ``generation`` together are never used again for another file.
    """

    inode: int
    generation: int
    kind: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev_major: int
    rdev_minor: int
    size: int
    space_used: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int


AnyAttributes = tuple[int, ...]
"""What an Fsal may return for :class:`Attributes`: sixteen numbers in that order, of whatever tuple class."""

AnyDirEntry = tuple[bytes, int, AnyAttributes]
"""What an Fsal may return for :class:`DirEntry`."""


class SetAttributes:
    """Attributes to set; ``None`` leaves one as it is. "The server's time" has been resolved by ``Fsal.now_ns()``."""

    __slots__ = ("acl", "atime_ns", "gid", "mode", "mtime_ns", "size", "uid")

    def __init__(
        self,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        acl: bytes | None = None,
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns
        self.acl = acl
        """An access control list in the form of docs/formats/acl.md; only where `Fsal.has_acls` is true."""

    def given(self) -> dict[str, int]:
        """Those that are set, by name; without a list."""
        return {
            name: value
            for name in self.__slots__
            if name != "acl" and (value := getattr(self, name)) is not None
        }

    def __repr__(self) -> str:
        return f"SetAttributes({', '.join(f'{name}={value}' for name, value in self.given().items())})"


class Caller(NamedTuple):
    """Who asks, after squashing: user, primary group, other groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class DirEntry(NamedTuple):
    """A name in a directory. ``cookie`` names the place behind the entry: at least 3, below 2**63, never reused."""

    name: bytes
    cookie: int
    attributes: Attributes


class FsInfo(NamedTuple):
    """Size of the file system in bytes and files."""

    total_bytes: int
    free_bytes: int
    available_bytes: int
    total_files: int
    free_files: int


class XattrMode(enum.IntEnum):
    """What ``Fsal.setxattr`` asks of the name."""

    EITHER = 0
    CREATE = 1
    """It must be new: EEXIST."""
    REPLACE = 2
    """It must be there: ENODATA."""


class CreateMode(enum.IntEnum):
    """What ``Fsal.create`` does with a name that exists."""

    UNCHECKED = 1
    """Return the file that is there, as it is."""
    GUARDED = 2
    """Fail with EEXIST."""
    EXCLUSIVE = 3
    """Return the file that is there; the shim then compares the verifier, which is kept in atime and mtime."""
