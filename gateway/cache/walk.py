"""From paths to blocks: which blocks the files of a tree are made of."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from gateway._core import BLOCK_PAYLOAD_BYTES
from gateway.metadata.attributes import DIRECTORY, REGULAR
from gateway.metadata.errors import FsError

PAGE: Final = 128
BLOCK_BYTES: Final = 256 << 10
"""What a block takes in the cache, at most."""

Extents = Callable[[int], list[tuple[int, int, int, int]]]
"""The flushed extents of a file: file offset, length, pack, pack offset."""

Blocks = dict[int, int]
"""Blocks by pack, as a number whose bit n stands for block n."""


class Names(Protocol):
    """What is needed of the namespace."""

    def readdir(self, directory: int, after_cookie: int, limit: int) -> list[Any]: ...


def parts_of(path: str) -> list[str]:
    """The names of a path, without what says nothing."""
    return [part for part in path.split("/") if part not in ("", ".")]


def normal(path: str) -> str:
    """One form for each path."""
    return "/" + "/".join(parts_of(path))


def files(names: Names, top: Any) -> Iterator[list[Any]]:
    """All regular files of a tree, by pages, of which some are empty: whoever walks can stop after each. What is removed or
    moved meanwhile may be passed over.
    """
    if top.kind != DIRECTORY:
        yield [top] if top.kind == REGULAR else []
        return
    # Directories only, and depth first: the siblings of those on the way.
    waiting = [top.inode]
    while waiting:
        directory, after = waiting.pop(), 0
        while True:
            try:
                page = names.readdir(directory, after, PAGE)
            except FsError:
                break
            found = [entry.attributes for entry in page]
            waiting += [one.inode for one in found if one.kind == DIRECTORY]
            yield [one for one in found if one.kind == REGULAR]
            if len(page) < PAGE:
                break
            after = page[-1].cookie


def add(blocks: Blocks, extents: Iterable[tuple[int, int, int, int]]) -> None:
    """Puts the blocks of extents to the others."""
    for _, length, pack, pack_offset in extents:
        if length > 0:
            first = pack_offset // BLOCK_PAYLOAD_BYTES
            last = (pack_offset + length - 1) // BLOCK_PAYLOAD_BYTES
            blocks[pack] = blocks.get(pack, 0) | ((2 << (last - first)) - 1) << first


def bytes_of(blocks: Blocks) -> int:
    """What they take in the cache, at most."""
    return sum(mask.bit_count() for mask in blocks.values()) * BLOCK_BYTES


def union(many: Iterable[Blocks]) -> Blocks:
    found: Blocks = {}
    for blocks in many:
        for pack, mask in blocks.items():
            found[pack] = found.get(pack, 0) | mask
    return found


def runs(blocks: Blocks) -> Iterator[tuple[int, int, int]]:
    """The blocks as neighbours: pack, first block, how many."""
    for pack, mask in blocks.items():
        first = 0
        while mask >> first:
            first += ((mask >> first) & -(mask >> first)).bit_length() - 1
            rest = mask >> first
            count = ((rest + 1) & -(rest + 1)).bit_length() - 1
            yield pack, first, count
            first += count
