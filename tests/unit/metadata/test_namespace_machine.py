"""The namespace against a plain model, with crashes, flushes and checkpoints at any moment between operations."""

import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from gateway.metadata.attributes import ROOT_INODE, SetAttributes
from gateway.metadata.errors import FsError
from gateway.metadata.namespace import Limits
from gateway.metadata.sums import NOTHING, TreeSums
from gateway.metadata.tables import tree
from tests.unit.metadata.audit import audit
from tests.unit.metadata.harness import FakeHarness
from tests.unit.metadata.model import DIRECTORY, REGULAR, SYMLINK, Model, Node, Refused, truncated, written
from tests.unit.metadata.real_harness import RealHarness

NAMES = st.sampled_from([b"a", b"b", b"c", b"d", "\N{SNOWMAN}".encode(), b"\xff"])
PICK = st.integers(0, 1 << 16)
XATTRS = st.sampled_from([b"user.a", b"user.b", b"user.\xff/", b"user.system.c"])
SMALL = Limits(inodes=4, names=6, xattr_bytes=700)


def attempt(operation: Any, *arguments: Any) -> tuple[int, Any]:
    """The errno with which an operation is refused (0: it was done), and what it returned."""
    try:
        return 0, operation(*arguments)
    except (FsError, Refused) as error:
        return error.errno, None


def refused(operation: Any, *arguments: Any) -> int:
    return attempt(operation, *arguments)[0]


