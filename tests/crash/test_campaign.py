"""The crash campaign in short: rounds of `python -m bench.crash` that were chosen for their faults; and whether it would
tell if something were lost.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.crash.campaign import Campaign, RoundFailed
from bench.crash.plan import Disturbance, Plan, draw
from tests.ganesha.nfs3_client import FILE_SYNC, Client
from tests.support.caudal import EXPORT

CLIENTS = 3
# Kill of the server; of everything, and a mirror's directory is empty; a mirror fails while it is written; death at a step
# with a client of NFS 4.2 and a store that takes no writes.
ROUNDS = ((7, 1), (21, 12), (18, 5), (7, 5))
DEATH_AFTER_ERROR_S = 5.0
EXPECTED = {"kill_server", "kill_everything", "mirror_wiped", "mirror_error", "store_read_only"}


@pytest.fixture(scope="module")
def campaign(private_network: None, module_disk_path: Path) -> Iterator[Campaign]:
    with Campaign(module_disk_path, clients=CLIENTS) as running:
        yield running


def plan_of(seed: int, number: int) -> Plan:
    plan = draw(seed, number, clients=CLIENTS, store="directory")
    if any(one.kind == "mirror_error" for one in plan.disturbances):
        # The step that fails is to be reached before the death, however slow the machine is.
        return replace(plan, death_at_s=DEATH_AFTER_ERROR_S)
    return plan


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost(campaign: Campaign) -> None:
    done = [campaign.play(plan_of(*which)) for which in ROUNDS]
    hit = Counter(fault for one in done for fault in one.faults)
    assert hit.keys() >= EXPECTED, hit
    assert any(fault.startswith("failpoint") for fault in hit), hit
    checked = sum(one.checked for one in done)
    assert checked > 100
    assert checked == sum(one.operations.total() - one.operations["read"] for one in done)
    campaign.everything_again(plan_of(7, 1))


@pytest.mark.timeout(120)
def test_what_somebody_else_does_to_a_file_is_told(campaign: Campaign) -> None:
    server = campaign.server
    campaign.check_logs()
    with Client(server.nfs_port, server.mountd_port, EXPORT) as other:
        homes = [other.lookup(other.root, b"c%d" % client) for client in range(CLIENTS)]
        listings = [other.readdirplus(home)[0] for home in homes]
        names = [[name for name, _cookie, _size in listing if name.startswith(b"f")] for listing in listings]
        other.remove(homes[0], names[0][0])
        with pytest.raises(RoundFailed, match=f"client 0: c0/{names[0][0].decode()}: is gone"):
            campaign.check_logs()
        other.write(other.lookup(homes[1], names[1][0]), 100, b"7/7/7/0;" * 4, FILE_SYNC)
        with pytest.raises(RoundFailed, match=r"client 7's file 7, generation 7"):
            campaign.check_logs()


@pytest.mark.timeout(120)
def test_a_journal_that_lost_its_end_is_told(private_network: None, disk_path: Path) -> None:
    """Both mirrors lose the same records, which are nowhere else: the server cannot know, the clients do."""
    later = ("--flush-age-s", "600", "--checkpoint-interval-s", "600")
    lost = Plan(
        number=1,
        seed=1,
        versions=(3, 3),
        failpoints="",
        death="everything",
        death_at_s=1.0,
        disturbances=(Disturbance("journal_cut", 0.5, 0.1, 1),),
        drop_caches=False,
        flush_and_read=False,
        fsck="",
    )
    with (
        Campaign(disk_path, clients=2, more=later) as running,
        pytest.raises(RoundFailed, match=r"is gone|bytes|links"),
    ):
        running.play(lost)
