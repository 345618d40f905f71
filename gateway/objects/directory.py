"""A directory as the store: for trials, tests and machines whose disks are the store."""

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.errors import Reason, StartError
from gateway.objects.container import ROOT_KEY, LeaseHeldError, LeaseLostError, Root, RootChangedError
from gateway.state import sync_directory, write_atomically

LOCK_NAME: Final = "root.lock"
LEASE_NAME: Final = "lease.json"


def _wall_clock_s() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)


@dataclass(frozen=True, slots=True)
class _Lease:
    """What the lease file says. An empty id: broken, and not to be had before its time. The time is the wall clock's,
    which the machines that share a directory have in common.
    """

    id: str
    until_s: float
    duration_s: int


class DirectoryRootStore:
    """The root object as a file, replaced by rename under a lock. A file's tag is the hash of its bytes. The lease is a
    file beside it.
    """

    def __init__(self, path: str | os.PathLike[str], now_s: Callable[[], float] = _wall_clock_s) -> None:
        self._path = Path(path)
        self._root = self._path / ROOT_KEY
        self._lease = self._root.with_name(LEASE_NAME)
        self._now_s = now_s

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
            lease = self._read_lease()
        return Root(data, _tag(data), lease is not None and self._runs(lease))

    def swap_root(self, data: bytes, etag: str | None, lease_id: str | None = None) -> str:
        with self._errors(), self._locked():
            lease = self._read_lease()
            runs = lease is not None and self._runs(lease)
            if lease_id is not None and not (runs and lease is not None and lease.id == lease_id):
                raise LeaseLostError
            if lease_id is None and runs:
                raise LeaseHeldError
            current = self.read_root()
            if (None if current is None else current.etag) != etag:
                raise RootChangedError
            write_atomically(self._root, data)
        return _tag(data)

    def acquire_lease(self, lease_id: str, duration_s: int) -> None:
        with self._errors(), self._locked():
            lease = self._read_lease()
            if lease is not None and self._runs(lease) and lease.id != lease_id:
                raise LeaseHeldError
            self._write_lease(_Lease(lease_id, self._now_s() + duration_s, duration_s))

    def renew_lease(self, lease_id: str) -> None:
        with self._errors(), self._locked():
            lease = self._read_lease()
            if lease is None or lease.id != lease_id:
                raise LeaseLostError
            self._write_lease(_Lease(lease_id, self._now_s() + lease.duration_s, lease.duration_s))

    def release_lease(self, lease_id: str) -> None:
        with self._errors(), self._locked():
            lease = self._read_lease()
            if lease is not None and lease.id == lease_id:
                self._lease.unlink(missing_ok=True)

    def break_lease(self, period_s: int) -> None:
        with self._errors(), self._locked():
            lease = self._read_lease()
            if lease is not None and self._runs(lease):
                until_s = min(lease.until_s, self._now_s() + period_s)
                self._write_lease(_Lease("", until_s, lease.duration_s))

    def _runs(self, lease: _Lease) -> bool:
        # One that would run for longer than it may was written by a clock that has been set back since.
        return 0 < lease.until_s - self._now_s() <= lease.duration_s

    def _read_lease(self) -> _Lease | None:
        """The lease, None where there is none that can be read: it is replaced as a whole."""
        try:
            found: Any = json.loads(self._lease.read_bytes())
            return _Lease(str(found["id"]), float(found["until_s"]), int(found["duration_s"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _write_lease(self, lease: _Lease) -> None:
        write_atomically(self._lease, json.dumps(asdict(lease)).encode())

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
