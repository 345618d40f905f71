"""RPC probes: real answers are understood, odd ones are errors and never hang."""

import socket
import struct
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import rpc


def serve_once(reply: Callable[[bytes], bytes]) -> tuple[int, threading.Thread]:
    """A program that answers one call with what `reply` makes of its xid."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            call = connection.recv(4096)
            connection.sendall(reply(call[4:8]))

    thread = threading.Thread(target=answer)
    thread.start()
    return listener.getsockname()[1], thread


def record(body: bytes) -> bytes:
    return struct.pack(">I", 0x80000000 | len(body)) + body


def call(reply: Callable[[bytes], bytes]) -> None:
    port, thread = serve_once(reply)
    try:
        rpc.null_call("127.0.0.1", port, rpc.NFS, 4, timeout_s=2)
    finally:
        thread.join()


def test_success_with_and_without_verifier_in_fragments() -> None:
    call(lambda xid: record(xid + struct.pack(">5I", 1, 0, 0, 0, 0)))
    call(lambda xid: record(xid + struct.pack(">4I", 1, 0, 0, 5) + b"hello\0\0\0" + struct.pack(">I", 0)))

    def in_two(xid: bytes) -> bytes:
        body = xid + struct.pack(">5I", 1, 0, 0, 0, 0)
        return struct.pack(">I", 10) + body[:10] + record(body[10:])

    call(in_two)


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">5I", 1, 0, 0, 0, 1),
        struct.pack(">5I", 1, 1, 0, 0, 0),
        struct.pack(">5I", 0, 0, 0, 0, 0),
        struct.pack(">5I", 1, 0, 0, 4000, 0),
        b"",
    ],
)
def test_refusals_are_errors(body: bytes) -> None:
    with pytest.raises(rpc.RpcError):
        call(lambda xid: record(xid + body))


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(rpc.RpcError, match="does not answer"):
        rpc.null_call("127.0.0.1", port, rpc.NFS, 4)
    with pytest.raises(rpc.RpcError, match="no rpcbind"):
        rpc.registrations("/nonexistent")


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_answer_is_success_or_an_error(data: bytes) -> None:
    try:
        call(lambda _: data)
    except rpc.RpcError:
        return
