"""Paths over several exports: mount paths within others, directories within others, exports that come and go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import ControlError
from gateway.fsal.client_paths import ClientPaths, Top
from gateway.metadata.attributes import ROOT_INODE
from gateway.metadata.errors import FsError
from gateway.pyganesha import SetAttributes
from tests.unit.metadata.harness import FakeHarness


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeHarness]:
    world = FakeHarness(tmp_path)
    yield world
    world.database.close()


def mkdir(world: FakeHarness, parent: int, name: bytes) -> int:
    return world.fs.mkdir(parent, name, SetAttributes(mode=0o755), uid=0, gid=0).inode


def test_the_longest_mount_path_and_the_nearest_directory_win(world: FakeHarness) -> None:
    projects = mkdir(world, ROOT_INODE, b"projects")
    films = mkdir(world, projects, b"films")
    inner = mkdir(world, films, b"inner")
    world.fs.create(inner, b"file", SetAttributes(mode=0o644), uid=0, gid=0, guarded=True)
    tops = [Top("main", "/data", ROOT_INODE), Top("films", "/data/cut", films)]
    paths = ClientPaths(world.fs, lambda: tops)
    assert paths.directory("/data") == ROOT_INODE
    assert paths.directory("/data//projects/./films/") == films == paths.directory("/data/cut")
    assert paths.directory("/data/cut/inner") == inner == paths.directory("/data/projects/films/inner")
    assert paths.of_directory(inner) == "/data/cut/inner"
    assert paths.of_directory(films) == "/data/cut"
    assert paths.of_directory(projects) == "/data/projects"
    assert paths.of_directory(ROOT_INODE) == "/data"
    # One that goes is gone at once, another one counts at once.
    tops[1] = Top("projects", "/p", projects)
    assert paths.of_directory(inner) == "/p/films/inner"
    assert paths.directory("/p/films") == films
    tops.pop(0)
    assert paths.of_directory(ROOT_INODE) is None
    tops[0] = Top("whole", "/", ROOT_INODE)
    assert paths.of_directory(ROOT_INODE) == "/"
    assert paths.of_directory(projects) == "/projects"
    assert paths.directory("/projects/films") == films
    world.fs.unlink(inner, b"file", False)
    world.fs.unlink(films, b"inner", False)
    with pytest.raises(FsError):
        paths.of_directory(inner)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/elsewhere/x", "not_exported"),
        ("/dat", "not_exported"),
        ("/", "not_exported"),
        ("data", "invalid"),
        ("", "invalid"),
        ("/data/../etc", "invalid"),
        ("/data/a\0b", "invalid"),
        ("/data/none", "no_such_path"),
        ("/data/file", "not_a_directory"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(world: FakeHarness, path: str, code: str) -> None:
    world.fs.create(ROOT_INODE, b"file", SetAttributes(mode=0o644), uid=0, gid=0, guarded=True)
    tops = [Top("main", "/data", ROOT_INODE), *(Top(f"e{n}", f"/e{n}", ROOT_INODE) for n in range(20))]
    with pytest.raises(ControlError) as caught:
        ClientPaths(world.fs, lambda: tops).directory(path)
    assert caught.value.code == code
    if code == "not_exported":
        assert "one of: /data, /e0, /e1" in caught.value.hint
        assert caught.value.hint.endswith("…")
