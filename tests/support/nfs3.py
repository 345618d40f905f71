"""An NFS 3 client in this process: libnfs by ctypes, synchronous, one context a client.

Paths are those of the export, with a leading slash. Whatever fails raises OSError with the server's errno.
"""

import ctypes as c
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

LIBRARY = "libnfs.so.13"
CHUNK = 1 << 20


class _Stat(c.Structure):
    _fields_ = [
        (name, c.c_uint64)
        for name in (
            *("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"),
            *("atime", "mtime", "ctime", "atime_nsec", "mtime_nsec", "ctime_nsec", "used"),
        )
    ]


class _TimeVal(c.Structure):
    _fields_ = [("seconds", c.c_long), ("microseconds", c.c_long)]


class _DirEntry(c.Structure):
    _fields_ = [
        ("next", c.c_void_p),
        ("name", c.c_char_p),
        ("inode", c.c_uint64),
        ("type", c.c_uint32),
        ("mode", c.c_uint32),
        ("size", c.c_uint64),
    ]


class _StatVfs(c.Structure):
    _fields_ = [
        (name, c.c_uint64)
        for name in (
            *("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree"),
            *("favail", "fsid", "flag", "namemax"),
        )
    ]


@dataclass(frozen=True)
class Stat:
    """Attributes as the server sent them; times in ns."""

    inode: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    used: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Entry:
    """One entry of READDIRPLUS; `kind` is the protocol's ftype3."""

    name: bytes
    inode: int
    kind: int
    size: int


@dataclass(frozen=True)
class Space:
    """FSSTAT, in bytes and files."""

    total_bytes: int
    free_bytes: int
    total_files: int
    free_files: int


_POINTER, _PATH, _U64, _INT = c.c_void_p, c.c_char_p, c.c_uint64, c.c_int
_SIGNATURES: dict[str, list[Any]] = {
    "nfs_mount": [_PATH, _PATH],
    "nfs_open2": [_PATH, _INT, _INT, c.POINTER(_POINTER)],
    "nfs_close": [_POINTER],
    "nfs_pread": [_POINTER, _U64, _U64, _POINTER],
    "nfs_pwrite": [_POINTER, _U64, _U64, _POINTER],
    "nfs_fsync": [_POINTER],
    "nfs_ftruncate": [_POINTER, _U64],
    "nfs_truncate": [_PATH, _U64],
    "nfs_lstat64": [_PATH, c.POINTER(_Stat)],
    "nfs_stat64": [_PATH, c.POINTER(_Stat)],
    "nfs_fstat64": [_POINTER, c.POINTER(_Stat)],
    "nfs_mkdir2": [_PATH, _INT],
    "nfs_rmdir": [_PATH],
    "nfs_unlink": [_PATH],
    "nfs_rename": [_PATH, _PATH],
    "nfs_link": [_PATH, _PATH],
    "nfs_symlink": [_PATH, _PATH],
    "nfs_readlink": [_PATH, _POINTER, _INT],
    "nfs_mknod": [_PATH, _INT, _INT],
    "nfs_chmod": [_PATH, _INT],
    "nfs_lchown": [_PATH, _INT, _INT],
    "nfs_utimes": [_PATH, c.POINTER(_TimeVal)],
    "nfs_access": [_PATH, _INT],
    "nfs_statvfs64": [_PATH, c.POINTER(_StatVfs)],
    "nfs_opendir": [_PATH, c.POINTER(_POINTER)],
}


def _load() -> c.CDLL:
    library = c.CDLL(LIBRARY)
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = [_POINTER, *arguments], _INT
    library.nfs_init_context.restype = _POINTER
    library.nfs_get_fd.argtypes = [_POINTER]
    library.nfs_get_error.argtypes, library.nfs_get_error.restype = [_POINTER], c.c_char_p
    library.nfs_parse_url_dir.argtypes, library.nfs_parse_url_dir.restype = [_POINTER, _PATH], _POINTER
    library.nfs_destroy_url.argtypes = library.nfs_destroy_context.argtypes = [_POINTER]
    library.nfs_readdir.argtypes, library.nfs_readdir.restype = [_POINTER, _POINTER], c.POINTER(_DirEntry)
    library.nfs_closedir.argtypes = [_POINTER, _POINTER]
    for name in (
        "nfs_set_timeout",
        "nfs_set_dircache",
        "nfs_set_autoreconnect",
        "nfs_set_uid",
        "nfs_set_gid",
    ):
        getattr(library, name).argtypes = [_POINTER, _INT]
    return library


