"""Logging: JSON lines in files, plain text on a terminal; one set-up for every process of ours."""

import logging
import sys
from pathlib import Path
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import Processor

LEVELS: Final = ("debug", "info", "warning", "error")


def configure(level: str, path: Path | None = None, stream: TextIO | None = None) -> TextIO:
    """Sends the records of this process to `path` as JSON lines, or else to `stream` (stderr) as plain text.

    Records of the standard library's logging (libraries) take the same way, from warnings on. The file is
    opened for appending, line by line, so that several processes and a log rotation by rename and restart get
    along.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        output: TextIO = path.open("a", buffering=1, encoding="utf-8")
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        output = stream if stream is not None else sys.stderr
        renderer = [structlog.dev.ConsoleRenderer(colors=output.isatty(), pad_event_to=0)]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Lossy(output))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
    return output


def _number(level: str) -> int:
    return {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}.get(
        level, logging.ERROR
    )


class _Lossy:
    """A text stream that never fails: a full disk or a closed pipe costs lines of the log, and not the
    process.

    How many were lost is told as soon as lines arrive again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        try:
            if self._lost:
                self._stream.write(f'{{"event": "log.lost", "level": "warning", "lines": {self._lost}}}\n')
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._lost += 1
        else:
            self._lost = 0
        return len(text)

    def flush(self) -> None:
        """Each write is flushed."""


class _Forward(logging.Handler):
    """Hands records of the standard library to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info is not None:
            fields["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, record.getMessage(), **fields)
