"""Control socket: commands and statistics between the processes of one server, as JSON lines on a unix
socket.

A request is one line `{"op": NAME, ...}`, its answer one line `{"ok": VALUE}` or `{"error": {"code",
"message", "hint"}}`. The socket lies in a directory that only root may enter. Nothing that comes in is
trusted all the same: lines are bounded, and what is not a request gets an error and not a traceback.
"""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import msgspec
import structlog

from gateway.errors import BUSY, CaudalError, ControlError, NotRunningError

log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES: Final = 1 << 20
MAX_REPLY_BYTES: Final = 64 << 20
MAX_CONNECTIONS: Final = 64
IDLE_TIMEOUT_S: Final = 600.0
ACCEPT_PAUSE_S: Final = 0.1
CLOSE_WAIT_S: Final = 5.0
"""What handlers under way get to end in, before what they use is closed under them."""

Handler = Callable[[Mapping[str, Any]], object]
"""Takes the request's fields without `op`, returns what goes into `ok`. It runs in a thread of its
connection; CaudalErrors are told to the caller as they are, ValueError and the like as a bad request, others
are logged and told as `internal`.
"""


@contextmanager
def socket_address(path: Path) -> Generator[str, None, None]:
    """An address for a socket at any path: the system's limit of 107 bytes is met by way of the directory's
    descriptor.
    """
    if len(os.fsencode(path)) <= 100:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _give_to_group(path: Path) -> None:
    """Root may call, and a group that may enter the directory: it was let in for an admin service with a user of its own."""
    directory = path.parent.stat()
    if directory.st_mode & stat.S_IXGRP:
        os.chown(path, -1, directory.st_gid)
        path.chmod(0o660)
    else:
        path.chmod(0o600)


class ControlServer:
    """Serves handlers until close(). Handlers may be registered at any time."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler] | None = None) -> None:
        self._path = path
        self._handlers: dict[str, Handler] = dict(handlers or {})
        self._handlers.setdefault("ping", lambda _: "pong")
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._only_wait: set[str] = set()
        self._running: set[threading.Thread] = set()
        self._ended = threading.Condition(self._lock)
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        try:
            with socket_address(path) as address:
                self._listener.bind(address)
            _give_to_group(path)
            self._listener.listen(MAX_CONNECTIONS)
        except OSError:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def register(self, op: str, handler: Handler, *, only_waits: bool = False) -> None:
        """Adds an operation, or replaces it. only_waits: it changes nothing, and close() does not wait for it."""
        self._handlers[op] = handler
        if only_waits:
            self._only_wait.add(op)

    def start(self) -> None:
        """Begins to answer; until then callers wait in the socket's queue."""
        self._thread.start()

    def close(self) -> None:
        """Stops answering: callers see the connection break. Handlers under way are waited for, up to CLOSE_WAIT_S; one that
        takes longer ends by itself. May be called by a handler.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            connections = list(self._connections)
        self._path.unlink(missing_ok=True)
        for open_socket in (self._listener, *connections):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=CLOSE_WAIT_S)
        self._listener.close()
        with self._lock:
            myself = {threading.current_thread()}
            if not self._ended.wait_for(lambda: self._running <= myself, CLOSE_WAIT_S):
                log.warning("control.still_running", requests=len(self._running - myself))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._closed:
                    return
                # No descriptors or memory for a moment, or the caller has gone: the next one may do better. The
                # steward's checkpoints come this way: it must not be lost for good.
                log.warning("control.accept_failed", why=str(error))
                time.sleep(ACCEPT_PAUSE_S)
                continue
            with self._lock:
                full = self._closed or len(self._connections) >= MAX_CONNECTIONS
                if not full:
                    self._connections.add(connection)
            if full:
                with suppress(OSError), connection:
                    connection.sendall(_error_line(BUSY, "too many control connections", "try again"))
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        try:
            threading.Thread(target=self._serve, args=(connection,), name="control-conn", daemon=True).start()
        except RuntimeError as error:
            log.warning("control.no_thread", why=str(error))
            connection.close()
            with self._lock:
                self._connections.discard(connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(IDLE_TIMEOUT_S)
            with connection, connection.makefile("rb") as lines:
                while line := lines.readline(MAX_REQUEST_BYTES + 1):
                    if len(line) > MAX_REQUEST_BYTES:
                        # The rest of the line would be read as requests: the connection ends here.
                        connection.sendall(
                            _error_line("too_large", f"a request is at most {MAX_REQUEST_BYTES} bytes")
                        )
                        return
                    connection.sendall(self._answer(line))
        except OSError:
            # The peer went away or idled; it holds nothing here, and says so itself if it cares.
            log.debug("control.connection_ended")
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            return _error_line("bad_request", f"not a JSON request: {str(error)[:200]}")
        if not isinstance(request, dict):
            return _error_line("bad_request", "a request is an object with an op")
        fields = cast("dict[str, Any]", request)
        op = fields.pop("op", None)
        handler = self._handlers.get(op) if isinstance(op, str) else None
        if handler is None:
            return _error_line("unknown_op", f"unknown operation {str(op)[:60]!r}")
        return self._call(cast(str, op), handler, fields)

    def _call(self, op: str, handler: Handler, fields: Mapping[str, Any]) -> bytes:
        myself = threading.current_thread()
        with self._lock:
            if self._closed:
                return _error_line("stopping", f"{op}: the server stops", "try again when it runs")
            if op not in self._only_wait:
                self._running.add(myself)
        try:
            return self._run(op, handler, fields)
        finally:
            with self._lock:
                self._running.discard(myself)
                self._ended.notify_all()

    def _run(self, op: str, handler: Handler, fields: Mapping[str, Any]) -> bytes:
        try:
            return msgspec.json.encode({"ok": handler(fields)}, enc_hook=_plain) + b"\n"
        except ControlError as error:
            return _error_line(error.code, error.message, error.hint)
        except CaudalError as error:
            return _error_line("failed", error.message, error.hint)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            log.warning("control.bad_request", op=op, exc_info=True)
            return _error_line("bad_request", f"{op}: {type(error).__name__}: {str(error)[:200]}")
        except (
            BaseException
        ) as error:  # a panic of the native core is no Exception, and nobody else in this thread hears of it
            if self._closed:
                # It was waited for in vain, and what it used is closed: no fault of its own, and nobody listens any more.
                log.info("control.cut_off", op=op, why=str(error)[:200])
            else:
                log.exception("control.failed", op=op)
            return _error_line("internal", f"{op} failed: {str(error)[:200]}", "the server's log says more")


def _plain(value: object) -> object:
    """What JSON has no form for and handlers return all the same: paths."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(cast("os.PathLike[str]", value))
    raise TypeError(f"the answer holds a {type(value).__name__}")