class File:
    """An open file."""

    def __init__(self, client: "Nfs3", handle: int) -> None:
        self._client, self._handle = client, handle

    def pwrite(self, data: bytes, offset: int) -> None:
        """Writes all of `data`, UNSTABLE: durable after fsync."""
        done = 0
        while done < len(data):
            piece = data[done : done + CHUNK]
            done += self._client.call(
                "nfs_pwrite", self._handle, offset + done, len(piece), c.c_char_p(piece)
            )

    def pread(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes; fewer at the end of the file."""
        parts: list[bytes] = []
        while length:
            buffer = c.create_string_buffer(min(length, CHUNK))
            got = self._client.call("nfs_pread", self._handle, offset, len(buffer), buffer)
            parts.append(buffer.raw[:got])
            if got == 0:
                break
            offset, length = offset + got, length - got
        return b"".join(parts)

    def fsync(self) -> None:
        """COMMIT. Raises OSError where the server's write verifier changed: written data may be lost."""
        self._client.call("nfs_fsync", self._handle)

    def truncate(self, size: int) -> None:
        self._client.call("nfs_ftruncate", self._handle, size)

    def stat(self) -> Stat:
        raw = _Stat()
        self._client.call("nfs_fstat64", self._handle, c.byref(raw))
        return _stat(raw)

    def close(self) -> None:
        if not self._client.broken:
            self._client.call("nfs_close", self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Nfs3:
    """A mounted export. Not to be shared between threads."""

    def __init__(
        self,
        port: int,
        export: str,
        *,
        mountd_port: int | None = None,
        host: str = "127.0.0.1",
        uid: int = 0,
        gid: int = 0,
        timeout_s: float = 30,
    ) -> None:
        self._library = _load()
        self._timeout_s = timeout_s
        self.broken = False
        self._context: int | None = self._library.nfs_init_context()
        options = f"version=3&nfsport={port}&mountport={mountd_port or port}"
        url = self._library.nfs_parse_url_dir(self._context, f"nfs://{host}{export}?{options}".encode())
        if not url:
            raise ValueError(self._error())
        self._library.nfs_destroy_url(url)
        self._library.nfs_set_uid(self._context, uid)
        self._library.nfs_set_gid(self._context, gid)
        self._library.nfs_set_timeout(self._context, int(timeout_s * 1000))
        self._library.nfs_set_dircache(self._context, 0)
        self._library.nfs_set_autoreconnect(self._context, 0)
        try:
            self.call("nfs_mount", host.encode(), export.encode())
        except OSError:
            self.close()
            raise

    def call(self, name: str, *arguments: Any) -> int:
        """Calls a function of libnfs on this context; negative answers become OSError.

        NFS3ERR_JUKEBOX (EAGAIN) is asked again for as long as the time-out says, as kernels do.
        """
        if self._context is None:
            raise ValueError("the client is closed")
        if self.broken:
            raise ConnectionError(errno.ECONNRESET, f"{name}: the connection was lost before")
        deadline = time.monotonic() + self._timeout_s
        while True:
            answer: int = getattr(self._library, name)(self._context, *arguments)
            if answer != -errno.EAGAIN or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if answer < 0:
            self.broken = b"nfs_service failed" in (self._library.nfs_get_error(self._context) or b"")
            raise OSError(-answer, f"{name}: {os.strerror(-answer)} ({self._error()})")
        return answer

    def _error(self) -> str:
        return (self._library.nfs_get_error(self._context) or b"").decode(errors="replace")

    def close(self) -> None:
        if self._context is None:
            return
        if self.broken:
            # libnfs 4.0 calls back into stack frames that are gone when such a context is destroyed; it leaks instead.
            descriptor = self._library.nfs_get_fd(self._context)
            if descriptor >= 0:
                os.close(descriptor)
        else:
            self._library.nfs_destroy_context(self._context)
        self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> File:
        """Opens or, with O_CREAT, makes a file; with O_EXCL the create is guarded."""
        handle = c.c_void_p()
        self.call("nfs_open2", os.fsencode(path), flags, mode, c.byref(handle))
        assert handle.value is not None
        return File(self, handle.value)

    def write_file(self, path: str, data: bytes) -> None:
        """Makes or replaces a file; returns when its bytes are durable."""
        with self.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR) as file:
            file.pwrite(data, 0)
            file.fsync()

    def read_file(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.pread(file.stat().size, 0)

    def stat(self, path: str, *, follow: bool = False) -> Stat:
        raw = _Stat()
        self.call("nfs_stat64" if follow else "nfs_lstat64", os.fsencode(path), c.byref(raw))
        return _stat(raw)

    def exists(self, path: str) -> bool:
        try:
            self.stat(path)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def readdir(self, path: str) -> list[Entry]:
        """All entries but . and .., in the server's order."""
        return [entry for entry in self._entries(path) if entry.name not in {b".", b".."}]

    def _entries(self, path: str) -> Iterator[Entry]:
        directory = c.c_void_p()
        self.call("nfs_opendir", os.fsencode(path), c.byref(directory))
        try:
            while entry := self._library.nfs_readdir(self._context, directory):
                found = entry.contents
                yield Entry(found.name, found.inode, found.type, found.size)
        finally:
            self._library.nfs_closedir(self._context, directory)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        self.call("nfs_mkdir2", os.fsencode(path), mode)

    def rmdir(self, path: str) -> None:
        self.call("nfs_rmdir", os.fsencode(path))

    def unlink(self, path: str) -> None:
        self.call("nfs_unlink", os.fsencode(path))

    def rename(self, old: str, new: str) -> None:
        self.call("nfs_rename", os.fsencode(old), os.fsencode(new))

    def link(self, old: str, new: str) -> None:
        self.call("nfs_link", os.fsencode(old), os.fsencode(new))

    def symlink(self, target: str, path: str) -> None:
        self.call("nfs_symlink", os.fsencode(target), os.fsencode(path))

    def readlink(self, path: str) -> str:
        buffer = c.create_string_buffer(4097)
        self.call("nfs_readlink", os.fsencode(path), buffer, len(buffer))
        return buffer.value.decode()

    def mknod(self, path: str, mode: int, device: int = 0) -> None:
        self.call("nfs_mknod", os.fsencode(path), mode, device)

    def truncate(self, path: str, size: int) -> None:
        self.call("nfs_truncate", os.fsencode(path), size)

    def chmod(self, path: str, mode: int) -> None:
        self.call("nfs_chmod", os.fsencode(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self.call("nfs_lchown", os.fsencode(path), uid, gid)

    def utimes(self, path: str, atime_us: int, mtime_us: int) -> None:
        times = (_TimeVal * 2)(*(_TimeVal(*divmod(moment, 1_000_000)) for moment in (atime_us, mtime_us)))
        self.call("nfs_utimes", os.fsencode(path), times)

    def access(self, path: str, mode: int) -> bool:
        try:
            self.call("nfs_access", os.fsencode(path), mode)
        except PermissionError:
            return False
        return True

    def space(self, path: str = "/") -> Space:
        """FSSTAT, as seen from a directory."""
        raw = _StatVfs()
        self.call("nfs_statvfs64", path.encode(), c.byref(raw))
        return Space(raw.blocks * raw.frsize, raw.bfree * raw.frsize, raw.files, raw.ffree)


def _stat(raw: _Stat) -> Stat:
    return Stat(
        inode=raw.ino,
        mode=raw.mode,
        nlink=raw.nlink,
        uid=raw.uid,
        gid=raw.gid,
        rdev=raw.rdev,
        size=raw.size,
        used=raw.used,
        atime_ns=raw.atime * 10**9 + raw.atime_nsec,
        mtime_ns=raw.mtime * 10**9 + raw.mtime_nsec,
        ctime_ns=raw.ctime * 10**9 + raw.ctime_nsec,
    )
