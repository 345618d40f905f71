"""The class to subclass: one method for each thing that a file system does."""

# ruff: noqa: ARG002, B027 - what is not overridden uses no argument and may do nothing
from __future__ import annotations

import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from .errors import FsalError, Status
from .types import AnyAttributes, AnyDirEntry, Caller, CreateMode, FsInfo, SetAttributes, XattrMode

if TYPE_CHECKING:
    from .types import AnyAttributes, AnyDirEntry, Caller, CreateMode, FsInfo, SetAttributes, XattrMode


class UpcallsLike(Protocol):
    """What the shim sets as :attr:`Fsal.upcalls`."""

    def invalidate(self, inode: int, generation: int) -> bool:
        """Ganesha forgets what it has cached of the inode; True: it had something.

        To be called for every change that was made beside NFS, from a thread of one's own: RuntimeError from inside
        an Fsal method that Ganesha called.
        """
        ...

    def orphaned(self, inode: int) -> bool:
        """Tells of an inode without a name that an earlier run left, once clients had time to reclaim their opens.

        True: a client has it open, and :meth:`Fsal.released` will be called at its last close; False: nobody has.
        """
        ...

    def usage(self) -> tuple[int, int, int, int] | None:
        """What clients have moved through the export since it was made: reads, bytes read, writes, bytes written. None once
        it is closing.
        """
        ...


class ReadRequestLike(Protocol):
    """A read to be answered later; see :meth:`Fsal.read_async`."""

    inode: int
    offset: int
    length: int

    @property
    def buffer(self) -> memoryview:
        """Writable, ``length`` bytes; released when the request completes."""
        ...

    def done(self, amount: int, eof: bool) -> None:
        """The first ``amount`` bytes of the buffer are the answer."""
        ...

    def fail(self, failure: BaseException) -> None:
        """The read failed with this exception."""
        ...


