"""The thread that looks at the gateway once a second: for samples, the meter, and whoever else watches."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from admin_api import meter, samples
from admin_api.link import GatewayLink
from admin_api.meter import Meter, Usage
from admin_api.problems import Problem
from admin_api.samples import MINUTE_S, Bucket, Seconds
from admin_api.series import Readings

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
# A pause longer than this was no second: the machine slept, or the gateway was away.
GAP_S: Final = 10.0

Watcher = Callable[[dict[str, Any] | None, Sequence[float], float], None]
"""Told each second: the gateway's status, None while it does not answer; values of SERIES, none then; the time."""


class Sampler:
    """tick() is called once a second by run(), or by a test."""

    def __init__(
        self,
        engine: Engine,
        link: GatewayLink,
        now_s: Callable[[], float],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._link = link
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self.seconds = Seconds()
        self._readings = Readings()
        self._bucket = Bucket()
        self._meter = Meter(meter.last_position(engine))
        self._minute: int | None = None
        self._last_s: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; what it had of the minute is kept."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._keep()

    def pending(self) -> tuple[int, Usage]:
        """Usage that is not in the database yet, and its minute."""
        with self._lock:
            whole = Usage()
            whole.add(self._meter.pending)
            return self._minute or int(self._now_s()) // MINUTE_S * MINUTE_S, whole

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self.tick()
            except Exception:
                log.exception("sampler.failed")

    def tick(self) -> None:
        """One look."""
        status = self._status()
        now_s, at_s = self._now_s(), self._monotonic_s()
        minute = int(now_s) // MINUTE_S * MINUTE_S
        with self._lock:
            if self._minute is not None and minute != self._minute:
                self._keep()
            self._minute = minute
            values: Sequence[float] = ()
            if status is None:
                self._readings.forget()
                self._last_s = None
            else:
                values = self._take(status, now_s, at_s)
        for watcher in self._watchers:
            watcher(status, values, now_s)

    def _status(self) -> dict[str, Any] | None:
        try:
            known = self._link.known()
        except Problem:
            return None
        return None if known.why else known.status

    def _take(self, status: dict[str, Any], now_s: float, at_s: float) -> Sequence[float]:
        elapsed_s = 0.0 if self._last_s is None else at_s - self._last_s
        if elapsed_s > GAP_S:
            self._readings.forget()
        values = self._readings.take(status, at_s)
        self.seconds.put(int(now_s), values)
        self._bucket.add(values)
        self._meter.take(status, elapsed_s if elapsed_s <= GAP_S else 0.0)
        self._last_s = at_s
        return values

    def _keep(self) -> None:
        """Brings the minute into the database; where that fails the usage stays pending, and comes with the next minute."""
        if self._minute is None:
            return
        try:
            with self._engine.begin() as connection:
                samples.keep_minute(connection, self._minute, self._bucket.points())
                self._meter.keep(connection, self._minute)
        except SQLAlchemyError:
            log.warning("sampler.not_kept", exc_info=True)
        else:
            self._meter.kept()
        self._bucket = Bucket()
