"""Gives memory that bursts of large requests left free in the C library's heap back to the system.

glibc keeps what is freed between pieces in use; with some hundred threads and buffers of a MiB that comes to several hundred
MiB, and stays however long the server idles.
"""

import ctypes
import threading
from typing import Final

INTERVAL_S: Final = 30.0


class HeapTrimmer:
    """A thread that trims now and then. Python's lock is free meanwhile; an allocation waits for milliseconds at most."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._trim = ctypes.CDLL(None).malloc_trim
        self._trim.argtypes, self._trim.restype = [ctypes.c_size_t], ctypes.c_int
        self._thread = threading.Thread(target=self._run, name="heap", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def trim(self) -> bool:
        """Whether anything was given back."""
        return bool(self._trim(0))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.trim()
