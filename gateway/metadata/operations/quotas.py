"""Limits on directories, and what is in them."""

import errno
import time
from collections.abc import Container, Iterator
from typing import Final, NamedTuple

from gateway.metadata.attributes import DIRECTORY, ROOT_INODE, DirEntry
from gateway.metadata.errors import FsError, QuotaError
from gateway.metadata.operations.lookup import LookupOperations
from gateway.metadata.quotas import QUOTAS_MAX, Room, TreeUse
from gateway.metadata.rows import MAX, DropQuota, PutQuota
from gateway.metadata.sums import NOTHING, TreeSums

STEP: Final = 100
"""Trees that are looked at while the lock is held once: below a millisecond."""


class Limits(NamedTuple):
    """Most that may be below a directory. None: no such limit. A soft limit may be exceeded for `grace_s` at a time."""

    hard_bytes: int | None = None
    soft_bytes: int | None = None
    hard_inodes: int | None = None
    soft_inodes: int | None = None
    grace_s: int = 7 * 86400


class Child(NamedTuple):
    """An entry of a directory; `sums` of what is below it if it is one itself."""

    entry: DirEntry
    sums: TreeSums | None


class QuotaOperations(LookupOperations):
    """Changes are durable when they return."""

    def set_quota(self, directory: int, limits: Limits, expected_version: int | None) -> PutQuota:
        """Gives a directory limits; what is in it already counts at once. Less than it holds: only growth is refused.

        expected_version: that of the limits which these replace; None: there must be none yet.
        Raises QuotaError (exists, no_quota, changed_meanwhile, too_many, invalid), FsError (ENOTDIR, ESTALE, ENOENT).
        """
        _check(limits)
        quotas = self.quotas
        if expected_version is None:
            # Reads SQL, if it must, before the lock is taken: each live file has to find its tree.
            self.view.warm_inodes(quotas.port.live())
        with self.lock:
            self.open_directory(directory)
            old = quotas.limits.get(directory)
            _check_version(old, expected_version)
            if old is None and len(quotas.limits) >= QUOTAS_MAX:
                raise QuotaError("too_many", f"there are limits on {QUOTAS_MAX} directories already")
            since_ns = (0, 0)
            if old is not None:
                use = quotas.use(directory)
                since_ns = (use.bytes_since_ns, use.inodes_since_ns)
            op = PutQuota(directory, *limits, *since_ns, 1 if old is None else old.version + 1)
            lsn = self.commit((op,))
        self.finish(lsn)
        return op

    def drop_quota(self, directory: int, expected_version: int | None = None) -> None:
        """Takes the limits of a directory away. Raises QuotaError (no_quota, changed_meanwhile)."""
        with self.lock:
            old = self.quotas.limits.get(directory)
            if old is None:
                raise QuotaError("no_quota", "the directory has no limits")
            if expected_version is not None:
                _check_version(old, expected_version)
            lsn = self.commit((DropQuota(directory),), needed=True)
        self.finish(lsn)

    def quota(self, directory: int) -> tuple[PutQuota, TreeUse]:
        """The limits of a directory, and what is in it now. Raises QuotaError (no_quota)."""
        with self.lock:
            op = self.quotas.limits.get(directory)
            if op is None:
                raise QuotaError("no_quota", "the directory has no limits")
            return op, self.quotas.use(directory)

    def quota_list(self, after: int, most: int) -> list[tuple[PutQuota, TreeUse]]:
        """As `quota`, of directories with a number above `after`, in their order."""
        with self.lock:
            inos = sorted(ino for ino in self.quotas.limits if ino > after)[:most]
            return [(self.quotas.limits[ino], self.quotas.use(ino)) for ino in inos]

    def settle_quotas(self) -> int:
        """Notes durably since when soft limits are exceeded, where that has changed; returns of how many directories.

        To be called every second or so: a start goes on with what was noted.
        """
        count = 0
        for inos in self._in_turns():
            with self.lock:
                changed = self.quotas.settled(inos)
                if changed:
                    self.commit(changed, needed=True)
            count += len(changed)
        return count

    def quota_uses(self) -> Iterator[tuple[PutQuota, TreeUse]]:
        """As `quota_list`, of all directories; each is right at a moment of its own."""
        for inos in self._in_turns():
            with self.lock:
                limits = self.quotas.limits
                found = [(limits[ino], self.quotas.use(ino)) for ino in inos if ino in limits]
            yield from found

    def _in_turns(self) -> Iterator[list[int]]:
        """The directories with limits, some at a time: between them those get in who wait for the lock."""
        with self.lock:
            inos = sorted(self.quotas.limits)
        for begin in range(0, len(inos), STEP):
            yield inos[begin : begin + STEP]
            time.sleep(0)

    def room(self, ino: int) -> Room:
        """What the limits around an inode leave. Raises ESTALE."""
        with self.lock:
            row = self.row(ino)
            return self.quotas.room(ino if row.kind == DIRECTORY else row.parent or ROOT_INODE)

    def tree(self, directory: int) -> TreeSums:
        """What is below a directory, as of the last flush. Raises ENOTDIR, ESTALE."""
        with self.lock:
            self.directory(directory)
            return self.sums.node(directory).sums

    def children(self, directory: int, after_cookie: int, most: int) -> list[Child]:
        """A page of a directory, as `readdir` gives it, with the sums of each directory in it."""
        page = self.readdir(directory, after_cookie, most)
        inos = [entry.attributes.inode for entry in page if entry.attributes.kind == DIRECTORY]
        with self.lock:
            # What is not in memory SQL has as it is now, however far it has come.
            found = self.view.reads.tree_sums([ino for ino in inos if self.sums.get(ino) is None])
            nodes = {ino: node.sums for ino in inos if (node := self.sums.get(ino)) is not None}
        sums = {ino: nodes.get(ino) or found.get(ino, NOTHING) for ino in inos}
        return [Child(entry, sums.get(entry.attributes.inode)) for entry in page]

    def owner_usage(self, kind: int, after: int, most: int) -> list[tuple[int, int, int, int]]:
        """(id, inodes, bytes, space) of users (kind 0) or groups (1) above `after`, as of the last checkpoint."""
        return self.view.reads.owners(kind, after, most)

    def path_below(self, directory: int, tops: Container[int]) -> tuple[int, list[bytes]]:
        """The nearest of `tops` above a directory, else the root, and the names from there to it. Raises ESTALE. A huge
        directory on the way takes a moment.
        """
        names: list[bytes] = []
        while directory != ROOT_INODE and directory not in tops:
            parent = self.directory(directory).parent
            names.append(self._name_in(parent, directory))
            directory = parent
        return directory, names[::-1]

    def _name_in(self, parent: int, directory: int) -> bytes:
        with self.lock:
            known = self.view.directories.of(parent)
            for entry in list(known.names.values()) if known is not None else ():
                if entry.ino == directory:
                    return entry.name
            for name in self.view.reads.names_of(parent, directory):
                entry = self.view.dirent(parent, name)
                if entry is not None and entry.ino == directory:
                    return name
        raise FsError(errno.ESTALE)