def _error_line(code: str, message: str, hint: str = "") -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message, "hint": hint}}) + b"\n"


class ControlClient:
    """Calls a server's operations. Connects on the first call and again after a broken connection; not for
    several threads.
    """

    def __init__(self, path: Path, timeout_s: float | None = 30.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, op: str, **fields: object) -> Any:
        """The operation's value. Raises ControlError when the server refused or failed it, NotRunningError
        when no server answers; after the latter it is unknown whether a server that stopped meanwhile did it.
        """
        request = msgspec.json.encode({**fields, "op": op}) + b"\n"
        try:
            line = self._exchange(request)
        except TimeoutError as error:
            self.close()
            raise NotRunningError(
                f"the server did not answer `{op}` in {self._timeout_s:g} s", "see its logs"
            ) from error
        except OSError as error:
            self.close()
            raise NotRunningError(
                f"no server answers at {self._path}", "start one with `caudal up`"
            ) from error
        return self._value(op, line)

    def _exchange(self, request: bytes) -> bytes:
        if self._socket is None:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            fresh.settimeout(self._timeout_s)
            try:
                with socket_address(self._path) as address:
                    fresh.connect(address)
            except OSError:
                fresh.close()
                raise
            self._socket = fresh
        self._socket.sendall(request)
        reply = bytearray()
        while not reply.endswith(b"\n"):
            piece = self._socket.recv(1 << 16)
            if not piece or len(reply) > MAX_REPLY_BYTES:
                raise ConnectionError("the server closed the connection")
            reply += piece
        return bytes(reply)

    def _value(self, op: str, line: bytes) -> Any:
        try:
            reply: Any = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            self.close()
            raise ControlError("bad_reply", f"the server's answer to `{op}` is not JSON") from error
        if isinstance(reply, dict) and "ok" in reply:
            return cast("dict[str, Any]", reply)["ok"]
        found = cast("dict[str, Any]", reply).get("error") if isinstance(reply, dict) else None
        error_fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        raise ControlError(
            str(error_fields.get("code", "bad_reply")),
            str(error_fields.get("message", f"the server's answer to `{op}` is not understood")),
            str(error_fields.get("hint", "")),
        )
