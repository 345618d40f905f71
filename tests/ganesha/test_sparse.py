"""NFS 4.2's operations on sparse files, on the whole server: durability, space, set-id bits, no need of Python."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ganesha.nfs4_client import ANONYMOUS, BOTH, READ, Open
from tests.ganesha.nfs42_client import (
    DATA,
    HOLE,
    NFS4ERR_FBIG,
    NFS4ERR_NOSPC,
    NFS4ERR_NXIO,
    SEQUENTIAL,
    WILLNEED,
    Client42,
)
from tests.ganesha.pyganesha_server import status_of
from tests.ganesha.test_without_gil import HOLD_S, LONGEST_S, hold, start, worst_s
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import wait_until

MIB = 1 << 20


def connect(server: Caudal, name: bytes, uid: int = 0) -> Client42:
    return Client42(server.nfs_port, name, EXPORT.strip("/").encode(), (uid, uid))


@pytest.fixture
def one(shared: Caudal) -> Iterator[Client42]:
    with connect(shared, b"one") as client:
        yield client


def layout(client: Client42, file: Open) -> list[tuple[int, int]]:
    """The ranges that hold data."""
    found: list[tuple[int, int]] = []
    at, size = 0, client.facts(file).size
    while at < size:
        eof, begin = client.seek(file, at, DATA)
        if eof:
            break
        at = client.seek(file, begin, HOLE).offset
        found.append((begin, at))
    return found


def test_dirty_and_flushed_ranges_are_punched_alike(shared: Caudal, one: Client42) -> None:
    file = one.open(b"ranges", create=True)
    data = os.urandom(300_000)
    one.write(file, MIB, data)
    shared.flush()
    one.write(file, 3 * MIB, data)
    assert layout(one, file) == [(MIB, MIB + 300_000), (3 * MIB, 3 * MIB + 300_000)]
    assert one.facts(file).space_used == 600_000
    for begin in (MIB, 3 * MIB):
        one.deallocate(file, begin + 100_000, 50_000)
    holed = data[:100_000] + bytes(50_000) + data[150_000:]
    expected = [
        (begin + a, begin + b) for begin in (MIB, 3 * MIB) for a, b in ((0, 100_000), (150_000, 300_000))
    ]
    for _ in range(2):
        assert layout(one, file) == expected
        facts = one.facts(file)
        assert (facts.size, facts.space_used) == (3 * MIB + 300_000, 500_000)
        for begin in (MIB, 3 * MIB):
            assert one.read(file, begin, 300_000) == holed
        shared.flush()
        shared.cli("cache", "drop")
    assert status_of(one.seek, file, 3 * MIB + 300_000, HOLE) == NFS4ERR_NXIO


def test_allocate_grows_without_taking_room(shared: Caudal, one: Client42) -> None:
    file = one.open(b"allocated", create=True)
    one.write(file, 0, b"x" * 1000)
    before = one.facts(file)
    one.allocate(file, 500, 1 << 30)
    grown = one.facts(file)
    assert (grown.size, grown.space_used) == ((1 << 30) + 500, 1000)
    assert grown.change > before.change
    one.allocate(file, 0, 10)
    assert one.facts(file).change > grown.change
    assert one.read(file, 990, 100) == b"x" * 10 + bytes(90)
    disk = os.statvfs(shared.state)
    more_than_there_is = disk.f_bavail * disk.f_frsize + (1 << 40)
    assert status_of(one.allocate, file, 0, more_than_there_is) == NFS4ERR_NOSPC
    for offset in (2**63 - 5, 2**64 - 20):
        assert status_of(one.allocate, file, offset, 10) == NFS4ERR_FBIG
    assert one.facts(file).size == (1 << 30) + 500


def test_set_id_bits_go_when_another_than_root_changes_a_file(shared: Caudal, one: Client42) -> None:
    file = one.open(b"program", create=True)
    one.write(file, 0, b"program")
    with connect(shared, b"user", 1000) as user:
        one.set_mode(file, 0o6777)
        theirs = user.open(b"program", BOTH)
        for change in (user.allocate, user.deallocate):
            one.set_mode(file, 0o6777)
            change(theirs, 0, 3)
            assert one.facts(file).mode == 0o777
        for change in (one.allocate, one.deallocate):
            one.set_mode(file, 0o6777)
            change(file, 0, 3)
            assert one.facts(file).mode == 0o6777
        user.deallocate(theirs, 0, 3)
        user.close(theirs)
    shared.flush()
    assert one.facts(file).mode == 0o777


def test_what_was_answered_survives_a_kill(caudal: Callable[..., Caudal]) -> None:
    server = caudal().start()
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    with connect(server, b"one") as one:
        file = one.open(b"file", create=True)
        one.write(file, 0, b"x" * MIB)  # stable
        server.flush()
        one.deallocate(file, 100, 1000)
        one.allocate(file, 0, 2 * MIB)
        server.wait_restarted(server.kill_server())
    with connect(server, b"two") as two:
        file = two.open(b"file", READ)
        assert layout(two, file) == [(0, 100), (1100, MIB)]
        facts = two.facts(file)
        assert (facts.size, facts.space_used) == (2 * MIB, MIB - 1000)
        two.deallocate(file, 0, MIB, ANONYMOUS)
        server.flush()
        server.kill_everything()
        server.start()
    with connect(server, b"three") as three:
        file = three.open(b"file", READ)
        assert (layout(three, file), three.facts(file).space_used) == ([], 0)
    server.fsck()


def cache(server: Caudal) -> dict[str, Any]:
    return server.status()["cache"]


def test_advice_brings_a_range_into_memory(caudal: Callable[..., Caudal]) -> None:
    server = caudal().start()
    with connect(server, b"one") as one:
        file = one.open(b"file", create=True)
        data = os.urandom(MIB)
        for part in range(8):
            one.write(file, part * MIB, data)
        server.flush()
        server.cli("cache", "drop")
        assert one.advise(file, 0, 0, SEQUENTIAL) == set()
        assert cache(server)["l1"]["bytes"] == 0
        assert one.advise(file, 2 * MIB, 4 * MIB, WILLNEED, SEQUENTIAL) == {WILLNEED}
        wait_until(lambda: cache(server)["l1"]["bytes"] >= 4 * MIB, "the range is in memory")
        assert cache(server)["l1"]["bytes"] < 6 * MIB
        before = cache(server)["l1"]["misses"]
        assert one.read(file, 3 * MIB, MIB // 2) == data[: MIB // 2]
        assert cache(server)["l1"]["misses"] == before


def test_all_of_it_goes_on_while_python_is_held(caudal: Callable[..., Caudal], disk_path: Path) -> None:
    server, order = start(caudal, disk_path)
    with connect(server, b"one") as one:
        file = one.open(b"file", create=True)
        one.write(file, 0, b"x" * 100_000)
        one.deallocate(file, 0, 10)

        def work() -> None:
            one.deallocate(file, 4096, 4096)
            one.allocate(file, 0, 200_000)
            assert one.seek(file, 10, HOLE) == (False, 4096)
            assert one.seek(file, 4096, DATA) == (False, 8192)
            assert one.advise(file, 0, 0, WILLNEED) == {WILLNEED}

        work()
        hold(order)
        worst, count = worst_s(work, time.monotonic() + HOLD_S * 0.8)
    assert count > 10, f"only {count} rounds in {HOLD_S * 0.8:.1f} s"
    assert worst < LONGEST_S, f"it took {worst:.3f} s while Python was held"
