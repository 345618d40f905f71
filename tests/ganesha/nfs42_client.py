"""A small NFS 4.2 client in plain Python: a session of one slot, and the operations on sparse files."""

import os
import struct
import time
from enum import IntEnum
from typing import NamedTuple

from tests.ganesha.nfs3_client import NFS, Connection, NfsError, Reader, opaque
from tests.ganesha.nfs4_client import BOTH, DENY_NONE, Client4, Open

NFS4ERR_NXIO, NFS4ERR_ACCESS, NFS4ERR_FBIG, NFS4ERR_NOSPC, NFS4ERR_ROFS = 6, 13, 27, 28, 30
NFS4ERR_INVAL, NFS4ERR_NOTSUPP, NFS4ERR_GRACE, NFS4ERR_UNION_NOTSUPP = 22, 10004, 10013, 10090
DATA, HOLE = 0, 1
NORMAL, SEQUENTIAL, WILLNEED, OPPORTUNISTIC, DONTNEED = 0, 1, 4, 5, 6
SIZE_ATTRIBUTE, SPACE_USED_ATTRIBUTE, CHANGE_ATTRIBUTE, MODE_ATTRIBUTE = 4, 45, 3, 33


class Operation(IntEnum):
    GETATTR = 9
    SETATTR = 34
    EXCHANGE_ID = 42
    CREATE_SESSION = 43
    SEQUENCE = 53
    RECLAIM_COMPLETE = 58
    ALLOCATE = 59
    DEALLOCATE = 62
    IO_ADVISE = 63
    READ_PLUS = 68
    SEEK = 69


class Found(NamedTuple):
    eof: bool
    offset: int


class Facts(NamedTuple):
    """What the tests ask of a file."""

    change: int
    size: int
    mode: int
    space_used: int


def _u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


class Client42(Client4):
    """As its base, within a session. `ids`: the user and group it acts for."""

    def __init__(
        self, port: int, name: bytes, export: bytes = b"export", ids: tuple[int, int] = (0, 0)
    ) -> None:
        self._connection = Connection(port, NFS, 4, ids)
        self._name, self._export = name, export
        self._owners = iter(range(1 << 30))
        self._session = b""
        self._sequence = 0
        r = self._call(_u32(Operation.EXCHANGE_ID) + os.urandom(8) + opaque(name) + _u32(0, 0, 0))
        self._result(r, Operation.EXCHANGE_ID)
        self._clientid, first = r.u64(), r.u32()
        channel = _u32(0, 1 << 20, 1 << 20, 4096, 16, 8, 0)
        request = struct.pack(">QII", self._clientid, first, 0) + channel + channel + _u32(0x40000000, 1, 0)
        r = self._call(_u32(Operation.CREATE_SESSION) + request)
        self._result(r, Operation.CREATE_SESSION)
        self._session = r.fixed(16)
        self._result(self._compound(_u32(Operation.RECLAIM_COMPLETE, 0)), Operation.RECLAIM_COMPLETE)

    def _call(self, *operations: bytes) -> Reader:
        r = self._connection.call(1, opaque(b"") + _u32(2, len(operations)) + b"".join(operations))
        _status, _tag, _count = r.u32(), r.opaque(), r.u32()
        return r

    def _compound(self, *operations: bytes) -> Reader:
        self._sequence += 1
        sequence = _u32(Operation.SEQUENCE) + self._session + _u32(self._sequence, 0, 0, 0)
        r = self._call(sequence, *operations)
        self._result(r, Operation.SEQUENCE)
        r.fixed(36)
        return r

    def open(self, name: bytes, access: int = BOTH, deny: int = DENY_NONE, create: bool = False) -> Open:
        """As the base's; waits for the end of a grace period."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return super().open(name, access, deny, create)
            except NfsError as error:
                if error.status != NFS4ERR_GRACE or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def facts(self, opened: Open) -> Facts:
        bitmap = _u32(
            2,
            1 << CHANGE_ATTRIBUTE | 1 << SIZE_ATTRIBUTE,
            1 << MODE_ATTRIBUTE - 32 | 1 << SPACE_USED_ATTRIBUTE - 32,
        )
        r = self._on(opened, Operation.GETATTR, bitmap)
        r.fixed(4 * r.u32())
        r.u32()
        return Facts(r.u64(), r.u64(), r.u32(), r.u64())

    def set_mode(self, opened: Open, mode: int) -> None:
        attributes = _u32(2, 0, 1 << MODE_ATTRIBUTE - 32) + opaque(_u32(mode))
        self._on(opened, Operation.SETATTR, bytes(16) + attributes)

    def seek(self, opened: Open, offset: int, what: int, stateid: bytes | None = None) -> Found:
        arguments = (stateid or opened.stateid) + struct.pack(">QI", offset, what)
        r = self._on(opened, Operation.SEEK, arguments)
        return Found(bool(r.u32()), r.u64())

    def allocate(self, opened: Open, offset: int, length: int, stateid: bytes | None = None) -> None:
        self._on(opened, Operation.ALLOCATE, (stateid or opened.stateid) + struct.pack(">QQ", offset, length))

    def deallocate(self, opened: Open, offset: int, length: int, stateid: bytes | None = None) -> None:
        self._on(
            opened, Operation.DEALLOCATE, (stateid or opened.stateid) + struct.pack(">QQ", offset, length)
        )

    def advise(self, opened: Open, offset: int, length: int, *hints: int) -> set[int]:
        """Returns the hints that the server says it honours."""
        bits = sum(1 << hint for hint in hints)
        arguments = opened.stateid + struct.pack(">QQII", offset, length, 1, bits)
        r = self._on(opened, Operation.IO_ADVISE, arguments)
        words = [r.u32() for _ in range(r.u32())]
        return {bit for bit in range(32) if words and words[0] >> bit & 1}

    def read_plus(self, opened: Open, offset: int, length: int) -> tuple[bool, bytes]:
        """End of file, and the data of a reply that is one piece of data."""
        r = self._on(opened, Operation.READ_PLUS, opened.stateid + struct.pack(">QI", offset, length))
        eof, count, what, at = bool(r.u32()), r.u32(), r.u32(), r.u64()
        assert (count, what, at) == (1, DATA, offset)
        return eof, r.opaque()
