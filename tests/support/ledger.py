"""A load that knows what was acknowledged, and what a server must therefore still have after it died.

Each worker changes files in a directory of its own, one change after the other, over NFS 3. It keeps a model of the
directory as of the last acknowledged change. At a crash at most one change of a worker is under way: afterwards its files
must be as before it or as after it, a rename both names at once, and everything else exactly as acknowledged. Every
page says whose it is: file number, version, page number.
"""

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.nfs3 import Nfs3

PAGE = 4096
MAX_PAGES = 200
CHANGES = (
    "write",
    "write",
    "write",
    "overwrite",
    "overwrite",
    "rename",
    "unlink",
    "truncate",
    "replace",
    "link",
)


def pages(file: int, version: int, first: int, count: int) -> bytes:
    """Content that identifies itself."""
    return b"".join(
        f"{file}:{version}:{page};".encode().ljust(PAGE, b".") for page in range(first, first + count)
    )


@dataclass(frozen=True)
class Pending:
    """The change under way: the names it touches, before and after (None: no such file). `mixed`: pages may be of either."""

    before: dict[str, bytes | None]
    after: dict[str, bytes | None]
    mixed: bool = False


class Worker(threading.Thread):
    """Changes files until told to stop or until the server is gone."""

    def __init__(self, connect: Callable[[], Nfs3], directory: str, seed: int) -> None:
        super().__init__(name=f"worker {directory}", daemon=True)
        self._connect, self.directory = connect, directory
        self._random = random.Random(seed)
        self._version = 0
        self._numbers = 0
        self._nfs: Nfs3 | None = None
        self.files: dict[str, bytes] = {}
        self.pending: Pending | None = None
        self.done = 0
        self.quit = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with self._connect() as nfs:
                self._nfs = nfs
                while not self.quit.is_set():
                    getattr(self, f"_{self._random.choice(CHANGES)}")(nfs)
                    self.pending = None
                    self.done += 1
        except BaseException as error:  # noqa: BLE001 - whoever joins it looks at the failure
            self.failure = error

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def _begin(self, after: dict[str, bytes | None], *, mixed: bool = False) -> None:
        before = {name: self.files.get(name) for name in after}
        self.pending = Pending(before, after, mixed)

    def _commit(self) -> None:
        assert self.pending
        for name, content in self.pending.after.items():
            if content is None:
                self.files.pop(name, None)
            else:
                self.files[name] = content

    def _any(self) -> str | None:
        return self._random.choice(sorted(self.files)) if self.files else None

    def _new_name(self) -> str:
        self._numbers += 1
        return f"f{self._numbers}"

    def _write(self, nfs: Nfs3) -> None:
        """A new file. Once there are many, an old one gives way."""
        if len(self.files) > 40:
            self._unlink(nfs)
        name = self._new_name()
        self._version += 1
        count = self._random.choice((0, 1, 3, 20, MAX_PAGES))
        content = pages(self._numbers, self._version, 0, count)[
            : count * PAGE - self._random.randrange(100) if count else 0
        ]
        self._begin({name: content}, mixed=True)
        with nfs.open(self._path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR) as file:
            file.pwrite(content, 0)
            file.fsync()
        self._commit()

    def _overwrite(self, nfs: Nfs3) -> None:
        """Some pages of an old file, or behind its end."""
        name = self._any()
        if name is None:
            return
        old = self.files[name]
        self._version += 1
        first = self._random.randrange(len(old) // PAGE + 3)
        piece = pages(self._version, self._version, first, self._random.choice((1, 2, 30)))
        padded = old.ljust(first * PAGE, b"\0")
        content = padded[: first * PAGE] + piece + padded[first * PAGE + len(piece) :]
        self._begin({name: content}, mixed=True)
        with nfs.open(self._path(name), os.O_RDWR) as file:
            file.pwrite(piece, first * PAGE)
            file.fsync()
        self._commit()

    def _truncate(self, nfs: Nfs3) -> None:
        name = self._any()
        if name is None:
            return
        size = self._random.randrange(len(self.files[name]) + 2 * PAGE)
        self._begin({name: self.files[name][:size].ljust(size, b"\0")})
        nfs.truncate(self._path(name), size)
        self._commit()

    def _rename(self, nfs: Nfs3) -> None:
        name = self._any()
        if name is None:
            return
        new = self._new_name()
        self._begin({name: None, new: self.files[name]})
        nfs.rename(self._path(name), self._path(new))
        self._commit()

    def _replace(self, nfs: Nfs3) -> None:
        """A rename over another file."""
        name, victim = self._any(), self._any()
        if name is None or victim is None or name == victim:
            return
        self._begin({name: None, victim: self.files[name]})
        nfs.rename(self._path(name), self._path(victim))
        self._commit()

    def _link(self, nfs: Nfs3) -> None:
        """A second name, which goes again: two changes, of which the model sees the sum."""
        name = self._any()
        if name is None:
            return
        self._begin({f"{name}.link": self.files[name]})
        nfs.link(self._path(name), self._path(f"{name}.link"))
        self._commit()
        self._begin({f"{name}.link": None})
        nfs.unlink(self._path(f"{name}.link"))
        self._commit()

    def _unlink(self, nfs: Nfs3) -> None:
        name = self._any()
        if name is None:
            return
        self._begin({name: None})
        nfs.unlink(self._path(name))
        self._commit()

    def _check(self, nfs: Nfs3) -> None:
        """Reads a file while everything goes on."""
        name = self._any()
        if name is None:
            return
        found = nfs.read_file(self._path(name))
        assert found == self.files[name], f"{self._path(name)}: {describe(self.files[name], found)}"

    def settle(self, nfs: Nfs3) -> None:
        """Compares the server with the model, as allowed by the change that was under way; takes over what it finds.

        Raises AssertionError with everything that is wrong.
        """
        listed = {entry.name.decode() for entry in nfs.readdir(self.directory)}
        found = {name: nfs.read_file(self._path(name)) for name in sorted(listed)}
        touched = set(self.pending.after) if self.pending else set()
        wrong = [
            f"{self._path(name)}: {describe(self.files.get(name), found.get(name))}"
            for name in sorted((set(self.files) | listed) - touched)
            if found.get(name) != self.files.get(name)
        ]
        if self.pending and not allowed(self.pending, found):
            wrong += [
                f"{self._path(name)}, under way: {describe(self.pending.before[name], found.get(name))} from before; "
                f"{describe(self.pending.after[name], found.get(name))} from after"
                for name in sorted(touched)
            ]
        assert not wrong, "\n".join(wrong[:20])
        self.files, self.pending = found, None
        self._drop_second_names(nfs)

    def _drop_second_names(self, nfs: Nfs3) -> None:
        """What a kill between the two changes of `_link` left goes.

        The model takes each name for a file of its own: it would miss that a write to one is seen through the other, and
        that a rename of one over the other does nothing (POSIX).
        """
        for name in [name for name in self.files if name.endswith(".link")]:
            nfs.unlink(self._path(name))
            del self.files[name]


def allowed(pending: Pending, found: dict[str, bytes]) -> bool:
    """Whether the touched names are as before or as after the change under way, or between them where it has steps."""
    now = {name: found.get(name) for name in pending.after}
    if now in (pending.before, pending.after):
        return True
    if not pending.mixed:
        return False
    ((name, after),) = pending.after.items()
    content, before = now[name], pending.before[name] or b""
    if content is None or after is None:
        return False
    if len(content) > max(len(before), len(after)):
        return False
    return all(
        content[at : at + PAGE] in (cut(before, at, content), cut(after, at, content), cut(b"", at, content))
        for at in range(0, len(content), PAGE)
    )


def cut(whole: bytes, at: int, like: bytes) -> bytes:
    """The page of `whole` at an offset, with zeros behind its end, as long as that page of `like`."""
    length = min(PAGE, len(like) - at)
    return whole[at : at + length].ljust(length, b"\0")


def describe(expected: bytes | None, found: bytes | None) -> str:
    """How two contents differ, in a line."""
    if expected is None or found is None:
        return f"{'nothing' if expected is None else f'{len(expected)} bytes'} expected, " + (
            "nothing found" if found is None else f"{len(found)} bytes found"
        )
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    return (
        f"{len(found)} bytes for {len(expected)}, different from {at} on: "
        f"{found[at : at + 24]!r} for {expected[at : at + 24]!r}"
    )


class Load:
    """Some workers at once, over any number of crashes."""

    def __init__(self, connect: Callable[[], Nfs3], *, workers: int = 3, seed: int = 1) -> None:
        self._connect, self._seed = connect, seed
        self._rounds = 0
        self.workers = [
            Worker(connect, f"/worker{number}", seed * 1000 + number) for number in range(workers)
        ]
        with connect() as nfs:
            for worker in self.workers:
                nfs.mkdir(worker.directory)

    def start(self) -> None:
        """Begins, or goes on after settle() with what the server has."""
        self._rounds += 1
        fresh: list[Worker] = []
        for number, old in enumerate(self.workers):
            worker = Worker(self._connect, old.directory, self._seed * 1000 + number + 100 * self._rounds)
            worker.files, worker.done = old.files, old.done
            worker._version, worker._numbers = old._version, old._numbers
            fresh.append(worker)
            worker.start()
        self.workers = fresh

    def running(self) -> bool:
        return any(worker.is_alive() for worker in self.workers)

    def done(self) -> int:
        """Acknowledged changes so far."""
        return sum(worker.done for worker in self.workers)

    def join(self, timeout_s: float = 60, *, failed: bool) -> None:
        """Waits for the workers' ends. With failed=False none may have failed; else each may, by losing the server."""
        deadline = time.monotonic() + timeout_s
        for worker in self.workers:
            if not failed:
                worker.quit.set()
            worker.join(max(0.1, deadline - time.monotonic()))
            assert not worker.is_alive(), f"{worker.name} hangs"
            if worker.failure is not None and not (failed and lost_the_server(worker.failure)):
                raise AssertionError(f"{worker.name}: {worker.failure!r}") from worker.failure

    def settle(self) -> None:
        with self._connect() as nfs:
            for worker in self.workers:
                worker.settle(nfs)


LOST = (
    errno.EIO,
    errno.EINTR,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.EFAULT,
)


def lost_the_server(error: BaseException) -> bool:
    """Whether an error of libnfs tells of a broken connection, and not of something wrong with a file."""
    return isinstance(error, OSError) and error.errno in LOST
