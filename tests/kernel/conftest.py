"""What the kernel clients copy: a real tree, and a git repository made of it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import uml
from tests.support.caudal import EXPORT, Caudal

# What the programs of tests start with.
PRELUDE = """
import contextlib, errno, fcntl, mmap, os, stat, sys, time

@contextlib.contextmanager
def fails(*numbers):
    try:
        yield
    except OSError as error:
        assert error.errno in numbers, error
    else:
        raise AssertionError(f"no error, instead of {[errno.errorcode[each] for each in numbers]}")

def write(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)

def read(path):
    with open(path, "rb") as file:
        return file.read()

@contextlib.contextmanager
def user(uid, gid, *groups):
    "The rest of the block as another user; root again after it."
    before = os.getgroups()
    os.setgroups(groups); os.setegid(gid); os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0); os.setegid(0); os.setgroups(before)
"""
SOURCES = (Path("/usr/include/linux"), Path("/usr/lib/python3.11/encodings"))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred real files, and one of each kind that copies get wrong."""
    root = tmp_path_factory.mktemp("source") / "tree"
    for source in SOURCES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / source.name, symlinks=True, ignore=ignore)
    odd = root / "odd"
    odd.mkdir(mode=0o2750)
    (odd / "empty").touch()
    (odd / "a name with spaces, ünd ümläuts").write_text("x\n")
    os.link(odd / "a name with spaces, ünd ümläuts", odd / "second name")
    (odd / "relative").symlink_to("../linux/fs.h")
    (odd / "dangling").symlink_to("/nowhere/at/all")
    with (odd / "sparse").open("wb") as sparse:
        sparse.seek(5 << 20)
        sparse.write(b"end")
    (odd / "large").write_bytes(os.urandom(9 << 20))
    (odd / "program").write_text("#!/bin/sh\necho it runs\n")
    (odd / "program").chmod(0o4755)
    os.mkfifo(odd / "fifo", 0o600)
    os.chown(odd / "empty", 1234, 4321)
    os.utime(odd / "empty", ns=(10**18 + 123_456_789, 10**18 + 987_654_321))
    deep = root
    for level in range(30):
        deep /= f"level {level}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("deep\n")
    return root


@pytest.fixture(scope="session")
def repository(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare git repository with some history."""
    work, bare = tmp_path_factory.mktemp("git") / "work", tmp_path_factory.mktemp("git") / "repository.git"
    shutil.copytree(tree / "linux", work)

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"]
        subprocess.run(["git", *identity, "-C", str(work), *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for number, path in enumerate(sorted(work.glob("*.h"))[:20]):
        git("add", str(path))
        git("commit", "-q", "-m", f"Commit {number}")
    git("add", "-A")
    git("commit", "-q", "-m", "The rest")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True, capture_output=True)
    return bare


@dataclass(frozen=True)
class Mount:
    """A mount on a kernel client: `at` is the test's own directory in it."""

    client: uml.Client
    server: Caudal
    version: str
    at: str

    def sh(self, text: str, timeout_s: float = 120) -> str:
        """Runs a script in the directory; the first command that fails ends it and the test."""
        return self.client.run(f"set -e; cd {self.at}\n{text}", timeout_s).output

    def python(self, text: str, timeout_s: float = 120) -> str:
        """Runs a Python program in the directory; what goes wrong in it fails the test."""
        return self.sh(f"python3 - <<'END_OF_PROGRAM'\n{PRELUDE}\n{text}\nEND_OF_PROGRAM", timeout_s)

    def remount(self) -> "Mount":
        """The same directory in a mount of its own, with cold client caches."""
        point, _, directory = self.at.rpartition("/")
        self.client.run(f"umount {point}")
        return Mount(
            self.client,
            self.server,
            self.version,
            f"{mount(self.client, self.server, self.version)}/{directory}",
        )


def mount(client: uml.Client, server: Caudal, version: str, options: str = "") -> str:
    """Mounts the server's export; returns the mount point."""
    return client.mount(version, server.nfs_port, EXPORT, options, server.mountd_port)


@pytest.fixture(scope="module")
def second(private_network: None) -> Iterator[uml.Client]:
    """Another kernel client."""
    with uml.Client() as running:
        yield running


@pytest.fixture(params=uml.DISTINCT)
def mounted(client: uml.Client, shared: Caudal, request: pytest.FixtureRequest) -> Iterator[Mount]:
    """The shared server, mounted by each version in turn."""
    version = str(request.param)
    point = mount(client, shared, version)
    name = f"{request.node.originalname}-{version}"
    client.run(f"mkdir {point}/{name}")
    yield Mount(client, shared, version, f"{point}/{name}")
    # A remounted directory is at another mount point; whatever is still mounted goes.
    client.run("cd /; for point in $(awk '$3 ~ /^nfs/ {print $2}' /proc/mounts); do umount -f $point; done")
