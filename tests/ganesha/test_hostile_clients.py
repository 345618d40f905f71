"""Clients that send what no client would: handles that nobody gave them, names that are none, records that are no calls.

The server answers with an error or drops the connection; it serves everybody else all the while, and never a file by another
one's handle.
"""

import contextlib
import random
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs3_client import BADHANDLE, FILE_SYNC, NFS, SERVERFAULT, STALE, Client, NfsError, opaque
from tests.ganesha.nfs4_session import Session, status_of
from tests.support.caudal import EXPORT, Caudal

INVAL, EXIST, NOTDIR, ISDIR, NAMETOOLONG, NOTEMPTY = 22, 17, 20, 21, 63, 66
ACCES, NOENT, PERM = 13, 2, 1
DENIED, GARBAGE = -1, -2


# In a handle: the server's own head, our version, file system, inode, generation; what follows is padding.
VERSION_AT, FILE_SYSTEM_AT, INODE_AT, GENERATION_AT, PADDING_AT = 5, 6, 14, 22, 30


@pytest.fixture(scope="module")
def nfs(shared: Caudal) -> Iterator[Client]:
    # The server's own words about what it was sent.
    shared.expect(
        "Invalid handle size",
        "Attempt to remove export",
        "Bad Minor Version",
        "Bad xdr_free",
        "empty COMPOUND",
    )
    with Client(shared.nfs_port, shared.mountd_port, EXPORT) as client:
        yield client


@pytest.fixture(scope="module")
def fourth(shared: Caudal) -> Iterator[Session]:
    with Session(shared.nfs_port, b"hostile", 1) as client:
        yield client


@pytest.fixture(autouse=True)
def survivor(shared: Caudal) -> Iterator[None]:
    """The same server as before answers a client that has done nothing."""
    before = shared.pid("ganesha")
    yield
    with Client(shared.nfs_port, shared.mountd_port, EXPORT) as honest:
        assert honest.getattr(honest.root).kind == 2
    assert shared.pid("ganesha") == before


# Handles


def mangled(handle: bytes, other: bytes) -> dict[str, bytes]:
    """What a handle may become on its way, or in the hands of somebody who wants another file's data."""
    chance = random.Random(1)
    found = {f"bit {at}": flipped(handle, at) for at in range(len(handle) * 8)}
    found |= {f"cut to {length}": handle[:length] for length in range(len(handle))}
    found |= {f"longer by {more}": handle + bytes(more) for more in (1, 4, 8, 64 - len(handle))}
    found |= {f"random {n}": chance.randbytes(len(handle)) for n in range(100)}
    # The head that the server itself checks, and then anything: another generation, another file system.
    found |= {f"random tail {n}": handle[:-24] + chance.randbytes(24) for n in range(100)}
    found |= {f"spliced at {at}": handle[:at] + other[at:] for at in range(1, len(handle))}
    return {what: wrong for what, wrong in found.items() if wrong not in {handle, other}}