class Fsal(ABC):
    """A file system. Methods are called from many threads at once, each with Python's lock held.

    Names are bytes without ``/`` and NUL, of at most 255 bytes where Ganesha has looked; times are nanoseconds since 1970.
    Permissions have been checked before a method is called, by mode bits, owner and groups as on Linux: :class:`Caller` is
    there for the owners of what is created. Set-id bits that a change takes away are in what ``setattr`` gets, except that
    a write by others than root clears them in the file system itself.

    Failures are raised: :class:`OSError` (mapped by errno), :class:`FsalError`, or any exception with an ``errno``. Anything
    else is logged with its traceback and answered SERVERFAULT; the server lives on. A method that raises must have changed
    nothing. An unknown inode or generation is ``ESTALE``.
    """

    fsid: tuple[int, int] = (0, 0)
    """Major and minor number of the file system, 64 bits each. The major one is in every file handle: it must be the same
    after a restart, and another for every other file system of the server."""

    calls_max: int = 0
    """Calls of methods by Ganesha's workers that may be under way at once; 0: as many as there are workers. A small number
    pays where methods compute and never wait for long: the others wait without troubling the one that has Python's lock."""

    upcalls: UpcallsLike | None = None
    """Set by the shim before :meth:`ready`."""

    has_xattrs: bool = False
    """Whether files and directories have extended attributes. Read once, right after construction."""

    has_acls: bool = False
    """Whether they may have access control lists; read as ``has_xattrs`` is. Without one of its own, each has what its mode
    comes to, and obeys that as it would the mode."""

    def now_ns(self) -> int:
        """The server's clock, where a client asks for "the server's time"."""
        return time.time_ns()

    # --- Life ------------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Called once, after construction, when up-calls may be used; an exception here fails the export."""

    def close(self) -> None:
        """Called once, as the export goes (shutdown included), when no request is running any more.

        Background threads should have ended when it returns. Python is not finalised: ``atexit`` does not run.
        """

    # --- Attributes --------------------------------------------------------------------------------------------------

    @abstractmethod
    def root(self) -> AnyAttributes:
        """Attributes of the root directory."""

    @abstractmethod
    def getattr(self, inode: int, generation: int) -> AnyAttributes:
        """Attributes of an inode. ESTALE if there is no such inode, or it has another generation."""

    def setattr(self, inode: int, attributes: SetAttributes, caller: Caller) -> None:
        """Sets what is not ``None``. A size cuts the file or extends it with zeros."""
        raise FsalError(Status.ROFS)

    def getacl(self, inode: int) -> bytes:
        """The access control list of an inode whose mode says that it has one (docs/formats/acl.md), where ``has_acls``."""
        raise FsalError(Status.NOTSUPP)

    def statfs(self, inode: int) -> FsInfo:
        """Size of the file system, as seen from an inode. Unless overridden: a petabyte, half of it free. ESTALE."""
        return FsInfo(1 << 50, 1 << 49, 1 << 49, 1 << 40, 1 << 39)

    # --- Names -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def lookup(self, directory: int, name: bytes) -> AnyAttributes:
        """Attributes of what a name stands for, including ``..`` (the root's is the root). ENOENT, ENOTDIR."""

    @abstractmethod
    def readdir(self, directory: int, after: int) -> Iterable[AnyDirEntry]:
        """Entries in the order of their cookies, from the first with a cookie greater than ``after`` (0: from the start).

        Without ``.`` and ``..``. The shim stops iterating when Ganesha has enough, and asks again later with the cookie of
        the last entry it took, which may have been removed since.
        """

    def readlink(self, inode: int) -> bytes:
        """Target of a symbolic link. EINVAL if it is none."""
        raise FsalError(Status.INVAL)

    def create(
        self, directory: int, name: bytes, how: CreateMode, attributes: SetAttributes, caller: Caller
    ) -> tuple[AnyAttributes, bool]:
        """Makes a regular file with the attributes given; those not given are the file system's choice (uid and gid: the
        caller's, or the directory's group). Returns its attributes and True.

        Where the name exists: GUARDED raises EEXIST; UNCHECKED and EXCLUSIVE return what is there, unchanged, and False.
        An EXCLUSIVE create carries the client's verifier as atime and mtime, whole seconds below 2**32, that must be kept
        exactly: by them a repeated request is recognised.
        """
        raise FsalError(Status.ROFS)

    def make(
        self,
        directory: int,
        name: bytes,
        kind: int,
        attributes: SetAttributes,
        caller: Caller,
        target: bytes = b"",
        rdev: tuple[int, int] = (0, 0),
    ) -> AnyAttributes:
        """What :meth:`mkdir`, :meth:`symlink` and :meth:`mknod` come to unless they are overridden: makes an inode of a
        kind (S_IFDIR …) with a name. EEXIST."""
        raise FsalError(Status.ROFS)

    def mkdir(self, directory: int, name: bytes, attributes: SetAttributes, caller: Caller) -> AnyAttributes:
        """Makes a directory. EEXIST."""
        return self.make(directory, name, stat.S_IFDIR, attributes, caller)

    def symlink(
        self, directory: int, name: bytes, target: bytes, attributes: SetAttributes, caller: Caller
    ) -> AnyAttributes:
        """Makes a symbolic link. EEXIST."""
        return self.make(directory, name, stat.S_IFLNK, attributes, caller, target=target)

    def mknod(
        self,
        directory: int,
        name: bytes,
        kind: int,
        rdev: tuple[int, int],
        attributes: SetAttributes,
        caller: Caller,
    ) -> AnyAttributes:
        """Makes a FIFO, socket or device (``kind`` is S_IFIFO …; ``rdev`` major and minor). EEXIST."""
        return self.make(directory, name, kind, attributes, caller, rdev=rdev)

    def link(self, inode: int, directory: int, name: bytes) -> None:
        """Gives an inode one more name. EEXIST."""
        raise FsalError(Status.ROFS)

    def rename(
        self, old_directory: int, old_name: bytes, new_directory: int, new_name: bytes, victim_open: bool
    ) -> None:
        """Moves a name, replacing what the new one stood for; POSIX's rules. Two names of one inode: nothing happens.

        ``victim_open``: a client has the replaced file open; if this was its last name it stays, with nlink 0, until
        :meth:`released`.
        """
        raise FsalError(Status.ROFS)

    def unlink(self, directory: int, name: bytes, victim_open: bool) -> None:
        """Removes a name, of a directory too (ENOTEMPTY). ``victim_open``: as in :meth:`rename`."""
        raise FsalError(Status.ROFS)

    def released(self, inode: int) -> None:
        """The last open of a file without names was closed: nobody can reach it any more. Called once."""

    # --- Extended attributes, over NFS 4.2, where has_xattrs is true -------------------------------------------------------

    # Names are clients' own, without the `user.` that Linux puts before them, of any bytes; each method must look at them.
    # Set and remove move ctime and change of the inode.

    def getxattr(self, inode: int, name: bytes) -> bytes:
        """The value, of at most 64 KiB. ENODATA."""
        raise FsalError(Status.NOTSUPP)

    def setxattr(self, inode: int, name: bytes, value: bytes, how: XattrMode) -> None:
        """EEXIST or ENODATA, as `how` says; E2BIG: the value is too large; ENOSPC: there are too many; ENAMETOOLONG."""
        raise FsalError(Status.NOTSUPP)

    def removexattr(self, inode: int, name: bytes) -> None:
        """ENODATA."""
        raise FsalError(Status.NOTSUPP)

    def listxattr(self, inode: int) -> Iterable[bytes]:
        """All names, in any order."""
        raise FsalError(Status.NOTSUPP)

    # --- Data, with Python's lock: only where io() is None --------------------------------------------------------------

    def read(self, inode: int, offset: int, buffer: memoryview) -> tuple[int, bool]:
        """Fills the buffer from an offset; returns bytes read (fewer only at the end of the file) and whether the file ends
        there. The buffer must not be kept."""
        raise FsalError(Status.NOTSUPP)

    def read_async(self, request: ReadRequestLike) -> None:
        """Optional, instead of :meth:`read`: takes the request and returns; any thread answers it later with ``done`` or
        ``fail``. No worker of Ganesha waits meanwhile."""
        raise FsalError(Status.NOTSUPP)

    def write(self, inode: int, offset: int, data: memoryview, stable: bool, caller: Caller) -> bool:
        """Writes all of data at an offset. Returns whether it is durable already, as it must be if ``stable``. The view must
        not be kept. A write by others than root clears setuid and setgid bits."""
        raise FsalError(Status.ROFS)

    def commit(self, inode: int, offset: int, length: int) -> None:
        """Returns when what was written to the range (length 0: to the end) is durable."""

    def seek(self, inode: int, offset: int, hole: bool) -> tuple[int, bool]:
        """Where the first data, or with ``hole`` the first hole, begin at or after an offset; the end of the file is a hole.
        Where nothing of it lies before the end of the file: the size, and True. ENXIO if the offset is not before the end.
        """
        raise FsalError(Status.NOTSUPP)

    def allocate(self, inode: int, offset: int, length: int, caller: Caller) -> None:
        """Makes the file at least offset + length large, and reserves room for the range as far as the file system can. What
        was not written reads as zeros. Durable when it returns, as no commit follows; a caller other than root clears setuid
        and setgid bits. EFBIG, ENOSPC, EDQUOT."""
        raise FsalError(Status.NOTSUPP)

    def deallocate(self, inode: int, offset: int, length: int, caller: Caller) -> None:
        """Makes what of the range lies in the file read as zeros; its size stays. Else as :meth:`allocate`."""
        raise FsalError(Status.NOTSUPP)

    # --- Data, without it --------------------------------------------------------------------------------------------------

    def io(self) -> object | None:
        """A PyCapsule "pyganesha.io" with the C functions of ``include/pyganesha_io.h`` that serve the data from now on, or
        None. Asked once, right after construction; the capsule is kept until after :meth:`close`."""
        return None

    def gate(self) -> object | None:
        """A PyCapsule "pyganesha.gate" (``include/pyganesha_gate.h``) that says when reads and writes of the native core may
        go on, or None. Asked once, after :meth:`io`; kept as long."""
        return None

    def load(self, inode: int, generation: int) -> None:
        """Makes an inode known to the native core, which did not have it. ESTALE if there is no such regular file."""
        raise FsalError(Status.STALE)
