"""Many threads at once: nothing is lost, torn, or seen half done, while the checkpoint and the flush go on behind."""

import errno
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from gateway._core import NotResident
from gateway.metadata.errors import FsError
from gateway.metadata.namespace import Limits
from tests.unit.metadata.audit import audit
from tests.unit.metadata.harness import FakeHarness
from tests.unit.metadata.real_harness import RealHarness

SECONDS = 1.0
THREADS = 6


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Crowd:
    """Threads that run until told to stop; the first failure of any is raised at the end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.failures: list[BaseException] = []
        self.threads: list[threading.Thread] = []
        self.rounds = 0

    def add(self, step: Callable[[], object]) -> None:
        def run() -> None:
            try:
                while not self.stop.is_set():
                    step()
                    self.rounds += 1
            except BaseException as error:  # noqa: BLE001  # handed to the test
                self.failures.append(error)
                self.stop.set()

        self.threads.append(threading.Thread(target=run))

    def run(self, seconds: float) -> None:
        for thread in self.threads:
            thread.start()
        self.stop.wait(seconds)
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


class Worker:
    """Changes its own directory, of which it knows what must be there, and one that it shares with the others."""

    def __init__(self, harness: FakeHarness, shared: int, number: int) -> None:
        self.fs = harness.fs
        self.shared = shared
        self.random = Random(number)
        self.own = self.fs.mkdir(1, b"own%d" % number, uid=0, gid=0).inode
        self.names: dict[bytes, int] = {}

    def step(self) -> None:
        fs, names = self.fs, self.names
        name = b"n%d" % self.random.randrange(20)
        action = self.random.randrange(6)
        if action == 0:
            found, made = fs.create(self.own, name, uid=0, gid=0)
            assert made == (name not in names)
            names[name] = found.inode
        elif action == 1 and name in names:
            fs.unlink(self.own, name)
            del names[name]
        elif action == 2 and name in names:
            fs.rename(self.own, name, self.own, name + b"'")
            names[name + b"'"] = names.pop(name)
        elif action == 3:
            self.check()
        elif action == 4:
            for known, ino in names.items():
                assert fs.lookup(self.own, known).inode == ino
        else:
            self.in_public()

    def check(self) -> None:
        assert {e.name: e.attributes.inode for e in self.fs.readdir(self.own, 0, 100)} == self.names

    def in_public(self) -> None:
        """In the shared directory anything may be refused, but only for a reason that the others' work explains."""
        fs, shared = self.fs, self.shared
        name, other = b"s%d" % self.random.randrange(6), b"s%d" % self.random.randrange(6)
        action = self.random.randrange(4)
        try:
            if action == 0:
                fs.create(shared, name, uid=0, gid=0)
            elif action == 1:
                fs.unlink(shared, name)
            elif action == 2:
                fs.rename(shared, name, shared, other)
            else:
                fs.link(fs.lookup(shared, name).inode, shared, other)
        except FsError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST, errno.ESTALE):
                raise


class Background:
    """What goes on behind: checkpoints, and with the native core writes and flushes of a worker's files."""

    def __init__(self, harness: FakeHarness, worker: Worker) -> None:
        self.harness = harness
        self.worker = worker

    def checkpoint(self) -> None:
        fs = self.harness.fs
        fs.checkpointed(self.harness.checkpoint())
        self.harness.core.trim(fs.checkpoint_lsn)
        time.sleep(0.002)

    def flush(self) -> None:
        fs = self.harness.fs
        for ino in list(self.worker.names.values())[:3]:
            if fs.load(ino):
                try:
                    self.harness.core.write(ino, 0, b"x")
                except NotResident:
                    pass  # unlinked since
        batch = self.harness.flush()
        if batch is not None:
            fs.flush_commit(batch)
        time.sleep(0.002)


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("harness_class", [FakeHarness, RealHarness])
def test_a_crowd_leaves_a_whole_file_system(
    tmp_path: Path, template: Path, harness_class: type[FakeHarness]
) -> None:
    harness = harness_class(tmp_path, template, Limits(inodes=20, names=30))
    fs = harness.fs
    shared = fs.mkdir(1, b"shared", uid=0, gid=0).inode
    workers = [Worker(harness, shared, number) for number in range(THREADS)]
    background = Background(harness, workers[0])
    crowd = Crowd()
    for worker in workers:
        crowd.add(worker.step)
    crowd.add(background.checkpoint)
    if harness_class is RealHarness:
        crowd.add(background.flush)
    crowd.run(SECONDS)
    for worker in workers:
        worker.check()
    listed = {e.name: e.attributes.inode for e in fs.readdir(shared, 0, 1000)}
    assert listed == {name: fs.lookup(shared, name).inode for name in listed}
    assert fs.getattr(shared).size == len(listed)
    assert fs.orphans() == []
    harness.settle()
    with harness.database.reader() as connection:
        audit(connection)
    assert fs.overlay_rows == 0
    assert crowd.rounds > THREADS
    harness.close()
