"""A snapshot on its way into the container, piece by piece, so that increments go on meanwhile."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.metadata.snapshot import Copied
from gateway.objects.backup_chain import Snapshot
from gateway.objects.backup_format import Part, PartHead, SnapshotHead
from gateway.objects.backup_store import BackupStore

PART_BYTES: Final = 16 << 20
"""Of the database in one object: about a third of it goes over the network."""


class Upload:
    """Puts the copy in `file` as the snapshot `name`. A step that failed is tried again; the manifest comes last, and before
    it there is no snapshot.
    """

    def __init__(
        self,
        store: BackupStore,
        file: Path,
        copied: Copied,
        name: Snapshot,
        complete_ns: int,
        failpoint: Callable[[str], None],
    ) -> None:
        self._store = store
        self._file = file
        self._complete_ns = complete_ns
        self._failpoint = failpoint
        self._parts: list[Part] = []
        self._offset = 0
        self.copied = copied
        self.name = name
        self.put_bytes = 0
        # If it changes on the way, the next snapshot is due at once.
        self.key_id = store.key_id

    def step(self) -> bool:
        """Puts the next object; True when that was the manifest. Raises StoreError, OSError."""
        with self._file.open("rb") as file:
            file.seek(self._offset)
            piece = file.read(PART_BYTES)
        if piece:
            self._put_part(piece)
            return False
        self._failpoint("backup.before_manifest")
        head = SnapshotHead(
            fs_id=self._store.fs_id,
            epoch=self.name.epoch,
            lsn=self.copied.lsn,
            complete_ns=self._complete_ns,
            token=self.name.token,
            schema=self.copied.schema,
            inodes=self.copied.inodes,
            file_bytes=self.copied.file_bytes,
            parts=tuple(self._parts),
        )
        self.put_bytes += self._store.put(self.name.key, head)
        self._failpoint("backup.after_manifest")
        self.close()
        return True

    def _put_part(self, piece: bytes) -> None:
        number = len(self._parts)
        head = PartHead(
            fs_id=self._store.fs_id,
            epoch=self.name.epoch,
            token=self.name.token,
            number=number,
            bytes=len(piece),
        )
        self._failpoint("backup.before_part")
        self.put_bytes += self._store.put(self.name.part(number), head, piece)
        self._parts.append(Part(len(piece), hashlib.sha256(piece).hexdigest()))
        self._offset += len(piece)

    def close(self) -> None:
        """Lets go of the copy."""
        self._file.unlink(missing_ok=True)
