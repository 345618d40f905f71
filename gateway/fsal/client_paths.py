"""Paths as clients see them, over all exports: which inode a path leads to, and by which path clients find an inode.

The longest mount path that a path begins with decides its export. Of the exports that show an inode the one whose directory
is nearest above it gives its path. Both go by the exports of this moment: one that is added or removed counts from the next
question on.
"""

from collections.abc import Callable, Container, Sequence
from typing import Any, Final, NamedTuple, Protocol

from gateway.cache.walk import parts_of
from gateway.errors import ControlError
from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.errors import FsError

TOLD: Final = 10
"""Mount paths that an error names, at most."""


class Top(NamedTuple):
    """An export: its name, the path that clients mount, and the inode of its directory."""

    name: str
    pseudo: str
    inode: int


Tops = Callable[[], Sequence[Top]]
"""The exports that can be served now, that of the configuration first."""


class Names(Protocol):
    """What is needed of the namespace."""

    def lookup(self, directory: int, name: bytes) -> Any: ...
    def path_below(self, directory: int, tops: Container[int]) -> tuple[int, list[bytes]]: ...


class ClientPaths:
    """For any number of threads."""

    def __init__(self, names: Names, tops: Tops) -> None:
        self._names = names
        self._tops = tops

    def split(self, path: str) -> tuple[Top, list[str]]:
        """The export of a path, and the names below its directory. Raises ControlError (not_exported, invalid)."""
        wanted = parts_of(path)
        if not path.startswith("/") or ".." in wanted or "\0" in path:
            raise ControlError(
                "invalid",
                f"{path[:200]!r} is no path as clients see it",
                "give it from its mount path on, without ..",
            )
        tops = self._tops()
        found: Top | None = None
        for top in tops:
            root = parts_of(top.pseudo)
            if wanted[: len(root)] == root and (found is None or len(root) > len(parts_of(found.pseudo))):
                found = top
        if found is None:
            shown = ", ".join(top.pseudo for top in tops[:TOLD]) + (", …" if len(tops) > TOLD else "")
            raise ControlError(
                "not_exported",
                f"{path[:200]} is in no export",
                f"paths are as clients see them, and begin with one of: {shown}",
            )
        return found, wanted[len(parts_of(found.pseudo)) :]

    def resolve(self, path: str) -> Any:
        """The attributes of what a path leads to. Raises ControlError (not_exported, invalid, no_such_path)."""
        top, names = self.split(path)
        try:
            found = self._names.lookup(top.inode, b".")
            for name in names:
                found = self._names.lookup(found.inode, name.encode("utf-8", "surrogateescape"))
        except FsError as error:
            raise ControlError(
                "no_such_path", f"there is no {path[:200]}", "give a path as clients see it"
            ) from error
        return found

    def directory(self, path: str) -> int:
        """The inode of a directory. Raises ControlError as resolve() does, and not_a_directory."""
        found = self.resolve(path)
        if found.kind != DIRECTORY:
            raise ControlError("not_a_directory", f"{path[:200]} is no directory", "name a directory")
        return int(found.inode)

    def of_directory(self, inode: int) -> str | None:
        """The path of a directory; None where no export shows it. Raises FsError where it is gone."""
        pseudos = self.pseudos()
        top, names = self._names.path_below(inode, pseudos)
        if top not in pseudos:
            return None
        return join(pseudos[top], [name.decode(errors="replace") for name in names])

    def own(self) -> dict[str, dict[int, str]]:
        """By the exports' names, what pseudos() says of each alone."""
        return {top.name: {top.inode: top.pseudo} for top in self._tops()}

    def pseudos(self) -> dict[int, str]:
        """Mount paths by the inodes of their directories; where two exports have the same, the first."""
        found: dict[int, str] = {}
        for top in self._tops():
            found.setdefault(top.inode, top.pseudo)
        return found


def join(pseudo: str, names: Sequence[str]) -> str:
    """A path from its mount path and the names below."""
    return pseudo.rstrip("/") + "".join(f"/{name}" for name in names) or "/"
