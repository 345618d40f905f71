"""The little ONC RPC that starting a server takes: NULL calls to see that it answers, and the port mapper's
list.

A NULL call proves more than an open port: the program is registered in that server and its workers run.
"""

import os
import socket
import struct
from typing import Final

PORTMAP: Final = 100000
NFS: Final = 100003
MOUNT: Final = 100005
STATUS: Final = 100024

RPCBIND_SOCKET: Final = "/run/rpcbind.sock"
_PORTMAP_DUMP: Final = 4
_MAX_REPLY: Final = 1 << 20
_CALL: Final = 0
_REPLY: Final = 1


class RpcError(Exception):
    """No answer, or not the one that a healthy program gives."""


def null_call(host: str, port: int, program: int, version: int, timeout_s: float = 2.0) -> None:
    """Calls procedure 0 over TCP. Raises RpcError when it is not answered with success in time."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            _call(connection, program, version, 0)
    except OSError as error:
        raise RpcError(f"{host}:{port} does not answer: {error}") from error


def registrations(path: str = RPCBIND_SOCKET, timeout_s: float = 2.0) -> list[tuple[int, int]]:
    """The (program, port) pairs that rpcbind knows, asked over its local socket as Ganesha does.

    Raises RpcError when no rpcbind answers.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            # Version 3 and 4 dump as (program, version, netid, address, owner); the local transport has no
            # version 2.
            body = _call(connection, PORTMAP, 4, _PORTMAP_DUMP)
    except OSError as error:
        raise RpcError(f"no rpcbind answers at {path}: {error}") from error
    return _parse_dump(body)


def _call(connection: socket.socket, program: int, version: int, procedure: int) -> bytes:
    xid = int.from_bytes(os.urandom(4), "big")
    # No credential and no verifier: two empty opaque values of flavour 0.
    message = struct.pack(">10I", xid, _CALL, 2, program, version, procedure, 0, 0, 0, 0)
    connection.sendall(struct.pack(">I", 0x80000000 | len(message)) + message)
    reply = _read_record(connection)
    if len(reply) < 24:
        raise RpcError("the answer is too short")
    got_xid, kind, denied = struct.unpack_from(">3I", reply)
    if (got_xid, kind, denied) != (xid, _REPLY, 0):
        raise RpcError("the call was refused")
    verifier_bytes = struct.unpack_from(">I", reply, 16)[0]
    status_at = 20 + (verifier_bytes + 3) // 4 * 4
    if status_at + 4 > len(reply):
        raise RpcError("the answer is cut short")
    status = struct.unpack_from(">I", reply, status_at)[0]
    if status != 0:
        raise RpcError(f"program {program} version {version} is not served (status {status})")
    return reply[status_at + 4 :]


def _read_record(connection: socket.socket) -> bytes:
    record = bytearray()
    while True:
        header = struct.unpack(">I", _read_exactly(connection, 4))[0]
        length = header & 0x7FFFFFFF
        if len(record) + length > _MAX_REPLY:
            raise RpcError("the answer is too long")
        record += _read_exactly(connection, length)
        if header & 0x80000000:
            return bytes(record)


def _read_exactly(connection: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        piece = connection.recv(length - len(found))
        if not piece:
            raise RpcError("the connection was closed")
        found += piece
    return bytes(found)


def _parse_dump(body: bytes) -> list[tuple[int, int]]:
    """The linked list of rpcbind's dump: a flag before each entry, texts as length, bytes, padding."""
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while struct.unpack_from(">I", body, at)[0]:
            program = struct.unpack_from(">I", body, at + 4)[0]
            at += 12
            texts: list[bytes] = []
            for _ in range(3):
                length = struct.unpack_from(">I", body, at)[0]
                texts.append(body[at + 4 : at + 4 + length])
                at += 4 + (length + 3) // 4 * 4
            found.append((program, _port(texts[1])))
    except (struct.error, ValueError) as error:
        raise RpcError("rpcbind's answer is not understood") from error
    return found


def _port(address: bytes) -> int:
    """The port in an address of the form h1.h2.h3.h4.p1.p2; 0 for a local one."""
    parts = address.decode("ascii", "replace").rsplit(".", 2)
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return 0
    return int(parts[1]) * 256 + int(parts[2])
