"""Frozen file systems: small ones of every kind of content, kept as archives in tests/data, which later versions open.

`python -m tests.support.frozen NAME` makes tests/data/NAME.tar.xz with the code of this tree: run it at a release, before
the formats change. The archive holds the state directory as a kill leaves it (rows and data that only the journal has,
packs, a database behind both), and what clients saw of it last.
"""

import contextlib
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from gateway import _core, config
from gateway.checkpointer import Checkpointer, Position
from gateway.fsal.owner import Owner
from gateway.metadata.attributes import ROOT_INODE, SPECIAL_KINDS, SetAttributes
from gateway.metadata.namespace import Namespace
from gateway.state import Identity, StateDir

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = ROOT / "tests/data"
MIB: Final = 1 << 20
FS_ID: Final = bytes.fromhex("00112233445566778899aabbccddeeff")
# Nothing is flushed or collected but on command; small packs and segments, so that there are several.
SETTINGS: Final = """l1_bytes = "16MiB"
l2_bytes = 0
dirty_memory_bytes = "32MiB"
journal_limit_bytes = "64MiB"
segment_bytes = "4MiB"
pack_bytes = "256KiB"
flush_age_s = 3600.0
"""
PAGE: Final = 100


def walk(namespace: Namespace, core: _core.Core) -> dict[str, Any]:
    """All that clients can see, by path: attributes with the numbers that handles hold, data, targets, users' attributes."""
    found: dict[str, Any] = {}
    waiting = [("/", ROOT_INODE)]
    while waiting:
        path, inode = waiting.pop()
        attributes = namespace.getattr(inode)
        # Reading moves the time of access.
        fields = {key: value for key, value in attributes._asdict().items() if key != "atime_ns"}
        xattrs = {name.decode(): namespace.getxattr(inode, name).hex() for name in namespace.listxattr(inode)}
        found[path] = {**fields, "xattrs": xattrs}
        if attributes.kind == stat.S_IFDIR:
            names = list(_names(namespace, inode))
            found[path]["cookies"] = {name: cookie for name, cookie, _ in names}
            waiting += [(f"{path.rstrip('/')}/{name}", ino) for name, _, ino in names]
        elif attributes.kind == stat.S_IFLNK:
            found[path]["target"] = namespace.readlink(inode).decode()
        elif attributes.kind not in SPECIAL_KINDS:
            found[path]["sha256"] = _digest(namespace, core, inode, attributes.size)
    return found


def _names(namespace: Namespace, directory: int) -> Iterator[tuple[str, int, int]]:
    cookie = 0
    while page := namespace.readdir(directory, cookie, PAGE):
        for entry in page:
            yield entry.name.decode(), entry.cookie, entry.attributes.inode
        cookie = page[-1].cookie


def _digest(namespace: Namespace, core: _core.Core, inode: int, size: int) -> str:
    digest = hashlib.sha256()
    for offset in range(0, size, MIB):
        assert namespace.load(inode)
        digest.update(core.read(inode, offset, MIB))
    return digest.hexdigest()


