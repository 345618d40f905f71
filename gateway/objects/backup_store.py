"""The metadata backups of a container: puts, reads and lists their objects, sealed where the file system has a key."""

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from gateway._core import KeyRing, SealError, StoreError, sealed_with
from gateway.objects import backup_chain
from gateway.objects.backup_chain import Increment, Listing, SettingsCopy, Snapshot
from gateway.objects.backup_format import (
    BackupError,
    Head,
    IncrementHead,
    NewerBackupError,
    PartHead,
    SettingsHead,
    SnapshotHead,
    decode,
    decode_records,
    encode,
)

OBJECT_MAX_BYTES: Final = 320 << 20
_SEALED: Final = b"CDSO"
_H = TypeVar("_H", IncrementHead, SnapshotHead, PartHead, SettingsHead)


class Objects(Protocol):
    """Objects of a store; see gateway._core.PackStore."""

    def list_objects(self, prefix: str) -> Sequence[tuple[str, int]]: ...
    def put_object(self, key: str, data: bytes) -> bool: ...
    def read_object(self, key: str, max_bytes: int) -> bytes | None: ...
    def delete_object(self, key: str) -> None: ...


class BackupStore:
    """Backups of the file system `fs_id`. What is put is durable on return; names are never put twice with other rows.

    ring: seals and opens; None: the file system is not encrypted. Methods raise StoreError where the store fails.
    """

    def __init__(self, objects: Objects, fs_id: bytes, ring: KeyRing | None) -> None:
        self._objects = objects
        self._fs_id = fs_id.hex()
        self._ring = ring

    @property
    def fs_id(self) -> str:
        return self._fs_id

    @property
    def key_id(self) -> str | None:
        """Id of the key that seals what is put."""
        return None if self._ring is None else self._ring.current

    def list(self) -> Listing:
        return backup_chain.parse(self._objects.list_objects(backup_chain.ROOT))

    def put(self, key: str, head: Head, payload: bytes = b"") -> int:
        """Puts an object; returns its bytes. One that is there already stays: it says the same."""
        data = encode(head, payload)
        if self._ring is not None and self._ring.current is not None:
            data = self._ring.seal(data, _purpose(key))
        self._objects.put_object(key, data)
        return len(data)

    def delete(self, key: str) -> None:
        self._objects.delete_object(key)

    def sealed_with(self, snapshot: Snapshot) -> str | None:
        """Id of the key that a snapshot's manifest is sealed with."""
        start = self._objects.read_object(snapshot.key, 64)
        return None if start is None else sealed_with(start)

    def snapshot(self, name: Snapshot) -> SnapshotHead:
        """What a snapshot's manifest says. Raises BackupError."""
        head, _ = self._read(name.key, SnapshotHead)
        if (head.epoch, head.lsn, head.token) != (name.epoch, name.lsn, name.token):
            raise BackupError(f"{name.key}: it is the manifest of another snapshot")
        return head

    def part(self, name: Snapshot, number: int) -> bytes:
        """One piece of the database. Raises BackupError."""
        key = name.part(number)
        head, payload = self._read(key, PartHead)
        if (head.epoch, head.token, head.number) != (name.epoch, name.token, number):
            raise BackupError(f"{key}: it is a part of another snapshot")
        return payload

    def increment(self, name: Increment) -> Sequence[tuple[int, bytes]]:
        """The transactions of an increment, in order. Raises BackupError."""
        head, payload = self._read(name.key, IncrementHead)
        if (head.epoch, head.from_lsn, head.to_lsn) != (name.epoch, name.from_lsn, name.to_lsn):
            raise BackupError(f"{name.key}: it is another increment")
        try:
            return decode_records(head, payload)
        except BackupError as error:
            raise BackupError(f"{name.key}: {error}") from error

    def settings(self, name: SettingsCopy) -> bytes:
        """The payload of a copy of the settings. Raises BackupError."""
        head, payload = self._read(name.key, SettingsHead)
        if (head.epoch, head.token) != (name.epoch, name.token):
            raise BackupError(f"{name.key}: it is another copy")
        return payload

    def _read(self, key: str, kind: type[_H]) -> tuple[_H, bytes]:
        data = self._objects.read_object(key, OBJECT_MAX_BYTES)
        if data is None:
            raise BackupError(f"{key} is missing")
        try:
            head, payload = decode(self._opened(key, data))
        except NewerBackupError as error:
            raise NewerBackupError(f"{key}: {error}") from error
        except BackupError as error:
            raise BackupError(f"{key}: {error}") from error
        if not isinstance(head, kind):
            raise BackupError(f"{key}: it is an object of another kind")
        if head.fs_id != self._fs_id:
            raise BackupError(f"{key}: it belongs to another file system")
        return head, payload

    def _opened(self, key: str, data: bytes) -> bytes:
        """The object that was sealed. Where a key seals, what nobody sealed could be anybody's, and is refused."""
        if data[: len(_SEALED)] != _SEALED:
            if self.key_id is not None:
                raise BackupError("it is not encrypted, though the file system is")
            return data
        try:
            if self._ring is None:
                raise BackupError(f"it is encrypted with the key {sealed_with(data[:64])}")
            return self._ring.open(data, _purpose(key))
        except SealError as error:
            raise BackupError(str(error)) from error


def _purpose(key: str) -> str:
    return f"metadata backup {key}"


__all__ = ["BackupStore", "Objects", "StoreError"]
