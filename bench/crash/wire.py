"""The two protocols behind one set of calls: NFS 3, and NFS 4.1 or 4.2, in plain Python, so that write verifiers, handles
and statuses are seen as they come.

Answers that say "come again" (JUKEBOX, DELAY, GRACE) are asked again, as kernels do; they promise that nothing was done.
"""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from tests.ganesha import nfs3_client, nfs4_ops
from tests.ganesha.nfs3_client import Client, NfsError
from tests.ganesha.nfs4_ops import Nfs4Error, Op
from tests.ganesha.nfs4_session import Create, Opened, Session
from tests.support.caudal import EXPORT

T = TypeVar("T")
LATER: Final = frozenset({10008, 10013})
# EXPIRED, BADSESSION, DEADSESSION: a client that could not renew in time starts anew; what it asked for was not done.
EXPIRED: Final = frozenset({10011, 10052, 10078})
NOENT, STALE = 2, 70
RETRY_S, RETRY_LIMIT_S = 0.05, 90.0
READ_BYTES: Final = 1 << 18
GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR = 72, 73, 74, 75
XATTR_NAMES_BYTES: Final = 1 << 16


class Lost(Exception):
    """The connection ended, or nothing came any more: what was asked last was done or not."""


class Refused(Exception):
    """The server answered with another status than OK."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(f"{what}: status {status}")
        self.status = status


@dataclass(frozen=True)
class Facts:
    """Attributes that a client compares. `kind` is the protocols' number: 1 file, 2 directory."""

    kind: int
    mode: int
    owner: tuple[int, int]
    nlink: int
    size: int
    inode: int


class Wire(Protocol):
    """A connection as one client's. Handles are bytes; names single components. Raises Refused and Lost."""

    version: int
    waits: int
    root: bytes

    def close(self) -> None: ...
    def lookup(self, directory: bytes, name: str) -> bytes: ...
    def names(self, directory: bytes) -> list[str]: ...
    def facts(self, handle: bytes) -> Facts: ...
    def read(self, handle: bytes) -> bytes: ...
    def create(self, directory: bytes, name: str, mode: int, verifier: bytes = b"") -> bytes: ...
    def write(self, handle: bytes, offset: int, data: bytes, *, stable: bool) -> tuple[bool, bytes]: ...
    def commit(self, handle: bytes) -> bytes: ...
    def truncate(self, handle: bytes, size: int) -> None: ...
    def chmod(self, handle: bytes, mode: int) -> None: ...
    def chown(self, handle: bytes, uid: int, gid: int) -> None: ...
    def mkdir(self, directory: bytes, name: str) -> bytes: ...
    def remove(self, directory: bytes, name: str, *, directory_itself: bool) -> None: ...
    def rename(self, old: bytes, old_name: str, new: bytes, new_name: str) -> None: ...
    def link(self, handle: bytes, directory: bytes, name: str) -> None: ...
    def xattrs(self, handle: bytes) -> dict[str, bytes] | None: ...
    def set_xattr(self, handle: bytes, name: str, value: bytes) -> None: ...
    def remove_xattr(self, handle: bytes, name: str) -> None: ...


class _Asking:
    """Asks again where the server says so. `waits`: how often it did."""

    def __init__(self) -> None:
        self.waits = 0

    def ask(self, what: str, call: Callable[[], T]) -> T:
        deadline = time.monotonic() + RETRY_LIMIT_S
        while True:
            try:
                return call()
            except (NfsError, Nfs4Error) as error:
                if error.status in EXPIRED:
                    raise Lost(f"{what}: the lease ran out") from error
                if error.status not in LATER or time.monotonic() > deadline:
                    raise Refused(what, error.status) from error
            except (OSError, struct.error) as error:
                raise Lost(f"{what}: {error!r}") from error
            self.waits += 1
            time.sleep(RETRY_S)


