"""Limits on trees: which directories have some, and what they let pass.

Inodes are counted here, by the sums of the directory. Bytes are counted in the core, by an account for each directory with
limits, since writes never come by here: an account has what rows say (`space`) of all files below its directory, and for
those that are live what they take by now. Both are exact at every moment. A limit covers everything below its directory;
directories with limits may lie within one another, and each limit holds.

Everything is called with the namespace's lock held.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

from gateway.metadata.attributes import REGULAR, ROOT_INODE
from gateway.metadata.errors import FsError
from gateway.metadata.rows import InodeRow, MendTree, PutQuota
from gateway.metadata.sums import Node, Sums

QUOTAS_MAX: Final = 10_000
"""Directories with limits."""
NS: Final = 1_000_000_000


class QuotaPort(Protocol):
    """The core's accounts; see gateway._core.Quotas."""

    def open(self, directory: int, parent: int | None) -> None: ...
    def close(self, directory: int) -> None: ...
    def enclose(self, directory: int, parent: int) -> None: ...
    def attach(self, inode: int, directory: int) -> bool: ...
    def live(self) -> list[int]: ...
    def add(self, directory: int, bytes: int, *, alone: bool = False) -> None: ...
    def limit(
        self,
        directory: int,
        *,
        hard_bytes: int | None,
        soft_bytes: int | None,
        grace_ns: int,
        since_ns: int,
    ) -> None: ...
    def usage(self, directory: int) -> tuple[int, int]: ...
    def activate(self, attributes: Any, extents: Any, directory: int | None) -> None: ...
    def forget(self, inode: int) -> bool: ...
    def carry(
        self, inode: int, bytes: int, source: int | None, target: int | None, *, needed: bool = False
    ) -> None: ...


class TreeUse(NamedTuple):
    """What a tree with limits takes now."""

    bytes: int
    inodes: int
    bytes_since_ns: int  # since when the soft limit is exceeded; 0: it is not
    inodes_since_ns: int


class Room(NamedTuple):
    """What the tightest limits around a place leave. None: there is no such limit."""

    total_bytes: int | None = None
    free_bytes: int = 0
    total_inodes: int | None = None
    free_inodes: int = 0