def inode_in(wrong: bytes, sound: bytes) -> int:
    """The inode in a handle that the server takes: all else in it must be as in a sound one of the same epoch."""
    assert wrong[VERSION_AT:INODE_AT] == sound[VERSION_AT:INODE_AT]
    assert wrong[GENERATION_AT:PADDING_AT] == sound[GENERATION_AT:PADDING_AT]
    return int.from_bytes(wrong[INODE_AT:GENERATION_AT], "little")


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_mangled_handles_of_nfs3(nfs: Client) -> None:
    one, two = nfs.create(nfs.root, b"one3"), nfs.create(nfs.root, b"two3")
    nfs.write(one, 0, b"one", FILE_SYNC)
    nfs.write(two, 0, b"two", FILE_SYNC)
    inodes = {nfs.getattr(one).fileid: b"one", nfs.getattr(two).fileid: b"two"}
    for what, wrong in mangled(one, two).items():
        try:
            inode, status = nfs.getattr(wrong).fileid, 0
        except NfsError as error:
            inode, status = 0, error.status
        except ConnectionError as error:
            # The id of the export, which decides who may call at all, was changed.
            inode, status = (
                0,
                DENIED if "denied" in str(error) and wrong[:VERSION_AT] != one[:VERSION_AT] else 1,
            )
        if status == 0:
            assert inode == inode_in(wrong, one), what
            if inode in inodes:
                assert nfs.read(wrong, 0, 10)[0] == inodes[inode], what
        else:
            assert status in {BADHANDLE, STALE, INVAL, DENIED}, what
    for call in (
        lambda wrong: nfs.lookup(wrong, b"x"),
        lambda wrong: nfs.write(wrong, 0, b"x"),
        lambda wrong: nfs.create(wrong, b"x"),
        nfs.readdirplus,
        nfs.commit,
        nfs.fsstat,
        lambda wrong: nfs.link(one, wrong, b"x"),
        lambda wrong: nfs.rename(nfs.root, b"one3", wrong, b"x"),
    ):
        for wrong in (b"", one[:-1], one + b"\0", flipped(one, len(one) * 8 - 70), bytes(len(one))):
            with pytest.raises(NfsError) as refused:
                call(wrong)
            assert refused.value.status in {BADHANDLE, STALE}
    assert nfs.read(two, 0, 10)[0] == b"two"


def test_mangled_handles_of_nfs4(fourth: Session) -> None:
    one, two = (fourth.make(fourth.root, name, ops.REG) for name in (b"one4", b"two4"))
    fourth.run(ops.putfh(one), ops.write(0, b"one"))
    mine = fourth.attributes(one, ops.FILEID)[ops.FILEID]
    for what, wrong in mangled(one, two).items():
        status = status_of(fourth.run, ops.putfh(wrong), ops.getattr_(ops.FILEID))
        if status == ops.OK:
            inode = fourth.attributes(wrong, ops.FILEID)[ops.FILEID]
            if wrong[1:VERSION_AT] == one[1:VERSION_AT]:
                assert inode == inode_in(wrong, one), what
            assert (inode == mine) <= (fourth.run(ops.putfh(wrong), ops.read(0, 10))[-1][1] == b"one"), what
        else:
            assert status in {ops.BADHANDLE, ops.STALE, ops.INVAL, ops.ACCESS, 10013}, what


# Names

WRONG = {
    "empty": b"",
    "dot": b".",
    "dotdot": b"..",
    "slash": b"a/b",
    "leading slash": b"/etc",
    "NUL first": b"\0",
    "256 bytes": b"x" * 256,
    "5000 bytes": b"x" * 5000,
}
CALLS: dict[str, Callable[[Client, bytes, bytes, bytes], object]] = {
    "CREATE": lambda c, d, _f, name: c.create(d, name),
    "MKDIR": lambda c, d, _f, name: c.mkdir(d, name),
    "MKNOD": lambda c, d, _f, name: c.mknod(d, name, 7),
    "SYMLINK": lambda c, d, _f, name: c.symlink(d, name, b"target"),
    "LINK": lambda c, d, f, name: c.link(f, d, name),
    "RENAME to": lambda c, d, _f, name: c.rename(d, b"file", d, name),
    "RENAME from": lambda c, d, _f, name: c.rename(d, name, d, b"new"),
    "REMOVE": lambda c, d, _f, name: c.remove(d, name),
    "RMDIR": lambda c, d, _f, name: c.rmdir(d, name),
    "LOOKUP": lambda c, d, _f, name: c.lookup(d, name),
}
LAWFUL = {INVAL, EXIST, NAMETOOLONG, NOENT, ACCES, NOTEMPTY, ISDIR, PERM, NOTDIR}


