"""Where a file counts: its home, a directory that holds one of its names, and what other names it has.

A file with several names counts once, in the directory of its first name; when that is removed or moved away, in one of the
directories that still hold a name of it. So the row of such a file says how many further names lie in which directory.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.msgpack import Decoder, Encoder

from gateway.metadata import rows
from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.rows import DropDirent, InodeRow, PutDirent, PutInode

DIRECTORIES_MAX: Final = 4096
"""Directories, besides the home, that hold names of one file; any number of names may be in each."""

_encoder = Encoder()
_decoder = Decoder(list[int])


def further(row: InodeRow) -> dict[int, int]:
    """Names of a file besides the one in its home: their number by directory."""
    if row.links is None:
        return {}
    flat = _decoder.decode(row.links)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def packed(names: dict[int, int]) -> bytes | None:
    """The form of `further` that rows hold."""
    if not names:
        return None
    return _encoder.encode([number for item in sorted(names.items()) for number in item])


def named(row: InodeRow, directory: int) -> bool:
    """A further name appeared in a directory; changes the row. False, and unchanged: in too many directories already."""
    names = further(row)
    if directory not in names and len(names) >= DIRECTORIES_MAX:
        return False
    names[directory] = names.get(directory, 0) + 1
    row.links = packed(names)
    return True


def unnamed(row: InodeRow, directory: int) -> None:
    """A name in a directory went, and was not the last; changes the row."""
    names = further(row)
    if directory not in names:
        if directory != row.parent or not names:
            return
        row.parent = directory = min(names)
    _take(names, directory)
    row.links = packed(names)


def moved(row: InodeRow, old: int, new: int) -> None:
    """A name went from one directory into another; changes the row."""
    names = further(row)
    if old in names:
        _take(names, old)
        names[new] = names.get(new, 0) + 1
        row.links = packed(names)
    else:
        row.parent = new


def _take(names: dict[int, int], directory: int) -> None:
    names[directory] -= 1
    if not names[directory]:
        del names[directory]


def complete(ops: Sequence[rows.RowOp], before: Callable[[int], InodeRow | None]) -> None:
    """Fills in the home of files in a record that was written before rows of format 3 knew it.

    `before`: rows as they were before the record.
    """
    for op in ops:
        if isinstance(op, PutInode) and op.row.parent == 0 and op.row.kind != DIRECTORY:
            _complete(op.row, ops, before(op.row.ino))


def _complete(row: InodeRow, ops: Sequence[rows.RowOp], before: InodeRow | None) -> None:
    put = next((op for op in ops if isinstance(op, PutDirent)), None)
    dropped = next((op for op in ops if isinstance(op, DropDirent)), None)
    if before is None:
        row.parent = put.dir if put is not None and put.ino == row.ino else 0
        return
    row.parent, row.links = before.parent, before.links
    if row.orphan:
        return
    if put is not None and put.ino == row.ino:
        if dropped is not None:
            moved(row, dropped.dir, put.dir)
        else:
            named(row, put.dir)
    elif put is not None:  # another file took the name
        unnamed(row, put.dir)
    elif dropped is not None:
        unnamed(row, dropped.dir)
