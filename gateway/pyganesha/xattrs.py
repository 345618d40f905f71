"""Listing extended attributes in pages, as LISTXATTR does."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from .errors import FsalError, Status

_COUNT_BYTES = 4


def xattr_page(names: Iterable[bytes], after: int, room: int, most: int) -> tuple[list[bytes], int, bool]:
    """The next names, the cookie to go on after, and whether that was all.

    At most `most`, and as many as `room` bytes hold as an XDR array. A cookie is a digest of the name before it, and names
    go in the order of theirs: so what stays is listed once, whatever is set or removed between two pages, or the server
    started anew. Raises FsalError TOOSMALL (no room for the first).
    """
    left = sorted((_cookie(name), name) for name in names)
    left = [entry for entry in left if entry[0] > after]
    used = _COUNT_BYTES
    page: list[bytes] = []
    for cookie, name in left[:most]:
        used += 4 + (len(name) + 3) // 4 * 4
        if used > room:
            break
        page.append(name)
        after = cookie
    if left and not page:
        raise FsalError(Status.TOOSMALL)
    return page, after, len(page) == len(left)


def _cookie(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") or 1
