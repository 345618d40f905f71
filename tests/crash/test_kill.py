"""Kill -9 of the server: what was acknowledged is there, what was under way is whole or absent, nothing else is broken."""

import random
import time
from collections.abc import Callable

import pytest

from gateway import _core
from tests.support.caudal import Caudal, StartFailed
from tests.support.ledger import Load
from tests.support.processes import TimedOut, wait_until

# Small and quick everything, so that segments roll, packs are written and the journal is trimmed within seconds.
OPTIONS = (
    *(
        "--segment-bytes",
        "4MiB",
        "--pack-bytes",
        "1MiB",
        "--flush-age-s",
        "0.2",
        "--checkpoint-interval-s",
        "0.1",
    ),
    *("--gc-interval-s", "0.5", "--gc-grace-s", "1"),
)
# Steps of the steward: the server lives on when they die, and the supervisor starts the steward again.
STEWARDS = {
    "checkpoint.before_commit": 5,
    "checkpoint.after_commit": 5,
    "backup.after_increment": 5,
    "backup.before_manifest": 2,
}
# At which hit each point kills; the third unless something makes it rare.
RARE = {
    "journal.before_roll": 1,
    "journal.after_roll": 2,
    "journal.before_trim": 1,
    "journal.after_trim": 1,
    "journal.before_members": 1,
    "journal.after_members": 1,
}
# A killed server and its restarted supervisor leave these in the logs.
CAUSED = (r"steward|ganesha|killed|died|ended|restart|failpoint|control|connection",)
# Only with several mirrors: test_mirrors.py.
REBUILDS = {point for point in _core.FAILPOINTS if "rebuild" in point or point == "journal.before_return"}
POINTS = sorted(set(_core.FAILPOINTS) - STEWARDS.keys() - REBUILDS)


def verify(server: Caudal, load: Load) -> None:
    """From the running server, by fsck, and again from the store alone."""
    load.settle()
    server.fsck()
    server.flush()
    server.cli("cache", "drop")
    load.settle()


@pytest.fixture
def server(caudal: Callable[..., Caudal]) -> Caudal:
    made = caudal(options=OPTIONS)
    made.expect(*CAUSED)
    return made


def load_until_killed(server: Caudal, load: Load, timeout_s: float = 30) -> None:
    """Changes, reads of cold data and flushes, until the armed point has killed the server."""
    pid = server.pid("ganesha")
    load.start()
    deadline = time.monotonic() + timeout_s
    while server.pid("ganesha") == pid and load.running():
        # The command itself fails when the server dies under it.
        server.run("cache", "drop", "--state", str(server.state))
        time.sleep(0.1)
        if time.monotonic() > deadline:
            raise TimedOut(f"the armed point was not reached in {timeout_s:g} s and {load.done()} changes")
    load.join(failed=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", POINTS)
def test_death_at_a_failpoint(server: Caudal, point: str) -> None:
    server.start()
    load = Load(server.connect, seed=len(point))
    load.start()
    wait_until(lambda: load.done() > 30, "some changes", 60)
    load.join(failed=False)
    server.stop()
    try:
        server.start(failpoints=f"{point}=kill@{RARE.get(point, 3)}")
        load_until_killed(server, load)
    except StartFailed:
        pass  # the point lies on the way of a start: that start died, the next must do
    server.kill_everything()
    server.start()
    verify(server, load)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("everything", [False, True], ids=["server", "everything"])
def test_death_at_random_moments(server: Caudal, everything: bool) -> None:
    chance = random.Random(20 + everything)
    server.start()
    load = Load(server.connect, seed=2 + everything)
    for _ in range(5):
        load.start()
        time.sleep(chance.uniform(0.2, 2.5))
        if everything:
            server.kill_everything()
            load.join(failed=True)
            server.start()
        else:
            number = server.kill_server()
            load.join(failed=True)
            server.wait_restarted(number)
        load.settle()
    verify(server, load)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", sorted(STEWARDS))
def test_death_of_the_steward(server: Caudal, point: str) -> None:
    server.start(failpoints=f"{point}=kill@{STEWARDS[point]}")
    load = Load(server.connect, seed=4)
    first = server.pid("steward")
    load.start()
    wait_until(lambda: server.pid("steward") not in {None, first}, "another steward", 60)
    load.join(failed=False)
    verify(server, load)
    server.stop()
    server.start()
    load.settle()


@pytest.mark.timeout(240)
def test_errors_of_the_store_lose_nothing(server: Caudal) -> None:
    server.start(failpoints="pack.before_put=error@5;pack.after_put=error@9")
    server.expect(r"pack\.|store|flush")
    load = Load(server.connect, seed=5)
    load.start()
    time.sleep(3)
    load.join(failed=False)
    verify(server, load)
