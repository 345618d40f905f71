"""Access control lists against a plain model: whatever happens between, an inode has the list and the mode that it got."""

import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gateway.data import fsck
from gateway.metadata import acl
from gateway.metadata.attributes import DIRECTORY, REGULAR, ROOT_INODE, SetAttributes
from tests.unit.metadata.audit import audit
from tests.unit.metadata.harness import FakeHarness
from tests.unit.metadata.real_harness import RealHarness
from tests.unit.metadata.test_acl import LISTS

PICK = st.integers(0, 1 << 16)
# Without set-gid, which directories pass on.
MODES = st.integers(0, 0o777)
LATER_MODES = st.builds(lambda low, high: low | high, MODES, st.sampled_from([0, 0, 0o1000, 0o4000]))


@dataclass
class Node:
    """entries: the list of its own, where it has one. Once it has, it keeps one."""

    ino: int
    kind: int
    mode: int
    entries: acl.Acl | None = None
    children: dict[bytes, "Node"] = field(default_factory=dict[bytes, "Node"])

    def give(self, entries: acl.Acl, *, unless_trivial: bool) -> None:
        self.mode = self.mode & 0o7000 | acl.mode_of(entries)
        if not (unless_trivial and acl.is_trivial(entries, self.kind)):
            self.entries = entries


class AclMachine(RuleBasedStateMachine):
    harness_class: Any = FakeHarness
    template: Path

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.harness = self.harness_class(self.folder, self.template)
        self.root = Node(ROOT_INODE, DIRECTORY, stat.S_IMODE(self.harness.fs.getattr(ROOT_INODE).mode))
        self.names = 0

    def teardown(self) -> None:
        self.harness.close()
        shutil.rmtree(self.folder)

    def nodes(self) -> list[Node]:
        found = [self.root]
        for node in found:
            found += node.children.values()
        return found

    def pick(self, number: int, kind: int | None = None) -> Node:
        nodes = [node for node in self.nodes() if kind in (None, node.kind)]
        return nodes[number % len(nodes)]

    @rule(where=PICK, mode=MODES, entries=st.none() | LISTS, kind=st.sampled_from([DIRECTORY, REGULAR]))
    def make(self, where: int, mode: int, entries: acl.Acl | None, kind: int) -> None:
        parent, name = self.pick(where, DIRECTORY), b"%d" % self.names
        self.names += 1
        node = Node(0, kind, mode)
        if entries is not None:
            node.give(acl.checked(acl.encode(entries), kind), unless_trivial=True)
        elif parent.entries is not None and (own := acl.inherited(parent.entries, kind, mode)):
            node.give(own, unless_trivial=True)
        wanted = SetAttributes(mode=mode, acl=None if entries is None else acl.encode(entries))
        if kind == DIRECTORY:
            made = self.harness.fs.mkdir(parent.ino, name, wanted, uid=1, gid=2)
        else:
            made = self.harness.fs.create(parent.ino, name, wanted, uid=1, gid=2)[0]
        node.ino = made.inode
        parent.children[name] = node

    @rule(which=PICK, entries=LISTS, mode=st.none() | LATER_MODES)
    def set_list(self, which: int, entries: acl.Acl, mode: int | None) -> None:
        node = self.pick(which)
        self.harness.fs.setattr(node.ino, SetAttributes(mode=mode, acl=acl.encode(entries)))
        if mode is not None:
            node.mode = mode
        node.give(acl.checked(acl.encode(entries), node.kind), unless_trivial=node.entries is None)

    @rule(which=PICK, mode=LATER_MODES)
    def chmod(self, which: int, mode: int) -> None:
        node = self.pick(which)
        assert stat.S_IMODE(self.harness.fs.setattr(node.ino, SetAttributes(mode=mode)).mode) == mode
        node.mode = mode
        if node.entries is not None:
            node.entries = acl.with_mode(node.entries, mode, node.kind)

    @rule(which=PICK, value=st.binary(max_size=20))
    def set_xattr(self, which: int, value: bytes) -> None:
        node = self.pick(which)
        self.harness.fs.setxattr(node.ino, b"user.a", value)
        assert self.harness.fs.getxattr(node.ino, b"user.a") == value

    @rule(which=PICK, where=PICK)
    def rename(self, which: int, where: int) -> None:
        """What is moved keeps its list, whatever the new directory would pass on."""
        old, new = self.pick(which, DIRECTORY), self.pick(where, DIRECTORY)
        name = next((name for name, node in old.children.items() if node.kind == REGULAR), None)
        if name is not None:
            self.harness.fs.rename(old.ino, name, new.ino, name, False)
            new.children[name] = old.children.pop(name)

    @rule(which=PICK)
    def remove(self, which: int) -> None:
        parent = self.pick(which, DIRECTORY)
        name = next((name for name, node in parent.children.items() if not node.children), None)
        if name is not None:
            node = parent.children.pop(name)
            self.harness.fs.unlink(parent.ino, name, False)
            self.harness.fs.released(node.ino)

    @rule(most=st.integers(1, 4) | st.just(1 << 30))
    def checkpoint(self, most: int) -> None:
        self.harness.checkpoint(most)

    @rule()
    def checkpointed(self) -> None:
        self.harness.fs.checkpointed(self.harness.steward.checkpoint_lsn)

    @rule()
    def evict(self) -> None:
        self.harness.evict()

    @rule()
    def crash(self) -> None:
        self.harness.crash()
        self.verify()

    @rule()
    def settle(self) -> None:
        self.harness.settle()
        with self.harness.database.reader() as connection:
            audit(connection)
            assert not fsck.check(
                connection, None, deep=False, settled=True, progress=lambda _: None
            ).problems
        self.verify()

    @rule()
    def verify(self) -> None:
        for node in self.nodes():
            found = self.harness.fs.getattr(node.ino)
            assert stat.S_IMODE(found.mode) == node.mode
            assert bool(found.mode & acl.MODE_ACL) == (node.entries is not None)
            expected = acl.trivial(node.mode, node.kind) if node.entries is None else node.entries
            assert acl.decode(self.harness.fs.acl(node.ino)) == expected


def run(harness_class: type[FakeHarness], template: Path, examples: int) -> None:
    machine = type("Machine", (AclMachine,), {"template": template, "harness_class": harness_class})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_lists_are_the_models(template: Path) -> None:
    run(FakeHarness, template, 40)


def test_lists_over_the_native_core_are_the_models(template: Path) -> None:
    run(RealHarness, template, 10)
