"""The one place where failures become the status codes of Ganesha's FSAL interface."""

from __future__ import annotations

import enum
import errno


class Status(enum.IntEnum):
    """Ganesha's ``fsal_errors_t``, as far as a file system has reason to answer it."""

    OK = 0
    PERM = 1
    NOENT = 2
    IO = 5
    NXIO = 6
    NOMEM = 12
    ACCESS = 13
    EXIST = 17
    XDEV = 18
    NOTDIR = 20
    ISDIR = 21
    INVAL = 22
    FBIG = 27
    NOSPC = 28
    ROFS = 30
    MLINK = 31
    DQUOT = 49
    NAMETOOLONG = 78
    NOTEMPTY = 93
    STALE = 151
    BADHANDLE = 10001
    BADCOOKIE = 10003
    NOTSUPP = 10004
    TOOSMALL = 10005
    SERVERFAULT = 10006
    BADTYPE = 10007
    DELAY = 10008
    LOCKED = 10012
    SHARE_DENIED = 10015
    SYMLINK = 10029
    ATTRNOTSUPP = 10032
    FILE_OPEN = 10046
    BADNAME = 10098
    NOXATTR = 10099
    XATTR2BIG = 10100


class FsalError(Exception):
    """An expected failure with an exact status, for what no errno says (STALE and DELAY have one, BADHANDLE has not)."""

    def __init__(self, code: Status, message: str = "") -> None:
        super().__init__(message or code.name)
        self.code = code


ERRNO_STATUS: dict[int, Status] = {
    errno.EPERM: Status.PERM,
    errno.ENOENT: Status.NOENT,
    errno.EIO: Status.IO,
    errno.ENXIO: Status.NXIO,
    errno.ENODEV: Status.NXIO,
    errno.ENOMEM: Status.NOMEM,
    errno.EACCES: Status.ACCESS,
    errno.EEXIST: Status.EXIST,
    errno.EXDEV: Status.XDEV,
    errno.ENOTDIR: Status.NOTDIR,
    errno.EISDIR: Status.ISDIR,
    errno.EINVAL: Status.INVAL,
    errno.EFBIG: Status.FBIG,
    errno.ENOSPC: Status.NOSPC,
    errno.EROFS: Status.ROFS,
    errno.EMLINK: Status.MLINK,
    errno.EDQUOT: Status.DQUOT,
    errno.ENAMETOOLONG: Status.NAMETOOLONG,
    errno.ENOTEMPTY: Status.NOTEMPTY,
    errno.ESTALE: Status.STALE,
    errno.ENOTSUP: Status.NOTSUPP,
    errno.ENOSYS: Status.NOTSUPP,
    # The client tries again (NFS4ERR_DELAY, NFS3ERR_JUKEBOX).
    errno.EAGAIN: Status.DELAY,
    errno.EBUSY: Status.DELAY,
    errno.ETIMEDOUT: Status.DELAY,
    errno.ETXTBSY: Status.SHARE_DENIED,
    errno.ENODATA: Status.NOXATTR,
    errno.E2BIG: Status.XATTR2BIG,
    errno.ERANGE: Status.XATTR2BIG,
}


def status_of(failure: BaseException) -> tuple[int, bool]:
    """Status for an exception, and whether it was expected (a file system's answer) or is a defect to be logged.

    An exception that carries an integer ``errno`` (OSError, or another package's own class) counts as expected.
    """
    if isinstance(failure, FsalError):
        return int(failure.code), True
    number = getattr(failure, "errno", None)
    if isinstance(number, int) and number in ERRNO_STATUS:
        return int(ERRNO_STATUS[number]), True
    return int(Status.SERVERFAULT), False


def errno_table(length: int = 256) -> list[int]:
    """Status by errno, for native code: an errno that nobody planned for is an I/O error."""
    table = [int(ERRNO_STATUS.get(number, Status.IO)) for number in range(length)]
    table[0] = int(Status.OK)
    return table
