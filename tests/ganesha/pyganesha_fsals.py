"""File systems for the tests of pyganesha. Ganesha's process imports this module; the tests do not."""

import errno
import logging
import subprocess
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.pyganesha import (
    Attributes,
    Caller,
    CreateMode,
    Fsal,
    FsalError,
    LogHandler,
    ReadRequestLike,
    SetAttributes,
    Status,
    XattrMode,
    unblock_signals,
)
from gateway.pyganesha.examples.memfs import MemFs


class Faulty(MemFs):
    """Names make it misbehave; options name a file that tells of the life of the object."""

    def __init__(self, options: str) -> None:
        super().__init__(options)
        self.diary = Path(options)
        self.note(f"made upcalls={self.upcalls}")

    def note(self, text: str) -> None:
        with self.diary.open("a") as diary:
            diary.write(f"{text}\n")

    def ready(self) -> None:
        self.note(f"ready upcalls={self.upcalls is not None}")
        logger = logging.getLogger("pyganesha.test")
        logger.addHandler(LogHandler())
        logger.warning("a record\nof two lines")
        for helper in (None, unblock_signals):
            child = subprocess.run(
                ["grep", "SigBlk", "/proc/self/status"],
                preexec_fn=helper,
                capture_output=True,
                text=True,
                check=True,
            )
            self.note(f"blocked={int(child.stdout.split()[1], 16) != 0}")

    def close(self) -> None:
        self.note("closed")

    def released(self, inode: int) -> None:
        self.note(f"released {inode}")
        super().released(inode)

    def unlink(self, directory: int, name: bytes, victim_open: bool) -> None:
        self.note(f"unlink {name.decode()} open={victim_open}")
        super().unlink(directory, name, victim_open)

    def lookup(self, directory: int, name: bytes) -> Attributes:
        if name == b"unexpected":
            raise ZeroDivisionError("a defect in the file system")
        if name == b"wrong-type":
            return "no attributes"  # type: ignore[return-value]
        if name == b"exit":
            raise SystemExit(3)
        if name == b"delay":
            raise FsalError(Status.DELAY)
        if name == b"upcall-inside":
            assert self.upcalls is not None
            self.upcalls.invalidate(1, 1)
        return super().lookup(directory, name)

    def mkdir(self, directory: int, name: bytes, attributes: SetAttributes, caller: Caller) -> Attributes:
        if name.startswith(b"orphaned-"):
            assert self.upcalls is not None
            self.note(f"released? {self.upcalls.orphaned(int(name[9:]))}")
        return super().mkdir(directory, name, attributes, caller)


class Counted(MemFs):
    """Keeps the most calls that were under way at once, in the file that the options name after the bound on them."""

    def __init__(self, options: str) -> None:
        most, _, path = options.partition(" ")
        super().__init__("")
        self.calls_max, self.diary = int(most), Path(path)
        self.counting, self.now, self.most = threading.Lock(), 0, 0

    def lookup(self, directory: int, name: bytes) -> Attributes:
        with self.counting:
            self.now += 1
            self.most = max(self.most, self.now)
            self.diary.write_text(str(self.most))
        time.sleep(0.05)
        with self.counting:
            self.now -= 1
        return super().lookup(directory, name)


class Tagged(MemFs):
    """Has extended attributes."""

    has_xattrs = True

    def __init__(self, options: str) -> None:
        super().__init__(options)
        self.tags: dict[int, dict[bytes, bytes]] = {}

    def getxattr(self, inode: int, name: bytes) -> bytes:
        if name not in self.tags.get(inode, {}):
            raise OSError(errno.ENODATA, "no such attribute")
        return self.tags[inode][name]

    def setxattr(self, inode: int, name: bytes, value: bytes, how: XattrMode) -> None:
        mine = self.tags.setdefault(inode, {})
        if len(value) > 65536:
            raise OSError(errno.E2BIG, "too large")
        if how is XattrMode.CREATE and name in mine:
            raise OSError(errno.EEXIST, "it is there")
        if how is XattrMode.REPLACE:
            self.getxattr(inode, name)
        mine[name] = value
        self.node(inode).change(self.now_ns())

    def removexattr(self, inode: int, name: bytes) -> None:
        self.getxattr(inode, name)
        del self.tags[inode][name]
        self.node(inode).change(self.now_ns())

    def listxattr(self, inode: int) -> list[bytes]:
        return list(self.tags.get(inode, {}))


