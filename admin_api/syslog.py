"""The audit as RFC 5424 messages: to a collector over TCP (octet counting, RFC 6587) or TLS (RFC 5425).

The audit itself is the queue: how far it was sent stands in the service's database. While the collector is away records
wait there, and after a crash those of the last moment may come twice.
"""

import json
import ssl
import threading
from typing import Any, Final

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from admin_api import meter, tables
from gateway import syslog

log = structlog.get_logger(__name__)

BATCH: Final = 200
POLL_S: Final = 2.0
POSITION: Final = "syslog_position"


def message(host: str, record: dict[str, Any]) -> bytes:
    """One record of the audit, without its frame."""
    severity = syslog.WARNING if str(record["action"]).endswith(".refused") else syslog.NOTICE
    fields = {name: str(record[name]) for name in ("id", "principal", "address", "action", "target")}
    text = json.dumps(json.loads(record["detail"]))
    return syslog.message(host, float(record["at_s"]), severity, fields["action"], fields, text)


class Syslog:
    """A thread that sends new records. url: tcp://HOST:PORT or tls://HOST:PORT; context: for TLS, the system's else."""

    def __init__(self, engine: Engine, url: str, host: str, context: ssl.SSLContext | None = None) -> None:
        self._collector = syslog.Collector(url, context)
        self._engine = engine
        self._host = host
        self._stop = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=syslog.TIMEOUT_S)
        self._collector.close()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                while self.deliver() and not self._stop.is_set():
                    continue
            except (OSError, SQLAlchemyError) as error:
                self._collector.close()
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
        self._collector.send([message(self._host, row) for row in rows])
        with self._engine.begin() as connection:
            meter.put_setting(connection, POSITION, rows[-1]["id"])
        return len(rows)
