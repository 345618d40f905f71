"""Changing names: link, rename, unlink."""

import errno
from copy import copy

from gateway.metadata import links, rows
from gateway.metadata.attributes import DIRECTORY, LINK_MAX, REGULAR, ROOT_INODE, Attributes
from gateway.metadata.errors import FsError
from gateway.metadata.operations.base import check_name, check_new_name
from gateway.metadata.operations.lookup import LookupOperations
from gateway.metadata.rows import DropDirent, DropInode, InodeRow, PutDirent, PutInode


class NameOperations(LookupOperations):
    """All return when the change is durable, and raise ESTALE, ENOTDIR, ENOENT, ENAMETOOLONG, EINVAL besides their own.

    `victim_open`: the inode that may lose its last name is open; it then stays as an orphan until `released`.
    """

    def link(self, ino: int, directory: int, name: bytes) -> Attributes:
        """A further name for what is not a directory. Raises EPERM (it is one), EEXIST, EMLINK, EXDEV (quotas)."""
        check_new_name(name)
        with self.lock:
            row = self.row(ino)
            if row.kind == DIRECTORY:
                raise FsError(errno.EPERM)
            parent = self.open_directory(directory)
            if self.view.dirent(directory, name) is not None:
                raise FsError(errno.EEXIST)
            if row.orphan:
                raise FsError(errno.ENOENT)
            if row.nlink >= LINK_MAX:
                raise FsError(errno.EMLINK)
            if self.quotas.account_of(row.parent) != self.quotas.account_of(directory):
                raise FsError(errno.EXDEV)
            now_ns = self.clock.now_ns()
            new = self.changed(row, now_ns)
            new.nlink += 1
            if not links.named(new, directory):
                raise FsError(errno.EMLINK, "it has names in too many directories")
            lsn = self.commit(
                (
                    PutInode(new, self.keeps_data(new)),
                    PutDirent(directory, name, self.number(), ino, row.kind),
                    PutInode(self._parent(parent, now_ns, entries=1), False),
                )
            )
            attributes = self.getattr(ino)
        self.finish(lsn)
        return attributes

    def unlink(self, directory: int, name: bytes, victim_open: bool = False) -> None:
        """Removes a name; of a directory, the directory itself. Raises ENOTEMPTY, EINVAL (`.`, `..`)."""
        _check_old_name(name)
        with self.lock:
            parent = self.directory(directory)
            victim = self.entry(directory, name)
            if victim.kind == DIRECTORY and victim.size:
                raise FsError(errno.ENOTEMPTY)
            now_ns = self.clock.now_ns()
            gone, dropped = self._without_name(victim, directory, now_ns, victim_open)
            subdirectories = -1 if victim.kind == DIRECTORY else 0
            lsn = self.commit(
                (
                    DropDirent(directory, name),
                    *gone,
                    PutInode(self._parent(parent, now_ns, entries=-1, links=subdirectories), False),
                ),
                inodes=-dropped,
            )
        self.finish(lsn)

    def rename(
        self,
        old_directory: int,
        old_name: bytes,
        new_directory: int,
        new_name: bytes,
        victim_open: bool = False,
    ) -> None:
        """Moves a name, over another if there is one; nothing happens between two names of one inode.

        Raises ENOTEMPTY, EISDIR (a file over a directory), ENOTDIR (the other way round), EINVAL (a directory into
        itself or below; `.`, `..`), EMLINK. Into another quota tree a file takes its charge along, or raises EDQUOT; a
        directory, or one of several names of a file, raises EXDEV.
        """
        _check_old_name(old_name)
        _check_old_name(new_name)
        with self.lock:
            self.directory(old_directory)
            self.open_directory(new_directory)
            moved = self.entry(old_directory, old_name)
            target = self.view.dirent(new_directory, new_name)
            victim = self.view.inode(target.ino) if target is not None else None
            if victim is not None and victim.ino == moved.ino:
                return
            if moved.kind == DIRECTORY and old_directory != new_directory:
                self._check_ancestors(moved.ino, new_directory)
            if victim is not None:
                _check_replaceable(moved, victim)
            if old_directory != new_directory:
                self._check_trees(moved, old_directory, new_directory)
            now_ns = self.clock.now_ns()
            ops, home = self._renamed(old_directory, new_directory, moved, victim, now_ns)
            cookie = target.cookie if target is not None else self.number()
            ops.append(DropDirent(old_directory, old_name))
            ops.append(PutDirent(new_directory, new_name, cookie, moved.ino, moved.kind))
            dropped = 0
            if victim is not None:
                gone, dropped = self._without_name(victim, new_directory, now_ns, victim_open)
                ops += gone
            lsn = self._commit_move(ops, moved, home, -dropped)
        self.finish(lsn)

    def _check_trees(self, moved: InodeRow, old_directory: int, new_directory: int) -> None:
        """Whether something may go where other limits hold. Raises EXDEV, EDQUOT."""
        account = self.quotas.account_of(old_directory)
        if account == self.quotas.account_of(new_directory):
            return
        if moved.kind == DIRECTORY or moved.nlink > 1:
            raise FsError(errno.EXDEV)
        self.quotas.check_new(new_directory, old_directory)

    def _commit_move(self, ops: list[rows.RowOp], moved: InodeRow, home: int, inodes: int) -> int:
        """Commits a rename. The bytes of a file that counts in another quota tree then are charged there first."""
        carried = self.quotas.carry(moved, home)
        try:
            return self.commit(ops, inodes=inodes)
        except BaseException:
            if carried:
                self.quotas.carry_back(moved, home)
            raise

    def _renamed(
        self, old_directory: int, new_directory: int, moved: InodeRow, victim: InodeRow | None, now_ns: int
    ) -> tuple[list[rows.RowOp], int]:
        """New rows of the inode that moves and of the two directories, which may be one; and where it counts then."""
        is_directory = moved.kind == DIRECTORY
        new = self.changed(moved, now_ns)
        if is_directory:
            new.parent = new_directory
        elif old_directory != new_directory:
            links.moved(new, old_directory, new_directory)
        ops: list[rows.RowOp] = [PutInode(new, self.keeps_data(new))]
        arrives_entries = 0 if victim is not None else 1
        arrives_links = int(is_directory) - (victim is not None and victim.kind == DIRECTORY)
        if old_directory == new_directory:
            row = self.directory(old_directory)
            entries, subdirectories = arrives_entries - 1, arrives_links - int(is_directory)
            ops.append(PutInode(self._parent(row, now_ns, entries=entries, links=subdirectories), False))
            return ops, new.parent
        source, destination = self.directory(old_directory), self.directory(new_directory)
        if destination.nlink + arrives_links > LINK_MAX:
            raise FsError(errno.EMLINK)
        left = self._parent(source, now_ns, entries=-1, links=-int(is_directory))
        entered = self._parent(destination, now_ns, entries=arrives_entries, links=arrives_links)
        return [*ops, PutInode(left, False), PutInode(entered, False)], new.parent

    def _check_ancestors(self, moved: int, directory: int) -> None:
        """Refuses to move a directory below itself, which would cut a circle off the tree."""
        ino = directory
        while ino != ROOT_INODE:
            if ino == moved:
                raise FsError(errno.EINVAL)
            ino = self.directory(ino).parent
        if moved == ROOT_INODE:
            raise FsError(errno.EINVAL)

    def _without_name(
        self, victim: InodeRow, directory: int, now_ns: int, is_open: bool
    ) -> tuple[list[rows.RowOp], int]:
        """What becomes of an inode that loses a name in a directory, and how many inodes that takes away (0 or 1)."""
        last = victim.kind == DIRECTORY or victim.nlink <= 1
        ops = self._moved_out(victim) if victim.kind == DIRECTORY else []
        if last and not is_open:
            return [*ops, DropInode(victim.ino)], 1
        new = self.changed(victim, now_ns)
        new.nlink = 0 if last else victim.nlink - 1
        new.orphan = last
        if not last:
            links.unnamed(new, directory)
        return [*ops, PutInode(new, self.keeps_data(new))], 0

    def _moved_out(self, directory: InodeRow) -> list[rows.RowOp]:
        """What was unlinked in a directory that goes, and is open still, counts in the one above it from now on."""
        node = self.sums.node(directory.ino)
        if not node.files and not node.directories:
            return []
        ops: list[rows.RowOp] = []
        for ino in self.view.orphans():
            row = self.row(ino)
            if row.parent == directory.ino:
                new = copy(row)
                new.parent = directory.parent
                live = self.core.attributes(ino) if row.kind == REGULAR else None
                if live is not None:
                    new.mode = live[3]
                ops.append(PutInode(new, self.keeps_data(new)))
        return ops

    @staticmethod
    def _parent(row: InodeRow, now_ns: int, *, entries: int, links: int = 0) -> InodeRow:
        """A directory's row after entries and subdirectories came or went."""
        new = copy(row)
        new.size += entries
        new.nlink += links
        new.mtime_ns = new.ctime_ns = now_ns
        new.change = 0
        return new


def _check_old_name(name: bytes) -> None:
    check_name(name)
    if name in (b".", b".."):
        raise FsError(errno.EINVAL)


def _check_replaceable(moved: InodeRow, victim: InodeRow) -> None:
    if victim.kind == DIRECTORY:
        if moved.kind != DIRECTORY:
            raise FsError(errno.EISDIR)
        if victim.size:
            raise FsError(errno.ENOTEMPTY)
    elif moved.kind == DIRECTORY:
        raise FsError(errno.ENOTDIR)
