"""A root store in memory with a clock that tests move, and handles of it that fail."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.errors import Reason, StartError
from gateway.objects.container import LeaseHeldError, LeaseLostError, Root, RootChangedError


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Blob:
    """The root object with its lease, as the service keeps them."""

    clock: Clock
    data: bytes | None = None
    version: int = 0
    lease_id: str | None = None
    until_s: float = 0.0
    duration_s: float = 0.0
    broken: bool = False

    @property
    def leased(self) -> bool:
        return self.lease_id is not None and self.clock() < self.until_s


class Handle:
    """One server's way to the blob. away: nothing arrives; deaf: what is asked is done, and no answer comes back."""

    url = "mem://store"

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self.away = False
        self.deaf = False

    @contextmanager
    def _sent(self) -> Generator[None, None, None]:
        if self.away:
            raise StartError("nothing arrives", "", Reason.STORE_UNREACHABLE)
        yield
        if self.deaf:
            raise StartError("no answer comes", "", Reason.STORE_UNREACHABLE)

    def create(self) -> None:
        with self._sent():
            pass

    def close(self) -> None:
        pass

    def read_root(self) -> Root | None:
        blob = self._blob
        with self._sent():
            return None if blob.data is None else Root(blob.data, str(blob.version), blob.leased)

    def swap_root(self, data: bytes, etag: str | None, lease_id: str | None = None) -> str:
        blob = self._blob
        with self._sent():
            if lease_id is None and blob.leased:
                raise LeaseHeldError
            if lease_id is not None and not (blob.leased and not blob.broken and blob.lease_id == lease_id):
                raise LeaseLostError
            if etag != (None if blob.data is None else str(blob.version)):
                raise RootChangedError
            blob.data, blob.version = data, blob.version + 1
            return str(blob.version)

    def acquire_lease(self, lease_id: str, duration_s: int) -> None:
        blob = self._blob
        with self._sent():
            if blob.leased and (blob.broken or blob.lease_id != lease_id):
                raise LeaseHeldError
            blob.lease_id, blob.broken, blob.duration_s = lease_id, False, duration_s
            blob.until_s = blob.clock() + duration_s

    def renew_lease(self, lease_id: str) -> None:
        blob = self._blob
        with self._sent():
            if blob.lease_id != lease_id or blob.broken:
                raise LeaseLostError
            blob.until_s = blob.clock() + blob.duration_s

    def release_lease(self, lease_id: str) -> None:
        with self._sent():
            if self._blob.lease_id == lease_id and not self._blob.broken:
                self._blob.lease_id = None

    def break_lease(self, period_s: int) -> None:
        blob = self._blob
        with self._sent():
            if blob.leased and not blob.broken:
                blob.broken, blob.until_s = True, min(blob.until_s, blob.clock() + period_s)
