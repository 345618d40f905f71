"""Clients: random operations that are right by the model."""

from typing import Final

from gateway.metadata.attributes import SetAttributes
from gateway.metadata.operations.quotas import Limits
from tests.simulation import verify
from tests.simulation.client_base import NAMES, ClientBase
from tests.simulation.ledger import Change
from tests.simulation.model import DIRECTORY, REGULAR, SYMLINK, Node

NODES_MAX: Final = 14
MODES: Final = (0o644, 0o600, 0o755, 0o6755, 0o2644, 0o4711)
XATTRS: Final = (b"user.a", b"user.bb")
RECORDS_PER_SEGMENT: Final = 4


class Client(ClientBase):
    """Performs operations."""

    def step(self, kind: str) -> str:
        """One operation of that kind, if the tree has what it takes. Returns what it was and what came of it."""
        return getattr(self, f"_{kind}")()

    # Names

    def _new(self, kind: int, size: int = 0, data: bytes = b"") -> str:
        place = self._free_name()
        if place is None or len(self._tree.nodes) >= NODES_MAX:
            return "no room in the tree"
        directory, name = place
        number, self._next = self._next, self._next + 1
        uid, mode = self._rng.choice((0, 7)), self._rng.choice(MODES)
        node = Node(kind, mode, uid, uid, 2 if kind == DIRECTORY else 1, 0, 0, 0, 0, data.ljust(size, b"\0"))
        parent, attributes = self._inode(directory), SetAttributes(mode=mode, size=size or None)
        namespace = self._life.namespace

        def make() -> None:
            if kind == DIRECTORY:
                made = namespace.mkdir(parent, name, attributes, uid=uid, gid=uid)
            elif kind == SYMLINK:
                made = namespace.symlink(parent, name, data, attributes, uid=uid, gid=uid)
            else:
                made, _ = namespace.create(parent, name, attributes, uid=uid, gid=uid, guarded=True)
            self._numbers.give(number, made.inode)

        return self._do(
            f"make {number} of kind {kind:o} as {name!r} in {directory}",
            [("make", (directory, name, number, node))],
            make,
        )

    def _create(self) -> str:
        return self._new(REGULAR, size=self._rng.choice((0, 0, 0, 1000)))

    def _mkdir(self) -> str:
        return self._new(DIRECTORY)

    def _symlink(self) -> str:
        return self._new(SYMLINK, data=b"to/%d" % self._next)

    def _link(self) -> str:
        number = self._pick(self._tree.numbers(REGULAR, orphans=False))
        place = self._free_name()
        if number is None or place is None:
            return "nothing to link"
        directory, name = place
        trees = {self._tree.quota_tree(holder) for holder in (directory, *self._tree.holders(number))}
        if len(trees) > 1:
            return "another quota tree"
        inode, parent = self._inode(number), self._inode(directory)
        return self._do(
            f"link {number} as {name!r} in {directory}",
            [("link", (number, directory, name))],
            lambda: self._life.namespace.link(inode, parent, name),
        )

    def _unlink(self) -> str:
        place = self._used_name()
        if place is None:
            return "nothing to unlink"
        directory, name = place
        number = self._tree.nodes[directory].entries[name]
        if self._tree.nodes[number].entries:
            return "the directory is not empty"
        is_open = number in self.open
        parent = self._inode(directory)
        return self._do(
            f"unlink {name!r} in {directory}{' (open)' if is_open else ''}",
            [("unlink", (directory, name, is_open))],
            lambda: self._life.namespace.unlink(parent, name, is_open),
        )

    def _rename(self) -> str:
        old = self._used_name()
        if old is None:
            return "nothing to rename"
        directory, name = self._directory(), self._rng.choice(NAMES)
        number = self._tree.nodes[old[0]].entries[old[1]]
        victim = self._tree.nodes[directory].entries.get(name)
        if not self._may_replace(number, victim, old[0], directory):
            return "nothing to rename to"
        is_open = victim in self.open
        source, destination = self._inode(old[0]), self._inode(directory)
        return self._do(
            f"rename {old[1]!r} in {old[0]} to {name!r} in {directory}{' (open)' if is_open else ''}",
            [] if victim == number else [("rename", (*old, directory, name, is_open))],
            lambda: self._life.namespace.rename(source, old[1], destination, name, is_open),
        )

    def _may_replace(self, number: int, victim: int | None, source: int, directory: int) -> bool:
        tree = self._tree
        is_directory = tree.nodes[number].kind == DIRECTORY
        if (is_directory or tree.nodes[number].nlink > 1) and tree.quota_tree(directory) != tree.quota_tree(
            source
        ):
            return False
        if is_directory and tree.is_below(directory, number):
            return False
        if victim is None:
            return True
        node = tree.nodes[victim]
        return self._numbers.known(victim) and not node.entries and (node.kind == DIRECTORY) == is_directory

    # Open files

    def _open(self) -> str:
        number = self._pick(self._tree.numbers(REGULAR, orphans=False))
        if number is not None:
            self.open.add(number)
        return f"open {number}"

    def _close(self) -> str:
        if not self.open:
            return "nothing is open"
        number = self._rng.choice(sorted(self.open))
        inode = self._inode(number)
        node = self._tree.nodes.get(number)
        if node is None or not node.orphan:
            self.open.remove(number)
            return self._do(f"close {number}", [], lambda: self._life.namespace.released(inode))
        done = self._do(
            f"last close of {number}", [("drop", ([number],))], lambda: self._life.namespace.released(inode)
        )
        self.open.discard(number)
        return done

    def drop_orphans(self) -> str:
        """What the server does once clients had the time to claim what they held open."""
        namespace = self._life.namespace
        held = frozenset(self._inode(number) for number in self.open)
        gone = [
            number for number, node in self._tree.nodes.items() if node.orphan and number not in self.open
        ]
        return self._do(
            f"drop nameless {gone}", [("drop", (gone,))] if gone else [], lambda: namespace.drop_orphans(held)
        )

    # Data

    def _write(self) -> str:
        number = self._file()
        if number is None:
            return "nothing to write to"
        inode, data = self._inode(number), self._data()
        offset = self._rng.randint(0, self._rng.choice((1, self._shape.farthest_offset)))
        uid = self._rng.choice((0, 7))
        stable = self._rng.random() < 0.25
        chunk = self._shape.segment_bytes // RECORDS_PER_SEGMENT
        changes: list[Change] = [
            ("write", (number, offset + at, data[at : at + chunk], uid == 0))
            for at in range(0, len(data), chunk)
        ]
        core = self._life.core
        return self._do(
            f"write {number} {offset}+{len(data)}{' stable' if stable else ''}",
            changes,
            self._resident(inode, lambda: core.write(inode, offset, data, stable=stable, uid=uid)),
            durable=stable,
        )

    def _read(self) -> str:
        number = self._file()
        if number is None:
            return "nothing to read"
        data = self._tree.nodes[number].data
        offset = self._rng.randint(0, len(data))
        length = self._rng.randint(0, len(data))
        try:
            found = verify.read(
                self._life, self._inode(number), offset, length, store_is_well=self.store_is_well
            )
        except verify.STORE_TROUBLE as error:
            if self.store_is_well:
                raise
            return f"read {number}: {type(error).__name__}"
        assert found == data[offset : offset + length], (
            f"read of {number} at {offset}+{length} has other bytes"
        )
        return f"read {number} {offset}+{length}"

    def _truncate(self) -> str:
        number = self._file()
        if number is None:
            return "nothing to truncate"
        size = self._rng.choice((0, self._rng.randint(0, 2 * len(self._tree.nodes[number].data) + 10)))
        return self._setattr_of(number, SetAttributes(size=size))

    def _punch(self) -> str:
        number = self._file()
        if number is None:
            return "nothing to punch"
        offset = self._rng.randint(0, len(self._tree.nodes[number].data) + 10)
        length = self._rng.randint(1, self._shape.largest_write)
        inode, core = self._inode(number), self._life.core
        return self._do(
            f"punch {number} {offset}+{length}",
            [("punch", (number, offset, length))],
            self._resident(inode, lambda: core.deallocate(inode, offset, length)),
        )

    def _allocate(self) -> str:
        number = self._file()
        if number is None:
            return "nothing to allocate"
        offset, length = self._rng.randint(0, 5000), self._rng.randint(1, 5000)
        inode, core = self._inode(number), self._life.core
        return self._do(
            f"allocate {number} {offset}+{length}",
            [("allocate", (number, offset + length))],
            self._resident(inode, lambda: core.allocate(inode, offset, length)),
        )

    def _commit(self) -> str:
        number = self._file()
        if number is None:
            return "nothing to commit"
        inode, core = self._inode(number), self._life.core
        change = self._tree.nodes[number].change
        done = self._do(
            f"commit {number}", [], self._resident(inode, lambda: core.commit(inode)), durable=False
        )
        if not done.endswith("come again"):
            self._acknowledge(change)
        return done

    # Limits

    def _limit(self) -> str:
        """Limits that nothing meets: what is counted by them is verified."""
        number = self._directory()
        inode, namespace = self._inode(number), self._life.namespace
        limited = not self._tree.nodes[number].limited
        limits = Limits(hard_bytes=1 << 50, hard_inodes=1 << 40)
        return self._do(
            f"limit {number}: {limited}",
            [("limit", (number, limited))],
            lambda: namespace.set_quota(inode, limits, None) if limited else namespace.drop_quota(inode),
        )

    # Attributes

    def _setattr(self) -> str:
        number = self._pick(list(self._tree.nodes))
        if number is None or (self._tree.nodes[number].orphan and number not in self.open):
            return "nothing to set"
        rng = self._rng
        regular = self._tree.nodes[number].kind == REGULAR
        changes = SetAttributes(
            mode=rng.choice((None, rng.choice(MODES))),
            uid=rng.choice((None, None, rng.randint(0, 9))),
            size=rng.randint(0, 3000) if regular and rng.random() < 0.2 else None,
            mtime_ns=rng.choice((None, None, rng.randint(0, 10**18))),
        )
        return self._setattr_of(number, changes)

    def _setattr_of(self, number: int, changes: SetAttributes) -> str:
        """Names and data of a file are two records."""
        inode = self._inode(number)
        mode, uid, size, mtime_ns = changes.mode, changes.uid, changes.size, changes.mtime_ns
        regular = self._tree.nodes[number].kind == REGULAR
        records: list[Change] = []
        if size is not None or (mtime_ns is not None and regular):
            records.append(("set_data", (number, size, mtime_ns)))
        if mode is not None or uid is not None or (mtime_ns is not None and not regular):
            records.append(("set_names", (number, mode, uid, None if regular else mtime_ns)))
        return self._do(
            f"set {number} {changes}", records, lambda: self._life.namespace.setattr(inode, changes)
        )

    def _setxattr(self) -> str:
        kinds = self._tree.numbers(REGULAR, orphans=False) + self._tree.numbers(DIRECTORY, orphans=False)
        number = self._pick(kinds)
        if number is None:
            return "nothing to name"
        inode, name, value = self._inode(number), self._rng.choice(XATTRS), self._data()[:200]
        return self._do(
            f"set {name!r} of {number}",
            [("set_xattr", (number, name, value))],
            lambda: self._life.namespace.setxattr(inode, name, value),
        )

    def _removexattr(self) -> str:
        number = self._pick(
            [number for number, node in self._tree.nodes.items() if node.xattrs and not node.orphan]
        )
        if number is None:
            return "nothing to remove"
        inode, name = self._inode(number), self._rng.choice(sorted(self._tree.nodes[number].xattrs))
        return self._do(
            f"remove {name!r} of {number}",
            [("set_xattr", (number, name, None))],
            lambda: self._life.namespace.removexattr(inode, name),
        )
