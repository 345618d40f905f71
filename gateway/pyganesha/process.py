"""Help for file systems that run inside Ganesha's process."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import cast

LEVELS = ((logging.ERROR, 0), (logging.WARNING, 1), (logging.INFO, 2))


def unblock_signals() -> None:
    """Unblocks every signal in this process; as ``preexec_fn`` of a child process.

    Ganesha's threads block HUP, PIPE and TERM, and a child inherits that: it would neither end by TERM nor by a broken pipe.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class LogHandler(logging.Handler):
    """Sends records to Ganesha's log. Outside of Ganesha it cannot be made (ImportError)."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        from importlib import import_module

        self._log = cast("Callable[[int, str], None]", import_module("_pyganesha_native").log)

    def emit(self, record: logging.LogRecord) -> None:
        self._log(next((ours for theirs, ours in LEVELS if record.levelno >= theirs), 3), self.format(record))
