"""Many files in one directory, and many directories in one another."""

import json
import subprocess
from collections.abc import Callable

import pytest

from bench import compare
from tests.ganesha.nfs3_client import Client, NfsError
from tests.support import sampling
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import wait_until

FILES = 30_000
LEVELS = 1000


def bench(server: Caudal, mode: str, files: int) -> None:
    """Runs nfsbench over one connection, in one directory; whatever was answered with an error fails."""
    keys = ["dir=many", "conns=1", "depth=48", f"files={files}", "fsize=0"]
    done = subprocess.run(
        [compare.binary(), server.url, mode, *keys], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
    found = json.loads(done.stdout)
    assert found["errors"] == 0, done.stderr[-1000:]
    assert found["ops"] == files


@pytest.mark.timeout(290)
def test_many_files_in_one_directory_come_and_go(caudal: Callable[..., Caudal]) -> None:
    """With room for a fifth of the rows that change and for two fifths of the names; and with more creates than Ganesha
    has descriptors (19,800), of which each NFS 3 create takes one by its own account until it is closed.
    """
    server = caudal(options=("--metadata-memory-bytes", "32MiB")).start()
    before = {one.process: one for one in sampling.now(server)}
    bench(server, "create", FILES)
    with server.connect(timeout_s=120) as client:
        names = [entry.name for entry in client.readdir("/many/c0")]
        assert len(names) == FILES
        assert set(names) == {b"f%d" % number for number in range(FILES)}
    bench(server, "unlink", FILES)
    with server.connect() as client:
        assert client.readdir("/many/c0") == []
        client.rmdir("/many/c0")
        client.rmdir("/many")
        assert client.readdir("/") == []
    after = {one.process: one for one in sampling.now(server)}
    # Connections to the database, of which there are eight, come as they are needed.
    assert after["ganesha"].descriptors <= before["ganesha"].descriptors + 40
    report = json.loads(server.cli("fsck", "--json", timeout_s=120))
    assert report["clean"]
    assert report["inodes"] == 1
    wait_until(lambda: server.status()["namespace"]["changed_rows"] == 0, "all of it is in the database", 60)


@pytest.mark.timeout(200)
def test_a_thousand_directories_in_one_another(caudal: Callable[..., Caudal]) -> None:
    server = caudal()
    server.expect(r"killed|died|ended|restart")
    server.start()
    with Client(server.nfs_port, server.mountd_port, EXPORT) as client:
        above = [client.root]
        for _ in range(LEVELS):
            above.append(client.mkdir(above[-1], b"d"))
        client.create(above[-1], b"file")
        # The whole height is looked at before a directory may move.
        with pytest.raises(NfsError):
            client.rename(above[1], b"d", above[-1], b"below itself")
        client.rename(above[LEVELS // 2], b"d", client.root, b"upper half")
        client.rename(client.root, b"upper half", above[LEVELS // 2], b"d")
    server.kill_everything()
    server.start()
    server.fsck()
    with Client(server.nfs_port, server.mountd_port, EXPORT) as client:
        handles = [client.root]
        for _ in range(LEVELS):
            handles.append(client.lookup(handles[-1], b"d"))
        assert handles == above
        assert client.lookup(handles[-1], b"..") == handles[-2]
        client.remove(handles[-1], b"file")
        for handle in handles[-2::-1]:
            client.rmdir(handle, b"d")
        with pytest.raises(NfsError):
            client.getattr(handles[-1])
    assert json.loads(server.cli("fsck", "--json"))["inodes"] == 1
