"""Copies of the whole database in a file of their own: what a backup's snapshot holds, and what a recovery begins with."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, select, text
from sqlalchemy.pool import NullPool

from gateway import sqlite
from gateway.metadata.checkpoint_sql import Statements
from gateway.metadata.database import Database, read_meta
from gateway.metadata.errors import MetadataError
from gateway.metadata.tables import pack

SPARE_BYTES: Final = 8 << 20
SPARE_SHARE: Final = 8
"""Left free on the disk beside a copy, since the database itself goes on growing: so much, or the share of its size."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: every row transaction up to `lsn`, `inodes` inodes, `file_bytes` bytes of files."""

    lsn: int
    schema: str
    inodes: int
    file_bytes: int


def copy(database: Database, path: Path) -> Copied:
    """Puts a consistent copy of the database in place of what `path` may hold. Not durable: who loses it makes another.

    Raises MetadataError where the disk has no room, SQLAlchemyError, the driver's errors, OSError.
    """
    path.unlink(missing_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    size = _bytes(database)
    need = size + max(SPARE_BYTES, size // SPARE_SHARE)
    status = os.statvfs(path.parent)
    if status.f_bavail * status.f_frsize < need:
        raise MetadataError(
            f"a snapshot of the database needs {need >> 20} MiB free on the disk of {path.parent}"
        )
    # It is all the metadata: nobody else's to read, from its first byte on.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    database.copy_into(path)
    return read(path)


def _bytes(database: Database) -> int:
    with database.reader() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def read(path: Path) -> Copied:
    """What a copy holds; changes nothing. Raises SQLAlchemyError, KeyError for a file that is none."""
    with _reading(path) as connection:
        facts = read_meta(connection)
        schema = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
        return Copied(int(facts["checkpoint_lsn"]), schema, int(facts["inodes"]), int(facts["bytes"]))


def live_packs(path: Path) -> set[int]:
    """The packs that something lives in, in a copy."""
    with _reading(path) as connection:
        return set(connection.scalars(select(pack.c.id).where(pack.c.live_bytes > 0)))


def mark_forked(database: Database, epoch: int) -> None:
    """Notes that epochs before `epoch` may have gone on elsewhere, beyond what this database was recovered to."""
    with database.writer() as connection:
        Statements(connection).put_facts({"forked_epoch": str(epoch)})


@contextmanager
def _reading(path: Path) -> Generator[Connection]:
    # Immutable: nobody writes it, and no lock or log may come to stand beside it.
    engine = sqlite.engine(
        f"sqlite:///file:{quote(str(path))}?mode=ro&immutable=1&uri=true", poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
