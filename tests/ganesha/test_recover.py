"""The machine is lost: its file system comes back from the container, and with a mirror of its journal to the last reply."""

import re
import shutil
import stat
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.azurite import Azurite
from tests.support.caudal import Caudal
from tests.support.nfs3 import Nfs3

MARKER = b"a line that must not be found in the store, "
FAILPOINTS = (
    "recover.after_marker",
    "recover.after_snapshot",
    "recover.after_database",
    "recover.before_identity",
)
# Nothing reaches the store unless it is asked for.
LAZY = ("--flush-age-s", "1h", "--backup-interval-s", "1h", "--checkpoint-interval-s", "1h")

Tree = dict[str, tuple[object, ...]]


def tree(client: Nfs3, path: str = "/") -> Tree:
    """All that a client sees below a directory."""
    found: Tree = {}
    for entry in client.readdir(path):
        name = entry.name.decode()
        if name in (".", ".."):
            continue
        at = f"{path.rstrip('/')}/{name}"
        seen = client.stat(at)
        facts = (seen.mode, seen.nlink, seen.uid, seen.gid, seen.size, seen.mtime_ns)
        if stat.S_ISDIR(seen.mode):
            found[at] = facts
            found |= tree(client, at)
        elif stat.S_ISLNK(seen.mode):
            found[at] = (*facts, client.readlink(at))
        else:
            found[at] = (*facts, client.read_file(at))
    return found


def fill(client: Nfs3, folder: str, *, files: int = 20) -> None:
    client.mkdir(folder)
    for number in range(files):
        client.write_file(f"{folder}/f{number}", MARKER * (number * number + 1))
    client.mkdir(f"{folder}/sub", 0o751)
    client.chown(f"{folder}/sub", 12, 34)
    client.symlink("../f1", f"{folder}/sub/link")
    client.link(f"{folder}/f2", f"{folder}/sub/hard")
    client.rename(f"{folder}/f3", f"{folder}/sub/moved")
    client.unlink(f"{folder}/f4")
    client.utimes(f"{folder}/f5", 10**15, 10**15 + 1)


def lose(server: Caudal) -> None:
    """The machine burns."""
    server.kill_everything()
    shutil.rmtree(server.state)


def recovered(server: Caudal, store: str, *arguments: str) -> str:
    done = server.run("recover", "--store", store, "--state", str(server.state), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(server: Caudal, store: str, *arguments: str) -> str:
    """What a recovery says that is refused, and leaves nothing behind."""
    done = server.run("recover", "--store", store, "--state", str(server.state), *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not server.state.exists()
    return done.stderr


def seen(server: Caudal) -> Tree:
    with server.connect() as client:
        return tree(client)


@pytest.fixture(params=["directory", "azurite"])
def store(request: pytest.FixtureRequest, disk_path: Path) -> tuple[str, dict[str, str]]:
    """URL and environment."""
    if request.param == "directory":
        return f"file://{disk_path}/store", {}
    azurite: Azurite = request.getfixturevalue("azurite")
    return f"az://recover-{uuid.uuid4().hex[:12]}/prefix", azurite.environment


def test_the_container_alone_is_enough(
    caudal: Callable[..., Caudal], disk_path: Path, store: tuple[str, dict[str, str]]
) -> None:
    url, env = store
    options: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    first = caudal(store=url, env=env)
    if url.startswith("az:"):
        key = disk_path / "the.keys"
        first.run("key", "create", str(key))
        keys = options = ("--encryption-key", str(key))
    first.options = options
    first.start()
    with first.connect() as client:
        fill(client, "/one")
    first.flush()
    with first.connect() as client:
        fill(client, "/two", files=6)
    first.flush()
    before = seen(first)
    status = first.status()["backup"]
    assert status["error"] is None
    assert status["snapshots"] == 1
    assert status["age_s"] == 0
    identity = first.status()["fs_id"]
    lose(first)

    second = caudal(store=url, env=env, options=options)
    if keys:
        assert "no key file was given" in refused(second, url)
    said = recovered(second, url, *keys)
    assert re.search(rf"recovered file system {identity}: everything acknowledged before 20\d\d-", said), said
    assert second.run("recover", "--store", url, "--state", str(second.state), *keys).returncode == 1
    second.start()
    assert seen(second) == before
    second.cli("fsck", "--deep", timeout_s=120)
    assert second.status()["fs_id"] == identity
    with second.connect() as client:
        fill(client, "/three", files=6)
        client.unlink("/one/f1")
    second.flush()
    before = seen(second)
    lose(second)

    third = caudal(store=url, env=env, options=options)
    recovered(third, url, *keys)
    third.start()
    assert seen(third) == before
    third.fsck()
    if url.startswith("file:"):
        return
    # What the container holds besides names is sealed.
    with third.connect() as client:
        assert client.read_file("/two/f2") == MARKER * 5


def test_with_a_mirror_everything_acknowledged_comes_back(
    caudal: Callable[..., Caudal], disk_path: Path
) -> None:
    url, journal = f"file://{disk_path}/store", disk_path / "journal"
    first = caudal(store=url, options=(*LAZY, "--journal", str(journal))).start()
    with first.connect() as client:
        fill(client, "/one", files=6)
    first.flush()
    with first.connect() as client:
        fill(client, "/two", files=6)
        client.unlink("/one/f1")
        client.write_file("/one/f2", b"written anew")
    before = seen(first)
    lose(first)

    # Without the journal: what the backup has, with the old contents.
    alone = caudal(store=url)
    recovered(alone, url)
    shutil.rmtree(alone.state)

    empty = disk_path / "empty"
    empty.mkdir()
    assert "holds no journal" in refused(alone, url, "--journal", str(empty))
    second = caudal(store=url)
    said = recovered(second, url, "--journal", str(journal))
    assert "everything acknowledged (LSN" in said
    second.start()
    assert seen(second) == before
    second.flush()
    second.fsck()
    assert seen(second) == before
