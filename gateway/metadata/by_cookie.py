"""Entries of one directory in the order of their cookies: what pages of a listing are cut from.

A list of blocks, so that an entry of a directory of a million names comes, goes and is found without touching the
others: each costs a search among the blocks and a move within one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from msgspec import Struct

BLOCK: Final = 512


class Dirent(Struct, gc=False):
    """`name`, `cookie`, `ino` and `kind` never change once it is in a directory; `lsn` becomes 0 when SQL has it."""

    name: bytes
    cookie: int
    ino: int
    kind: int
    lsn: int


_cookie: Final = attrgetter("cookie")


class ByCookie:
    """Entries by cookie, each cookie once. Changes and `after` need the namespace's lock."""

    __slots__ = ("_blocks", "_lows")

    def __init__(self, entries: Iterable[Dirent] = ()) -> None:
        # None of the blocks is empty. The low of each is at most its first cookie, and above all of the block before.
        self._blocks: list[list[Dirent]] = []
        self._lows: list[int] = []
        for entry in sorted(entries, key=_cookie):
            self.add(entry)

    def add(self, entry: Dirent) -> None:
        """In the place of the one with the same cookie, if there is one."""
        blocks, lows = self._blocks, self._lows
        cookie = entry.cookie
        if not blocks or blocks[-1][-1].cookie < cookie:
            # New cookies are the highest, almost always.
            if blocks and len(blocks[-1]) < BLOCK:
                blocks[-1].append(entry)
            else:
                blocks.append([entry])
                lows.append(cookie)
            return
        at = max(0, bisect_right(lows, cookie) - 1)
        lows[at] = min(lows[at], cookie)
        block = blocks[at]
        index = bisect_left(block, cookie, key=_cookie)
        if index < len(block) and block[index].cookie == cookie:
            block[index] = entry
            return
        block.insert(index, entry)
        if len(block) > 2 * BLOCK:
            blocks.insert(at + 1, block[BLOCK:])
            lows.insert(at + 1, block[BLOCK].cookie)
            del block[BLOCK:]

    def discard(self, cookie: int) -> None:
        """Takes out the entry with this cookie, if there is one."""
        blocks, lows = self._blocks, self._lows
        at = bisect_right(lows, cookie) - 1
        if at < 0:
            return
        block = blocks[at]
        index = bisect_left(block, cookie, key=_cookie)
        if index == len(block) or block[index].cookie != cookie:
            return
        del block[index]
        if not block:
            del blocks[at], lows[at]

    def after(self, cookie: int, most: int) -> list[Dirent]:
        """The first `most` entries with higher cookies."""
        out: list[Dirent] = []
        at = max(0, bisect_right(self._lows, cookie) - 1)
        for block in self._blocks[at : at + most + 1]:
            begin = 0 if out else bisect_right(block, cookie, key=_cookie)
            out += block[begin : begin + most - len(out)]
            if len(out) == most:
                break
        return out

    def __len__(self) -> int:
        return sum(map(len, self._blocks))