class NamespaceMachine(RuleBasedStateMachine):
    harness_class: Any = FakeHarness
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = Model()
        self.pending: list[
            tuple[int, Node, int, bytes]
        ] = []  # writes that nobody waited for: LSN, file, offset, data
        self.batch: Any = None
        self.told_lsn = 0

    @initialize(small=st.booleans())
    def open(self, small: bool) -> None:
        self.harness = self.harness_class(self.folder, self.template, SMALL if small else None)
        self.fs = self.harness.fs

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            self.harness.close()
        shutil.rmtree(self.folder)

    def pick(self, nodes: list[Node], number: int) -> Node:
        return nodes[number % len(nodes)]

    def both(self, expected: int, operation: Any, *arguments: Any) -> None:
        assert refused(operation, *arguments) == expected

    # Names

    @rule(where=PICK, name=NAMES, mode=st.integers(0, 0o7777), guarded=st.booleans(), gid=st.integers(0, 3))
    def create(self, where: int, name: bytes, mode: int, guarded: bool, gid: int) -> None:
        directory = self.pick(self.model.directories, where)
        there = directory.entries.get(name)
        node = Node(REGULAR, mode, 7, gid)
        if there is not None and not guarded:
            found, made = self.fs.create(directory.ino, name, SetAttributes(mode=mode), uid=7, gid=gid)
            assert not made
            assert found.inode == there.ino
            return
        self._make(
            where,
            name,
            node,
            lambda ino: self.fs.create(ino, name, SetAttributes(mode=mode), uid=7, gid=gid, guarded=guarded)[
                0
            ],
        )

    @rule(where=PICK, name=NAMES, mode=st.sampled_from([0o755, 0o2770]))
    def mkdir(self, where: int, name: bytes, mode: int) -> None:
        node = Node(DIRECTORY, mode, 1, 2)
        self._make(
            where,
            name,
            node,
            lambda ino: self.fs.mkdir(ino, name, SetAttributes(mode=mode), uid=1, gid=2),
        )

    @rule(
        where=PICK, name=NAMES, points_to=st.binary(min_size=1, max_size=20).filter(lambda t: b"\0" not in t)
    )
    def symlink(self, where: int, name: bytes, points_to: bytes) -> None:
        node = Node(SYMLINK, 0o777, 1, 2, target=points_to)
        self._make(where, name, node, lambda ino: self.fs.symlink(ino, name, points_to, uid=1, gid=2))

    @rule(where=PICK, name=NAMES)
    def mknod(self, where: int, name: bytes) -> None:
        node = Node(stat.S_IFCHR, 0o600, 1, 2)
        self._make(
            where, name, node, lambda ino: self.fs.mknod(ino, name, stat.S_IFCHR, (5, 1), uid=1, gid=2)
        )

    def _make(self, where: int, name: bytes, node: Node, operation: Any) -> None:
        directory = self.pick(self.model.directories, where)
        expected = refused(self.model.make, directory, name, node)
        code, found = attempt(operation, directory.ino)
        assert code == expected
        if found is not None:
            node.ino = found.inode
            assert len({other.ino for other in self.model.nodes}) == len(self.model.nodes)

    @rule(what=PICK, where=PICK, name=NAMES)
    def link(self, what: int, where: int, name: bytes) -> None:
        node = self.pick(self.model.nodes, what)
        directory = self.pick(self.model.directories, where)
        expected = refused(self.model.link, node, directory, name)
        self.both(expected, self.fs.link, node.ino, directory.ino, name)

    @rule(where=PICK, name=NAMES, victim_open=st.booleans())
    def unlink(self, where: int, name: bytes, victim_open: bool) -> None:
        directory = self.pick(self.model.directories, where)
        expected = refused(self.model.unlink, directory, name, victim_open)
        self.both(expected, self.fs.unlink, directory.ino, name, victim_open)

    @rule(old=PICK, old_name=NAMES, new=PICK, new_name=NAMES, victim_open=st.booleans())
    def rename(self, old: int, old_name: bytes, new: int, new_name: bytes, victim_open: bool) -> None:
        source, target = self.pick(self.model.directories, old), self.pick(self.model.directories, new)
        if old_name not in source.entries and source.entries:
            old_name = sorted(source.entries)[old % len(source.entries)]
        expected = refused(self.model.rename, source, old_name, target, new_name, victim_open)
        self.both(expected, self.fs.rename, source.ino, old_name, target.ino, new_name, victim_open)

    @rule(which=PICK)
    def release(self, which: int) -> None:
        node = self.pick(self.model.nodes, which)
        self.model.release(node)
        self.fs.released(node.ino)

    # Attributes and data

    @rule(which=PICK, mode=st.none() | st.integers(0, 0o7777), uid=st.none() | st.integers(0, 5))
    def chmod_chown(self, which: int, mode: int | None, uid: int | None) -> None:
        node = self.pick(self.model.nodes, which)
        self.fs.setattr(node.ino, SetAttributes(mode=mode, uid=uid))
        if mode is not None:
            node.mode = mode
        elif uid is not None and node.kind == REGULAR:
            node.mode &= ~0o6000 if node.mode & 0o010 else ~0o4000
        if uid is not None:
            node.uid = uid

    @rule(which=PICK, mtime_ns=st.integers(-(2**40), 2**62))
    def utimes(self, which: int, mtime_ns: int) -> None:
        node = self.pick(self.model.nodes, which)
        assert self.fs.setattr(node.ino, SetAttributes(mtime_ns=mtime_ns, atime_ns=5)).mtime_ns == mtime_ns
        assert self.fs.getattr(node.ino).mtime_ns == mtime_ns
        node.mtime_ns = mtime_ns if node.kind != DIRECTORY else None

    @rule(which=PICK, size=st.integers(0, 100))
    def truncate(self, which: int, size: int) -> None:
        if self.model.files:
            node = self.pick(self.model.files, which)
            assert self.fs.setattr(node.ino, SetAttributes(size=size)).size == size
            self.settled()
            truncated(node.content, size)
            node.mtime_ns = None

    @rule(which=PICK, offset=st.integers(0, 100), data=st.binary(min_size=1, max_size=40), wait=st.booleans())
    def write(self, which: int, offset: int, data: bytes, wait: bool) -> None:
        if self.model.files:
            node = self.pick(self.model.files, which)
            lsn = self.harness.write(node.ino, offset, data)
            self.pending.append((lsn, node, offset, data))
            node.mtime_ns = None
            if wait:
                self.harness.core.wait_durable(lsn)

    @rule(which=PICK, offset=st.integers(0, 100), data=st.binary(min_size=1, max_size=40))
    def write_and_flush(self, which: int, offset: int, data: bytes) -> None:
        self.write(which, offset, data, True)
        if self.batch is None:
            self.flush_begin(None)
            self.flush_end(False)
            self.harness.evict()

    def settled(self) -> None:
        """Writes that are durable by now count."""
        durable_lsn = self.harness.core.durable_lsn
        for lsn, node, offset, data in self.pending:
            if lsn <= durable_lsn:
                written(node.content, offset, data)
        self.pending = [write for write in self.pending if write[0] > durable_lsn]

    @rule(
        which=PICK,
        name=XATTRS,
        value=st.binary(max_size=30),
        how=st.sampled_from(["", "", "create", "replace"]),
    )
    def set_xattr(self, which: int, name: bytes, value: bytes, how: str) -> None:
        node = self.pick(self.model.nodes, which)
        expected = refused(self.model.set_xattr, node, name, value, how)
        self._xattr_changes(
            node,
            expected,
            lambda: self.fs.setxattr(node.ino, name, value, create=how == "create", replace=how == "replace"),
        )

    @rule(which=PICK, name=XATTRS)
    def remove_xattr(self, which: int, name: bytes) -> None:
        node = self.pick(self.model.nodes, which)
        expected = refused(self.model.remove_xattr, node, name)
        self._xattr_changes(node, expected, lambda: self.fs.removexattr(node.ino, name))

    def _xattr_changes(self, node: Node, expected: int, operation: Any) -> None:
        before = self.fs.getattr(node.ino)
        self.both(expected, operation)
        after = self.fs.getattr(node.ino)
        if expected:
            assert after == before
        else:
            assert after.change > before.change
            # Not below: data written by the native core has the time of the real clock, which may be ahead of the other.
            assert after.ctime_ns >= before.ctime_ns
            assert after.mtime_ns == before.mtime_ns
            self.settled()

    # What goes on behind

    @rule(which=st.none() | st.sets(PICK, min_size=1, max_size=2))
    def flush_begin(self, which: set[int] | None) -> None:
        if self.batch is None:
            files = self.model.files
            inos = None if which is None or not files else [self.pick(files, number).ino for number in which]
            self.batch = self.harness.flush(inos)

    @rule(abort=st.sampled_from([False, False, False, True]))
    def flush_end(self, abort: bool) -> None:
        if self.batch is not None:
            if abort:
                self.batch.abort()
            else:
                self.fs.flush_commit(self.batch)
            self.batch = None

    @rule()
    def evict(self) -> None:
        self.harness.evict()

    @rule(most=st.integers(1, 8) | st.just(1 << 30))
    def checkpoint(self, most: int) -> None:
        """The steward's transaction; the owner hears of it later, or never."""
        self.harness.checkpoint(most)

    @rule()
    def checkpointed(self) -> None:
        lsn = self.harness.steward.checkpoint_lsn
        self.fs.checkpointed(lsn)
        self.told_lsn = lsn

    @rule()
    def trim(self) -> None:
        self.harness.core.trim(self.told_lsn)

    @rule(keep=st.integers(0, 3))
    def crash(self, keep: int) -> None:
        self.batch = None
        found_lsn = self.harness.crash(keep) or self.told_lsn
        for lsn, node, offset, data in self.pending:
            if lsn <= found_lsn:
                written(node.content, offset, data)
            else:
                node.change = 0  # lost with the write: never to be seen again, but no lower bound
        self.pending = []
        self.fs = self.harness.fs
        self.verify(3)

    @rule(drop=st.booleans())
    def end_of_grace(self, drop: bool) -> None:
        assert sorted(node.ino for node in self.model.nodes if node.orphan) == self.fs.orphans()
        if drop:
            self.model.nodes = [node for node in self.model.nodes if not node.orphan]
            self.fs.drop_orphans()

    @rule(limit=st.integers(1, 5))
    def verify(self, limit: int) -> None:
        """The whole tree, page by page."""
        self.settled()
        contents = {id(node): bytearray(node.content) for node in self.model.nodes}
        for _, node, offset, data in self.pending:
            written(contents.setdefault(id(node), bytearray()), offset, data)
        for node in self.model.nodes:
            self._verify_node(node, contents[id(node)])
        for directory in self.model.directories:
            found: dict[bytes, int] = {}
            after = 0
            while True:
                page = self.fs.readdir(directory.ino, after, limit)
                for entry in page:
                    assert entry.cookie > max(after, 2)
                    assert entry.name not in found
                    after = entry.cookie
                    found[entry.name] = entry.attributes.inode
                    assert entry.attributes == self.fs.lookup(directory.ino, entry.name)
                if len(page) < limit:
                    break
            assert found == {name: node.ino for name, node in directory.entries.items()}

    def _verify_node(self, node: Node, content: bytearray) -> None:
        found = self.fs.getattr(node.ino)
        assert (found.kind, found.mode, found.uid, found.gid, found.nlink) == (
            node.kind,
            node.mode,
            node.uid,
            node.gid,
            node.nlink,
        )
        assert found.change >= node.change
        node.change = found.change
        if node.mtime_ns is not None:
            assert found.mtime_ns == node.mtime_ns
        if node.kind == REGULAR:
            assert found.size == len(content)
            assert self.harness.read(node.ino) == bytes(content)
        else:
            assert found.size == node.size
        assert self.fs.listxattr(node.ino) == sorted(node.xattrs)
        assert {name: self.fs.getxattr(node.ino, name) for name in node.xattrs} == node.xattrs
        if node.kind == SYMLINK:
            assert self.fs.readlink(node.ino) == node.target
        if node.is_directory and node.parent is not None and not node.orphan:
            assert self.fs.lookup(node.ino, b"..").inode == node.parent.ino

    @invariant()
    def inodes_are_counted(self) -> None:
        if hasattr(self, "fs"):
            assert self.fs.statfs().inodes == len(self.model.nodes)

    @invariant()
    def trees_are_counted(self) -> None:
        """In memory, at every moment; which of its directories counts a file, its row says."""
        if not hasattr(self, "fs"):
            return
        counts = dict.fromkeys((node.ino for node in self.model.directories), (0, 0))
        for node in self.model.nodes:
            ino = node.ino
            while ino != ROOT_INODE:
                ino = self.fs.row(ino).parent
                files, directories = counts[ino]
                counts[ino] = files + (not node.is_directory), directories + node.is_directory
        assert counts == {ino: self.fs.tree(ino)[:2] for ino in counts}

    @rule()
    def settle(self) -> None:
        """Everything into SQL, which must then be a whole file system by itself."""
        if self.batch is None:
            self.harness.settle()
            self.settled()
            assert self.fs.overlay_rows == 0
            with self.harness.database.reader() as connection:
                audit(connection)
                stored = {row.dir: TreeSums(*row[1:]) for row in connection.execute(select(tree))}
            for directory in self.model.directories:
                assert self.fs.tree(directory.ino) == stored.get(directory.ino, NOTHING)


def run(harness_class: type[FakeHarness], template: Path, examples: int) -> None:
    machine = type("Machine", (NamespaceMachine,), {"template": template, "harness_class": harness_class})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_namespace_is_the_model(template: Path) -> None:
    run(FakeHarness, template, 40)


def test_namespace_over_the_native_core_is_the_model(template: Path) -> None:
    run(RealHarness, template, 15)
