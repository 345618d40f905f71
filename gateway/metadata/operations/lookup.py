"""Reading: attributes, names, pages of directories."""

import errno

from gateway.metadata.attributes import REGULAR, SIZE_MAX_BYTES, SYMLINK, Attributes, Counts, DirEntry
from gateway.metadata.by_cookie import Dirent
from gateway.metadata.directories import Directory
from gateway.metadata.errors import FsError
from gateway.metadata.operations.base import Foundation, attributes_of, check_name
from gateway.metadata.reads import DirentRow
from gateway.metadata.view import LOAD_NAMES_MAX


class LookupOperations(Foundation):
    """Operations that change nothing. None waits for the journal."""

    def getattr(self, ino: int) -> Attributes:
        """Attributes as of now. Raises ESTALE."""
        row = self.view.inode(ino)
        if row is None:
            raise FsError(errno.ESTALE)
        if row.kind != REGULAR:
            return attributes_of(row)
        live = self.core.attributes(ino)
        if live is not None:
            return live  # type: ignore[return-value]  # the core's tuple has the same fields
        # Not live when asked. The row from before may lack a last flush; a row read now does not.
        return attributes_of(self.row(ino))

    def lookup(self, directory: int, name: bytes) -> Attributes:
        """Attributes of what a name leads to. Raises ENOENT, ENOTDIR, ESTALE (the directory is gone), ENAMETOOLONG."""
        row = self.directory(directory)
        if name == b".":
            return self.getattr(directory)
        if name == b"..":
            return self.getattr(row.parent)
        entry = self.view.dirent(directory, name)
        if entry is None:
            check_name(name)
            raise FsError(errno.ENOENT)
        try:
            return self.getattr(entry.ino)
        except FsError:
            # Removed between the two looks.
            raise FsError(errno.ENOENT) from None

    def readlink(self, ino: int) -> bytes:
        """Raises EINVAL (not a symbolic link), ESTALE."""
        row = self.row(ino)
        if row.kind != SYMLINK:
            raise FsError(errno.EINVAL)
        return row.target or b""

    def statfs(self) -> Counts:
        return Counts(self._inodes, self._bytes)

    def readdir(self, directory: int, after_cookie: int, limit: int) -> list[DirEntry]:
        """Up to `limit` entries with cookies above `after_cookie` (0: from the start), in the order of cookies.

        Fewer than `limit` means that the directory ends here; to go on, pass the last cookie. Entries that are there
        all the while come exactly once, whatever is made or removed between pages. Raises ENOTDIR, ESTALE.
        """
        self.directory(directory)
        if limit < 1:
            raise ValueError(f"limit of {limit} entries")
        out: list[DirEntry] = []
        more: int | None = after_cookie
        while more is not None and len(out) < limit:
            page, more = self._page(directory, more, limit - len(out))
            self.view.warm_inodes(entry.ino for entry in page)
            for entry in page:
                try:
                    out.append(DirEntry(entry.name, entry.cookie, self.getattr(entry.ino)))
                except FsError:
                    pass  # removed since the page was put together
        return out

    def _page(self, directory: int, after: int, wanted: int) -> tuple[list[Dirent], int | None]:
        """At most `wanted` of the next entries, perhaps none, and the cookie to go on after; None: that was all."""
        view = self.view
        while True:
            forgotten = view.overlay.forgotten
            names = view.directories.of(directory)
            complete = names is not None and names.complete
            found = None if complete else view.reads.dirents(directory, after, wanted)
            with self.lock:
                row = view.inode(directory)
                if row is None:
                    return [], None
                names = view.directories.open(directory, empty=row.size == 0)
                names.hot = True
                if names.complete:
                    page = names.after(after, wanted)
                elif found is None or view.overlay.forgotten != forgotten:
                    continue
                else:
                    page = _merged(names, found, after, wanted)
                    if row.size <= LOAD_NAMES_MAX:
                        view.cache_names(directory, found, forgotten)
                    if len(page) < wanted and len(found) == wanted:
                        # Names that are in SQL but gone by now left room.
                        return page, found[-1][1]
            return page, page[-1].cookie if len(page) == wanted else None


def _merged(names: Directory, found: list[DirentRow], after: int, wanted: int) -> list[Dirent]:
    """Entries of a directory that memory knows in part: what SQL has, unless memory knows better, and what it lacks.

    Not beyond SQL's last entry, if there are `wanted` of them: what follows that is not known yet.
    """
    bound = found[-1][1] if len(found) == wanted else SIZE_MAX_BYTES
    page = {entry.cookie: entry for entry in names.after(after, wanted) if entry.cookie <= bound}
    for name, cookie, ino, kind in found:
        known = names.names.get(name)
        if known is None:
            page[cookie] = Dirent(name, cookie, ino, kind, 0)
        elif known.cookie == cookie:
            page[cookie] = known
    return [page[cookie] for cookie in sorted(page)[:wanted]]