def _check(limits: Limits) -> None:
    numbers = [number for number in limits[:4] if number is not None]
    if not numbers:
        raise QuotaError("invalid", "there is no limit in it", "give one of bytes and inodes, hard or soft")
    if any(not 0 <= number <= MAX for number in (*numbers, limits.grace_s)):
        raise QuotaError("invalid", "a limit is out of range", f"limits are from 0 to {MAX}")
    for hard, soft, what in (
        (limits.hard_bytes, limits.soft_bytes, "bytes"),
        (limits.hard_inodes, limits.soft_inodes, "inodes"),
    ):
        if hard is not None and soft is not None and soft > hard:
            raise QuotaError(
                "invalid",
                f"the soft limit of {what} is above the hard one",
                "the soft limit is the one that may be exceeded for a while",
            )
    if limits.grace_s > MAX // 10**9:
        raise QuotaError("invalid", "the grace time is out of range", "give fewer days")


def _check_version(old: PutQuota | None, expected: int | None) -> None:
    if expected is None:
        if old is not None:
            raise QuotaError("exists", "the directory has limits already", "change those")
    elif old is None:
        raise QuotaError("no_quota", "the directory has no limits")
    elif old.version != expected:
        raise QuotaError("changed_meanwhile", "somebody changed the limits meanwhile", "read them again")