class Wire3(_Asking):
    """NFS 3."""

    version = 3

    def __init__(self, port: int, mount_port: int, timeout_s: float) -> None:
        super().__init__()
        try:
            self._client = Client(port, mount_port, EXPORT)
        except (OSError, struct.error) as error:
            raise Lost(f"mount: {error!r}") from error
        self._client.nfs.limit(timeout_s)
        self.root = self._client.root

    def close(self) -> None:
        self._client.nfs.close()

    def lookup(self, directory: bytes, name: str) -> bytes:
        return self.ask(f"LOOKUP {name}", lambda: self._client.lookup(directory, name.encode()))

    def names(self, directory: bytes) -> list[str]:
        found: list[str] = []
        cookie, ended = 0, False
        while not ended:
            entries, ended = self.ask(
                "READDIRPLUS", lambda at=cookie: self._client.readdirplus(directory, at)
            )
            found += [name.decode() for name, _cookie, _size in entries]
            cookie = entries[-1][1] if entries else cookie
        return [name for name in found if name not in {".", ".."}]

    def facts(self, handle: bytes) -> Facts:
        found = self.ask("GETATTR", lambda: self._client.getattr(handle))
        owner = (found.uid, found.gid)
        return Facts(found.kind, found.mode & 0o7777, owner, found.nlink, found.size, found.fileid)

    def read(self, handle: bytes) -> bytes:
        whole, ended = b"", False
        while not ended:
            at = len(whole)
            piece, ended = self.ask("READ", lambda at=at: self._client.read(handle, at, READ_BYTES))
            whole += piece
            if not piece and not ended:
                raise Refused("READ without bytes and without an end", 0)
        return whole

    def create(self, directory: bytes, name: str, mode: int, verifier: bytes = b"") -> bytes:
        how = nfs3_client.EXCLUSIVE if verifier else nfs3_client.GUARDED
        return self.ask(
            f"CREATE {name}", lambda: self._client.create(directory, name.encode(), how, verifier, mode)
        )

    def write(self, handle: bytes, offset: int, data: bytes, *, stable: bool) -> tuple[bool, bytes]:
        how = nfs3_client.FILE_SYNC if stable else nfs3_client.UNSTABLE
        committed, verifier = self.ask("WRITE", lambda: self._client.write(handle, offset, data, how))
        return committed != nfs3_client.UNSTABLE, verifier

    def commit(self, handle: bytes) -> bytes:
        return self.ask("COMMIT", lambda: self._client.commit(handle))

    def truncate(self, handle: bytes, size: int) -> None:
        self.ask("SETATTR size", lambda: self._client.setattr(handle, size=size))

    def chmod(self, handle: bytes, mode: int) -> None:
        self.ask("SETATTR mode", lambda: self._client.setattr(handle, mode=mode))

    def chown(self, handle: bytes, uid: int, gid: int) -> None:
        self.ask("SETATTR owner", lambda: self._client.setattr(handle, uid=uid, gid=gid))

    def mkdir(self, directory: bytes, name: str) -> bytes:
        return self.ask(f"MKDIR {name}", lambda: self._client.mkdir(directory, name.encode()))

    def remove(self, directory: bytes, name: str, *, directory_itself: bool) -> None:
        call = self._client.rmdir if directory_itself else self._client.remove
        self.ask(f"REMOVE {name}", lambda: call(directory, name.encode()))

    def rename(self, old: bytes, old_name: str, new: bytes, new_name: str) -> None:
        self.ask(
            f"RENAME {old_name} {new_name}",
            lambda: self._client.rename(old, old_name.encode(), new, new_name.encode()),
        )

    def link(self, handle: bytes, directory: bytes, name: str) -> None:
        self.ask(f"LINK {name}", lambda: self._client.link(handle, directory, name.encode()))

    def xattrs(self, handle: bytes) -> None:
        """NFS 3 has none."""

    def set_xattr(self, handle: bytes, name: str, value: bytes) -> None:  # noqa: ARG002 - the other's
        raise Refused(f"SETXATTR {name} over NFS 3", 0)

    def remove_xattr(self, handle: bytes, name: str) -> None:  # noqa: ARG002 - the other's
        raise Refused(f"REMOVEXATTR {name} over NFS 3", 0)


