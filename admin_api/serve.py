"""The process: one event loop that answers over TLS on a port and, for root on this machine, on a local socket."""

import argparse
import asyncio
import contextlib
import datetime
import gc
import os
import secrets
import signal
import socket
import struct
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from admin_api import services, tls
from admin_api import settings as settings_file
from admin_api.app import make_app
from admin_api.guard import LOCAL_SCOPE
from admin_api.link import GatewayLink
from admin_api.services import Services
from admin_api.settings import Settings
from admin_api.storage import open_engine
from gateway import log
from gateway.control import ControlClient, socket_address

logger = structlog.get_logger(__name__)
STOP_TIMEOUT_S: Final = 2
BACKLOG: Final = 128
SWITCH_INTERVAL_S: Final = 0.0005


class LocalProtocol(H11Protocol):
    """HTTP on the local socket: the kernel says who is at the other end, and only root and our own user may be."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        super().connection_made(transport)
        if uid not in (0, os.geteuid()):
            logger.warning("local.refused", uid=uid)
            transport.abort()


def local_app(app: ASGIApp) -> ASGIApp:
    """Marks what comes by the local socket."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, LOCAL_SCOPE: True}, receive, send)

    return marked


class Server(uvicorn.Server):
    """Leaves signals to run()."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def make_services(settings: Settings) -> Services:
    """Opens the database; the clock, ids and the gateway's client are the real ones."""
    now_s = lambda: time.clock_gettime(time.CLOCK_REALTIME)  # noqa: E731
    return services.build(
        settings,
        open_engine(settings.database_url),
        GatewayLink(lambda timeout_s: ControlClient(settings.control_socket, timeout_s), time.monotonic),
        now_s=now_s,
        monotonic_s=time.monotonic,
        new_id=lambda: secrets.token_hex(8),
        host=socket.gethostname(),
    )


def listen_tcp(port: int) -> socket.socket:
    """On every address, as the NFS server does; IPv6 sockets take IPv4 too."""
    listener = _listen_dual(port) or socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104
    # Head and body of an answer are two writes. Without this, which connections inherit, the second waits until the client
    # has acknowledged the first: 40 ms. asyncio sets it only on sockets that were made with the number of TCP.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _listen_dual(port: int) -> socket.socket | None:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
    return None


def listen_local(path: Path) -> socket.socket:
    """A socket that only our user and root may open; its directory keeps others out as well."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with socket_address(path) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        timeout_keep_alive=30,
        limit_concurrency=200,
        **more,
    )


async def run(settings: Settings) -> None:
    """Serves until TERM or INT. The local socket comes last: where it answers, the port does too."""
    made = make_services(settings)
    app = make_app(made)
    now = lambda: datetime.datetime.fromtimestamp(made.now_s(), datetime.UTC)  # noqa: E731
    certificate, key = settings.certificate, settings.certificate_key
    if certificate is None or key is None:
        certificate, key = tls.ensure(settings.directory, socket.gethostname(), now)
    public = Server(_config(app, http=H11Protocol, ssl_certfile=str(certificate), ssl_keyfile=str(key)))
    local = Server(_config(local_app(app), http=LocalProtocol))
    servers = ((public, listen_tcp(settings.port)), (local, listen_local(settings.admin_socket)))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    logger.info("admin.serves", port=settings.port, pid=os.getpid())
    services.start(made)
    # What was made so far stays: looking through all of it for garbage would hold up an answer now and then.
    gc.collect()
    gc.freeze()
    try:
        await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in servers))
    finally:
        settings.admin_socket.unlink(missing_ok=True)
        services.stop(made)
    logger.info("admin.stopped")


def main() -> None:
    """Runs the service of a settings file until TERM."""
    parser = argparse.ArgumentParser(prog="caudal-admin")
    parser.add_argument("--settings", type=Path, required=True)
    settings = settings_file.read(parser.parse_args().settings)
    log.configure(settings.log_level, settings.log)
    # The event loop waits no longer than this for a thread that works on samples or changes.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        asyncio.run(run(settings))
    except Exception:
        logger.exception("admin.failed")
        raise SystemExit(1) from None
    # Operations under way wait in threads; the gateway goes on with what they asked for.
    os._exit(0)


if __name__ == "__main__":
    main()
