"""What goes wrong in a file system stays in it: the server lives on, and says what happened."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.nfs3_client import JUKEBOX, OK, SERVERFAULT
from tests.ganesha.pyganesha_server import FSALS, MEMFS, Rpcbind, Server, status_of

pytestmark = pytest.mark.ganesha
# Ganesha maps a status that NFS 3 has no word for to NFS3ERR_INVAL or SERVERFAULT; either tells of a failure.
FAILED = {SERVERFAULT, 22, 5}


@pytest.fixture(autouse=True)
def rpcbind() -> Iterator[None]:
    with Rpcbind():
        yield


def test_unexpected_exceptions_are_logged_and_answered(tmp_path: Path) -> None:
    with Server(tmp_path, f"{FSALS}:Faulty", str(tmp_path / "diary")) as server, server.client() as client:
        for name in (b"unexpected", b"wrong-type", b"exit", b"upcall-inside"):
            assert status_of(client.lookup, client.root, name) in FAILED, name
        assert status_of(client.lookup, client.root, b"delay") == JUKEBOX
        assert status_of(client.getattr, client.root) == OK
        assert server.alive()
        log = server.log()
    assert "PYGANESHA: export 1: lookup raised an unexpected exception" in log
    assert "ZeroDivisionError: a defect in the file system" in log
    assert "an up-call from inside an operation" in log


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (f"{FSALS}:broken", "RuntimeError: the store of OPTIONS is gone"),
        (
            f"{FSALS}:missing",
            "AttributeError: module 'tests.ganesha.pyganesha_fsals' has no attribute 'missing'",
        ),
        ("no_such_module:create", "ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{FSALS}:not_an_fsal", "TypeError:"),
        ("nonsense", 'ValueError: Factory = "nonsense" is not of the form module:callable'),
    ],
)
def test_an_export_that_fails_says_so_in_one_line(tmp_path: Path, factory: str, said: str) -> None:
    with Server(tmp_path, factory, "OPTIONS") as server:
        lines = [line for line in server.log().splitlines() if "PYGANESHA: export 1:" in line]
        assert len(lines) == 1
        assert ":CRIT :" in lines[0]
        assert f"{factory} failed: {said}" in lines[0]
        assert server.stop() == 0


def test_a_python_of_another_build_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "venv"
    (foreign / "bin").mkdir(parents=True)
    (tmp_path / "other/bin").mkdir(parents=True)
    (tmp_path / "other/lib").mkdir()
    (tmp_path / "other/lib/python3.11").symlink_to("/usr/lib/python3.11")
    (foreign / "pyvenv.cfg").write_text(f"home = {tmp_path}/other/bin\n")
    (foreign / "bin/python").symlink_to("/usr/bin/python3")
    server = Server(tmp_path, MEMFS)
    server.service.python = str(foreign / "bin/python")
    with server:
        assert "this plugin was built for" in server.log()
        assert server.stop() == 0


def test_hup_and_term(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    with Server(tmp_path, f"{FSALS}:Faulty", str(diary)) as server, server.client() as client:
        handle = client.create(client.root, b"kept")
        server.signal(signal.SIGHUP)
        time.sleep(1)
        assert status_of(client.getattr, handle) == OK
        assert server.stop() == 0
        assert "Fatal" not in server.output()
        assert ":WARN :PYGANESHA: a record\n" in server.log()
    told = ["made upcalls=None", "ready upcalls=True", "blocked=True", "blocked=False", "closed"]
    assert diary.read_text().splitlines() == told


def test_handles_mean_the_same_after_a_restart(tmp_path: Path) -> None:
    server = Server(tmp_path, MEMFS)
    with server, server.client() as client:
        root = client.root
    with server.start(), server.client() as client:
        assert client.root == root
        assert status_of(client.getattr, root) == OK


def test_changes_made_beside_nfs_are_seen_at_once(tmp_path: Path) -> None:
    with Server(tmp_path, f"{FSALS}:Sneaky") as server, server.client() as client:
        handle = client.create(client.root, b"grows")
        sizes: set[int] = set()
        for _ in range(20):
            sizes.add(client.getattr(handle).size)
            time.sleep(0.05)
        assert len(sizes) > 5
        assert server.stop() == 0


def test_reads_answered_later(tmp_path: Path) -> None:
    with Server(tmp_path, f"{FSALS}:Later") as server, server.client() as client:
        handle = client.create(client.root, b"later")
        client.write(handle, 0, b"0123456789" * 300)
        for number in range(50):
            assert client.read(handle, number, 10) == ((b"0123456789" * 300)[number : number + 10], False)
        assert client.read(handle, 2995, 10) == (b"56789", True)
        assert status_of(client.read, handle, 1000, 10) == 28
        assert status_of(client.read, handle, 2000, 10) == 5
        assert server.stop() == 0
