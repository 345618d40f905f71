"""The machine is lost: its file system comes back from the container, and with a mirror of its journal to the last reply."""

import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from gateway.control import ControlClient
from tests.support.azurite import Azurite
from tests.support.caudal import Caudal, StartFailed, undisturbed
from tests.support.nfs3 import Nfs3
from tests.support.processes import wait_until

MARKER = b"a line that must not be found in the store, "
FAILPOINTS = (
    "recover.after_marker",
    "recover.after_snapshot",
    "recover.after_database",
    "recover.before_identity",
)
# Nothing reaches the store unless it is asked for.
LAZY = ("--flush-age-s", "1h", "--backup-interval-s", "1h", "--checkpoint-interval-s", "1h")

_numbers = count()

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


def lose(server: Caudal, *, ended: bool = True) -> None:
    """The machine burns; `ended`: after it was shut down, so that nobody waits for the end of its lease."""
    if ended:
        server.stop()
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
    return f"az://recover/{next(_numbers)}", azurite.environment


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
    rule = {"clients": ["10.0.0.0/8"]}
    with ControlClient(first.state / "run/control.sock", timeout_s=30) as control:
        wanted = {"name": "two", "path": "/two", "pseudo": "/two", "rules": [rule]}
        control.call("export_add", export=wanted)
        control.call("limit_set", limit={"name": "slow", "export": "two", "ops_s": 5.0}, version=0)
        settings = (control.call("exports"), control.call("limits"))
    wait_until(
        lambda: "limits.json" in (first.state / "run/log/steward.log").read_text(), "the settings are copied"
    )
    first.flush()
    before = seen(first)
    status = first.status()["backup"]
    assert status["error"] is None
    assert status["snapshots"] >= 1
    assert status["age_s"] is not None
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
    with ControlClient(second.state / "run/control.sock", timeout_s=30) as control:
        assert (control.call("exports"), control.call("limits")) == settings
    second.cli("fsck", "--deep", timeout_s=120)
    assert second.status()["fs_id"] == identity
    # And it goes on.
    with second.connect() as client:
        client.write_file("/one/f2", MARKER)
        client.unlink("/one/f1")
    second.flush()
    assert second.status()["backup"]["error"] is None


def test_with_a_mirror_everything_acknowledged_comes_back(
    caudal: Callable[..., Caudal], disk_path: Path
) -> None:
    url, journal = f"file://{disk_path}/store", disk_path / "journal"
    first = caudal(store=url, options=(*LAZY, "--journal", str(journal), "--owner-lease-s", "6")).start()
    with first.connect() as client:
        fill(client, "/one", files=6)
    first.flush()
    with first.connect() as client:
        fill(client, "/two", files=6)
        client.unlink("/one/f1")
        client.write_file("/one/f2", b"written anew")
    before = seen(first)
    lose(first, ended=False)

    # Its lease runs on. Without the journal: what the backup has, with the old contents.
    alone = caudal(store=url)
    assert "is owned by" in refused(alone, url)
    recovered(alone, url, "--take-over")
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


def test_the_retention_keeps_what_a_moment_before_needs(
    caudal: Callable[..., Caudal], disk_path: Path
) -> None:
    url = f"file://{disk_path}/store"
    packs = disk_path / "store/packs"
    eager = ("--gc-interval-s", "0.2", "--gc-grace-s", "0", "--flush-age-s", "0.1")
    keeping = (*eager, "--backup-retention-s", "1h")
    first = caudal(store=url, options=keeping).start()
    with first.connect() as client:
        client.write_file("/file", MARKER)
    first.flush()
    time.sleep(0.01)
    then = datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), UTC).isoformat()
    with first.connect() as client:
        client.write_file("/file", b"later")
        client.write_file("/other", b"other")
    first.flush()
    later = seen(first)
    time.sleep(1)
    kept = set(packs.rglob("*"))
    assert len([path for path in kept if path.is_file()]) == 2, "the first pack is dead, and kept"
    lose(first)

    second = caudal(store=url, options=keeping)
    recovered(second, url, "--at", then)
    second.start()
    assert {path: facts[-1] for path, facts in seen(second).items()} == {"/file": MARKER}
    # It has left the history that went on; yet that can be had back as long as its backups are kept.
    second.kill_everything()
    second.start()
    second.flush()
    time.sleep(1)
    assert set(packs.rglob("*")) >= kept
    second.cli("fsck", "--deep", timeout_s=120)
    lose(second)
    recovered(second, url, "--at", _moment_of_the_last_backup_before_the_second(disk_path / "store"))
    second.options = (*eager, "--backup-retention-s", "0")
    second.start()
    assert seen(second) == later
    with second.connect() as client:
        client.unlink("/other")
        client.write_file("/file", b"newest")
    wait_until(
        lambda: len([path for path in packs.rglob("*") if path.is_file()]) == 1, "only what lives is kept", 60
    )
    second.fsck()


