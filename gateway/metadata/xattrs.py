"""Extended attributes in memory: changed ones above what SQL has, and clean ones as a bounded cache.

Clean are all attributes of an inode as SQL had them; they leave whenever one of the inode's changes, and whenever the
changed ones leave, so that what is cached is never older than what the overlay forgot.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NONE: Final[Mapping[bytes, bytes]] = MappingProxyType({})

_ENTRY_BYTES: Final = (
    200  # what an attribute takes in memory besides name and value, and an inode besides attributes
)


class Xattrs:
    """Changes need the namespace's lock; `clean` does not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clean: dict[int, dict[bytes, bytes]] = {}
        self._clean_bytes = 0
        self._changed: dict[int, dict[bytes, tuple[int, bytes | None]]] = {}
        self.clean = self._clean.get
        self.changed_bytes = 0

    def put(self, ino: int, name: bytes, value: bytes | None, lsn: int) -> bool:
        """Sets a changed attribute (None: removed). True: the inode had no changed ones before."""
        self._drop_clean(ino)
        mine = self._changed.get(ino)
        is_first = mine is None
        if mine is None:
            mine = self._changed[ino] = {}
        self.changed_bytes += _size(name, value)
        old = mine.get(name)
        if old is not None:
            self.changed_bytes -= _size(name, old[1])
        mine[name] = (lsn, value)
        return is_first

    def discard(self, ino: int) -> None:
        """The inode is gone."""
        self._drop_clean(ino)
        self._drop_changed(self._changed.pop(ino, {}))

    def over(self, ino: int, below: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """The attributes of an inode of which SQL, or the cache, has those in `below`."""
        mine = self._changed.get(ino)
        if mine is None:
            return below
        now = {name: value for name, value in below.items() if name not in mine}
        now.update((name, value) for name, (_, value) in mine.items() if value is not None)
        return now

    def keep(self, ino: int, found: dict[bytes, bytes]) -> None:
        """Keeps what SQL has of an inode, in the place of what was not asked for, or changed, for the longest time."""
        self._drop_clean(ino)
        self._clean[ino] = found
        self._clean_bytes += _total(found)
        while self._clean_bytes > self._limit:
            self._drop_clean(next(iter(self._clean)))

    def forget(self, ino: int, lsn: int) -> int:
        """SQL has everything up to `lsn`. Returns the highest LSN of those that it may lack, 0 if there are none."""
        mine = self._changed.get(ino)
        if mine is None:
            return 0
        self._drop_clean(ino)
        left = {name: entry for name, entry in mine.items() if entry[0] > lsn}
        self._drop_changed({name: entry for name, entry in mine.items() if entry[0] <= lsn})
        if not left:
            del self._changed[ino]
            return 0
        self._changed[ino] = left
        return max(at for at, _ in left.values())

    def _drop_clean(self, ino: int) -> None:
        found = self._clean.pop(ino, None)
        if found is not None:
            self._clean_bytes -= _total(found)

    def _drop_changed(self, entries: Mapping[bytes, tuple[int, bytes | None]]) -> None:
        for name, (_, value) in entries.items():
            self.changed_bytes -= _size(name, value)

    def __len__(self) -> int:
        """Bytes of the clean ones, about."""
        return self._clean_bytes


def _size(name: bytes, value: bytes | None) -> int:
    return _ENTRY_BYTES + len(name) + len(value or b"")


def _total(found: Mapping[bytes, bytes]) -> int:
    return _ENTRY_BYTES + sum(_size(name, value) for name, value in found.items())
