"""A directory as the store: for trials, tests and machines whose disks are the store."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.errors import Reason, StartError
from gateway.objects.container import ROOT_KEY, Root, RootChangedError
from gateway.state import sync_directory, write_atomically

LOCK_NAME: Final = "root.lock"


class DirectoryRootStore:
    """The root object as a file, replaced by rename under a lock. A file's tag is the hash of its bytes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._root = self._path / ROOT_KEY

    @property
    def url(self) -> str:
        return f"file://{self._path}"

    def create(self) -> None:
        with self._errors():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._path.parent)
            sync_directory(self._path)

    def read_root(self) -> Root | None:
        with self._errors():
            try:
                data = self._root.read_bytes()
            except FileNotFoundError:
                return None
        return Root(data, _tag(data))

    def swap_root(self, data: bytes, etag: str | None) -> str:
        with self._errors(), self._locked():
            current = self.read_root()
            if (None if current is None else current.etag) != etag:
                raise RootChangedError
            write_atomically(self._root, data)
        return _tag(data)

    def close(self) -> None:
        """Nothing is held between calls."""

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """Keeps other processes out between the comparison and the rename. A process that dies gives the lock
        back.
        """
        descriptor = os.open(self._root.parent / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StartError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StartError(
                f"no space is left in the store {self.url}", "make room on its disk", Reason.NO_SPACE
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StartError(
                f"the store {self.url} may not be written",
                "check the owner and mode of the directory, and that its disk is mounted for writing",
                Reason.STORE_REFUSED,
            )
        why = os.strerror(error.errno) if error.errno else str(error)
        return StartError(
            f"the store {self.url} cannot be reached: {why}",
            "check that the path is a directory and its disk is mounted",
            Reason.STORE_UNREACHABLE,
        )


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
