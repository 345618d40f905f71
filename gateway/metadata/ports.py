"""What the namespace needs of the native core: a subset of `gateway._core.Core`, so that tests can bring their own."""

from collections.abc import Sequence
from typing import Any, Protocol

from gateway.metadata.extents import Extent

AttributeFields = Any
"""A tuple of the fields of `gateway.metadata.attributes.Attributes`. The core has a named tuple of its own for them, takes
any, and gives its own; a type that says so for both directions does not exist."""


class CorePort(Protocol):
    """Journal and live inodes. Its errors (busy, journal failed) pass through the namespace unchanged."""

    @property
    def durable_lsn(self) -> int: ...

    @property
    def last_lsn(self) -> int: ...

    def reserve(self, bytes: int) -> None:
        """Takes a place among those who wait for disks, and room in the journal. Raises when there is none."""
        ...

    def release(self) -> None: ...

    def append_rows(self, payload: bytes) -> int: ...

    def wait_durable(self, lsn: int) -> None: ...

    def activate(self, attributes: AttributeFields, extents: Sequence[Extent]) -> None: ...

    def attributes(self, inode: int) -> tuple[int, ...] | None: ...

    def update_names(
        self, inode: int, *, mode: int, uid: int, gid: int, nlink: int, ctime_ns: int, lsn: int
    ) -> bool: ...

    def set_data_attributes(
        self,
        inode: int,
        *,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        ctime_ns: int,
    ) -> int | None: ...

    def forget(self, inode: int) -> None: ...


class FlushedInode(Protocol):
    """One inode of a flush, as it was when the flush took it."""

    @property
    def inode(self) -> int: ...
    @property
    def taken_lsn(self) -> int: ...
    @property
    def attributes(self) -> tuple[int, ...]: ...
    @property
    def splices(self) -> Sequence[Extent]: ...


class FlushBatch(Protocol):
    """Packs that are in the store, waiting for the transaction that names them."""

    @property
    def inodes(self) -> Sequence[FlushedInode]: ...
    @property
    def packs(self) -> Sequence[tuple[int, int, int]]: ...

    def commit(self, lsn: int) -> None: ...