class QuotaTable:
    """Limits by directory. `limits` are the rows as they are now; accounts are there from `begin` on.

    make_port: opens the core's accounts. inode: a row as it is now.
    """

    def __init__(
        self,
        sums: Sums,
        make_port: Callable[[], QuotaPort],
        inode: Callable[[int], InodeRow | None],
        now_ns: Callable[[], int],
    ) -> None:
        self.limits: dict[int, PutQuota] = {}
        self._sums = sums
        self._make_port = make_port
        self._inode = inode
        self._now_ns = now_ns
        self._port: QuotaPort | None = None
        self._begun = False
        self._inodes_since_ns: dict[int, int] = {}
        self._carried = 0

    def begin(self) -> None:
        """After the replay: opens the accounts of all that have limits, the outer ones first."""
        self._begun = True
        if self.limits:
            self._port = self._make_port()
        for ino in sorted(self.limits, key=lambda ino: len(list(_upward(self._sums.node(ino))))):
            self._open(ino)

    @property
    def port(self) -> QuotaPort:
        if self._port is None:
            self._port = self._make_port()
        return self._port

    @property
    def serving(self) -> bool:
        """Whether there are accounts that have to follow changes."""
        return self._port is not None and bool(self.limits)

    # Where things are charged

    def account_of(self, directory: int) -> int | None:
        """The innermost directory with limits, of a directory and those above it."""
        if not self.serving:
            return None
        for node in _upward(self._sums.node(directory)):
            if node.limited:
                return node.ino
        return None

    def check_new(self, directory: int, beside: int | None = None) -> None:
        """Whether one more inode may come into a directory, that is in the tree `beside` already. Raises EDQUOT."""
        if not self.serving:
            return
        around = set[int]() if beside is None else {node.ino for node in _upward(self._sums.node(beside))}
        for node in _upward(self._sums.node(directory)):
            if node.limited and node.ino not in around:
                self._check_inodes(node)

    def _check_inodes(self, node: Node) -> None:
        limits = self.limits[node.ino]
        used = node.files + node.directories
        if limits.hard_inodes is not None and used >= limits.hard_inodes:
            raise FsError(errno.EDQUOT)
        if limits.soft_inodes is None or used < limits.soft_inodes:
            return
        now_ns = self._now_ns()
        since_ns = self._inodes_since_ns.get(node.ino, 0)
        if used == limits.soft_inodes or not since_ns:
            self._inodes_since_ns[node.ino] = now_ns
        elif now_ns - since_ns > limits.grace_s * NS:
            raise FsError(errno.EDQUOT)

    # Files that come, go and move

    def activate(self, row: InodeRow, attributes: Any, extents: Any) -> None:
        self.port.activate(attributes, extents, self.account_of(row.parent))

    def forget(self, row: InodeRow) -> None:
        """A file is gone. Call it while the sums still know its place."""
        account = self.account_of(row.parent)
        if not self.port.forget(row.ino) and account is not None:
            self.port.add(account, -row.space_used)

    def carry(self, row: InodeRow, directory: int) -> bool:
        """A file will move its home: charges the trees that it comes into. False: there is nothing to charge.

        Raises the core's OSError (EDQUOT). Once its row has changed it is done, else `carry_back`.
        """
        source, target = self.account_of(row.parent), self.account_of(directory)
        if source == target or row.kind != REGULAR:
            return False
        self.port.carry(row.ino, row.space_used, source, target)
        self._carried = row.ino
        return True

    def carry_back(self, row: InodeRow, directory: int) -> None:
        self._carried = 0
        source, target = self.account_of(row.parent), self.account_of(directory)
        self.port.carry(row.ino, row.space_used, target, source, needed=True)

    def moved(self, before: InodeRow, after: InodeRow) -> None:
        """A file's home changes, which cannot be refused any more."""
        if self._carried == after.ino:
            self._carried = 0
            return
        source, target = self.account_of(before.parent), self.account_of(after.parent)
        if source != target:
            self.port.carry(after.ino, before.space_used, source, target, needed=True)

    # Limits

    def apply(self, op: PutQuota) -> None:
        """A directory has new limits, or other times since when they are exceeded."""
        is_new = op.dir not in self.limits
        self.limits[op.dir] = op
        if self._begun:
            if is_new:
                self._open(op.dir)
            else:
                self._tell(op)

    def drop(self, directory: int) -> None:
        if self.limits.pop(directory, None) is None:
            return
        self._inodes_since_ns.pop(directory, None)
        if self._port is not None:
            self._port.close(directory)
        node = self._sums.get(directory)
        if node is not None:
            node.limited = False

    def mended(self, op: MendTree) -> None:
        """The sums of a directory were wrong by so much, and so was its account."""
        if self.serving and op.dir in self.limits:
            self.port.add(op.dir, op.space, alone=True)

    def _tell(self, op: PutQuota) -> None:
        node = self._sums.node(op.dir)
        over = op.soft_inodes is not None and node.files + node.directories > op.soft_inodes
        self._inodes_since_ns[op.dir] = (op.inodes_since_ns or self._now_ns()) if over else 0
        self.port.limit(
            op.dir,
            hard_bytes=op.hard_bytes,
            soft_bytes=op.soft_bytes,
            grace_ns=op.grace_s * NS,
            since_ns=op.bytes_since_ns,
        )

    def _open(self, directory: int) -> None:
        """Opens the account of a directory and enters what is below it: what rows say, and for live files what they take.

        Writers go on meanwhile: each file is entered under its own lock. The limit comes when all is in.
        """
        port = self.port
        node = self._sums.node(directory)
        port.open(directory, self.account_of(node.up.ino) if node.up is not None else None)
        node.limited = True
        rest = node.space
        for other in self.limits:
            inner = self._sums.node(other)
            if (
                inner is not node
                and inner.limited
                and inner.up
                and self.account_of(inner.up.ino) == directory
            ):
                port.enclose(other, directory)
                rest -= inner.space
        innermost: dict[int, int] = {}
        for ino in port.live():
            row = self._inode(ino)
            mine = row is not None and self._innermost(row.parent, innermost) == directory
            if row is not None and mine and port.attach(ino, directory):
                rest -= row.space_used
        port.add(directory, rest, alone=True)
        self._tell(self.limits[directory])

    def _innermost(self, ino: int, known: dict[int, int]) -> int:
        """As `account_of`, without bringing sums of so many directories into memory; 0: none."""
        chain: list[int] = []
        found = 0
        while ino:
            if ino in known:
                found = known[ino]
                break
            chain.append(ino)
            node = self._sums.get(ino)
            if node is not None and node.limited:
                found = ino
                break
            row = self._inode(ino)
            ino = 0 if row is None or ino == ROOT_INODE else row.parent
        known.update(dict.fromkeys(chain, found))
        return found

    # Figures

    def use(self, directory: int) -> TreeUse:
        """Of a directory that has limits."""
        node = self._sums.node(directory)
        used, since_ns = self.port.usage(directory)
        inodes = node.files + node.directories
        soft = self.limits[directory].soft_inodes
        over = soft is not None and inodes > soft
        return TreeUse(used, inodes, since_ns, self._inodes_since_ns.get(directory, 0) if over else 0)

    def settled(self, directories: Iterable[int]) -> list[PutQuota]:
        """Rows, of some directories, whose times since when a soft limit is exceeded are not those of now."""
        changed: list[PutQuota] = []
        for ino in directories:
            op = self.limits.get(ino)
            if op is None or not self.serving:
                continue
            use = self.use(ino)
            over = op.soft_inodes is not None and use.inodes > op.soft_inodes
            since_ns = (use.inodes_since_ns or self._now_ns()) if over else 0
            if (use.bytes_since_ns, since_ns) != (op.bytes_since_ns, op.inodes_since_ns):
                new = PutQuota(
                    *(op.dir, op.hard_bytes, op.soft_bytes, op.hard_inodes, op.soft_inodes, op.grace_s),
                    *(use.bytes_since_ns, since_ns, op.version),
                )
                changed.append(new)
        return changed

    def room(self, directory: int) -> Room:
        """What the limits around a directory leave: of each kind the tightest."""
        room = Room()
        if not self.serving:
            return room
        for node in _upward(self._sums.node(directory)):
            if not node.limited:
                continue
            limits, use = self.limits[node.ino], self.use(node.ino)
            most = limits.hard_bytes if limits.hard_bytes is not None else limits.soft_bytes
            if most is not None:
                free = max(0, most - use.bytes)
                if room.total_bytes is None or free < room.free_bytes:
                    room = room._replace(total_bytes=most, free_bytes=free)
            most = limits.hard_inodes if limits.hard_inodes is not None else limits.soft_inodes
            if most is not None:
                free = max(0, most - use.inodes)
                if room.total_inodes is None or free < room.free_inodes:
                    room = room._replace(total_inodes=most, free_inodes=free)
        return room


def _upward(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.up
