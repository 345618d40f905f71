"""Limits over the native core, against a plain model: every change is refused just where it would pass one, what is used is
right at every moment, and comes back from a crash.
"""

import errno
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.metadata.attributes import ROOT_INODE, SetAttributes
from gateway.metadata.errors import FsError, QuotaError
from gateway.metadata.operations.quotas import Limits
from tests.unit.metadata.audit import audit
from tests.unit.metadata.real_harness import RealHarness

PICK = st.integers(0, 1 << 16)
NAME = st.sampled_from([b"a", b"b", b"c"])
BYTES = st.none() | st.integers(0, 120)
INODES = st.none() | st.integers(0, 8)


class File:
    """A file's size, which of its bytes are allocated, and its names."""

    def __init__(self) -> None:
        self.size = 0
        self.bytes: set[int] = set()
        self.names: set[tuple[int, bytes]] = set()


class QuotaMachine(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.files: dict[int, File] = {}
        self.directories: dict[int, tuple[int, bytes]] = {ROOT_INODE: (0, b"")}
        self.limits: dict[int, Limits] = {}
        self.batch: Any = None

    @initialize()
    def open(self) -> None:
        self.harness = RealHarness(self.folder, self.template)
        self.fs = self.harness.fs

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            self.harness.close()
        shutil.rmtree(self.folder)

    # The model

    def up(self, directory: int) -> list[int]:
        chain: list[int] = []
        while directory:
            chain.append(directory)
            directory = self.directories[directory][0]
        return chain

    def home(self, ino: int) -> int:
        """Which of a file's names counts is the namespace's choice; that it has one is checked."""
        home = self.fs.row(ino).parent
        file = self.files[ino]
        assert not file.names or home in {directory for directory, _ in file.names}
        return home

    def used(self, directory: int) -> tuple[int, int]:
        """Bytes and inodes below a directory."""
        inside = [file for ino, file in self.files.items() if directory in self.up(self.home(ino))]
        below = [ino for ino in self.directories if ino != directory and directory in self.up(ino)]
        return sum(len(file.bytes) for file in inside), len(inside) + len(below)

    def trees(self, directory: int) -> list[int]:
        return [ino for ino in self.up(directory) if ino in self.limits]

    def room(self, trees: list[int], bytes: int, inodes: int = 0) -> int:
        """The errno of a growth. The grace of soft limits is none: who is above one may not grow."""
        for tree in trees:
            limits = self.limits[tree]
            for grows, used, hard, soft in zip(
                (bytes, inodes), self.used(tree), limits[:4:2], limits[1:4:2], strict=True
            ):
                if grows and hard is not None and used + grows > hard:
                    return errno.EDQUOT
                if grows and soft is not None and used > soft:
                    return errno.EDQUOT
        return 0

    def attempt(self, expected: int, operation: Any, *arguments: Any, **named: Any) -> Any:
        code: int | None = 0
        result = None
        try:
            result = operation(*arguments, **named)
        except (FsError, OSError) as error:
            code = error.errno
        assert code == expected
        return result

    def pick(self, choices: Any, number: int) -> int:
        some = sorted(choices)
        return some[number % len(some)]

    def at(self, directory: int, name: bytes) -> int | None:
        for ino, file in self.files.items():
            if (directory, name) in file.names:
                return ino
        return next((ino for ino, place in self.directories.items() if place == (directory, name)), None)

    # Limits

    @rule(where=PICK, limits=st.tuples(BYTES, BYTES, INODES, INODES))
    def limit(self, where: int, limits: tuple[int | None, ...]) -> None:
        directory = self.pick(self.directories, where)
        hard_bytes, soft_bytes, hard_inodes, soft_inodes = limits
        wanted = Limits(hard_bytes, soft_bytes, hard_inodes, soft_inodes, 0)
        wrong = all(number is None for number in limits) or any(
            hard is not None and soft is not None and soft > hard
            for hard, soft in ((hard_bytes, soft_bytes), (hard_inodes, soft_inodes))
        )
        version = self.fs.quota(directory)[0].version if directory in self.limits else None
        if wrong:
            with pytest.raises(QuotaError) as caught:
                self.fs.set_quota(directory, wanted, version)
            assert caught.value.code == "invalid"
            return
        op = self.fs.set_quota(directory, wanted, version)
        assert op.version == (version or 0) + 1
        self.limits[directory] = wanted

    @rule(which=PICK)
    def unlimit(self, which: int) -> None:
        if self.limits:
            directory = self.pick(self.limits, which)
            self.fs.drop_quota(directory)
            del self.limits[directory]

    # Names

    @rule(where=PICK, name=NAME, is_directory=st.booleans())
    def make(self, where: int, name: bytes, is_directory: bool) -> None:
        directory = self.pick(self.directories, where)
        if self.at(directory, name) is not None:
            return
        expected = self.room(self.trees(directory), 0, 1)
        if is_directory:
            made = self.attempt(expected, self.fs.mkdir, directory, name, uid=1, gid=1)
            if made is not None:
                self.directories[made.inode] = (directory, name)
            return
        made = self.attempt(expected, self.fs.create, directory, name, uid=0, gid=0)
        if made is not None:
            file = self.files[made[0].inode] = File()
            file.names.add((directory, name))

    @rule(which=PICK, where=PICK, name=NAME)
    def link(self, which: int, where: int, name: bytes) -> None:
        named = [ino for ino, file in self.files.items() if file.names]
        directory = self.pick(self.directories, where)
        if named and self.at(directory, name) is None:
            ino = self.pick(named, which)
            same = self.trees(self.home(ino))[:1] == self.trees(directory)[:1]
            self.attempt(0 if same else errno.EXDEV, self.fs.link, ino, directory, name)
            if same:
                self.files[ino].names.add((directory, name))

    @rule(which=PICK, is_open=st.booleans())
    def unlink(self, which: int, is_open: bool) -> None:
        names = [(name, ino) for ino, file in self.files.items() for name in file.names]
        if names:
            (directory, name), ino = sorted(names)[which % len(names)]
            self.fs.unlink(directory, name, is_open)
            self.files[ino].names.remove((directory, name))
            if not self.files[ino].names and not is_open:
                del self.files[ino]

    @rule(which=PICK)
    def rmdir(self, which: int) -> None:
        taken = {place[0] for place in self.directories.values()}
        taken |= {directory for file in self.files.values() for directory, _ in file.names}
        empty = [ino for ino in self.directories if ino != ROOT_INODE and ino not in taken]
        if empty:
            ino = self.pick(empty, which)
            self.fs.unlink(*self.directories.pop(ino))
            self.limits.pop(ino, None)

    @rule()
    def release(self) -> None:
        for ino in [ino for ino, file in self.files.items() if not file.names]:
            self.fs.released(ino)
            del self.files[ino]

    @rule(which=PICK, where=PICK, new=NAME)
    def rename(self, which: int, where: int, new: bytes) -> None:
        names = [(name, ino) for ino, file in self.files.items() for name in file.names]
        names += [(place, ino) for ino, place in self.directories.items() if ino != ROOT_INODE]
        target = self.pick(self.directories, where)
        if not names or self.at(target, new) is not None:
            return
        (directory, name), ino = sorted(names)[which % len(names)]
        if ino in self.directories and ino in self.up(target):
            return
        here, there = self.trees(directory), self.trees(target)
        expected = 0
        file = self.files.get(ino)
        if here[:1] != there[:1]:
            if file is None or len(file.names) > 1:
                expected = errno.EXDEV
            else:
                expected = self.room([tree for tree in there if tree not in here], len(file.bytes), 1)
        self.attempt(expected, self.fs.rename, directory, name, target, new)
        if expected:
            return
        if file is None:
            self.directories[ino] = (target, new)
        else:
            file.names.remove((directory, name))
            file.names.add((target, new))

    # Bytes

    @rule(which=PICK, offset=st.integers(0, 100), length=st.integers(1, 60))
    def write(self, which: int, offset: int, length: int) -> None:
        if not self.files:
            return
        ino = self.pick(self.files, which)
        file = self.files[ino]
        wanted = set(range(offset, offset + length))
        expected = self.room(self.trees(self.home(ino)), len(wanted - file.bytes))
        before = self.harness.read(ino)
        lsn = self.attempt(expected, self.harness.write, ino, offset, b"x" * length)
        if expected:
            assert self.harness.read(ino) == before
            return
        self.harness.core.wait_durable(lsn)
        file.bytes |= wanted
        file.size = max(file.size, offset + length)

    @rule(which=PICK, size=st.integers(0, 150))
    def truncate(self, which: int, size: int) -> None:
        if self.files:
            ino = self.pick(self.files, which)
            self.fs.setattr(ino, SetAttributes(size=size))
            self.files[ino].size = size
            self.files[ino].bytes -= set(range(size, 1000))

    @rule(which=PICK, offset=st.integers(0, 100), length=st.integers(1, 60), punch=st.booleans())
    def punch_or_allocate(self, which: int, offset: int, length: int, punch: bool) -> None:
        if not self.files:
            return
        ino = self.pick(self.files, which)
        file, wanted = self.files[ino], set(range(offset, offset + length))
        assert self.fs.load(ino)
        if punch:
            self.harness.core.deallocate(ino, offset, length)
            file.bytes -= {at for at in wanted if at < file.size}
            return
        expected = self.room(self.trees(self.home(ino)), len(wanted - file.bytes))
        self.attempt(expected, self.harness.core.allocate, ino, offset, length)
        if not expected:
            file.size = max(file.size, offset + length)

    # What goes on behind

    @rule()
    def flush_begin(self) -> None:
        if self.batch is None:
            self.batch = self.harness.flush()

    @rule()
    def flush_end(self) -> None:
        if self.batch is not None:
            self.fs.flush_commit(self.batch)
            self.batch = None

    @rule()
    def settle(self) -> None:
        self.fs.settle_quotas()
        if self.batch is None:
            self.harness.settle()
            # After the next crash only what is written from now on is live.
            self.harness.core.trim(self.fs.checkpoint_lsn)
            with self.harness.database.reader() as connection:
                audit(connection)

    @rule(most=st.integers(1, 20))
    def checkpoint(self, most: int) -> None:
        self.harness.checkpoint(most)

    @rule()
    def crash(self) -> None:
        self.batch = None
        self.harness.crash()
        self.fs = self.harness.fs

    @invariant()
    def usage_is_right(self) -> None:
        if not hasattr(self, "fs"):
            return
        listed = {op.dir: (op, use) for op, use in self.fs.quota_list(0, 1000)}
        assert {ino: Limits(*_limits(entry[0])) for ino, entry in listed.items()} == (self.limits)
        for ino, (_, use) in listed.items():
            assert (use.bytes, use.inodes) == self.used(ino)
            soft_bytes, soft_inodes = self.limits[ino].soft_bytes, self.limits[ino].soft_inodes
            assert bool(use.bytes_since_ns) == (soft_bytes is not None and use.bytes > soft_bytes)
            assert bool(use.inodes_since_ns) == (soft_inodes is not None and use.inodes > soft_inodes)


def _limits(op: Any) -> tuple[int | None, int | None, int | None, int | None, int]:
    return (op.hard_bytes, op.soft_bytes, op.hard_inodes, op.soft_inodes, op.grace_s)


def machine_of(template: Path) -> type[QuotaMachine]:
    return type("Machine", (QuotaMachine,), {"template": template})


def test_limits_hold_to_the_byte(template: Path) -> None:
    run_state_machine_as_test(
        machine_of(template),
        settings=settings(
            max_examples=8,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
