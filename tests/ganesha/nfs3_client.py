"""A small NFS 3 client in plain Python, for what no library offers: exclusive creates, mangled handles, raw statuses."""

import socket
import struct
from dataclasses import dataclass
from itertools import count
from typing import Self

NFS, MOUNT = 100003, 100005
OK, PERM, NOENT, ACCES, EXIST, STALE, BADHANDLE, SERVERFAULT, JUKEBOX = (
    0,
    1,
    2,
    13,
    17,
    70,
    10001,
    10006,
    10008,
)
UNCHECKED, GUARDED, EXCLUSIVE = 0, 1, 2
UNSTABLE, FILE_SYNC = 0, 2


class Reader:
    """Takes XDR apart, from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def u32(self) -> int:
        self._at += 4
        return struct.unpack_from(">I", self._data, self._at - 4)[0]

    def u64(self) -> int:
        self._at += 8
        return struct.unpack_from(">Q", self._data, self._at - 8)[0]

    def fixed(self, length: int) -> bytes:
        piece = self._data[self._at : self._at + length]
        self._at += (length + 3) & ~3
        return piece

    def opaque(self) -> bytes:
        return self.fixed(self.u32())


def opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


@dataclass(frozen=True)
class Attributes:
    kind: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    used: int
    rdev: tuple[int, int]
    fsid: int
    fileid: int
    atime: tuple[int, int]
    mtime: tuple[int, int]
    ctime: tuple[int, int]

    @classmethod
    def read(cls, r: Reader) -> Self:
        numbers = [r.u32() for _ in range(5)]
        sizes = [r.u64(), r.u64()]
        rdev = (r.u32(), r.u32())
        ids = [r.u64(), r.u64()]
        times = [(r.u32(), r.u32()) for _ in range(3)]
        return cls(*numbers, *sizes, rdev, *ids, *times)


class NfsError(Exception):
    """The server answered another status than OK."""

    def __init__(self, status: int) -> None:
        super().__init__(f"NFS3 status {status}")
        self.status = status


def post_attributes(r: Reader) -> Attributes | None:
    return Attributes.read(r) if r.u32() else None


def skip_wcc(r: Reader) -> None:
    if r.u32():
        r.fixed(24)
    post_attributes(r)


class Connection:
    """One TCP connection to one program; calls wait for their answer."""

    def __init__(
        self,
        port: int,
        program: int,
        version: int = 3,
        ids: tuple[int, int] = (0, 0),
        timeout_s: float = 20,
        groups: tuple[int, ...] = (),
    ) -> None:
        self._version, self._ids, self._groups = version, ids, groups
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._program = program
        self._xids = count(1)

    def close(self) -> None:
        self._socket.close()

    def limit(self, timeout_s: float) -> None:
        """From now on an answer that takes longer is a TimeoutError."""
        self._socket.settimeout(timeout_s)

    def call(self, procedure: int, arguments: bytes) -> Reader:
        """Returns the results behind the RPC header."""
        self.send(procedure, arguments)
        return self.receive()

    def send(self, procedure: int, arguments: bytes) -> None:
        groups = struct.pack(f">I{len(self._groups)}I", len(self._groups), *self._groups)
        credentials = opaque(struct.pack(">I", 0) + opaque(b"test") + struct.pack(">II", *self._ids) + groups)
        header = struct.pack(">IIIIII", next(self._xids), 0, 2, self._program, self._version, procedure)
        message = header + struct.pack(">I", 1) + credentials + struct.pack(">II", 0, 0) + arguments
        self._socket.sendall(struct.pack(">I", 0x80000000 | len(message)) + message)

    def receive(self) -> Reader:
        message, last = b"", False
        while not last:
            (mark,) = struct.unpack(">I", self._exactly(4))
            last = bool(mark & 0x80000000)
            message += self._exactly(mark & 0x7FFFFFFF)
        r = Reader(message)
        _xid, _reply, denied = r.u32(), r.u32(), r.u32()
        if denied:
            raise ConnectionError(f"the call was denied: {r.u32()}")
        _flavor, _verifier, status = r.u32(), r.opaque(), r.u32()
        if status:
            raise ConnectionError(f"the call was not accepted: {status}")
        return r

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            part = self._socket.recv(length)
            if not part:
                raise ConnectionError("the server closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


class Client:
    """An export of a server on this machine, by default as root; `ids`: user and group."""

    def __init__(
        self, port: int, mount_port: int, export: str = "/export", ids: tuple[int, int] = (0, 0)
    ) -> None:
        mount = Connection(mount_port, MOUNT)
        r = mount.call(1, opaque(export.encode()))
        mount.close()
        if status := r.u32():
            raise NfsError(status)
        self.root = r.opaque()
        self.nfs = Connection(port, NFS, ids=ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.nfs.close()

    def _call(self, procedure: int, arguments: bytes) -> Reader:
        r = self.nfs.call(procedure, arguments)
        if status := r.u32():
            raise NfsError(status)
        return r

    def getattr(self, handle: bytes) -> Attributes:
        return Attributes.read(self._call(1, opaque(handle)))

    def setattr(self, handle: bytes, **values: int) -> None:
        """Sets what is named: mode, uid, gid, size."""
        attributes = b"".join(
            struct.pack(form, 1, values[name]) if name in values else bytes(4)
            for name, form in (("mode", ">II"), ("uid", ">II"), ("gid", ">II"), ("size", ">IQ"))
        )
        self._call(2, opaque(handle) + attributes + bytes(12))

    def mknod(self, directory: bytes, name: bytes, kind: int) -> None:
        """`kind`: 3 or 4 for a block or character device 1,3; 7 for a FIFO."""
        device = struct.pack(">II", 1, 3) if kind in {3, 4} else b""
        self._call(11, opaque(directory) + opaque(name) + struct.pack(">I", kind) + bytes(24) + device)

    def lookup(self, directory: bytes, name: bytes) -> bytes:
        return self._call(3, opaque(directory) + opaque(name)).opaque()

    def read(self, handle: bytes, offset: int, length: int) -> tuple[bytes, bool]:
        r = self._call(6, opaque(handle) + struct.pack(">QI", offset, length))
        post_attributes(r)
        _count, eof = r.u32(), r.u32()
        return r.opaque(), bool(eof)

    def write(self, handle: bytes, offset: int, data: bytes, stable: int = UNSTABLE) -> tuple[int, bytes]:
        """Returns how stable the data is, and the write verifier."""
        r = self._call(7, opaque(handle) + struct.pack(">QII", offset, len(data), stable) + opaque(data))
        skip_wcc(r)
        taken, committed = r.u32(), r.u32()
        assert taken == len(data)
        return committed, r.fixed(8)

    def create(
        self, directory: bytes, name: bytes, how: int = GUARDED, verifier: bytes = b"", mode: int = 0o644
    ) -> bytes:
        if how == EXCLUSIVE:
            arguments = struct.pack(">I", how) + verifier
        else:
            arguments = struct.pack(">III", how, 1, mode) + bytes(4 * 5)
        r = self._call(8, opaque(directory) + opaque(name) + arguments)
        assert r.u32(), "no handle follows"
        return r.opaque()

    def mkdir(self, directory: bytes, name: bytes) -> bytes:
        r = self._call(9, opaque(directory) + opaque(name) + struct.pack(">II", 1, 0o755) + bytes(4 * 5))
        assert r.u32(), "no handle follows"
        return r.opaque()

    def symlink(self, directory: bytes, name: bytes, target: bytes) -> None:
        self._call(10, opaque(directory) + opaque(name) + bytes(4 * 6) + opaque(target))

    def remove(self, directory: bytes, name: bytes) -> None:
        self._call(12, opaque(directory) + opaque(name))

    def rmdir(self, directory: bytes, name: bytes) -> None:
        self._call(13, opaque(directory) + opaque(name))

    def link(self, handle: bytes, directory: bytes, name: bytes) -> None:
        self._call(15, opaque(handle) + opaque(directory) + opaque(name))

    def rename(self, old: bytes, old_name: bytes, new: bytes, new_name: bytes) -> None:
        self._call(14, opaque(old) + opaque(old_name) + opaque(new) + opaque(new_name))

    def readdirplus(
        self, directory: bytes, cookie: int = 0, maximum: int = 32768
    ) -> tuple[list[tuple[bytes, int, int]], bool]:
        """One call: names, cookies and sizes, and whether the directory ended."""
        r = self._call(17, opaque(directory) + struct.pack(">Q8xII", cookie, maximum, maximum))
        post_attributes(r)
        r.fixed(8)
        entries: list[tuple[bytes, int, int]] = []
        while r.u32():
            _fileid, name, at = r.u64(), r.opaque(), r.u64()
            attributes = post_attributes(r)
            if r.u32():
                r.opaque()
            assert attributes, f"{name!r} has no attributes"
            entries.append((name, at, attributes.size))
        return entries, bool(r.u32())

    def fsstat(self, handle: bytes) -> tuple[int, int, int]:
        """Total, free and available bytes."""
        r = self._call(18, opaque(handle))
        post_attributes(r)
        return r.u64(), r.u64(), r.u64()

    def commit(self, handle: bytes, offset: int = 0, length: int = 0) -> bytes:
        """Returns the write verifier."""
        r = self._call(21, opaque(handle) + struct.pack(">QI", offset, length))
        skip_wcc(r)
        return r.fixed(8)
