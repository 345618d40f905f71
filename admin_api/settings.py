"""What the supervisor hands to the service: one JSON file, written before each start of the server."""

from pathlib import Path
from typing import Any

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """One key of the server's configuration. `source`: given or default."""

    key: str
    value: Any
    source: str
    help: str


class Settings(msgspec.Struct, frozen=True):
    """Paths are absolute. database: URL of a PostgreSQL database; empty: SQLite in `directory`. syslog: tcp://HOST:PORT or
    tls://HOST:PORT; empty: nowhere. certificate and certificate_key: PEM files; both None: the service makes its own.
    """

    port: int
    directory: Path
    control_socket: Path
    admin_socket: Path
    log: Path
    log_level: str
    version: str
    database: str
    syslog: str
    certificate: Path | None
    certificate_key: Path | None
    config: list[Setting]

    @property
    def database_url(self) -> str:
        if self.database:
            return self.database.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"sqlite:///{self.directory / 'admin.db'}"


def _from_text(kind: type, value: object) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"no {kind.__name__} stands in a settings file")


def read(file: Path) -> Settings:
    """Raises OSError or msgspec.MsgspecError for a file that the supervisor did not write."""
    return msgspec.json.decode(file.read_bytes(), type=Settings, dec_hook=_from_text)
