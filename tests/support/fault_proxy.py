"""An HTTP proxy between Caudal and Azurite that misbehaves as a test says: it stands for the network and for the service.

Requests and bodies pass unchanged, so that signatures stay valid. A fault holds for the requests it is meant for, for
some times or until it is lifted.
"""

import contextlib
import http.client
import re
import socket
import threading
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.azurite import ACCOUNT, KEY
from tests.support.processes import free_port

PACKS = r"/packs/"


@dataclass(frozen=True)
class Answer:
    """The request goes nowhere and gets this answer."""

    status: int
    code: str = ""
    retry_after_s: int | None = None


@dataclass(frozen=True)
class Delay:
    """The request is late by so much."""

    seconds: float


class Hang:
    """There is no answer until the fault is lifted."""


class DropReply:
    """The request is carried out; the connection ends instead of an answer."""


class CutBody:
    """The connection ends in the middle of the body."""


class StallBody:
    """Half of the body comes, and then nothing until the fault is lifted; the connection stays."""


class ShortBody:
    """The body and the headers that tell its length agree, and half of it is missing."""


class FlipBody:
    """One bit in the middle of the body is not what it was."""


Fault = Answer | Delay | Hang | DropReply | CutBody | StallBody | ShortBody | FlipBody


@dataclass
class Rule:
    """A fault and whom it is meant for. `done`: requests that met it."""

    fault: Fault
    methods: frozenset[str]
    path: re.Pattern[str]
    left: int | None
    lifted: threading.Event = field(default_factory=threading.Event)
    done: int = 0


class FaultProxy:
    """Listens on a port of its own and passes everything on to `upstream_port`."""

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self.requests: Counter[str] = Counter()
        self._upstream_port = upstream_port
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What `caudal up` needs to find it."""
        endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        text = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"
        )
        return {"AZURE_STORAGE_CONNECTION_STRING": text}

    def start(self) -> Self:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """From now on connections are refused; those that are open break."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()
            server.drop_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.lift()
        self.stop()

    @contextlib.contextmanager
    def down(self) -> Generator[None]:
        """Nobody listens meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def fault(self, fault: Fault, *methods: str, path: str = "", times: int | None = None) -> Generator[Rule]:
        """The fault holds for requests of these methods (all, without any), whose path matches, while the context lasts."""
        rule = Rule(fault, frozenset(methods), re.compile(path), times)
        with self._lock:
            self._rules.append(rule)
        try:
            yield rule
        finally:
            self.lift(rule)

    def lift(self, *rules: Rule) -> None:
        """Ends these faults, or all of them."""
        with self._lock:
            for rule in rules or tuple(self._rules):
                rule.lifted.set()
                if rule in self._rules:
                    self._rules.remove(rule)

    def rule_for(self, method: str, path: str) -> Rule | None:
        """The first fault that is meant for this request."""
        with self._lock:
            self.requests[method] += 1
            for rule in self._rules:
                meant = (not rule.methods or method in rule.methods) and rule.path.search(path)
                if meant and rule.left != 0:
                    rule.left = None if rule.left is None else rule.left - 1
                    rule.done += 1
                    return rule
        return None

    def pass_on(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """What Azurite answers."""
        upstream = http.client.HTTPConnection("127.0.0.1", self._upstream_port, timeout=60)
        try:
            upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            upstream.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", proxy.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here all the time."""

    def drop_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.server.proxy.rule_for(self.command, self.path)
        fault = rule.fault if rule else None
        if isinstance(fault, Answer):
            self._refuse(fault)
            return
        if rule and isinstance(fault, Delay):
            rule.lifted.wait(fault.seconds)
        if rule and isinstance(fault, Hang):
            rule.lifted.wait()
            self.close_connection = True
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        status, answered, answer = self.server.proxy.pass_on(self.command, self.path, headers, body)
        if isinstance(fault, DropReply):
            self.close_connection = True
            return
        self._reply(status, answered, answer, fault if status < 300 else None)
        if rule and isinstance(fault, StallBody):
            rule.lifted.wait()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 - the base class's names

    def _refuse(self, answer: Answer) -> None:
        body = b"" if self.command == "HEAD" else f"<Error><Code>{answer.code}</Code></Error>".encode()
        self.send_response(answer.status)
        if answer.code:
            self.send_header("x-ms-error-code", answer.code)
        if answer.retry_after_s is not None:
            self.send_header("Retry-After", str(answer.retry_after_s))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reply(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None) -> None:
        length = len(body)
        if isinstance(fault, FlipBody) and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 4]) + body[middle + 1 :]
        if isinstance(fault, ShortBody) and body:
            body = body[: len(body) // 2]
            length = len(body)
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() == "content-range" and isinstance(fault, ShortBody):
                value = _shortened(value, length)
            if name.lower() not in {
                "transfer-encoding",
                "connection",
                "keep-alive",
                "content-length",
                "content-md5",
            }:
                self.send_header(name, value)
        told = str(length)
        if self.command == "HEAD":
            told = next((value for name, value in headers.items() if name.lower() == "content-length"), "0")
        if status not in {204, 304}:
            self.send_header("Content-Length", told)
        self.end_headers()
        if isinstance(fault, CutBody | StallBody):
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)


def _shortened(content_range: str, length: int) -> str:
    """Bytes FIRST-LAST/SIZE of an object that ends where the body does."""
    first = int(content_range.removeprefix("bytes ").partition("-")[0])
    return f"bytes {first}-{first + length - 1}/{first + length}"
