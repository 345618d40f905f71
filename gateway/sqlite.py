"""SQLite as this project uses it: the driver that brings a library of its own.

Debian 12's library (3.40) has a race that all of them had from 3.7.0 to 3.51.2: of two connections that write and
checkpoint in the same moment, the later may take pages for copied that are not, and what was committed is lost
(https://sqlite.org/wal.html#walresetbug). Several threads and processes write here, and the journal is trimmed on the word
of the database. All of one process goes by this driver: a second library in it would drop the first one's locks.
"""

from typing import Any, Final

from pysqlite3 import dbapi2  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import Engine, create_engine

DRIVER: Final[Any] = dbapi2
"""A DB-API module, as `sqlite3` is one."""

SAFE_FROM: Final = (3, 51, 3)
"""The first version of the library without the race."""


def engine(url: str, **options: Any) -> Engine:
    """SQLAlchemy's engine for a SQLite URL. Raises SQLAlchemyError."""
    return create_engine(url, module=DRIVER, **options)
