"""Extended attributes on the wire: sizes, change info, pages, permissions, and what Ganesha gets wrong by itself."""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.nfs3_client import NFS, Client, Connection
from tests.ganesha.nfs42_xattrs import (
    ACCES,
    CHANGE,
    CREATE,
    EXIST,
    INVAL,
    NOTSUPP,
    NOXATTR,
    PERM,
    REPLACE,
    ROFS,
    SETXATTR,
    TOOSMALL,
    XATTR2BIG,
    XATTR_SUPPORT,
    XattrClient,
)
from tests.ganesha.pyganesha_server import FSALS, MEMFS, Rpcbind, Server, status_of

pytestmark = pytest.mark.ganesha

COUNTS = struct.calcsize(">QII")  # cookie, number of names, eof: what LISTXATTRS counts besides names


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Rpcbind(), Server(tmp_path_factory.mktemp("xattrs"), f"{FSALS}:Tagged") as running:
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.log()


@pytest.fixture
def root(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[XattrClient]:
    with XattrClient(server.service.port, b"root") as connected:
        yield connected


@pytest.fixture
def alice(server: Server) -> Iterator[XattrClient]:
    with XattrClient(server.service.port, b"alice", (1000, 1000)) as connected:
        yield connected


SIZES = (0, 1, 1023, 1024, 1025, 8190, 8191, 8192, 8193, 20_000, 65_535, 65_536)


def test_values_of_all_sizes(root: Client, client: XattrClient) -> None:
    """1 KiB is what Ganesha offers for a value, 8 KiB what it can decode, 64 KiB what there may be."""
    root.create(root.root, b"sizes")
    for size in SIZES:
        value = random.Random(size).randbytes(size)
        client.setxattr(b"sizes", b"v", value)
        assert client.getxattr(b"sizes", b"v") == value
    assert status_of(client.setxattr, b"sizes", b"v", bytes(65_537)) == XATTR2BIG
    assert status_of(client.setxattr, b"sizes", b"v", bytes(1_000_000)) == XATTR2BIG
    assert len(client.getxattr(b"sizes", b"v")) == 65_536


def test_names_of_any_bytes(root: Client, client: XattrClient) -> None:
    root.create(root.root, b"names")
    names = [b"user.user", b"/", b"\xff\xfe", bytes(range(1, 251)), b"a"]
    for name in names:
        client.setxattr(b"names", name, b"<" + name)
    assert {name: client.getxattr(b"names", name) for name in names} == {name: b"<" + name for name in names}
    assert sorted(client.listxattrs(b"names", 0, 65_536)[0]) == sorted(names)


def test_create_replace_and_remove(root: Client, client: XattrClient) -> None:
    root.create(root.root, b"modes")
    assert status_of(client.setxattr, b"modes", b"x", b"1", REPLACE) == NOXATTR
    client.setxattr(b"modes", b"x", b"2", CREATE)
    assert status_of(client.setxattr, b"modes", b"x", b"3", CREATE) == EXIST
    assert client.getxattr(b"modes", b"x") == b"2"
    client.setxattr(b"modes", b"x", b"4", REPLACE)
    assert status_of(client.setxattr, b"modes", b"x", b"5", 3) == INVAL
    assert client.getxattr(b"modes", b"x") == b"4"
    client.removexattr(b"modes", b"x")
    assert status_of(client.removexattr, b"modes", b"x") == NOXATTR
    assert status_of(client.getxattr, b"modes", b"x") == NOXATTR


@pytest.mark.parametrize("path", [b"changes", b"changes-d"])
def test_each_change_is_told(root: Client, client: XattrClient, path: bytes) -> None:
    """Ganesha's cache has the attributes, and is not told by the server itself that they changed."""
    handle = root.mkdir(root.root, path) if path.endswith(b"d") else root.create(root.root, path)
    at = client.number(path, CHANGE)
    for operation in (
        lambda: client.setxattr(path, b"a", b"1"),
        lambda: client.setxattr(path, b"a", b"2"),
        lambda: client.removexattr(path, b"a"),
    ):
        ctime = root.getattr(handle).ctime
        _, before, after = operation()
        assert before == at
        assert after > before
        at = client.number(path, CHANGE)
        assert at == after
        assert root.getattr(handle).ctime > ctime
    assert status_of(client.removexattr, path, b"a") == NOXATTR
    assert client.number(path, CHANGE) == at


def test_listing_in_pages(root: Client, client: XattrClient) -> None:
    root.create(root.root, b"pages")
    names = {b"%d" % number * (number % 9 + 1) for number in range(150)}
    for name in names:
        client.setxattr(b"pages", name, b"")
    for maxcount in (COUNTS + 40, 200, 1000):
        seen: list[bytes] = []
        cookie, pages, ended = 0, 0, False
        while not ended:
            found, cookie, ended = client.listxattrs(b"pages", cookie, maxcount)
            assert COUNTS + sum(4 + (len(name) + 3) // 4 * 4 for name in found) <= maxcount
            seen += found
            pages += 1
        assert sorted(seen) == sorted(names)
        assert pages >= 3
    found, cookie, ended = client.listxattrs(b"pages", 0, 65_536)
    assert (sorted(found), ended) == (sorted(names), True)
    assert client.listxattrs(b"pages", cookie, 65_536) == ([], cookie, True)
    assert status_of(client.listxattrs, b"pages", 0, COUNTS + 4) == TOOSMALL


def test_what_stays_is_listed_once_while_others_go_and_come(root: Client, client: XattrClient) -> None:
    root.create(root.root, b"moving")
    stays = {b"stays-%d" % number for number in range(40)}
    goes = [b"goes-%d" % number for number in range(40)]
    for name in (*stays, *goes):
        client.setxattr(b"moving", name, b"")
    seen: list[bytes] = []
    cookie, ended = 0, False
    while not ended:
        found, cookie, ended = client.listxattrs(b"moving", cookie, 120)
        seen += found
        if goes:
            client.removexattr(b"moving", goes.pop())
            client.setxattr(b"moving", b"new-%d" % len(goes), b"")
    assert sorted(name for name in seen if name.startswith(b"stays")) == sorted(stays)


def test_more_names_than_a_reply_can_hold(root: Client, client: XattrClient) -> None:
    """Ganesha encodes arrays of at most 1,024: a page of more would be a reply that never comes."""
    root.create(root.root, b"many")
    for number in range(1100):
        client.setxattr(b"many", b"%x" % number, b"")
    first, cookie, ended = client.listxattrs(b"many", 0, 65_536)
    assert (len(first), ended) == (1024, False)
    second, _, ended = client.listxattrs(b"many", cookie, 65_536)
    assert ended
    assert len({*first, *second}) == 1100


def test_permissions_are_those_of_contents(root: Client, client: XattrClient, alice: XattrClient) -> None:
    for name, mode in ((b"secret", 0o600), (b"public", 0o644), (b"open", 0o666)):
        root.setattr(root.create(root.root, name), mode=mode)
        client.setxattr(name, b"a", b"1")
    assert status_of(alice.getxattr, b"secret", b"a") == ACCES
    assert status_of(alice.listxattrs, b"secret", 0, 1000) == ACCES
    assert alice.getxattr(b"public", b"a") == b"1"
    assert status_of(alice.setxattr, b"public", b"a", b"2") == ACCES
    assert status_of(alice.removexattr, b"public", b"a") == ACCES
    alice.setxattr(b"open", b"a", b"2")
    root.setattr(root.mkdir(root.root, b"sticky"), mode=0o1777)
    assert status_of(alice.setxattr, b"sticky", b"a", b"2") == PERM
    root.setattr(root.mkdir(root.root, b"shared"), mode=0o777)
    alice.setxattr(b"shared", b"a", b"2")


def test_what_is_no_file_or_directory_has_none(root: Client, client: XattrClient) -> None:
    root.mknod(root.root, b"fifo", 7)
    assert status_of(client.setxattr, b"fifo", b"a", b"1") == PERM
    assert status_of(client.getxattr, b"fifo", b"a") == NOXATTR


def test_a_read_only_export(tmp_path: Path) -> None:
    server = Server(tmp_path, f"{FSALS}:Tagged")
    server.service.access = "RO"
    with Rpcbind(), server, XattrClient(server.service.port, b"reader") as client:
        assert status_of(client.setxattr, b"", b"a", b"1") == ROFS
        assert status_of(client.removexattr, b"", b"a") == ROFS
        assert client.listxattrs(b"", 0, 1000)[0] == []


def test_a_file_system_without_them(tmp_path: Path, client: XattrClient) -> None:
    assert client.number(b"", XATTR_SUPPORT) == 1
    with Rpcbind(), Server(tmp_path, MEMFS) as other, XattrClient(other.service.port, b"none") as none:
        assert none.number(b"", XATTR_SUPPORT) == 0
        assert status_of(none.setxattr, b"", b"a", b"1") == NOTSUPP
        assert status_of(none.getxattr, b"", b"a") == NOTSUPP
        assert status_of(none.listxattrs, b"", 0, 1000) == NOTSUPP
        assert status_of(none.removexattr, b"", b"a") == NOTSUPP


def test_asking_for_what_is_not_there_leaks_nothing(
    server: Server, root: Client, client: XattrClient
) -> None:
    """Ganesha does not free the 1 KiB that it offers when the answer is an error."""
    root.create(root.root, b"absent")

    def ask(times: int) -> int:
        for _ in range(times):
            assert status_of(client.getxattr, b"absent", b"a") == NOXATTR
        assert server.process is not None
        return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096

    before = ask(2000)
    assert ask(12_000) - before < 6 << 20


def test_mangled_requests_harm_nobody(server: Server, root: Client, client: XattrClient) -> None:
    root.create(root.root, b"mangled")
    chance = random.Random(8)
    port = server.service.port
    connection = Connection(port, NFS, 4, timeout_s=5)
    for _ in range(300):
        value = bytes(chance.choice([0, 5, 8191, 8192, 30_000, 65_536]))
        arguments = (
            struct.pack(">I", 0) + struct.pack(">I", 1) + b"a\0\0\0" + struct.pack(">I", len(value)) + value
        )
        operations = client.operations(b"mangled", SETXATTR, arguments)
        message = bytearray(client.compound(*operations))
        begin = len(message) - len(operations[-1])
        for _ in range(chance.randrange(1, 4)):
            message[begin + chance.randrange(20)] = chance.choice([0, 1, 0x20, 0x7F, 0xFF])
        if chance.random() < 0.5:
            del message[chance.randrange(begin, len(message)) // 4 * 4 :]
        try:
            connection.call(1, bytes(message))
        except (AssertionError, OSError, struct.error):
            # Refused as garbage, with an answer or by the end of the connection.
            connection.close()
            connection = Connection(port, NFS, 4, timeout_s=5)
    connection.close()
    assert server.alive()
    with XattrClient(port, b"after") as after:
        after.setxattr(b"mangled", b"whole", bytes(10_000))
        assert after.getxattr(b"mangled", b"whole") == bytes(10_000)