def _moment_of_the_last_backup_before_the_second(store: Path) -> str:
    names = [path.name.split("-") for path in (store / "caudal/backup/increments").iterdir()]
    ms = max(int(name[3], 16) for name in names if int(name[0], 16) == 1)
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Lost:
    """What is left of a machine, and what clients had seen of it."""

    make: Callable[..., Caudal]
    store: Path
    tree: Tree

    @property
    def url(self) -> str:
        return f"file://{self.store}"


@pytest.fixture(scope="module")
def lost(private_network: None, module_disk_path: Path) -> Iterator[Lost]:
    """A container of which some backups are increments."""
    with undisturbed(module_disk_path) as make:
        store = module_disk_path / "store"
        server = make(store=f"file://{store}").start()
        for number in range(3):
            with server.connect() as client:
                fill(client, f"/{number}", files=6)
            server.flush()
        tree = seen(server)
        lose(server)
        yield Lost(make, store, tree)


def test_a_recovery_that_was_cut_off_is_run_again(lost: Lost) -> None:
    server = lost.make(store=lost.url)
    arguments = ("recover", "--store", lost.url, "--state", str(server.state))
    for point in FAILPOINTS:
        died = server.run(*arguments, env={"CAUDAL_FAILPOINTS": f"{point}=kill@1"})
        assert died.returncode == -9, point
        assert not (server.state / "fs.json").exists()
    with pytest.raises(StartFailed, match="caudal recover"):
        server.start()
    recovered(server, lost.url)
    assert not list(server.state.glob("recovering*"))
    assert '"clean": true' in server.cli("fsck", "--json")


def test_what_is_refused_leaves_nothing_behind(lost: Lost, tmp_path: Path) -> None:
    server = lost.make(store=lost.url)
    assert "holds no file system" in refused(server, f"file://{tmp_path}/nowhere")
    assert "so old" in refused(server, lost.url, "--at", "2001-01-01")
    key = tmp_path / "keys"
    server.run("key", "create", str(key))
    assert "not encrypted, though the file system is" in refused(
        server, lost.url, "--encryption-key", str(key)
    )
    assert server.run("recover", "--store", lost.url, "--state", str(tmp_path)).returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys"]
    wrong = server.run("recover", "--store", lost.url, "--state", str(server.state), "--at", "yesterday")
    assert (wrong.returncode, "is not a time" in wrong.stderr) == (2, True)


def test_damaged_backups_are_passed_over_loudly(lost: Lost, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(lost.store, store)
    server = lost.make(store=f"file://{store}", options=("--backup-retention-s", "1h"))
    # One that says something; what followed it is lost with it.
    newest = max((store / "caudal/backup/increments").iterdir(), key=lambda path: path.stat().st_size)
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    said = recovered(server, f"file://{store}")
    assert f"skipped: caudal/backup/increments/{newest.name}: its checksum is wrong" in said
    assert "1 objects of the backups are damaged" in said
    server.start()
    found = seen(server)
    assert found.keys() < lost.tree.keys()
    # The new machine's own chain is sound; what is damaged is told, and mended away.
    done = server.run("fsck", "--deep", "--state", str(server.state))
    assert (done.returncode, f"{newest.name}: its checksum is wrong" in done.stdout) == (4, True), done.stdout
    server.cli("fsck", "--deep", "--repair")
    server.cli("fsck", "--deep")
    assert not newest.exists()
