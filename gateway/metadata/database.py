"""The SQL database of the metadata: opening, schema versions, settings, and connections for cold reads.

The writer is the steward (`writer`), which must know that a transaction is on the disk before it says how far the
checkpoint got, because the journal is trimmed on its word. The owner only reads: each cold read is a statement of its
own, hence a snapshot of its own, taken no earlier than the statement began.
"""

import errno
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import quote

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import ClauseElement

from gateway import sqlite
from gateway.metadata import rows, tables
from gateway.metadata.errors import FsError, MetadataError, NewerFormatError

log = structlog.get_logger(__name__)

HEAD: Final = "0006"
"""The newest migration."""

READERS_MAX: Final = 8
BUSY_TIMEOUT_S: Final = 30
CACHE_KIB: Final = 4096
SCAN_CACHE_KIB: Final = 65536
LOG_KEPT_BYTES: Final = 64 << 20
WRITES: Final = {"caudal_writes": True}
"""Option of connections that will write: they take the lock at once, since upgrading it later may fail."""

Row = tuple[Any, ...]


class Database:
    """A database with the newest schema that belongs to one file system. `url` is SQLAlchemy's."""

    def __init__(self, url: str, fs_id: bytes) -> None:
        """Creates or upgrades it. Raises NewerFormatError, MetadataError (of another file system), SQLAlchemyError."""
        self.engine: Engine = _engine(url)
        self.fs_id = fs_id
        # Connections that nobody uses; None where there is none yet. Whoever finds nothing waits for one.
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(READERS_MAX):
            self._idle.put(None)
        self._texts: dict[ClauseElement, str] = {}
        self._closed = False
        # The driver's own where no SQLAlchemy is between.
        driver: Any = self.engine.dialect.loaded_dbapi
        self._unable: tuple[type[Exception], ...] = (driver.OperationalError, OperationalError)
        try:
            with self.writer() as connection:
                upgrade(connection)
                _adopt(connection, fs_id)
        except BaseException:
            self.engine.dispose()
            raise

    @contextmanager
    def writer(self) -> Generator[Connection]:
        """One transaction, on the disk when the block ends; rolled back when it raises. For the steward alone."""
        with self.engine.connect().execution_options(**WRITES) as connection, connection.begin():
            yield connection

    @contextmanager
    def reader(self) -> Generator[Connection]:
        """One snapshot for several reads. Keep it short: it holds back the cleaning of the database's own log."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def scanner(self) -> Generator[Connection]:
        """One snapshot for a look at everything."""
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql(f"PRAGMA cache_size = -{SCAN_CACHE_KIB}")
                connection.rollback()
            with connection.begin():
                yield connection

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Rows of one compiled read, by a driver's connection that is this call's alone. From any thread.

        What the database cannot do now (its disk is full or does not answer, somebody locks it for too long) is tried once
        more, with another connection; then it is FsError(EAGAIN): the client comes again, for nothing is lost.
        """
        try:
            return self._fetch(sql, parameters)
        except self._unable as error:
            log.warning("database.read_again", why=str(error))
        try:
            return self._fetch(sql, parameters)
        except self._unable as error:
            log.warning("database.read_failed", why=str(error))
            raise FsError(errno.EAGAIN, f"the metadata database: {error}") from error

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        connection = self._idle.get()
        try:
            if connection is None:
                connection = self._connect()
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            found: list[Row] = cursor.fetchall()
        except BaseException:
            self._idle.put(None)
            if connection is not None:
                connection.close()
            raise
        self._idle.put(connection)
        return found

    def copy_into(self, path: Path) -> None:
        """Writes a consistent copy, without what is free in it, to a file that is not there yet; SQLite only.

        Neither readers nor the writer wait for it; the database's own log grows meanwhile. Raises SQLAlchemyError or the
        driver's error.
        """
        proxied = self.engine.raw_connection()
        try:
            connection: Any = proxied.driver_connection
            connection.execute("VACUUM INTO ?", (str(path),))
        finally:
            proxied.close()

    def snapshot(self) -> "Snapshot":
        """A connection whose reads all see the database as it is at the first of them. Close it soon."""
        return Snapshot(self._connect(), self.engine.dialect.name)

    def compiled(self, statement: ClauseElement) -> str:
        """Text of a statement for `fetch`, its parameters in the order in which it names them. Kept with the statement."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = str(statement.compile(dialect=self.engine.dialect))
        return text

    def _connect(self) -> Any:
        if self._closed:
            raise MetadataError("the metadata database is closed")
        proxied = self.engine.raw_connection()
        connection: Any = proxied.driver_connection
        proxied.detach()
        if self.engine.dialect.name == "sqlite":
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.autocommit = True
        return connection

    def close(self) -> None:
        """Waits for reads under way; later ones raise MetadataError."""
        if not self._closed:
            self._closed = True
            for _ in range(READERS_MAX):
                connection = self._idle.get()
                if connection is not None:
                    connection.close()
            for _ in range(READERS_MAX):
                self._idle.put(None)
            self.engine.dispose()


class Snapshot:
    """One view of the database, for one thread at a time."""

    def __init__(self, connection: Any, dialect: str) -> None:
        self._connection = connection
        connection.cursor().execute(
            "BEGIN" if dialect == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters)
        return cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        # Positional, as `fetch` wants them everywhere.
        return create_engine(url, poolclass=NullPool, paramstyle="format")
    engine = sqlite.engine(
        url, poolclass=NullPool, connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S}
    )

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        # Each statement is its own transaction unless BEGIN was said: the driver must not begin any by itself.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: in WAL mode NORMAL may lose committed transactions at a power loss, after the journal was trimmed.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Only what is larger than the cache goes to a file: sorts of whole tables, which fsck alone asks for.
        connection.execute("PRAGMA temp_store = FILE")
        # What a long snapshot made of the log is given back to the disk once that has ended.
        connection.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        writes = connection.get_execution_options().get("caudal_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def refuse_newer(file: Path) -> None:
    """Raises NewerFormatError for a SQLite database that a later version wrote; changes nothing. None is fine."""
    if not file.exists():
        return
    # Read only, or the last connection to be closed would bring SQLite's log into the database.
    engine = _engine(f"sqlite:///file:{quote(str(file))}?mode=ro&uri=true")
    try:
        with engine.connect() as connection, connection.begin():
            if _schema_version(connection) is not None and inspect(connection).has_table(tables.meta.name):
                _check_rows_format(read_meta(connection))
    finally:
        engine.dispose()


def _schema_version(connection: Connection) -> str | None:
    """The schema's version, None of an empty database. Raises NewerFormatError."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if current is not None and not _known(current):
        raise NewerFormatError(
            f"the metadata database has schema version {current}, newer than {HEAD}, the newest this version knows"
        )
    return current


