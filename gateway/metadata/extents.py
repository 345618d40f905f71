"""The extent map of one file: which bytes of it live where, without overlaps, as few pieces as possible."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Extent = tuple[int, int, int, int]
"""(file offset, length, pack, pack offset), in bytes."""


class ExtentMap:
    """Extents in order of their file offset. Neighbours that continue one another in the same pack are one extent."""

    __slots__ = ("_extents", "_starts")

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._extents: list[Extent] = sorted(extents)
        self._starts: list[int] = [extent[0] for extent in self._extents]

    def extents(self) -> list[Extent]:
        return self._extents.copy()

    def splice(self, offset: int, length: int, pack: int, pack_offset: int) -> list[Extent]:
        """Replaces [offset, offset + length) by bytes of a pack, or by a hole when `pack` is 0.

        Returns the pieces that lost their place, cut to the range, so that the packs' live bytes can follow.
        """
        end = offset + length
        first = bisect_right(self._starts, offset) - 1
        if first < 0 or self._extents[first][0] + self._extents[first][1] <= offset:
            first += 1
        last = bisect_left(self._starts, end, lo=first)
        lost: list[Extent] = []
        kept: list[Extent] = []
        for start, size, old_pack, old_offset in self._extents[first:last]:
            stop = start + size
            low, high = max(start, offset), min(stop, end)
            lost.append((low, high - low, old_pack, old_offset + low - start))
            if start < offset:
                kept.append((start, offset - start, old_pack, old_offset))
            if stop > end:
                kept.append((end, stop - end, old_pack, old_offset + end - start))
        if pack:
            kept.append((offset, length, pack, pack_offset))
            kept.sort()
            first, last, kept = self._with_neighbours(first, last, kept)
        self._extents[first:last] = kept
        self._starts[first:last] = [extent[0] for extent in kept]
        return lost

    def _with_neighbours(self, first: int, last: int, kept: list[Extent]) -> tuple[int, int, list[Extent]]:
        """Takes in the extents just outside the range, where a new piece may continue them."""
        if first > 0:
            first -= 1
            kept.insert(0, self._extents[first])
        if last < len(self._extents):
            kept.append(self._extents[last])
            last += 1
        return first, last, coalesced(kept)


def coalesced(extents: list[Extent]) -> list[Extent]:
    """The same map with continuing neighbours joined. `extents` are in order."""
    out: list[Extent] = []
    for extent in extents:
        if out:
            start, length, pack, pack_offset = out[-1]
            if extent == (start + length, extent[1], pack, pack_offset + length):
                out[-1] = (start, length + extent[1], pack, pack_offset)
                continue
        out.append(extent)
    return out
