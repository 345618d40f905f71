"""Encryption of one file system on the owner's side: the keys of its key file, checked against what its store needs."""

from collections.abc import Mapping
from typing import Self

import structlog

from gateway._core import KeyRing, PackStore
from gateway.config import Config
from gateway.errors import Reason, StartError
from gateway.objects import core_options, keys
from gateway.objects.key_file import read_key_file

log = structlog.get_logger(__name__)


class Encryption:
    """Holds the ring that the core seals and opens with; None where no key file was given."""

    def __init__(self, config: Config, env: Mapping[str, str], ring: KeyRing | None) -> None:
        self._config = config
        self._env = env
        self.ring = ring
        # Keys that packs may still be on their way with.
        self._used = {ring.current} - {None} if ring is not None else set[str | None]()

    @classmethod
    def read(cls, config: Config, fs_id: bytes, env: Mapping[str, str]) -> Self:
        """Reads the key file; asks nobody. Raises StartError."""
        return cls(config, env, open_ring(config, fs_id))

    def check(self) -> None:
        """Raises StartError where the store needs a key that is not there, or another one."""
        path = self._config.encryption_key
        keys.check(self._store(), None if path is None else read_key_file(path), self.ring)

    def remember(self) -> None:
        """Lets the store know the current key, before anything is sealed with it."""
        if self.ring is not None:
            keys.remember(self._store(), self.ring)
            log.info("encryption.on", key=self.ring.current, keys=self.ring.ids)

    def reload(self) -> dict[str, object]:
        """Takes the keys of the file as it is now: a new current key from the next pack on. Raises StartError, and goes on
        with the old ones.
        """
        path = self._config.encryption_key
        if path is not None and self.ring is not None:
            file = read_key_file(path)
            fresh = KeyRing(self._fs_id(), file.keys, seals=file.seals)
            if lost := self._used - set(file.ids):
                raise StartError(
                    f"the key {', '.join(sorted(map(str, lost)))} has sealed packs since the server started",
                    "put its line back into the key file; after a restart of the server it may be retired",
                    Reason.KEY_MISSING,
                )
            store = self._store()
            keys.check(store, file, fresh)
            keys.remember(store, fresh)
            self.ring.replace(file.keys, seals=file.seals)
            self._used |= {fresh.current} - {None}
            log.info("encryption.reloaded", key=self.ring.current, keys=self.ring.ids)
        return self.status()

    def status(self) -> dict[str, object]:
        """For `caudal status`: ids, never keys."""
        if self.ring is None:
            return {"state": "off"}
        current = self.ring.current
        return {
            "state": "on" if current else "reading only",
            "key": current,
            "keys": self.ring.ids,
            "used_since_start": sorted(map(str, self._used)),
        }

    def _fs_id(self) -> bytes:
        assert self.ring is not None
        return self.ring.fs_id

    def _store(self) -> PackStore:
        return PackStore(self._config.store, core_options(self._config.store, self._env), self.ring)


def open_ring(config: Config, fs_id: bytes) -> KeyRing | None:
    """The ring of the configured key file; None where there is none. Raises StartError."""
    path = config.encryption_key
    return None if path is None else keys.ring_of(read_key_file(path), fs_id)
