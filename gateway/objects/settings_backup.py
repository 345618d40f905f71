"""Copies of the files that hold what operators set (exports, shares, limits, tiering) among the metadata backups: see
docs/formats/backup.md.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.objects.backup_chain import Listing, SettingsCopy
from gateway.objects.backup_format import BackupError, SettingsHead
from gateway.objects.backup_store import BackupStore
from gateway.state import StateDir, write_atomically

log = structlog.get_logger(__name__)
MAX_FILE_BYTES: Final = 8 << 20
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


def files_of(state: StateDir) -> dict[str, Path]:
    """The files that are copied, by name."""
    files = (state.exports_file, state.shares_file, state.limits_file, state.tiering_file)
    return {path.name: path for path in files}


class SettingsBackup:
    """Puts a copy whenever one of the files has changed. One thread's; methods raise StoreError where the store fails.

    now_ns: since 1970. may_delete: whether the lease is known to run. failpoint: of the steps before and after a put.
    """

    def __init__(
        self,
        store: BackupStore,
        state: StateDir,
        *,
        retention_s: float,
        now_ns: Callable[[], int],
        may_delete: Callable[[], bool],
        failpoint: Callable[[str], None],
    ) -> None:
        self._store = store
        self._files = files_of(state)
        self._retention_s = retention_s
        self._now_ns = now_ns
        self._may_delete = may_delete
        self._failpoint = failpoint
        self._last: str | None = None
        self._known = False

    def step(self, epoch: Callable[[], int]) -> None:
        """epoch: the owner's, asked for where something has to be put."""
        files = _read(self._files)
        payload = _encoder.encode(files)
        token = hashlib.sha256(payload).hexdigest()[:16]
        if self._known and token == self._last:
            return
        if not self._known:
            newest = max(self._store.list().settings, default=None)
            self._last, self._known = newest.token if newest else None, True
            if token == self._last or (newest is None and payload == _encoder.encode({})):
                self._last = token
                return
        now_ns = self._now_ns()
        name = SettingsCopy(epoch(), now_ns // 10**6, token)
        head = SettingsHead(
            fs_id=self._store.fs_id,
            epoch=name.epoch,
            complete_ns=now_ns,
            token=token,
            bytes=len(payload),
        )
        self._failpoint("backup.before_settings")
        # A crash after this puts the same once more, under another moment.
        self._store.put(name.key, head, payload)
        self._failpoint("backup.after_settings")
        self._last = token
        log.info("backup.settings", files=sorted(files))
        self._expire(name)

    def _expire(self, newest: SettingsCopy) -> None:
        kept_since_ms = newest.complete_ms - int(self._retention_s * 1000)
        ordered = sorted(self._store.list().settings)
        before = [one for one in ordered if one.complete_ms <= kept_since_ms and one < newest]
        # The newest of them is what held at that moment.
        gone = before[:-1] if self._retention_s else [one for one in ordered if one < newest]
        if gone and self._may_delete():
            for one in gone:
                self._store.delete(one.key)


def _read(files: Mapping[str, Path]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, path in files.items():
        try:
            found[name] = path.read_bytes()
        except FileNotFoundError:
            continue
    return found


def restore(
    store: BackupStore, listing: Listing, state: StateDir, *, upto_ms: int | None, tell: Callable[[str], None]
) -> list[str]:
    """Writes the newest copy's files into a state directory that has none; returns their names. upto_ms: the newest of then.
    One that is damaged is told, and passed over. Raises StoreError, NewerBackupError.
    """
    for copy in sorted(listing.settings, reverse=True):
        if upto_ms is not None and copy.complete_ms > upto_ms:
            continue
        try:
            found = _decoded(store.settings(copy))
        except BackupError as error:
            tell(f"{error}; the next best copy of exports and limits is used")
            continue
        written: list[str] = []
        for name, path in files_of(state).items():
            if name in found:
                write_atomically(path, found[name])
                written.append(name)
        return written
    return []


def _decoded(payload: bytes) -> dict[str, bytes]:
    try:
        found = _decoder.decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise BackupError(f"a copy of the settings is unreadable: {error}") from error
    if any(len(data) > MAX_FILE_BYTES for data in found.values()):
        raise BackupError("a copy of the settings is too large")
    return found
