"""Clean inode rows in memory: those that SQL has just so. Bounded, least recently used go first, roughly."""

from threading import RLock

from gateway.metadata.rows import InodeRow


class InodeCache:
    """Two generations of rows: what is used moves into the young one, and when that is full the old one retires.

    It is taken apart two rows at a time, since to free a hundred thousand at once would hold everybody up. All this keeps
    reads free of locks and of any bookkeeping: a hit in the young generation is one look into a dict.
    `put` and `discard` are called with the namespace's lock held.
    """

    __slots__ = ("_half", "_lock", "_old", "_retired", "_young")

    def __init__(self, limit: int, lock: RLock) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        self._half = max(1, limit // 2)
        self._lock = lock
        self._young: dict[int, InodeRow] = {}
        self._old: dict[int, InodeRow] = {}
        self._retired: dict[int, InodeRow] = {}  # nobody looks here

    def get(self, ino: int) -> InodeRow | None:
        row = self._young.get(ino)
        if row is None:
            row = self._old.get(ino)
            if row is not None:
                with self._lock:
                    # Unless it was dropped or changed since: a stale row must not come back.
                    if self._old.get(ino) is row:
                        self.put(row)
        return row

    def put(self, row: InodeRow) -> None:
        young = self._young
        young[row.ino] = row
        retired = self._retired
        if retired:
            retired.popitem()
            if retired:
                retired.popitem()
        if len(young) >= self._half:
            self._retired = self._old
            # In this order: a reader between the two lines finds its row in either.
            self._old = young
            self._young = {}

    def discard(self, ino: int) -> None:
        self._young.pop(ino, None)
        self._old.pop(ino, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._retired)
