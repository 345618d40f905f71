"""The example file system, served by the stock Ganesha over NFS 3."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.nfs3_client import BADHANDLE, EXCLUSIVE, EXIST, GUARDED, NOENT, STALE, UNCHECKED, Client
from tests.ganesha.pyganesha_server import MEMFS, Rpcbind, Server, status_of

pytestmark = pytest.mark.ganesha


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Rpcbind(), Server(tmp_path_factory.mktemp("memfs"), MEMFS) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


def test_libnfs_programs_copy_list_and_read(server: Server, tmp_path: Path) -> None:
    if not shutil.which("nfs-cp"):
        pytest.skip("libnfs-utils is not installed")
    content = os.urandom(3_000_001)
    (tmp_path / "in").write_bytes(content)
    subprocess.run(["nfs-cp", str(tmp_path / "in"), server.url("/copied")], check=True, capture_output=True)
    listing = subprocess.run(["nfs-ls", server.url()], check=True, capture_output=True, text=True).stdout
    assert "copied" in listing
    assert str(len(content)) in listing
    read = subprocess.run(["nfs-cat", server.url("/copied")], check=True, capture_output=True).stdout
    assert read == content


def test_create_modes(client: Client) -> None:
    first = client.create(client.root, b"modes", GUARDED)
    assert status_of(client.create, client.root, b"modes", GUARDED) == EXIST
    assert client.create(client.root, b"modes", UNCHECKED) == first
    assert status_of(client.create, client.root, b"modes", EXCLUSIVE, b"whatever") == EXIST


def test_exclusive_create_recognises_its_own_repetition(client: Client) -> None:
    verifier = b"\xff\x01\x02\x03\xfe\x05\x06\x07"
    handle = client.create(client.root, b"exclusive", EXCLUSIVE, verifier)
    assert client.create(client.root, b"exclusive", EXCLUSIVE, verifier) == handle
    assert status_of(client.create, client.root, b"exclusive", EXCLUSIVE, b"another!") == EXIST


def test_a_directory_of_1500_entries_in_pages(client: Client) -> None:
    directory = client.mkdir(client.root, b"many")
    names = [f"entry-{number:04}".encode() for number in range(1500)]
    for name in names:
        client.create(directory, name)
    seen: list[bytes] = []
    cookie, ended, pages = 0, False, 0
    while not ended:
        entries, ended = client.readdirplus(directory, cookie)
        cookie = entries[-1][1] if entries else cookie
        seen += [name for name, _, _ in entries if name not in {b".", b".."}]
        pages += 1
    assert seen == names
    assert pages > 3


def test_removing_while_reading_a_directory_hides_nothing(client: Client) -> None:
    directory = client.mkdir(client.root, b"shrinking")
    for number in range(600):
        client.create(directory, b"f%d" % number)
    removed, cookie, ended = 0, 0, False
    while not ended:
        entries, ended = client.readdirplus(directory, cookie, 8192)
        for name, at, _ in entries:
            cookie = at
            if name not in {b".", b".."}:
                client.remove(directory, name)
                removed += 1
    assert removed == 600


def test_data_attributes_and_verifier(client: Client) -> None:
    handle = client.create(client.root, b"data")
    _, verifier = client.write(handle, 10, b"hello")
    assert client.read(handle, 0, 100) == (bytes(10) + b"hello", True)
    assert client.read(handle, 12, 2) == (b"ll", False)
    assert client.read(handle, 13, 2) == (b"lo", True)
    assert client.read(handle, 100, 2) == (b"", True)
    assert client.commit(handle) == verifier
    attributes = client.getattr(handle)
    assert (attributes.size, attributes.nlink, attributes.mode) == (15, 1, 0o644)
    assert attributes.mtime[0] > 1_700_000_000
    assert client.fsstat(client.root)[0] == 1 << 50


def test_mangled_and_forgotten_handles(client: Client) -> None:
    handle = client.create(client.root, b"gone")
    assert status_of(client.getattr, handle[:-1]) == BADHANDLE
    assert status_of(client.getattr, handle + b"\0") == BADHANDLE
    for at in range(len(handle) - 28, len(handle) - 3):  # ours; what is behind is padding
        mangled = bytearray(handle)
        mangled[at] ^= 0x55
        assert status_of(client.getattr, bytes(mangled)) in {BADHANDLE, STALE}, at
    client.remove(client.root, b"gone")
    assert status_of(client.getattr, handle) == STALE
    assert status_of(client.lookup, client.root, b"gone") == NOENT


def test_v3_creates_leave_no_open_descriptors(tmp_path: Path) -> None:
    """Ganesha counts each as an open; where they were never closed, creates would be refused for ever at its limit."""
    server = Server(tmp_path, MEMFS)
    with Rpcbind(), server.start(open_files=3000), server.client() as client:
        for number in range(9000):
            assert status_of(client.create, client.root, b"f%d" % (number % 500), UNCHECKED) == 0, number
        assert server.stop() == 0
