"""An instance metadata service on the loopback, as Azure's: it answers only who sends the header, and as the test says."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit


class MetadataService:
    """instance, token: (status, body) of the next answers, the last of which stays. slow_s: before each answer."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.instance: list[tuple[int, bytes]] = [(200, document())]
        self.token: list[tuple[int, bytes]] = [(200, b'{"access_token":"secret"}')]
        self.slow_s = 0.0
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        time.sleep(self.slow_s)
        split = urlsplit(request.path)
        query = parse_qs(split.query)
        queue = {"/metadata/instance": self.instance, "/metadata/identity/oauth2/token": self.token}.get(
            split.path
        )
        if request.headers.get("Metadata") != "true" or "api-version" not in query or queue is None:
            status, body = 400, b'{"error":"Bad request. Required metadata header not specified"}'
        else:
            status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def document(user_data: str = "", tags: dict[str, str] | None = None) -> bytes:
    """What the service says of a machine, as far as first boot looks at it."""
    listed = [{"name": name, "value": value} for name, value in (tags or {}).items()]
    encoded = base64.b64encode(user_data.encode()).decode()
    return json.dumps({"compute": {"name": "files1", "userData": encoded, "tagsList": listed}}).encode()
