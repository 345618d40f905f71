"""The extent table's part of a checkpoint: splices over what is there, and what they do to packs' live bytes."""

from collections.abc import Mapping
from typing import Final

from gateway.metadata.checkpoint_sql import Statements
from gateway.metadata.extents import Extent, ExtentMap
from gateway.metadata.rows import InodeRow, Splice

WHOLE_MAP_BYTES: Final = 16 << 20
"""Files up to this size are spliced in memory; of larger ones only what is around the splices is read."""


class ExtentChanges:
    """Splices and drops of a batch, collected in order, then written in bulk."""

    def __init__(self, sql: Statements, before: Mapping[int, InodeRow]) -> None:
        self._sql = sql
        self._before = before
        self._splices: dict[int, list[Splice]] = {}
        self._dropped: set[int] = set()
        self._live: dict[int, int] = {}
        self._put: list[tuple[int, Extent]] = []
        self._gone: list[tuple[int, int]] = []

    def splice(self, op: Splice) -> None:
        self._splices.setdefault(op.ino, []).append(op)

    def drop(self, ino: int) -> None:
        self._splices.pop(ino, None)
        if ino in self._before:
            self._dropped.add(ino)

    def write(self) -> dict[int, int]:
        """Writes the extents; returns by how much the live bytes of each pack that was touched changed."""
        sql = self._sql
        for pack, used in sql.live_bytes_of(self._dropped).items():
            self._add(pack, -used)
        sql.drop_all_extents(self._dropped)
        small, large = self._by_size()
        known = sql.small_extents(ino for ino in small if ino in self._before)
        for ino in small:
            self._fold(ino, known.get(ino, []), self._splices[ino])
        for ino in large:
            splices = self._splices[ino]
            ranges = ((op.offset, op.offset + op.length) for op in splices)
            self._fold(ino, sql.extents_around(ino, ranges), splices)
        sql.drop_extents(self._gone)
        sql.put_extents(self._put)
        return self._live

    def _by_size(self) -> tuple[list[int], list[int]]:
        small: list[int] = []
        large: list[int] = []
        for ino in self._splices:
            row = self._before.get(ino)
            (large if row is not None and row.size > WHOLE_MAP_BYTES else small).append(ino)
        return small, large

    def _fold(self, ino: int, known: list[Extent], splices: list[Splice]) -> None:
        extents = ExtentMap(known)
        for op in splices:
            for _, length, pack, _ in extents.splice(op.offset, op.length, op.pack, op.pack_offset):
                self._add(pack, -length)
            if op.pack:
                self._add(op.pack, op.length)
        now = extents.extents()
        left = set(known)
        self._put += ((ino, extent) for extent in now if extent not in left)
        starts = {extent[0] for extent in now}
        self._gone += ((ino, extent[0]) for extent in known if extent[0] not in starts)

    def _add(self, pack: int, delta: int) -> None:
        self._live[pack] = self._live.get(pack, 0) + delta
