"""A small NFS 4.0 client in plain Python: opens with share reservations, which the kernel's client never asks for."""

import struct
from dataclasses import dataclass
from itertools import count
from typing import Self

from tests.ganesha.nfs3_client import NFS, Connection, NfsError, Reader, opaque

READ, WRITE, BOTH = 1, 2, 3
DENY_NONE, DENY_READ, DENY_WRITE = 0, 1, 2
SHARE_DENIED, LOCKED, OPENMODE, NFS4_STALE = 10015, 10012, 10038, 70
NEEDS_CONFIRM = 2
ANONYMOUS = bytes(16)


@dataclass
class Open:
    """A file that this client has open."""

    handle: bytes
    stateid: bytes
    owner: bytes
    seqid: int


class Client4:
    """One client with as many owners as it has opens; `export` is the path below the pseudo root."""

    def __init__(self, port: int, name: bytes, export: bytes = b"export") -> None:
        self._connection = Connection(port, NFS, 4)
        self._name, self._export = name, export
        self._owners = count()
        r = self._compound(struct.pack(">I", 35) + name.ljust(8)[:8] + opaque(name) + struct.pack(">I", 0x40000000)
                           + opaque(b"tcp") + opaque(b"127.0.0.1.0.0") + struct.pack(">I", 1))  # fmt: skip
        self._result(r, 35)
        self._clientid, confirm = r.u64(), r.fixed(8)
        self._result(self._compound(struct.pack(">IQ", 36, self._clientid) + confirm), 36)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _compound(self, *operations: bytes) -> Reader:
        arguments = opaque(b"") + struct.pack(">II", 0, len(operations)) + b"".join(operations)
        r = self._connection.call(1, arguments)
        _status, _tag, _count = r.u32(), r.opaque(), r.u32()
        return r

    @staticmethod
    def _result(r: Reader, operation: int) -> None:
        """Goes over the header of the next result. Raises NfsError."""
        assert r.u32() == operation
        if status := r.u32():
            raise NfsError(status)

    def _to_root(self) -> tuple[bytes, bytes]:
        return struct.pack(">I", 24), struct.pack(">I", 15) + opaque(self._export)

    def open(self, name: bytes, access: int = BOTH, deny: int = DENY_NONE, create: bool = False) -> Open:
        """Opens a file of the export's root, with an owner of its own."""
        owner = b"%s-%d" % (self._name, next(self._owners))
        how = struct.pack(">IIII", 1, 0, 0, 0) if create else struct.pack(">I", 0)  # UNCHECKED, no attributes
        request = struct.pack(">IIIIQ", 18, 0, access, deny, self._clientid) + opaque(owner) + how
        request += struct.pack(">I", 0) + opaque(name)
        r = self._compound(*self._to_root(), request, struct.pack(">I", 10))
        self._result(r, 24)
        self._result(r, 15)
        self._result(r, 18)
        stateid, _changes, flags = r.fixed(16), r.fixed(20), r.u32()
        r.fixed(4 * r.u32())
        assert r.u32() == 0, "delegations are off"
        self._result(r, 10)
        opened = Open(r.opaque(), stateid, owner, 1)
        if flags & NEEDS_CONFIRM:
            r = self._compound(
                self._put(opened), struct.pack(">I", 20) + stateid + struct.pack(">I", opened.seqid)
            )
            self._result(r, 22)
            self._result(r, 20)
            opened.stateid = r.fixed(16)
            opened.seqid += 1
        return opened

    @staticmethod
    def _put(opened: Open) -> bytes:
        return struct.pack(">I", 22) + opaque(opened.handle)

    def _on(self, opened: Open, operation: int, arguments: bytes) -> Reader:
        r = self._compound(self._put(opened), struct.pack(">I", operation) + arguments)
        self._result(r, 22)
        self._result(r, operation)
        return r

    def read(self, opened: Open, offset: int, length: int, stateid: bytes | None = None) -> bytes:
        arguments = (stateid or opened.stateid) + struct.pack(">QI", offset, length)
        r = self._on(opened, 25, arguments)
        r.u32()
        return r.opaque()

    def write(self, opened: Open, offset: int, data: bytes, stateid: bytes | None = None) -> None:
        arguments = (stateid or opened.stateid) + struct.pack(">QI", offset, 2) + opaque(data)
        self._on(opened, 38, arguments)

    def close(self, opened: Open) -> None:
        self._on(opened, 4, struct.pack(">I", opened.seqid) + opened.stateid)

    def downgrade(self, opened: Open, access: int, deny: int) -> None:
        arguments = opened.stateid + struct.pack(">III", opened.seqid, access, deny)
        opened.stateid = self._on(opened, 21, arguments).fixed(16)
        opened.seqid += 1

    def remove(self, name: bytes) -> None:
        r = self._compound(*self._to_root(), struct.pack(">I", 28) + opaque(name))
        for operation in (24, 15, 28):
            self._result(r, operation)

    def rename(self, old: bytes, new: bytes) -> None:
        r = self._compound(
            *self._to_root(), struct.pack(">I", 32), struct.pack(">I", 29) + opaque(old) + opaque(new)
        )
        for operation in (24, 15, 32, 29):
            self._result(r, operation)
