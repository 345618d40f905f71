"""The audit as syslog: to a real collector on loopback, also one that was away, and over TLS."""

import datetime
import re
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin_api import tls
from admin_api.syslog import Syslog, message
from tests.support.processes import free_port, wait_until
from tests.unit.admin_api.conftest import Api

LINE = re.compile(
    r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]+) caudal - ([!-~]{1,32})"
    r' \[audit@32473((?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")+)\] \ufeff(.*)',
    re.DOTALL,
)


class Collector(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.got: list[str] = []
        self.open: list[Any] = []
        super().__init__(("127.0.0.1", port), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in self.open:
            connection.close()


class Handler(socketserver.StreamRequestHandler):
    """Frames as RFC 6587 counts them."""

    def handle(self) -> None:
        server: Any = self.server
        server.open.append(self.request)
        try:
            while digits := b"".join(iter(lambda: self.rfile.read(1).strip(), b"")):
                server.got.append(self.rfile.read(int(digits)).decode())
        except (OSError, ValueError):
            """The test hung up."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.end()


def change(api: Api, name: str) -> None:
    assert api.local("POST", "tokens", {"name": name, "role": "viewer"}).status_code == 201


def test_new_records_are_sent_once_in_their_order(api: Api, collector: Collector) -> None:
    change(api, "before")
    sender = Syslog(api.services.engine, f"tcp://127.0.0.1:{collector.server_address[1]}", "nas")
    assert sender.deliver() == 0
    for name in ("one", "two"):
        change(api, name)
    assert sender.deliver() == 2
    assert sender.deliver() == 0
    wait_until(lambda: len(collector.got) == 2, "they arrive")
    found = [LINE.fullmatch(line) for line in collector.got]
    assert all(found)
    assert ['"one"' in collector.got[0], '"two"' in collector.got[1]] == [True, True]
    assert found[0] is not None
    assert found[0][1] == str(13 * 8 + 5)
    assert (found[0][3], found[0][4]) == ("nas", "token.create")
    assert 'principal="local:root"' in found[0][5]
    sender.stop()


def test_what_a_collector_missed_comes_when_it_is_back(api: Api) -> None:
    port = free_port()
    sender = Syslog(api.services.engine, f"tcp://127.0.0.1:{port}", "nas")
    sender.deliver()
    change(api, "away")
    with pytest.raises(OSError, match="refused"):
        sender.deliver()
    first = Collector(port)
    assert sender.deliver() == 1
    wait_until(lambda: len(first.got) == 1, "it arrives")
    first.end()
    change(api, "again")
    second = Collector(port)
    # A service that starts again goes on where it was.
    sender.stop()
    sender = Syslog(api.services.engine, f"tcp://127.0.0.1:{port}", "nas")
    assert sender.deliver() == 1
    wait_until(lambda: len(second.got) == 1, "and so does the next")
    sender.stop()
    second.end()


def test_over_tls_the_collector_has_to_prove_who_it_is(api: Api, tmp_path: Path) -> None:
    now = lambda: datetime.datetime.now(datetime.UTC)  # noqa: E731, TID251
    certificate, key = tls.ensure(tmp_path, "collector", now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    collector = Collector(0, context)
    url = f"tls://localhost:{collector.server_address[1]}"
    stranger = Syslog(api.services.engine, url, "nas")
    stranger.deliver()
    change(api, "secret")
    with pytest.raises(ssl.SSLError):
        stranger.deliver()
    trusting = ssl.create_default_context(cafile=str(certificate))
    sender = Syslog(api.services.engine, url, "nas", trusting)
    assert sender.deliver() == 1
    wait_until(lambda: len(collector.got) == 1, "it arrives")
    sender.stop()
    collector.end()


@given(st.text(), st.text(max_size=80), st.text())
def test_nothing_in_a_record_breaks_out_of_its_field(principal: str, action: str, target: str) -> None:
    record = {
        "id": 1,
        "at_s": 1.8e9,
        "address": "::1",
        "principal": principal,
        "action": action,
        "target": target,
    }
    try:
        text = message("nas", {**record, "detail": '{"a": "\\n"}'}).decode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which no database takes
    assert LINE.fullmatch(text), text
    assert "\n" not in text