@pytest.mark.parametrize("call", CALLS)
def test_names_that_are_none(nfs: Client, call: str) -> None:
    home = nfs.mkdir(nfs.root, b"names-" + call.encode())
    file = nfs.create(home, b"file")
    for kind, name in WRONG.items():
        if call == "LOOKUP" and name in {b".", b".."}:
            nfs.lookup(home, name)
            continue
        with pytest.raises(NfsError) as refused:
            CALLS[call](nfs, home, file, name)
        assert refused.value.status in LAWFUL, kind
        assert [entry[0] for entry in nfs.readdirplus(home)[0] if entry[0] not in {b".", b".."}] == [
            b"file"
        ], kind


@pytest.mark.parametrize(
    "name", [b"\xff\xfe\x80", b"\x01\n\x7f", b"...", b"x" * 255, b"a\\b", "größe".encode()]
)
def test_any_other_bytes_are_a_name(nfs: Client, name: bytes) -> None:
    home = nfs.mkdir(nfs.root, b"bytes-" + name[:20])
    file = nfs.create(home, b"file")
    for call in ("CREATE", "SYMLINK", "LINK", "MKNOD"):
        CALLS[call](nfs, home, file, name)
        assert name in [entry[0] for entry in nfs.readdirplus(home)[0]]
        nfs.lookup(home, name)
        nfs.remove(home, name)
    nfs.mkdir(home, name)
    nfs.rmdir(home, name)
    nfs.rename(home, b"file", home, name)
    nfs.rename(home, name, home, b"file")


def test_a_name_ends_at_a_nul(nfs: Client, fourth: Session) -> None:
    """The server's decoder hands names on as C strings: what is behind a NUL is not there, and no name ever holds one."""
    home = nfs.mkdir(nfs.root, b"nul")
    nfs.create(home, b"a\0b")
    assert nfs.lookup(home, b"a") == nfs.lookup(home, b"a\0c")
    same = fourth.run(
        ops.putfh(fourth.root), ops.lookup(b"nul"), ops.lookup(b"a\0d"), ops.getattr_(ops.FILEID)
    )
    assert same[-1][ops.FILEID] == nfs.getattr(nfs.lookup(home, b"a")).fileid
    nothing = status_of(fourth.run, ops.putfh(fourth.root), ops.create(ops.DIR, b"\0", {ops.MODE: 0o755}))
    assert nothing in {INVAL, NOENT, ops.BADCHAR, ops.BADNAME}
    assert [entry[0] for entry in nfs.readdirplus(home)[0] if entry[0] not in {b".", b".."}] == [b"a"]


# Numbers

