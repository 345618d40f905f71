"""The admin page of a machine that does not serve yet: it says what is missing.

The same port and the same kind of certificate as the admin service, which takes its place. Everything can be read without
signing in, so nothing secret is in it; nothing can be changed.
"""

import datetime
import html
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from appliance.firstboot import report
from appliance.firstboot.host import Paths

DIRECTORY: Final = Path("/var/lib/caudal-admin")
PORT: Final = 8443
_TIMEOUT_S: Final = 20
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_STYLE: Final = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}li{margin:.6rem 0}"


def page(found: dict[str, Any]) -> str:
    """The report for people."""
    told = [{key: html.escape(str(text)) for key, text in one.items()} for one in found["problems"]]
    problems = "".join(f"<li><b>{one['part']}</b>: {one['text']}<br>{one['hint']}</li>" for one in told)
    notes = "".join(f"<li>{html.escape(str(note))}</li>" for note in found["notes"])
    missing = f"<p>Missing:</p><ul>{problems}</ul>" if problems else "<p>Starting.</p>"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=15><title>Caudal</title>"
        f"<style>{_STYLE}</style><h1>Caudal does not serve files yet</h1>{missing}"
        + (f"<p>To know:</p><ul>{notes}</ul>" if notes else "")
        + "<p>It looks again every half minute by itself.</p></html>"
    )


def problem(found: dict[str, Any]) -> dict[str, Any]:
    """The report as the admin service tells problems (RFC 9457)."""
    first = (
        found["problems"][0] if found["problems"] else {"text": "first boot has not ended yet", "hint": ""}
    )
    return {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "code": "setup_incomplete",
        "detail": first["text"],
        "hint": first["hint"],
    }


class Handler(BaseHTTPRequestHandler):
    """GET / for people, GET /v1/setup for programs; 503 for everything else."""

    timeout = _TIMEOUT_S
    setup_file: Path

    def do_GET(self) -> None:
        found = report.read(self.setup_file)
        if self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page(found))
        elif self.path == "/v1/setup":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(found))
        else:
            self._refuse()

    def _refuse(self) -> None:
        text = json.dumps(problem(report.read(self.setup_file)))
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "application/problem+json", text)

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse  # noqa: N815  (names of the base class)

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "30")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        return "caudal"

    def log_message(self, format: str, *args: object) -> None:
        """Who looks is no news."""


class Server(ThreadingHTTPServer):
    """TLS for each connection in the thread of its own: one that is silent holds up nobody."""

    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def __init__(self, port: int, setup_file: Path, context: ssl.SSLContext) -> None:
        self._context = context
        handler = type("BoundHandler", (Handler,), {"setup_file": setup_file})
        super().__init__(("", port), handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(_TIMEOUT_S)
        try:
            wrapped = self._context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with wrapped:
            super().finish_request(wrapped, client_address)


def make(directory: Path, port: int, setup_file: Path, now: Callable[[], datetime.datetime]) -> Server:
    """The server, listening. directory: for the certificate."""
    # Imported here: the admin service in earnest needs none of this module.
    from admin_api import tls

    certificate, key = tls.ensure(directory, socket.gethostname(), now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Server(port, setup_file, context)


def main() -> None:
    """Becomes the admin service where first boot has left settings for it, else serves the page."""
    paths = Paths()
    if paths.admin_settings.exists():
        program = Path(sys.executable).with_name("caudal-admin")
        os.execv(program, [str(program), "--settings", str(paths.admin_settings)])  # noqa: S606
    now = lambda: datetime.datetime.fromtimestamp(  # noqa: E731
        time.clock_gettime(time.CLOCK_REALTIME), datetime.UTC
    )
    make(DIRECTORY, PORT, paths.setup, now).serve_forever()


if __name__ == "__main__":
    main()
