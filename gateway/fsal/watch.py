"""Tells the log what the native core only counts: that the store is in trouble and out of it again, that the disk cache or a
shelf of it was left, and blocks that came damaged.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
SOUND: Final = "ok"


class Watch:
    """A thread that looks at the core's figures now and then. stats: those of `Core.stats`."""

    def __init__(self, stats: Callable[[], Mapping[str, Any]], interval_s: float = INTERVAL_S) -> None:
        self._stats = stats
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._state = SOUND
        self._l2_off: str | None = None
        self._troubled: set[str] = set()
        self._bad, self._unreadable = 0, 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Logs what has changed since the last look."""
        stats = self._stats()
        self._look_at_store(stats["store"])
        self._look_at_blocks(stats["cache"])
        self._look_at_shelves(stats["cache"])

    def _look_at_shelves(self, cache: Mapping[str, Any]) -> None:
        off = cache["l2"]["off"]
        if off != self._l2_off:
            self._l2_off = off
            if off:
                log.warning("l2.off", why=off)
            else:
                log.info("l2.on")
        troubled = {shelf["path"]: shelf for shelf in cache["shelves"] if shelf["why"]}
        for path, shelf in troubled.items():
            if path not in self._troubled:
                log.warning("shelf.trouble", path=path, state=shelf["state"], why=shelf["why"])
        for path in self._troubled - troubled.keys():
            log.info("shelf.ok", path=path)
        self._troubled = set(troubled)

    def _look_at_store(self, store: Mapping[str, Any]) -> None:
        state = store.get("state", SOUND)
        if state == self._state:
            return
        if state == SOUND:
            log.info("store.ok", was=self._state)
        else:
            log.warning(
                "store.trouble",
                state=state,
                reads=store["reads"],
                writes=store["writes"],
                error=store["last_error"],
            )
        self._state = state

    def _look_at_blocks(self, cache: Mapping[str, Any]) -> None:
        unreadable, bad = cache["unreadable_blocks"], cache["bad_blocks"]
        if unreadable > self._unreadable:
            log.error("block.unreadable", blocks=unreadable - self._unreadable, error=cache["last_bad"])
        elif bad > self._bad:
            log.warning("block.fetched_again", blocks=bad - self._bad, error=cache["last_bad"])
        self._unreadable, self._bad = unreadable, bad

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.look()
            except Exception:
                log.exception("watch.failed")
