"""How the memory for names and attributes is shared out: one size for an operator, a bound for each cache.

What one item takes was measured, by what the server gained of 32, 128 and 512 MiB given; the sizes here are a little above
that. What a process takes without any of it is about 100 MiB.
"""

from dataclasses import dataclass
from typing import Final

# Ganesha's cache: an entry with our handle, and 128 names of a directory with their trees.
ENTRY_BYTES: Final = 2_600
CHUNK_BYTES: Final = 44_000
# The namespace's: a row of an inode, a name, and a row that is not in the database yet, be it of an inode or a name.
ROW_BYTES: Final = 800
NAME_BYTES: Final = 400
CHANGED_BYTES: Final = 700


@dataclass(frozen=True, slots=True)
class MetadataBounds:
    """Most items in each of the caches."""

    entries: int
    chunks: int
    rows: int
    names: int
    changed: int


def metadata_bounds(memory_bytes: int) -> MetadataBounds:
    """Shares of the memory that is meant for names and attributes."""
    return MetadataBounds(
        entries=memory_bytes * 30 // 100 // ENTRY_BYTES,
        chunks=memory_bytes * 15 // 100 // CHUNK_BYTES,
        rows=memory_bytes * 15 // 100 // ROW_BYTES,
        names=memory_bytes * 15 // 100 // NAME_BYTES,
        changed=memory_bytes * 25 // 100 // CHANGED_BYTES,
    )