class Wire4(_Asking):
    """NFS 4.1 or 4.2. Files that were opened for writing stay open until close()."""

    _FACTS: Final = (
        nfs4_ops.TYPE, nfs4_ops.SIZE, nfs4_ops.FILEID, nfs4_ops.MODE, nfs4_ops.NUMLINKS, nfs4_ops.OWNER, nfs4_ops.GROUP,
    )  # fmt: skip

    def __init__(self, port: int, minor: int, name: bytes, boot: bytes, timeout_s: float) -> None:
        super().__init__()
        self.version = 40 + minor
        self._opened: dict[bytes, Opened] = {}
        self._session = self.ask(
            "session", lambda: Session(port, name, minor, export=EXPORT[1:].encode(), verifier=boot)
        )
        self._session.limit(timeout_s)
        self.root = self._session.root

    def _run(self, what: str, *operations: Op) -> list[Any]:
        return self.ask(what, lambda: self._session.run(*operations))

    def close(self) -> None:
        """Lets go of everything, so that the next start owes this client no grace; where the server is gone, of nothing."""
        try:
            for opened in self._opened.values():
                self.ask("CLOSE", lambda it=opened: self._session.close_file(it))
            self.ask("DESTROY", self._session.destroy)
        except (Lost, Refused):
            pass  # its lease runs out
        finally:
            self._session.close()

    def lookup(self, directory: bytes, name: str) -> bytes:
        operations = (nfs4_ops.putfh(directory), nfs4_ops.lookup(name.encode()), nfs4_ops.getfh())
        return self._run(f"LOOKUP {name}", *operations)[-1]

    def names(self, directory: bytes) -> list[str]:
        found: list[str] = []
        cookie, verifier, ended = 0, bytes(8), False
        while not ended:
            listing = nfs4_ops.readdir(cookie, verifier, maxcount=1 << 16, dircount=1 << 15)
            verifier, entries, ended = self._run("READDIR", nfs4_ops.putfh(directory), listing)[-1]
            found += [name.decode() for _cookie, name, _attributes in entries]
            cookie = entries[-1][0] if entries else cookie
        return found

    def facts(self, handle: bytes) -> Facts:
        found = self._run("GETATTR", nfs4_ops.putfh(handle), nfs4_ops.getattr_(*self._FACTS))[-1]
        owner = (int(found[nfs4_ops.OWNER]), int(found[nfs4_ops.GROUP]))
        numbers = (nfs4_ops.NUMLINKS, nfs4_ops.SIZE, nfs4_ops.FILEID)
        return Facts(
            found[nfs4_ops.TYPE], found[nfs4_ops.MODE] & 0o7777, owner, *(found[one] for one in numbers)
        )

    def read(self, handle: bytes) -> bytes:
        whole, ended = b"", False
        while not ended:
            operations = (nfs4_ops.putfh(handle), nfs4_ops.read(len(whole), READ_BYTES))
            ended, piece = self._run("READ", *operations)[-1]
            whole += piece
            if not piece and not ended:
                raise Refused("READ without bytes and without an end", 0)
        return whole

    def create(self, directory: bytes, name: str, mode: int, verifier: bytes = b"") -> bytes:
        attributes = {nfs4_ops.MODE: mode}
        how = Create.exclusive41(verifier, attributes) if verifier else Create.guarded(attributes)
        opened = self.ask(f"OPEN {name}", lambda: self._session.open(directory, name.encode(), create=how))
        self._opened[opened.handle] = opened
        return opened.handle

    def _stateid(self, handle: bytes) -> bytes:
        """That of an open of ours, or the one of nobody's."""
        return self._opened[handle].stateid if handle in self._opened else nfs4_ops.ANONYMOUS

    def write(self, handle: bytes, offset: int, data: bytes, *, stable: bool) -> tuple[bool, bytes]:
        how = nfs4_ops.FILE_SYNC if stable else nfs4_ops.UNSTABLE
        operation = nfs4_ops.write(offset, data, self._stateid(handle), how)
        count, committed, verifier = self._run("WRITE", nfs4_ops.putfh(handle), operation)[-1]
        if count != len(data):
            raise Refused(f"WRITE of {count} bytes of {len(data)}", 0)
        return committed != nfs4_ops.UNSTABLE, verifier

    def commit(self, handle: bytes) -> bytes:
        return self._run("COMMIT", nfs4_ops.putfh(handle), nfs4_ops.commit())[-1]

    def _set(self, handle: bytes, attributes: nfs4_ops.Attributes) -> None:
        operation = nfs4_ops.setattr_(attributes, self._stateid(handle))
        self._run("SETATTR", nfs4_ops.putfh(handle), operation)

    def truncate(self, handle: bytes, size: int) -> None:
        self._set(handle, {nfs4_ops.SIZE: size})

    def chmod(self, handle: bytes, mode: int) -> None:
        self._set(handle, {nfs4_ops.MODE: mode})

    def chown(self, handle: bytes, uid: int, gid: int) -> None:
        self._set(handle, {nfs4_ops.OWNER: str(uid), nfs4_ops.GROUP: str(gid)})

    def mkdir(self, directory: bytes, name: str) -> bytes:
        operation = nfs4_ops.create(nfs4_ops.DIR, name.encode(), {nfs4_ops.MODE: 0o755})
        return self._run(f"CREATE {name}", nfs4_ops.putfh(directory), operation, nfs4_ops.getfh())[-1]

    def remove(self, directory: bytes, name: str, *, directory_itself: bool) -> None:
        what = f"REMOVE {name}{'/' * directory_itself}"
        self._run(what, nfs4_ops.putfh(directory), nfs4_ops.remove(name.encode()))

    def rename(self, old: bytes, old_name: str, new: bytes, new_name: str) -> None:
        way = (nfs4_ops.putfh(old), nfs4_ops.savefh(), nfs4_ops.putfh(new))
        operation = nfs4_ops.rename(old_name.encode(), new_name.encode())
        self._run(f"RENAME {old_name} {new_name}", *way, operation)

    def link(self, handle: bytes, directory: bytes, name: str) -> None:
        way = (nfs4_ops.putfh(handle), nfs4_ops.savefh(), nfs4_ops.putfh(directory))
        self._run(f"LINK {name}", *way, nfs4_ops.link(name.encode()))

    def xattrs(self, handle: bytes) -> dict[str, bytes] | None:
        """All of them; None where the version has none."""
        if self.version < 42:
            return None

        def listed(r: nfs3_client.Reader) -> list[bytes]:
            r.u64()
            return [r.opaque() for _ in range(r.u32())]

        arguments = struct.pack(">QI", 0, XATTR_NAMES_BYTES)
        names = self._run("LISTXATTRS", nfs4_ops.putfh(handle), Op(LISTXATTRS, arguments, listed))[-1]
        found: dict[str, bytes] = {}
        for name in names:
            operation = Op(GETXATTR, nfs3_client.opaque(name), nfs3_client.Reader.opaque)
            found[name.decode()] = self._run("GETXATTR", nfs4_ops.putfh(handle), operation)[-1]
        return found

    def set_xattr(self, handle: bytes, name: str, value: bytes) -> None:
        arguments = struct.pack(">I", 0) + nfs3_client.opaque(name.encode()) + nfs3_client.opaque(value)
        operation = Op(SETXATTR, arguments, lambda r: r.fixed(20))
        self._run(f"SETXATTR {name}", nfs4_ops.putfh(handle), operation)

    def remove_xattr(self, handle: bytes, name: str) -> None:
        operation = Op(REMOVEXATTR, nfs3_client.opaque(name.encode()), lambda r: r.fixed(20))
        self._run(f"REMOVEXATTR {name}", nfs4_ops.putfh(handle), operation)


def connect(version: int, port: int, mount_port: int, *, name: bytes, boot: bytes, timeout_s: float) -> Wire:
    """A connection; `version` is 3, 41 or 42. Raises Lost where no server answers."""
    if version == 3:
        return Wire3(port, mount_port, timeout_s)
    return Wire4(port, version - 40, name, boot, timeout_s)
