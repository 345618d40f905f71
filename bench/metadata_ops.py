"""What name operations cost in Python: one thread, no waiting for disks, no NFS.

    python -m bench.metadata_ops [--files N]

A stand-in for the journal numbers the records and says that they are durable at once, so the figures are the namespace's
own. Prints one line an operation: microseconds each, operations a second.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.metadata import checkpoint
from gateway.metadata.attributes import Attributes, SetAttributes
from gateway.metadata.clock import SystemClock
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.extents import Extent
from gateway.metadata.namespace import Limits, Namespace

FS_ID = bytes(16)
EPOCH = 1


class Journal:
    """A core without disks: records go into a list; no file is ever live."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes]] = []
        self.last_lsn = EPOCH << 40

    @property
    def durable_lsn(self) -> int:
        return self.last_lsn

    def reserve(self, bytes: int) -> None: ...

    def release(self) -> None: ...

    def append_rows(self, payload: bytes) -> int:
        self.last_lsn += 1
        self.records.append((self.last_lsn, payload))
        return self.last_lsn

    def wait_durable(self, lsn: int) -> None: ...

    def activate(self, attributes: Attributes, extents: Iterable[Extent]) -> None: ...

    def attributes(self, inode: int) -> None: ...

    def update_names(self, *_: int, **__: int) -> bool:
        return False

    def set_data_attributes(self, *_: int, **__: int | None) -> int | None:
        return None

    def forget(self, inode: int) -> None: ...


def timed(what: str, count: int, work: Callable[[], object]) -> None:
    begin_ns = time.perf_counter_ns()
    work()
    each_us = (time.perf_counter_ns() - begin_ns) / count / 1000
    print(f"{what:44} {each_us:9.2f} us {1e6 / each_us:12,.0f} /s")


def each(count: int, operation: Callable[[int], object]) -> Callable[[], None]:
    def work() -> None:
        for i in range(count):
            operation(i)

    return work


def listing(fs: Namespace, directory: int, limit: int) -> Callable[[], None]:
    def work() -> None:
        after = 0
        while True:
            page = fs.readdir(directory, after, limit)
            if len(page) < limit:
                return
            after = page[-1].cookie

    return work


def run(folder: Path, files: int) -> None:
    database = Database(sqlite_url(folder / "metadata.db"), FS_ID)
    journal = Journal()
    fs = Namespace(journal, database, SystemClock(), epoch=EPOCH)
    fs.ensure_root()
    directory = fs.mkdir(1, b"d", uid=0, gid=0).inode
    mode = SetAttributes(mode=0o644)
    names = [b"file%d" % i for i in range(files)]

    timed("create", files, each(files, lambda i: fs.create(directory, names[i], mode, uid=1, gid=1)))
    inos = [fs.lookup(directory, name).inode for name in names]
    timed("lookup, hot", files, each(files, lambda i: fs.lookup(directory, names[i])))
    timed("getattr, hot", files, each(files, lambda i: fs.getattr(inos[i])))
    timed("readdir page of 128, hot, an entry", files, listing(fs, directory, 128))
    chmod = SetAttributes(mode=0o600)
    timed("setattr of mode", files, each(files, lambda i: fs.setattr(inos[i], chmod)))
    timed("rename", files, each(files, lambda i: fs.rename(directory, names[i], directory, names[i] + b"~")))
    timed("link", files, each(files, lambda i: fs.link(inos[i], directory, names[i])))
    timed("unlink", files, each(files, lambda i: fs.unlink(directory, names[i] + b"~")))
    timed("mkdir", files, each(files, lambda i: fs.mkdir(1, names[i], uid=0, gid=0)))

    operations = 0
    with database.writer() as connection:
        begin_ns = time.perf_counter_ns()
        for begin in range(0, len(journal.records), 10_000):
            some = journal.records[begin : begin + 10_000]
            checkpoint.apply(connection, some)
            operations += sum(payload[0] & 15 for _, payload in some)
        seconds = (time.perf_counter_ns() - begin_ns) / 1e9
    print(
        f"{'checkpoint, a row operation':44} {seconds / operations * 1e6:9.2f} us {operations / seconds:12,.0f} /s"
    )
    rows = fs.overlay_rows
    timed("forget, a row", rows, lambda: fs.checkpointed(journal.last_lsn))

    cold = Namespace(
        journal, database, SystemClock(), epoch=EPOCH + 1, limits=Limits(inodes=2 * files, names=2 * files)
    )
    timed("readdir page of 128, cold, an entry", files, listing(cold, directory, 128))
    cold = Namespace(journal, database, SystemClock(), epoch=EPOCH + 1)
    some = min(files, 5000)
    timed("lookup, cold", some, each(some, lambda i: cold.lookup(directory, names[i])))
    cold = Namespace(journal, database, SystemClock(), epoch=EPOCH + 1)
    timed(
        "create in a huge cold directory",
        some,
        each(some, lambda i: cold.create(directory, b"new%d" % i, uid=0, gid=0)),
    )
    database.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), arguments.files)


if __name__ == "__main__":
    main()
