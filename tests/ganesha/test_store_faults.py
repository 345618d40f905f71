"""The object store misbehaves: what clients see meanwhile, what operators see, and that all is well afterwards.

One server on Azurite behind a proxy for all tests; each takes a directory of its own, and what its fault leaves behind must
be gone when the fault is.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlClient
from tests.ganesha import nfs4_ops as ops
from tests.ganesha.nfs3_client import FILE_SYNC, JUKEBOX, Client, NfsError
from tests.ganesha.nfs4_session import Session, status_of
from tests.support import fault_proxy as faults
from tests.support.azurite import Azurite
from tests.support.caudal import EXPORT, Caudal, undisturbed
from tests.support.fault_proxy import PACKS, FaultProxy
from tests.support.processes import wait_until

MIB = 1 << 20
NFS3_IO = 5
OPTIONS = (
    "--store-wait-s",
    "0.7",
    "--flush-age-s",
    "0.2",
    "--l2-bytes",
    "0",
    "--gc-interval-s",
    "0.2",
    "--gc-grace-s",
    "0",
    "--checkpoint-interval-s",
    "0.1",
)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def proxy(azurite: Azurite) -> Iterator[FaultProxy]:
    with FaultProxy(azurite.port) as running:
        yield running


@pytest.fixture(scope="module")
def server(private_network: None, module_disk_path: Path, proxy: FaultProxy) -> Iterator[Caudal]:
    with undisturbed(module_disk_path) as make:
        running = make(store="az://faults/here", options=OPTIONS, env=proxy.environment).start()
        yield running
        # Whatever the tests did: it is whole, and the store is as it was.
        running.flush()
        assert "clean" in running.fsck()


class Place:
    """A directory of a test's own, with raw clients of both protocols on it."""

    def __init__(self, server: Caudal, proxy: FaultProxy, number: int) -> None:
        self.server, self.proxy = server, proxy
        self.control = ControlClient(server.state / "run" / "control.sock")
        self.nfs3 = Client(server.nfs_port, server.mountd_port, EXPORT)
        self.nfs4 = Session(server.nfs_port, b"faults-%d" % number, 2)
        self.name = b"faults-%d" % number
        self.home = self.nfs3.mkdir(self.nfs3.root, self.name)
        self.written: dict[bytes, bytes] = {}

    def close(self) -> None:
        self.nfs4.close()
        self.nfs3.__exit__()
        self.control.close()

    def write(self, name: bytes, length: int = MIB) -> bytes:
        """A new file, durable; returns its handle."""
        data = bytes([len(self.written) + 1, *name[:8]]) * (length // (len(name[:8]) + 1))
        handle = self.nfs3.create(self.home, name)
        self.nfs3.write(handle, 0, data, FILE_SYNC)
        self.written[name] = data
        return handle

    def flush(self, timeout_s: float = 30) -> None:
        self.control.call("flush", wait=True, timeout_s=timeout_s)

    def drop_caches(self) -> None:
        self.control.call("cache_drop")

    def cold(self, name: bytes, length: int = MIB) -> bytes:
        """A file that is in the store and in no cache."""
        handle = self.write(name, length)
        self.flush()
        self.drop_caches()
        return handle

    def read(self, name: bytes) -> bytes:
        handle, data = self.nfs3.lookup(self.home, name), b""
        while True:
            piece, eof = self.nfs3.read(handle, len(data), MIB)
            data += piece
            if eof:
                return data

    def read_status(self, handle: bytes) -> int:
        try:
            self.nfs3.read(handle, 0, 4096)
        except NfsError as error:
            return error.status
        return 0

    def store(self) -> dict[str, Any]:
        return self.control.call("status")["store"]

    def all_is_well(self) -> None:
        """After the fault: everything goes to the store by itself, is read back from there, and nobody complains."""
        self.flush()
        self.drop_caches()
        for name, data in self.written.items():
            assert self.read(name) == data, name
        status = self.control.call("status")
        assert (status["store"]["state"], status["flush"]["error"]) == ("ok", None)
        assert status["flush"]["dirty_bytes"] == 0


@pytest.fixture
def place(server: Caudal, proxy: FaultProxy) -> Iterator[Place]:
    made = Place(server, proxy, next(_numbers))
    yield made
    made.close()


def clients_go_on(place: Place, cold: bytes) -> None:
    """While the store does nothing for us: what is cached is read, changes are taken, the rest is told to come again."""
    assert place.read(b"warm") == place.written[b"warm"]
    place.write(b"meanwhile")
    assert place.read(b"meanwhile") == place.written[b"meanwhile"]
    sub = place.nfs3.mkdir(place.home, b"dir")
    place.nfs3.rename(place.home, b"meanwhile", sub, b"moved")
    place.nfs3.rename(sub, b"moved", place.home, b"meanwhile")
    assert place.read_status(cold) == JUKEBOX
    to_cold = [ops.putfh(place.nfs4.root), ops.lookup(place.name), ops.lookup(b"cold")]
    assert status_of(place.nfs4.run, *to_cold, ops.read(0, 4096)) == ops.DELAY


def prepare(place: Place) -> bytes:
    # A pack that may be deleted: what collects it meets the outage too.
    place.cold(b"gone")
    place.nfs3.remove(place.home, b"gone")
    del place.written[b"gone"]
    cold = place.cold(b"cold")
    place.write(b"warm")
    return cold


OUTAGES = {
    "down": None,
    "hangs": faults.Hang(),
    "replies lost": faults.DropReply(),
    "500": faults.Answer(500, "InternalError"),
    "503": faults.Answer(503, "ServerBusy", retry_after_s=1),
    "429": faults.Answer(429, "TooManyRequests"),
    "403": faults.Answer(403, "AuthenticationFailed"),
    "container gone": faults.Answer(404, "ContainerNotFound"),
}
STATES = {"503": "throttled", "429": "throttled", "403": "refused", "container gone": "refused"}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_costs_no_data_and_ends_by_itself(place: Place, outage: str) -> None:
    cold = prepare(place)
    fault = OUTAGES[outage]
    with place.proxy.fault(fault) if fault else place.proxy.down():
        clients_go_on(place, cold)
        wanted = STATES.get(outage, "unreachable")
        wait_until(lambda: place.store()["state"] == wanted, f"the store is {wanted}")
        store = place.store()
        if isinstance(fault, faults.Answer):
            assert f"{fault.status} {fault.code}" in store["last_error"]
        if outage != "hangs":
            # A put that nobody answers is given up after 50 s only: large packs on slow lines take as long.
            wait_until(lambda: place.control.call("status")["flush"]["error"], "the flush says why it waits")
        if outage == "403":
            told = place.server.cli("status")
            assert "refused" in told
            assert "403 AuthenticationFailed" in told
    place.all_is_well()


@pytest.mark.parametrize(
    "refusal", [(403, "AuthorizationPermissionMismatch"), (409, "BlobImmutableDueToPolicy")]
)
def test_a_container_that_takes_nothing_is_still_read(place: Place, refusal: tuple[int, str]) -> None:
    cold = prepare(place)
    with place.proxy.fault(faults.Answer(*refusal), "PUT"):
        place.write(b"meanwhile")
        assert place.read_status(cold) == 0
        wait_until(lambda: place.store()["writes"] == "refused", "the store refuses writes")
        assert place.store()["reads"] == "ok"
        assert refusal[1] in place.store()["last_error"]
        assert place.read(b"cold") == place.written[b"cold"]
    place.all_is_well()


def test_a_late_store_is_waited_for(place: Place) -> None:
    cold = prepare(place)
    with place.proxy.fault(faults.Delay(0.3)):
        assert place.read_status(cold) == 0
        place.write(b"meanwhile")
        place.flush()
    place.all_is_well()


def test_lost_replies_of_puts_are_recognised(place: Place) -> None:
    """The pack is there after the first attempt: the second one meets it, and takes it for its own."""
    before = place.control.call("status")["objects"]["puts"]
    with place.proxy.fault(faults.DropReply(), "PUT", path=PACKS, times=1) as rule:
        place.write(b"file")
        place.flush()
    assert rule.done == 1
    status = place.control.call("status")
    # One put whose reply was lost, and one that was answered 409: no other pack was made.
    assert (status["objects"]["puts"] - before, status["flush"]["error"]) == (2, None)
    place.all_is_well()


@pytest.mark.parametrize(
    "fault", [faults.FlipBody(), faults.ShortBody(), faults.CutBody()], ids=lambda f: type(f).__name__
)
def test_a_damaged_answer_is_fetched_again(place: Place, fault: faults.Fault) -> None:
    place.cold(b"cold")
    with place.proxy.fault(fault, "GET", path=PACKS, times=1) as rule:
        assert place.read(b"cold") == place.written[b"cold"]
    assert rule.done == 1
    place.all_is_well()


def unreadable(server: Caudal) -> list[str]:
    """What the log says of blocks that nobody could read."""
    texts = [path.read_text() for path in (server.state / "run/log").glob("*.log")]
    return [line for text in texts for line in text.splitlines() if "block.unreadable" in line]


@pytest.mark.parametrize(("fault", "status"), [
    (faults.FlipBody(), NFS3_IO), (faults.ShortBody(), NFS3_IO), (faults.CutBody(), JUKEBOX),
    (faults.StallBody(), JUKEBOX),
    (faults.Answer(404, "BlobNotFound"), NFS3_IO),
], ids=lambda f: type(f).__name__)  # fmt: skip
def test_damaged_answers_are_never_served(place: Place, fault: faults.Fault, status: int) -> None:
    place.server.expect("block.unreadable", "converted to NFS3ERR_IO")
    # One block: of a longer file read-ahead may bring a sound one meanwhile.
    cold = place.cold(b"cold", 100_000)
    before = len(unreadable(place.server))
    with place.proxy.fault(fault, "GET", path=PACKS):
        assert place.read_status(cold) == status
        assert place.read_status(cold) == status
    if status == NFS3_IO:
        told = wait_until(lambda: unreadable(place.server)[before:], "the log tells of it")
        assert "pack" in told[-1]
    place.all_is_well()


def test_a_server_that_dies_in_an_outage_is_back_when_it_ends(server: Caudal, proxy: FaultProxy) -> None:
    place = Place(server, proxy, next(_numbers))
    prepare(place)
    with proxy.down():
        place.write(b"meanwhile")
        place.close()
        killed = server.kill_server()
        wait_until(lambda: server.pid("ganesha") not in {None, killed}, "the supervisor starts another one")
        time.sleep(1.5)
    server.wait_restarted(killed, timeout_s=60)
    again = Place(server, proxy, next(_numbers))
    again.home, again.written = again.nfs3.lookup(again.nfs3.root, place.name), place.written
    again.all_is_well()
    again.close()
