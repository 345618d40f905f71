"""What the data layer asks of the native core and of the namespace; the tests give it plain Python twins."""

from collections.abc import Sequence
from typing import Protocol

from gateway.metadata.ports import FlushBatch

Extent = tuple[int, int, int, int]
"""File offset, length, pack, pack offset; all in bytes."""

Move = tuple[int, int, int, int, int]
"""Inode, file offset, length, pack, pack offset: a piece that lives there and is to be written elsewhere."""


class DirtyPort(Protocol):
    """What is not in packs yet; oldest_lsn is 0 when there is nothing."""

    @property
    def bytes(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def inodes(self) -> int: ...
    @property
    def oldest_age_s(self) -> float: ...
    @property
    def oldest_lsn(self) -> int: ...


class FlushBatchPort(FlushBatch, Protocol):
    """Some dirty extents on their way into packs; see gateway._core.FlushBatch."""

    @property
    def bytes(self) -> int: ...
    def write(self) -> None: ...
    def abort(self) -> None: ...


class FlushCorePort(Protocol):
    @property
    def last_lsn(self) -> int: ...
    def dirty(self) -> DirtyPort: ...
    def wait_durable(self, lsn: int, /) -> None: ...
    def flush_take(
        self,
        *,
        inodes: Sequence[int] | None,
        dirty_before_ns: int | None,
        upto_lsn: int | None,
        max_bytes: int,
    ) -> FlushBatchPort | None: ...


class FlushNamespacePort(Protocol):
    def flush_commit(self, batch: FlushBatchPort, /) -> int: ...


class CollectorCorePort(Protocol):
    def delete_pack(self, pack: int, /) -> None: ...
    def relocate(self, moves: Sequence[Move], max_bytes: int) -> FlushBatchPort | None: ...
    def list_packs(self) -> Sequence[tuple[int, int, float]]: ...


class CollectorNamespacePort(Protocol):
    def load(self, inode: int, /) -> bool: ...
    def flush_commit(self, batch: FlushBatchPort, /) -> int: ...
    def drop_packs(self, packs: Sequence[int], /) -> int: ...
    def live_bytes(self, pack: int, /) -> int | None: ...
