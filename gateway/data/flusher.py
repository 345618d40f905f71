"""Flush: dirty extents become packs in the object store, continuously.

Policy lives here, bytes move in the core. A flush takes what is old enough (or everything, under pressure), writes packs,
and swaps dirty extents for pack extents in one transaction. Whatever was written, truncated or punched since the flush
took it stays dirty, so nothing that a client did meanwhile is undone.

After a crash at any point the journal still holds what was taken: it is flushed again into other packs, and the packs that
no transaction named are found by listing and removed.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway._core import StoreError
from gateway.data.ports import FlushBatchPort, FlushCorePort, FlushNamespacePort

log = structlog.get_logger(__name__)

YOUNGEST_TAKEN = 0.25
"""What goes with data that is old enough is at least this part of its age; younger data may still be written."""

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
IDLE_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class FlushSettings:
    """When to flush.

    age_s: when something has been dirty for longer than this, it goes, with all that is at least a quarter as old: taken
    one by one as they come of age, files would hardly ever share a pack. high_bytes, high_inodes: above this many dirty
    bytes or files everything goes, whatever its age. batch_bytes: what one batch takes at most (several packs, put
    concurrently). workers: batches under way at once.
    """

    age_s: float
    high_bytes: int
    high_inodes: int
    batch_bytes: int = 64 << 20
    workers: int = 2


class Random(Protocol):
    def random(self) -> float: ...


class Flusher:
    """Runs the flush. start() begins, stop() ends after the batches under way; wait_until_flushed() is `flush --wait`."""

    def __init__(
        self,
        core: FlushCorePort,
        namespace: FlushNamespacePort,
        settings: FlushSettings,
        *,
        journal_fill: Callable[[], float],
        random: Random,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._core = core
        self._namespace = namespace
        self._settings = settings
        self._journal_fill = journal_fill
        self._random = random
        self._monotonic_ns = monotonic_ns
        self._wake = threading.Condition()
        self._taking = threading.Lock()
        self._stopping = False
        self._urgent_lsn = 0
        self._failures = 0
        self._last_error: str | None = None
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for index in range(self._settings.workers):
            thread = threading.Thread(target=self._run, name=f"flush-{index}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    @property
    def last_error(self) -> str | None:
        """Why the newest batch failed; None once one has succeeded."""
        return self._last_error

    def wait_until_flushed(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was acknowledged before the call is in the store. False when timeout_s passed first."""
        upto_lsn = self._core.last_lsn
        deadline_ns = None if timeout_s is None else self._monotonic_ns() + int(timeout_s * 1e9)
        with self._wake:
            self._urgent_lsn = max(self._urgent_lsn, upto_lsn)
            self._wake.notify_all()
            while not self._is_flushed(upto_lsn):
                if self._stopping or (deadline_ns is not None and self._monotonic_ns() >= deadline_ns):
                    return False
                self._wake.wait(0.02)
        # The transactions that name the packs must be durable too, or a crash would flush everything once more.
        self._core.wait_durable(self._core.last_lsn)
        return True

    def _is_flushed(self, upto_lsn: int) -> bool:
        # A batch under way has left "dirty" only when it is committed: the core counts what it took as dirty until then.
        oldest_lsn = self._core.dirty().oldest_lsn
        return oldest_lsn == 0 or oldest_lsn > upto_lsn

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopping:
                    return
            try:
                worked = self.step()
            except Exception:
                log.exception("flush failed unexpectedly")
                worked = False
                self._failures += 1
            delay_s = 0.0 if worked else self._pause_s()
            if delay_s:
                with self._wake:
                    if not self._stopping:
                        self._wake.wait(delay_s)

    def _pause_s(self) -> float:
        if self._failures == 0:
            return IDLE_POLL_S if self._urgent_lsn == 0 else 0.01
        backoff = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 10))
        return backoff * (0.5 + self._random.random() / 2)

    def step(self) -> bool:
        """Flushes one batch if there is one to flush. True when it moved something."""
        with self._taking:
            batch = self._take()
            if batch is None:
                return False
            taken_bytes = batch.bytes
            self._in_flight += 1
            self._in_flight_bytes += taken_bytes
        try:
            return self._put(batch)
        finally:
            with self._taking:
                self._in_flight -= 1
                self._in_flight_bytes -= taken_bytes

    def _put(self, batch: FlushBatchPort) -> bool:
        try:
            batch.write()
        except StoreError as error:
            self._failed(batch, error)
            return False
        except BaseException:
            batch.abort()
            raise
        self._namespace.flush_commit(batch)
        self._succeeded()
        return True

    def _take(self) -> FlushBatchPort | None:
        settings = self._settings
        dirty = self._core.dirty()
        if dirty.inodes == 0:
            self._urgent_lsn = 0
            return None
        much = dirty.bytes >= settings.high_bytes or dirty.inodes >= settings.high_inodes
        if much or self._journal_fill() >= 0.5:
            return self._core.flush_take(
                inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=settings.batch_bytes
            )
        if self._urgent_lsn:
            batch = self._core.flush_take(
                inodes=None, dirty_before_ns=None, upto_lsn=self._urgent_lsn, max_bytes=settings.batch_bytes
            )
            if batch is not None:
                return batch
            if dirty.oldest_lsn > self._urgent_lsn:
                self._urgent_lsn = 0
        if dirty.oldest_age_s < settings.age_s:
            return None
        # What a batch under way took counts as dirty, and old, until it is committed. What came of age since then waits for
        # the next batch, unless it fills one.
        if self._in_flight and dirty.bytes - self._in_flight_bytes < settings.batch_bytes:
            return None
        before_ns = self._monotonic_ns() - int(settings.age_s * YOUNGEST_TAKEN * 1e9)
        return self._core.flush_take(
            inodes=None, dirty_before_ns=before_ns, upto_lsn=None, max_bytes=settings.batch_bytes
        )

    def _failed(self, batch: FlushBatchPort, error: StoreError) -> None:
        batch.abort()
        self._failures += 1
        self._last_error = str(error)
        if self._failures == 1:
            log.warning("the object store does not take packs; writes stay in the journal", error=str(error))

    def _succeeded(self) -> None:
        if self._failures:
            log.info("the object store takes packs again", failures=self._failures)
        self._failures = 0
        self._last_error = None
        with self._wake:
            self._wake.notify_all()