class Sneaky(MemFs):
    """Changes a file's size beside NFS every 50 ms, and says so."""

    def ready(self) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.grow, daemon=True)
        self.thread.start()

    def grow(self) -> None:
        while not self.stop.wait(0.05):
            for inode, node in list(self.nodes.items()):
                if not node.is_directory:
                    node.data.extend(b"x")
                    node.change(self.now_ns())
                    assert self.upcalls is not None
                    self.upcalls.invalidate(inode, 1)

    def close(self) -> None:
        self.stop.set()
        self.thread.join()


class Later(MemFs):
    """Reads are answered from another thread; one at offset 1000 fails, one at 2000 is dropped."""

    def read_async(self, request: ReadRequestLike) -> None:
        if request.offset == 2000:
            return
        threading.Thread(target=self.answer, args=(request,)).start()

    def answer(self, request: ReadRequestLike) -> None:
        time.sleep(0.01)
        if request.offset == 1000:
            request.fail(FsalError(Status.NOSPC))
            return
        amount, eof = self.read(request.inode, request.offset, request.buffer)
        request.done(amount, eof)


class Native(MemFs):
    """Names in Python, data in the test's C core. Creating `hold` keeps Python's lock for two seconds."""

    def __init__(self, options: str) -> None:
        super().__init__(options)
        self.core: Any = import_module("pyganesha_test_core")
        self.diary = Path(options)

    def io(self) -> object:
        return self.core.capsule()

    def load(self, inode: int, generation: int) -> None:
        self.node(inode)
        self.core.add(inode)

    def mkdir(self, directory: int, name: bytes, attributes: SetAttributes, caller: Caller) -> Attributes:
        if name == b"hold":
            threading.Thread(target=self.hold).start()
        if name == b"fail-commits":
            self.core.fail_commits(True)
        if name == b"fail-settles":
            self.core.fail_settles(True)
        self.diary.write_text(" ".join(str(n) for n in (*self.core.counts(), self.core.begun())))
        return super().mkdir(directory, name, attributes, caller)

    def hold(self) -> None:
        time.sleep(0.2)
        self.core.hold(2.0)


class Sparse(MemFs):
    """Where a byte is zero is a hole. A file `old` is there from the start, and 8 MiB are all the room there is."""

    ROOM = 8 << 20

    def __init__(self, options: str) -> None:
        super().__init__(options)
        everybody = SetAttributes(mode=0o666)
        old = self.create(1, b"old", CreateMode.GUARDED, everybody, Caller(0, 0, ()))[0]
        self.nodes[old.inode].data.extend(b"old")
        self.nodes[old.inode].change(self.now_ns())

    def seek(self, inode: int, offset: int, hole: bool) -> tuple[int, bool]:
        data = self.node(inode).data
        if offset >= len(data):
            raise OSError(errno.ENXIO, "after the end")
        at = next((at for at in range(offset, len(data)) if (data[at] == 0) == hole), len(data))
        return at, at == len(data)

    def allocate(self, inode: int, offset: int, length: int, caller: Caller) -> None:
        if offset + length > self.ROOM:
            raise OSError(errno.ENOSPC, "no room")
        node = self.node(inode)
        node.data.extend(bytes(max(0, offset + length - len(node.data))))
        node.change(self.now_ns(), mtime_ns=self.now_ns())

    def deallocate(self, inode: int, offset: int, length: int, caller: Caller) -> None:
        node = self.node(inode)
        end = min(len(node.data), offset + length)
        node.data[offset:end] = bytes(max(0, end - offset))
        node.change(self.now_ns(), mtime_ns=self.now_ns())


class StaleCore(MemFs):
    """Has data that load never finds."""

    def io(self) -> object:
        return import_module("pyganesha_test_core").capsule()


def broken(options: str) -> Fsal:
    raise RuntimeError(f"the store\nof {options} is gone")


def not_an_fsal(options: str) -> str:
    return options
