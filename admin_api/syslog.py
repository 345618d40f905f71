"""The audit as RFC 5424 messages: to a collector over TCP (octet counting, RFC 6587) or TLS (RFC 5425).

The audit itself is the queue: how far it was sent stands in the service's database. While the collector is away records
wait there, and after a crash those of the last moment may come twice.
"""

import datetime
import json
import socket
import ssl
import threading
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from admin_api import meter, tables

log = structlog.get_logger(__name__)

FACILITY_AUDIT: Final = 13
NOTICE: Final = 5
WARNING: Final = 4
BATCH: Final = 200
TIMEOUT_S: Final = 10.0
POLL_S: Final = 2.0
APP: Final = "caudal"
POSITION: Final = "syslog_position"
# The number is the one for examples (RFC 5612): it names no organization.
DATA_ID: Final = "audit@32473"


def escaped(value: str) -> str:
    """As a parameter's value: without what ends it, and on one line."""
    clean = "".join(" " if ord(sign) < 32 or ord(sign) == 127 else sign for sign in value)
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def header_field(value: str, most: int) -> str:
    """Printable ASCII without spaces; "-" for nothing."""
    return "".join(sign for sign in value if 33 <= ord(sign) <= 126)[:most] or "-"


def message(host: str, record: dict[str, Any]) -> bytes:
    """One record of the audit, without its frame."""
    at = datetime.datetime.fromtimestamp(record["at_s"], datetime.UTC)
    severity = WARNING if str(record["action"]).endswith(".refused") else NOTICE
    fields = {name: str(record[name]) for name in ("id", "principal", "address", "action", "target")}
    data = " ".join(f'{name}="{escaped(value)}"' for name, value in fields.items())
    head = (
        f"<{FACILITY_AUDIT * 8 + severity}>1 {at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"
        f" {header_field(host, 255)} {APP} - {header_field(fields['action'], 32)}"
    )
    # The mark before the text says that it is UTF-8.
    return f"{head} [{DATA_ID} {data}] \ufeff{json.dumps(json.loads(record['detail']))}".encode()


class Syslog:
    """A thread that sends new records. url: tcp://HOST:PORT or tls://HOST:PORT; context: for TLS, the system's else."""

    def __init__(self, engine: Engine, url: str, host: str, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        is_tls = parts.scheme == "tls"
        self._place = (parts.hostname or "", parts.port or (6514 if is_tls else 601))
        self._context = (context or ssl.create_default_context()) if is_tls else None
        self._engine = engine
        self._host = host
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._away = False
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=TIMEOUT_S)
        self._hang_up()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                while self.deliver() and not self._stop.is_set():
                    continue
            except (OSError, SQLAlchemyError) as error:
                self._hang_up()
                if not self._away:
                    log.warning("syslog.away", why=str(error)[:200])
                self._away = True
            else:
                self._away = False

    def deliver(self) -> int:
        """Sends a batch; returns how many records. What there was before the first call is not sent. Raises OSError."""
        table = tables.audit
        with self._engine.begin() as connection:
            position, _ = meter.setting(connection, POSITION)
            if position is None:
                newest = connection.execute(select(func.max(table.c.id))).scalar()
                meter.put_setting(connection, POSITION, newest or 0)
                return 0
        with self._engine.connect() as connection:
            query = select(table).where(table.c.id > position).order_by(table.c.id).limit(BATCH)
            rows = [dict(row) for row in connection.execute(query).mappings()]
        if not rows:
            return 0
        texts = [message(self._host, row) for row in rows]
        self._connection().sendall(b"".join(b"%d %s" % (len(text), text) for text in texts))
        with self._engine.begin() as connection:
            meter.put_setting(connection, POSITION, rows[-1]["id"])
        return len(rows)

    def _connection(self) -> socket.socket:
        """The connection; a collector that has hung up is called again, since what is sent to it would be lost."""
        if self._socket is not None and _hung_up(self._socket):
            self._hang_up()
        if self._socket is None:
            plain = socket.create_connection(self._place, timeout=TIMEOUT_S)
            context = self._context
            self._socket = context.wrap_socket(plain, server_hostname=self._place[0]) if context else plain
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _hung_up(connection: socket.socket) -> bool:
    """A collector never says anything: whatever can be read is its end."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT_S)