def _check_rows_format(facts: dict[str, str]) -> None:
    if facts and int(facts["format"]) > rows.FORMAT:
        raise NewerFormatError(
            f"the metadata database holds rows of format {facts['format']}; this version reads up to {rows.FORMAT}"
        )


def upgrade(connection: Connection) -> None:
    """Brings the schema to HEAD. Raises NewerFormatError when it is past that."""
    if _schema_version(connection) == HEAD:
        return
    # Imported here: it costs a third of a second, and almost every start finds the schema as it should be.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _known(revision: str) -> bool:
    versions = Path(__file__).parent / "migrations" / "versions"
    return any(path.name.startswith(f"{revision}_") for path in versions.glob("*.py"))


def _adopt(connection: Connection, fs_id: bytes) -> None:
    """Makes a new database that of `fs_id`; refuses one of another file system or of newer rows."""
    facts = read_meta(connection)
    if not facts:
        values = {"fs_id": fs_id.hex(), "format": rows.FORMAT, "checkpoint_lsn": 0, "inodes": 0, "bytes": 0}
        connection.execute(
            tables.meta.insert(), [{"key": key, "value": str(value)} for key, value in values.items()]
        )
        return
    if facts["fs_id"] != fs_id.hex():
        raise MetadataError(
            f"the metadata database belongs to file system {facts['fs_id']}, not to {fs_id.hex()}"
        )
    _check_rows_format(facts)


def write_fact(connection: Connection, key: str, value: str) -> None:
    """Replaces one fact of the meta table."""
    changed = connection.execute(tables.meta.update().where(tables.meta.c.key == key).values(value=value))
    if not changed.rowcount:
        connection.execute(tables.meta.insert(), {"key": key, "value": value})


def forget_fact(connection: Connection, key: str) -> None:
    """Takes one fact out of the meta table."""
    connection.execute(tables.meta.delete().where(tables.meta.c.key == key))


def read_meta(connection: Connection) -> dict[str, str]:
    """All facts of the meta table."""
    return {row[0]: row[1] for row in connection.execute(select(tables.meta.c.key, tables.meta.c.value))}
