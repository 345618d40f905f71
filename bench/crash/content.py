"""Bytes that say whose they are: client, file, generation of the write, and offset, in each piece of 512 bytes.

Whatever a read returns can so be traced to the write that it stems from; bytes of another file, of another place, or of an
overwritten generation are recognised wherever they turn up.
"""

import re

PIECE = 512
_STAMP = re.compile(rb"(\d+)/(\d+)/(\d+)/(\d+);")


def content(client: int, file: int, generation: int, offset: int, length: int) -> bytes:
    """What one write puts at `offset` (bytes)."""
    first = offset - offset % PIECE
    pieces: list[bytes] = []
    for at in range(first, offset + length, PIECE):
        stamp = b"%d/%d/%d/%d;" % (client, file, generation, at)
        pieces.append((stamp * (PIECE // len(stamp) + 1))[:PIECE])
    return b"".join(pieces)[offset - first : offset - first + length]


def whose(data: bytes) -> str:
    """Which write some bytes stem from, in words."""
    if not data:
        return "nothing"
    if not data.strip(b"\0"):
        return "zeros"
    # A cut stamp may stand in front; the second one is whole.
    found = _STAMP.search(data, max(data.find(b";"), 0))
    if found is None:
        return repr(data[:24])
    client, file, generation, offset = map(int, found.groups())
    return f"client {client}'s file {file}, generation {generation}, offset {offset}"
