"""Our Fsal with an audit of what changes names and attributes. Reads and writes are told by the core."""

import errno
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from gateway.fsal.filesystem import CaudalFsal
from gateway.metadata.errors import FsError
from gateway.pyganesha import AnyAttributes, Caller, CreateMode, FsalError, SetAttributes, XattrMode

T = TypeVar("T")
Place = tuple[int, bytes]


class Notes(Protocol):
    """What is needed of gateway._core.BlockCache."""

    def audit_level(self, export: int) -> int: ...
    def audit_note(
        self,
        export: int,
        op: str,
        result: int,
        inode: int,
        place: Place | None,
        target: Place | None = None,
    ) -> None: ...


class AuditedFsal(CaudalFsal):
    """notes: where operations are told, of the export with this number."""

    def __init__(self, *arguments: Any, notes: Notes, export_id: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._notes = notes
        self._export_id = export_id

    def _told(
        self,
        op: str,
        call: Callable[[], T],
        *,
        inode: int = 0,
        place: Place | None = None,
        target: Place | None = None,
    ) -> T:
        if not self._notes.audit_level(self._export_id):
            return call()
        result = errno.EIO
        try:
            done = call()
            result = 0
            return done
        except FsError as error:
            result = error.errno
            raise
        except FsalError as error:
            result = getattr(error, "errno", None) or errno.EIO
            raise
        finally:
            self._notes.audit_note(self._export_id, op, result, inode, place, target)

    def setattr(self, inode: int, attributes: SetAttributes, caller: Caller) -> None:
        up = super().setattr
        self._told("setattr", lambda: up(inode, attributes, caller), inode=inode)

    def setxattr(self, inode: int, name: bytes, value: bytes, how: XattrMode) -> None:
        up = super().setxattr
        self._told("setxattr", lambda: up(inode, name, value, how), inode=inode)

    def removexattr(self, inode: int, name: bytes) -> None:
        up = super().removexattr
        self._told("removexattr", lambda: up(inode, name), inode=inode)

    def create(
        self, directory: int, name: bytes, how: CreateMode, attributes: SetAttributes, caller: Caller
    ) -> tuple[AnyAttributes, bool]:
        up = super().create
        return self._told(
            "create", lambda: up(directory, name, how, attributes, caller), place=(directory, name)
        )

    def mkdir(self, directory: int, name: bytes, attributes: SetAttributes, caller: Caller) -> AnyAttributes:
        up = super().mkdir
        return self._told("mkdir", lambda: up(directory, name, attributes, caller), place=(directory, name))

    def symlink(
        self, directory: int, name: bytes, target: bytes, attributes: SetAttributes, caller: Caller
    ) -> AnyAttributes:
        up = super().symlink
        return self._told(
            "symlink", lambda: up(directory, name, target, attributes, caller), place=(directory, name)
        )

    def mknod(
        self,
        directory: int,
        name: bytes,
        kind: int,
        rdev: tuple[int, int],
        attributes: SetAttributes,
        caller: Caller,
    ) -> AnyAttributes:
        up = super().mknod
        return self._told(
            "mknod", lambda: up(directory, name, kind, rdev, attributes, caller), place=(directory, name)
        )

    def link(self, inode: int, directory: int, name: bytes) -> None:
        up = super().link
        self._told("link", lambda: up(inode, directory, name), inode=inode, target=(directory, name))

    def rename(
        self, old_directory: int, old_name: bytes, new_directory: int, new_name: bytes, victim_open: bool
    ) -> None:
        up = super().rename
        self._told(
            "rename",
            lambda: up(old_directory, old_name, new_directory, new_name, victim_open),
            place=(old_directory, old_name),
            target=(new_directory, new_name),
        )

    def unlink(self, directory: int, name: bytes, victim_open: bool) -> None:
        up = super().unlink
        self._told("remove", lambda: up(directory, name, victim_open), place=(directory, name))
