"""Time as the namespace sees it: injected, so that tests decide what time it is."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()