EDGES = (0, 1, 2, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def nfs3_status(nfs: Client, procedure: int, arguments: bytes) -> int:
    """The status; GARBAGE where the server finds that it was no call at all."""
    try:
        return nfs.nfs.call(procedure, arguments).u32()
    except ConnectionError as error:
        return GARBAGE if "not accepted: 4" in str(error) else SERVERFAULT


def nfs3_calls(home: bytes, file: bytes, edge: int) -> Iterator[tuple[int, bytes]]:
    """Calls with a number in it that may be out of all bounds."""
    low = edge & 0xFFFFFFFF
    yield 2, opaque(file) + bytes(4 * 3) + struct.pack(">IQ", 1, edge) + bytes(12)  # SETATTR size
    yield 2, opaque(file) + struct.pack(">IIIIII", 1, low, 1, low, 1, low) + bytes(16)  # mode, uid, gid
    yield 2, opaque(file) + bytes(16) + struct.pack(">III", 2, low, low) + bytes(8)  # atime
    yield 4, opaque(file) + struct.pack(">I", low)  # ACCESS
    yield 6, opaque(file) + struct.pack(">QI", edge, 4096)
    yield 6, opaque(file) + struct.pack(">QI", 0, low)
    yield 7, opaque(file) + struct.pack(">QII", edge, 4, 2) + opaque(b"data")
    yield 7, opaque(file) + struct.pack(">QII", 0, low, 2) + opaque(b"data")
    yield 7, opaque(file) + struct.pack(">QII", 0, 4, low) + opaque(b"data")
    yield 8, opaque(home) + opaque(b"made") + struct.pack(">I", low) + bytes(24)  # CREATE how
    yield 11, opaque(home) + opaque(b"node") + struct.pack(">I", low) + bytes(32)  # MKNOD kind
    for procedure in (16, 17):
        yield procedure, opaque(home) + struct.pack(">Q8xII", edge, 4096, 4096)
        yield procedure, opaque(home) + struct.pack(">Q8xII", 0, low, low)
        yield procedure, opaque(home) + struct.pack(">QQII", 3, edge, 4096, 4096)
    yield 21, opaque(file) + struct.pack(">QI", edge, low)


@pytest.mark.parametrize("edge", EDGES)
def test_numbers_out_of_all_bounds(nfs: Client, edge: int) -> None:
    home = nfs.mkdir(nfs.root, b"edge-%d" % edge)
    file = nfs.create(home, b"file")
    for number, (procedure, arguments) in enumerate(nfs3_calls(home, file, edge)):
        assert nfs3_status(nfs, procedure, arguments) != SERVERFAULT, (number, procedure)
    assert nfs.getattr(file).kind == 1


@pytest.mark.parametrize("edge", EDGES)
def test_numbers_out_of_all_bounds_of_nfs4(fourth: Session, edge: int) -> None:
    home = fourth.make(fourth.root, b"edge4-%d" % edge)
    file = fourth.make(home, b"file", ops.REG)
    low = edge & 0xFFFFFFFF
    readdir = ops.u64(edge) + bytes(8) + ops.u32(4096, 4096) + ops.bitmap([])
    for number, tried in enumerate((
        ops.Op(26, readdir),
        ops.Op(26, bytes(16) + ops.u32(low, low) + ops.bitmap([])),
        ops.Op(25, ops.ANONYMOUS + ops.u64(edge) + ops.u32(4096)),
        ops.Op(25, ops.ANONYMOUS + ops.u64(0) + ops.u32(low)),
        ops.Op(38, ops.ANONYMOUS + ops.u64(edge) + ops.u32(2) + opaque(b"data")),
        ops.Op(5, ops.u64(edge) + ops.u32(low)),
        ops.Op(34, ops.ANONYMOUS + ops.bitmap([ops.SIZE]) + opaque(ops.u64(edge))),
        ops.Op(34, ops.ANONYMOUS + ops.bitmap([ops.MODE]) + opaque(ops.u32(low))),
        ops.Op(34, ops.ANONYMOUS + ops.bitmap([ops.MTIME_SET]) + opaque(ops.u32(1) + ops.u64(edge) + ops.u32(low))),
        ops.Op(9, ops.u32(3, low, low, low)),
    )):  # fmt: skip
        on = home if tried.number == 26 else file
        assert status_of(fourth.run, ops.putfh(on), tried) != SERVERFAULT, (number, tried.number)
    assert fourth.attributes(file, ops.TYPE)[ops.TYPE] == ops.REG


# Records


def call(
    program: int = NFS, version: int = 3, procedure: int = 0, arguments: bytes = b"", rpc: int = 2
) -> bytes:
    return struct.pack(">10I", 7, 0, rpc, program, version, procedure, 0, 0, 0, 0) + arguments


def record(message: bytes, last: bool = True) -> bytes:
    return struct.pack(">I", (0x80000000 if last else 0) | len(message)) + message


HUGE = b"\xff\xff\xff\xff"
COMPOUND = opaque(b"") + ops.u32(1)
RECORDS = {
    "nothing": b"",
    "an empty record": record(b""),
    "empty fragments": record(b"", last=False) * 1000 + record(call()),
    "single bytes as fragments": b"".join(record(bytes([byte]), last=False) for byte in call()) + record(b""),
    "2 GiB announced": b"\xff\xff\xff\xff" + bytes(1000),
    "2 GiB in fragments": b"\x7f\xff\xff\xff" + bytes(1000),
    "half a mark": b"\x80\x00",
    "half a record": record(call())[:20],
    "a reply": record(struct.pack(">6I", 7, 1, 0, 0, 0, 0)),
    "no message kind": record(struct.pack(">6I", 7, 9, 0, 0, 0, 0)),
    "RPC version 9": record(call(rpc=9)),
    "another program": record(call(program=1)),
    "NFS 2": record(call(version=2)),
    "NFS 99": record(call(version=99)),
    "procedure 999": record(call(procedure=999)),
    "a credential of 4 GiB": record(struct.pack(">7I", 7, 0, 2, NFS, 3, 0, 1) + HUGE + bytes(64)),
    "a credential of 401 bytes": record(struct.pack(">8I", 7, 0, 2, NFS, 3, 0, 1, 404) + bytes(404 + 8)),
    "no arguments": record(call(procedure=1)),
    "a handle of 4 GiB": record(call(procedure=1, arguments=HUGE + bytes(64))),
    "a handle of 65 bytes": record(call(procedure=1, arguments=opaque(bytes(65)))),
    "a name of 4 GiB": record(call(procedure=3, arguments=opaque(bytes(32)) + HUGE + bytes(64))),
    "data of 4 GiB": record(call(procedure=7, arguments=opaque(bytes(32)) + bytes(16) + HUGE + bytes(64))),
    "4 billion operations": record(call(version=4, procedure=1, arguments=COMPOUND + HUGE + bytes(64))),
    "operations that are none": record(
        call(version=4, procedure=1, arguments=COMPOUND + ops.u32(3, 0, 999, 10044))
    ),
    "minor version 77": record(call(version=4, procedure=1, arguments=opaque(b"") + ops.u32(77, 1, 24))),
    "a tag of 4 GiB": record(call(version=4, procedure=1, arguments=HUGE + bytes(64))),
    "a bitmap of 4 GiB": record(call(version=4, procedure=1, arguments=COMPOUND + ops.u32(2, 24, 9) + HUGE)),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
}


def send(port: int, data: bytes, *, patience_s: float = 0.05) -> None:
    """Sends bytes, hears what comes of it for a moment, and goes."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        connection.settimeout(patience_s)
        connection.recv(4096)


@pytest.mark.parametrize("kind", RECORDS)
def test_records_that_are_no_calls(shared: Caudal, kind: str) -> None:
    send(shared.nfs_port, RECORDS[kind])
    send(shared.mountd_port, RECORDS[kind])


def test_damaged_calls(shared: Caudal, nfs: Client) -> None:
    """Calls of all procedures with bytes changed at random: decoders get nowhere else so deep."""
    chance = random.Random(2)
    root = opaque(nfs.root)
    for number in range(300):
        if number % 2:
            arguments = root + opaque(b"name") + bytes(chance.randrange(0, 80))
            whole = call(procedure=chance.randrange(22), arguments=arguments)
        else:
            operations = b"".join(
                ops.u32(chance.randrange(3, 76)) + bytes(chance.randrange(0, 40)) for _ in range(3)
            )
            head = opaque(b"tag") + ops.u32(chance.randrange(3), chance.randrange(1, 6)) + ops.u32(24)
            whole = call(version=4, procedure=1, arguments=head + operations)
        changed = bytearray(whole)
        for _ in range(chance.randrange(4)):
            # The head stays: what is behind it is what is to be read.
            changed[chance.randrange(24, len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        send(shared.nfs_port, record(bytes(changed)), patience_s=0.003)


def test_many_connections_that_say_nothing(shared: Caudal) -> None:
    with contextlib.ExitStack() as idle:
        for number in range(300):
            connection = idle.enter_context(
                socket.create_connection(("127.0.0.1", shared.nfs_port), timeout=5)
            )
            connection.sendall(record(call())[: number % 44])
        with Client(shared.nfs_port, shared.mountd_port, EXPORT) as honest:
            assert honest.getattr(honest.root).kind == 2
