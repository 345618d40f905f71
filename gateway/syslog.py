"""RFC 5424 messages to a collector over TCP (octet counting, RFC 6587) or TLS (RFC 5425)."""

import datetime
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

FACILITY_AUDIT: Final = 13
NOTICE: Final = 5
WARNING: Final = 4
TIMEOUT_S: Final = 10.0
APP: Final = "caudal"
# The number is the one for examples (RFC 5612): it names no organization.
DATA_ID: Final = "audit@32473"


def escaped(value: str) -> str:
    """As a parameter's value: without what ends it, and on one line."""
    clean = "".join(" " if ord(sign) < 32 or ord(sign) == 127 else sign for sign in value)
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def header_field(value: str, most: int) -> str:
    """Printable ASCII without spaces; "-" for nothing."""
    return "".join(sign for sign in value if 33 <= ord(sign) <= 126)[:most] or "-"


def message(
    host: str, at_s: float, severity: int, kind: str, fields: Mapping[str, str], text: str = ""
) -> bytes:
    """One record of an audit, without its frame. at_s: seconds since 1970. kind: the message's id."""
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    data = " ".join(f'{name}="{escaped(value)}"' for name, value in fields.items())
    head = (
        f"<{FACILITY_AUDIT * 8 + severity}>1 {at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"
        f" {header_field(host, 255)} {APP} - {header_field(kind, 32)}"
    )
    # The mark before the text says that it is UTF-8.
    return (f"{head} [{DATA_ID} {data}]" + (f" \ufeff{text}" if text else "")).encode()


class Collector:
    """A connection that is made when something is to be sent. url: tcp://HOST:PORT or tls://HOST:PORT; context: for TLS, the
    system's else.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        is_tls = parts.scheme == "tls"
        self._place = (parts.hostname or "", parts.port or (6514 if is_tls else 601))
        self._context = (context or ssl.create_default_context()) if is_tls else None
        self._socket: socket.socket | None = None

    def send(self, texts: Sequence[bytes]) -> None:
        """Sends messages. After an OSError nobody knows which of them arrived."""
        self._connection().sendall(b"".join(b"%d %s" % (len(text), text) for text in texts))

    def _connection(self) -> socket.socket:
        """The connection; a collector that has hung up is called again, since what is sent to it would be lost."""
        if self._socket is not None and _hung_up(self._socket):
            self.close()
        if self._socket is None:
            plain = socket.create_connection(self._place, timeout=TIMEOUT_S)
            context = self._context
            self._socket = context.wrap_socket(plain, server_hostname=self._place[0]) if context else plain
        return self._socket

    def close(self) -> None:
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
