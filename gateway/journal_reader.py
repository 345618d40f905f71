"""Reading the journal of a running server: from the mirrors that hold all of it, whichever these are at the moment."""

from collections.abc import Callable

from gateway._core import JournalTail


class MirroredTail:
    """A JournalTail that follows the membership: a mirror that was lost or rebuilt is not read from meanwhile.

    mirrors: asks the owner for the directories that hold everything. open_tail: of directories, from an LSN.
    """

    def __init__(
        self,
        mirrors: Callable[[], list[str]],
        open_tail: Callable[[list[str], int], JournalTail],
        from_lsn: int,
    ) -> None:
        self._mirrors = mirrors
        self._open_tail = open_tail
        self._dirs = mirrors()
        self._tail = open_tail(self._dirs, from_lsn)

    def next_batch(self, durable_lsn: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """As JournalTail.next_batch."""
        dirs = self._mirrors()
        if dirs and dirs != self._dirs:
            self._tail = self._open_tail(dirs, self._tail.position + 1)
            self._dirs = dirs
        return self._tail.next_batch(durable_lsn, max_bytes)

    @property
    def position(self) -> int:
        """Everything up to this LSN was returned or passed over."""
        return self._tail.position

    @property
    def is_cut_off(self) -> bool:
        """As JournalTail.is_cut_off."""
        return self._tail.is_cut_off
