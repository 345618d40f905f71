"""Where the chain of backups ends that belongs to this state directory: what a steward must know of the one before it.

What the container alone says is not enough: after the loss of a machine another one may go on from an earlier moment, and
both leave objects. A state directory knows which of them are its own.
"""

import json
from pathlib import Path
from typing import Any, Final

from gateway.state import write_atomically

FORMAT: Final = 1
FOLDER: Final = "backup"
FILE: Final = "position.json"


class Memo:
    """The end of the chain, as an LSN, in a file of the state directory."""

    def __init__(self, path: Path, fs_id: str) -> None:
        self._path = path
        self._fs_id = fs_id

    def read(self) -> int | None:
        """None: nothing is known, or nothing that this version understands; then a new chain begins."""
        try:
            fields: Any = json.loads(self._path.read_bytes())
            if fields["format"] == FORMAT and fields["fs_id"] == self._fs_id:
                return int(fields["lsn"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        return None

    def write(self, lsn: int) -> None:
        """Durable on return."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"format": FORMAT, "fs_id": self._fs_id, "lsn": lsn})
        write_atomically(self._path, text.encode())


def forget(state: Path) -> None:
    """The database changed without the journal: the next chain begins with a snapshot. Durable enough: nothing is lost
    where this is undone by a crash but the mending, which is done again.
    """
    (state / FOLDER / FILE).unlink(missing_ok=True)