def unpack(name: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of a frozen file system: its state directory, and what clients saw of it."""
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(directory)
    return directory / "state", json.loads((directory / "expected.json").read_text())


@contextlib.contextmanager
def opened(state: Path) -> Iterator[Owner]:
    """A file system opened as the server does, without one around it."""
    StateDir(state).prepare()
    owner = Owner.open(config.effective(state), {})
    try:
        yield owner
    finally:
        owner.close()


class _Filler:
    """Makes the content, through the calls that the server makes."""

    def __init__(self, owner: Owner) -> None:
        self.namespace, self.core = owner.namespace, owner.core
        self._random = Random(7)

    def directory(self, parent: int, name: bytes) -> int:
        return self.namespace.mkdir(parent, name, SetAttributes(mode=0o750), uid=1000, gid=100).inode

    def file(self, parent: int, name: bytes, *pieces: tuple[int, bytes]) -> int:
        made, _ = self.namespace.create(
            parent, name, SetAttributes(mode=0o640), uid=1000, gid=100, guarded=True
        )
        self.write(made.inode, *pieces)
        return made.inode

    def write(self, inode: int, *pieces: tuple[int, bytes]) -> None:
        for offset, data in pieces:
            assert self.namespace.load(inode)
            self.core.write(inode, offset, data, stable=True)

    def noise(self, length: int) -> bytes:
        return self._random.randbytes(length)

    def flushed_part(self) -> None:
        """What packs and the database get to hold."""
        fs = self.namespace
        docs = self.directory(ROOT_INODE, b"docs")
        deep = self.directory(docs, b"deep")
        text = "".join(f"line {number} of a long text\n" for number in range(30_000)).encode()
        self.file(docs, b"long.txt", (0, text))
        self.file(deep, b"noise", (0, self.noise(40_000)))
        many = self.directory(ROOT_INODE, b"many")
        for number in range(250):
            self.file(many, b"file %d" % number, (0, b"content of %d\n" % number))
        named = self.file(docs, "Größe-名".encode(), (0, b"a name in two alphabets"))
        fs.link(named, deep, b"second name")
        fs.symlink(docs, b"shortcut", b"deep/second name", SetAttributes(), uid=0, gid=0)
        fs.mknod(docs, b"pipe", stat.S_IFIFO, (0, 0), SetAttributes(mode=0o600), uid=5, gid=6)
        self.file(docs, b"sparse", (0, b"head"), (5 * MIB, b"tail"))
        punched = self.file(docs, b"punched", (0, text[:400_000]))
        fs.load(punched)
        self.core.deallocate(punched, 100_000, 200_000)
        fs.setxattr(named, b"user.colour", b"blue", create=False, replace=False)
        fs.setxattr(named, b"user.large", self.noise(5000), create=False, replace=False)
        fs.setattr(named, SetAttributes(mode=0o4755, uid=7, gid=8, mtime_ns=-5))
        self.file(docs, b"to be changed", (0, text[:300_000]))

    def journaled_part(self) -> None:
        """What only the journal holds."""
        fs = self.namespace
        docs = fs.lookup(ROOT_INODE, b"docs").inode
        many = fs.lookup(ROOT_INODE, b"many").inode
        changed = fs.lookup(docs, b"to be changed").inode
        self.write(changed, (1000, b"written again"), (290_000, self.noise(20_000)))
        fs.load(changed)
        fs.setattr(fs.lookup(docs, b"long.txt").inode, SetAttributes(size=500_001))
        fs.rename(docs, b"punched", many, b"moved")
        fs.unlink(many, b"file 7")
        fs.unlink(many, b"file 8", victim_open=True)
        self.file(docs, b"new", (0, self.noise(30_000)))
        self.file(docs, b"empty")
        named = fs.lookup(docs, "Größe-名".encode()).inode
        fs.setxattr(named, b"user.late", b"\0\xff", create=False, replace=False)
        fs.removexattr(named, b"user.colour")


class _Neighbour:
    """Stands for the control socket between steward and owner."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def checkpoint_position(self) -> Position:
        return Position(self._owner.core.durable_lsn, self._owner.namespace.checkpoint_lsn)

    def checkpointed(self, lsn: int) -> None:
        self._owner.namespace.checkpointed(lsn)
        self._owner.core.trim(lsn)


def checkpoint_all(owner: Owner) -> None:
    """Brings all rows into the database, as the steward would."""
    journal = [str(path) for path in owner.config.journal]
    checkpointer = Checkpointer(
        owner.database,
        _Neighbour(owner),
        lambda lsn: _core.JournalTail(journal, owner.fs_id, lsn),
        now_s=lambda: time.clock_gettime(time.CLOCK_REALTIME),
        monotonic_s=time.monotonic,
        failpoint=_core.failpoint,
    )
    while checkpointer.step():
        pass


def _fill_and_die(directory: Path) -> None:
    """Body of the process that makes a file system and ends as one that is killed."""
    state = StateDir(directory / "state")
    state.prepare()
    state.config_file.write_text(SETTINGS)
    state.write_identity(Identity(FS_ID))
    settings = config.effective(state.root)
    for mirror in settings.journal:
        mirror.mkdir()
    owner = Owner.open(settings, {})
    filler = _Filler(owner)
    filler.flushed_part()
    assert owner.flusher.wait_until_flushed(60)
    checkpoint_all(owner)
    filler.journaled_part()
    expected = json.dumps(walk(owner.namespace, owner.core), indent=1, sort_keys=True)
    (directory / "expected.json").write_text(expected)
    os._exit(0)


def make(name: str) -> Path:
    """Makes tests/data/NAME.tar.xz; returns its path."""
    path = DATA / f"{name}.tar.xz"
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [sys.executable, "-m", "tests.support.frozen", "--fill", directory], check=True, cwd=ROOT
        )
        with tarfile.open(path, "w:xz", preset=9) as archive:
            for found in sorted(Path(directory).rglob("*")):
                part = found.relative_to(directory)
                if part.parts[:2] != ("state", "run") and (found.is_file() or found.is_dir()):
                    _add(archive, found, str(part))
    return path


def _add(archive: tarfile.TarFile, found: Path, name: str) -> None:
    entry = archive.gettarinfo(found, name)
    entry.uname = entry.gname = ""
    if entry.isreg():
        archive.addfile(entry, io.BytesIO(found.read_bytes()))
    else:
        archive.addfile(entry)


if __name__ == "__main__":
    if sys.argv[1] == "--fill":
        _fill_and_die(Path(sys.argv[2]))
    print(make(sys.argv[1]))
