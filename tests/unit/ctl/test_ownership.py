"""Several state directories, one store: whoever acknowledges owns it.

The machine lets owners be started, taken over from, killed, frozen, cut off and robbed of replies in any order, and asks
after each step who would acknowledge. The model is one name: who took the file system last.
"""

import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import Reason, StartError
from gateway.fsal.lease_keeper import LeaseKeeper
from gateway.objects import ownership as module
from gateway.objects.epoch import OwnerRecord, read_record
from gateway.objects.ownership import Claim, ContestedError, Ownership, OwnershipLostError
from gateway.state import Identity, StateDir
from tests.unit.ctl.memory_store import Blob, Clock, Handle

LEASE_S = 30
FS_ID = b"f" * 16
NAMES = st.sampled_from(["a", "b", "c"])


class FakeFence:
    """What the core's fence does with an attempt, on the tests' clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._from_s = self.until_s = clock()
        self.closed = False

    def attempt(self) -> None:
        self._from_s = self._clock()

    def renewed(self, lease_s: float) -> None:
        self.until_s = self._from_s + lease_s

    def unanswered(self, go_on_s: float) -> None:
        self.until_s = max(self.until_s, self._from_s + go_on_s)

    def contested(self) -> None:
        self.until_s = self._from_s

    def lost(self) -> None:
        self.closed = True

    def wake(self) -> None: ...

    def wait_wanted(self, timeout_s: float) -> bool:
        return timeout_s < 0


class Server:
    """A state directory and, between take() and kill(), the server that runs on it."""

    def __init__(
        self, name: str, root: Path, blob: Blob, clock: Clock, sleep: Callable[[float], None]
    ) -> None:
        self.name, self.clock, self.handle = name, clock, Handle(blob)
        self._sleep = sleep
        self.state = StateDir(root)
        root.mkdir()
        self.state.write_identity(Identity(FS_ID))
        self.owner = OwnerRecord(f"place of {name}", name, str(root), lease_s=LEASE_S)
        self.ownership: Ownership | None = None
        self.frozen = False
        self.next_turn_s: float | None = 0.0

    def take(self, claim: Claim = Claim.OWN) -> None:
        self.frozen = False
        self.ownership = Ownership.take(
            self.state,
            self.handle,
            self.owner,
            claim=claim,
            new_id=lambda: secrets.token_hex(16),
            now_s=self.clock,
            sleep=self._sleep,
        )
        self.fence = FakeFence(self.clock)
        self.keeper = LeaseKeeper(
            self.ownership, self.fence, lease_s=LEASE_S, strict=True, on_lost=lambda _: None
        )
        self.turn()

    def turn(self) -> None:
        pause_s = self.keeper.turn()
        self.next_turn_s = None if pause_s is None else self.clock() + pause_s

    def kill(self) -> None:
        self.ownership = None

    @property
    def acknowledges(self) -> bool:
        if self.ownership is None or self.frozen:
            return False
        return not self.fence.closed and self.clock() < self.fence.until_s


class Owners(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.blob = Blob(self.clock)
        self.place = Path(tempfile.mkdtemp())
        self.servers = {
            name: Server(name, self.place / name, self.blob, self.clock, self.pass_time) for name in "abc"
        }
        self.owner: str | None = None
        self.starting: str | None = None
        self.epochs: list[int] = []

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def pass_time(self, seconds: float) -> None:
        """The time passes for all; those that run and are not frozen do what is due."""
        end_s = self.clock() + seconds
        while self.clock() < end_s:
            self.clock.now_s = min(end_s, self.clock() + 1)
            for server in self.servers.values():
                runs = server.ownership is not None and not server.frozen and server.name != self.starting
                if runs and server.next_turn_s is not None and self.clock() >= server.next_turn_s:
                    server.turn()

    def start(self, name: str, claim: Claim) -> None:
        server = self.servers[name]
        server.kill()
        self.starting = name
        try:
            server.take(claim)
        except StartError as error:
            if error.reason is Reason.OWNED:
                assert claim is not Claim.TAKE_OVER
                assert self.owner not in {None, name}, "it may start on its own file system"
            else:
                assert server.handle.away or server.handle.deaf
            # A swap whose reply was lost may have made it the owner.
            record = None if self.blob.data is None else read_record(Handle(self.blob))
            if record is not None and record.owner is not None:
                self.owner = record.owner.host
        else:
            self.owner = name
            assert server.ownership is not None
            self.epochs.append(server.ownership.epoch)
            assert self.epochs == sorted(set(self.epochs))
        finally:
            self.starting = None

    @rule(name=NAMES)
    def up(self, name: str) -> None:
        self.start(name, Claim.OWN)

    @rule(name=NAMES)
    def take_over(self, name: str) -> None:
        # Only a state directory that holds the file system may.
        self.start(name, Claim.TAKE_OVER)

    @rule(name=NAMES)
    def kill(self, name: str) -> None:
        self.servers[name].kill()

    @rule(name=NAMES)
    def stop(self, name: str) -> None:
        server = self.servers[name]
        if server.ownership is None or server.frozen:
            return
        try:
            server.ownership.end()
        except (StartError, ContestedError):
            pass
        except OwnershipLostError:
            assert self.owner != name
        server.kill()

    @rule(name=NAMES, frozen=st.booleans())
    def freeze(self, name: str, frozen: bool) -> None:
        self.servers[name].frozen = frozen

    @rule(name=NAMES, how=st.sampled_from(["away", "deaf", ""]))
    def disturb(self, name: str, how: str) -> None:
        handle = self.servers[name].handle
        handle.away, handle.deaf = how == "away", how == "deaf"

    @rule(seconds=st.integers(1, 90))
    def wait(self, seconds: int) -> None:
        self.pass_time(seconds)

    @precondition(lambda self: self.owner is not None)
    @rule()
    def undisturbed_the_owner_acknowledges(self) -> None:
        assert self.owner is not None
        server = self.servers[self.owner]
        if server.ownership is None or server.fence.closed:
            return
        server.frozen = server.handle.away = server.handle.deaf = False
        self.pass_time(3 * LEASE_S)
        assert server.acknowledges
        server.ownership.update(membership=[self.owner, self.clock()])
        assert server.ownership.membership == [self.owner, self.clock()]

    @invariant()
    def nobody_else_acknowledges(self) -> None:
        found = {server.name for server in self.servers.values() if server.acknowledges}
        assert found <= {self.owner}


TestOwners = Owners.TestCase
TestOwners.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@dataclass
class Two:
    clock: Clock
    blob: Blob
    a: Server
    b: Server


@pytest.fixture
def two(tmp_path: Path) -> Two:
    clock = Clock()
    blob = Blob(clock)

    def sleep(seconds: float) -> None:
        clock.now_s += seconds

    a, b = (Server(name, tmp_path / name, blob, clock, sleep) for name in "ab")
    a.take()
    return Two(clock, blob, a, b)


@pytest.mark.parametrize("point", ["owner.after_lease", "owner.before_swap", "owner.after_swap"])
@pytest.mark.parametrize("step", ["take", "update", "end"])
def test_death_between_two_steps(two: Two, monkeypatch: pytest.MonkeyPatch, point: str, step: str) -> None:
    def failpoint(name: str) -> None:
        if name == point:
            raise OSError(name)

    assert two.a.ownership is not None
    steps = {
        "take": two.a.take,
        "update": lambda: two.a.ownership and two.a.ownership.update(membership="new"),
        "end": two.a.ownership.end,
    }
    with monkeypatch.context() as patch:
        patch.setattr(module, "failpoint", failpoint)
        if point != "owner.after_lease" or step == "take":
            with pytest.raises(OSError, match=point):
                steps[step]()
    before_s = two.clock()
    two.a.take()
    assert two.clock() == before_s, "its own lease is not waited for"
    assert two.a.ownership.membership == ("new" if (point, step) == ("owner.after_swap", "update") else None)


def test_a_take_over_waits_for_the_lease_of_a_silent_owner_and_not_for_an_old_one(two: Two) -> None:
    two.a.frozen = True
    two.clock.now_s += 10
    began_s = two.clock()
    two.b.take(Claim.TAKE_OVER)
    assert 20 <= two.clock() - began_s <= 21
    two.a.take(Claim.TAKE_OVER)
    two.clock.now_s += LEASE_S
    began_s = two.clock()
    two.b.take(Claim.TAKE_OVER)
    assert two.clock() == began_s


def test_a_recovered_file_system_is_free_to_take_when_no_lease_runs(two: Two) -> None:
    with pytest.raises(StartError, match="is owned by a, state directory"):
        two.b.take(Claim.FREE)
    two.clock.now_s += LEASE_S
    with pytest.raises(StartError, match="may lack what was acknowledged"):
        two.b.take(Claim.OWN)
    two.b.take(Claim.FREE)
    assert two.b.ownership is not None
    assert two.b.ownership.epoch == 2


def test_whoever_gave_up_half_way_stops_the_owner_for_two_leases_at_most(two: Two) -> None:
    Handle(two.blob).break_lease(LEASE_S)
    two.a.turn()
    assert not two.a.acknowledges
    assert not two.a.fence.closed
    for _ in range(2 * LEASE_S // 2 + 5):
        two.clock.now_s += 2
        two.a.turn()
    assert two.a.acknowledges


def test_what_a_later_version_put_into_the_record_stays(two: Two) -> None:
    record = read_record(Handle(two.blob))
    assert record is not None
    two.blob.data = replace(record, other={"later": [1]}).encode()
    two.clock.now_s += LEASE_S
    two.a.take()
    record = read_record(Handle(two.blob))
    assert record is not None
    assert record.other == {"later": [1]}


def test_the_root_of_a_version_without_owners_is_taken(two: Two) -> None:
    two.blob.data = b'{"epoch": 7, "format": 1, "fs_id": "%s", "token": "x"}\n' % FS_ID.hex().encode()
    two.blob.lease_id = None
    two.b.take()
    assert two.b.ownership is not None
    assert two.b.ownership.epoch == 8
