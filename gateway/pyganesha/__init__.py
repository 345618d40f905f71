"""pyganesha: write a file system as a Python class, and the stock nfs-ganesha serves it. See README.md."""

from .errors import FsalError, Status, status_of
from .fsal import Fsal, ReadRequestLike, UpcallsLike
from .process import LogHandler, unblock_signals
from .types import (
    AnyAttributes,
    AnyDirEntry,
    Attributes,
    Caller,
    CreateMode,
    DirEntry,
    FsInfo,
    SetAttributes,
    XattrMode,
)

__all__ = [
    "AnyAttributes",
    "AnyDirEntry",
    "Attributes",
    "Caller",
    "CreateMode",
    "DirEntry",
    "FsInfo",
    "Fsal",
    "FsalError",
    "LogHandler",
    "ReadRequestLike",
    "SetAttributes",
    "Status",
    "UpcallsLike",
    "XattrMode",
    "status_of",
    "unblock_signals",
]
