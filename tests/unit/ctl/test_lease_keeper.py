"""The thread that keeps the lease: how attempts end, when the next one comes, and the core's own fence behind it."""

import threading

import pytest

from gateway._core import Busy, CoreError, Fence
from gateway.errors import StartError
from gateway.fsal.lease_keeper import GO_ON_S, LEAST_PAUSE_S, RETRY_S, LeaseKeeper
from gateway.objects.ownership import ContestedError, OwnershipLostError
from tests.support.processes import wait_until


class Scripted:
    """An ownership whose renewals end as told, the last one again and again."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.renewals = 0

    def renew(self) -> None:
        self.renewals += 1
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if end is not None:
            raise end


def keeper(
    ownership: Scripted, fence: Fence, *, strict: bool = False, lost: list[object] | None = None
) -> LeaseKeeper:
    told = [] if lost is None else lost
    return LeaseKeeper(ownership, fence, lease_s=30, strict=strict, on_lost=told.append)


def test_a_renewed_lease_is_renewed_again_in_a_third_of_its_time() -> None:
    fence = Fence()
    assert (fence.state, fence.lease_left_s) == ("valid", None)
    kept = keeper(Scripted(None), fence)
    assert kept.turn() == 10
    assert fence.lease_left_s is not None
    assert 29 < fence.lease_left_s <= 30
    assert fence.state == "valid"
    fence.pass_()


@pytest.mark.parametrize("error", [StartError("away"), ValueError("a defect")])
def test_without_an_answer_it_goes_on(error: Exception) -> None:
    fence = Fence()
    kept = keeper(Scripted(error, None), fence)
    assert kept.turn() == RETRY_S < GO_ON_S
    assert (fence.state, fence.lease_left_s) == ("unconfirmed", 0.0)
    assert kept.trouble in {"away", "ValueError('a defect')"}
    fence.pass_()
    kept.turn()
    assert (fence.state, kept.trouble) == ("valid", None)


def test_a_strict_one_waits_for_an_answer() -> None:
    fence = Fence()
    ownership = Scripted(StartError("away"))
    kept = keeper(ownership, fence, strict=True)
    kept.turn()
    assert fence.state == "waiting"
    kept.start()
    with pytest.raises(Busy, match="has not confirmed"):
        fence.pass_()
    ownership.ends = [None]
    wait_until(lambda: fence.state == "valid", "the next attempt")
    fence.pass_()
    kept.stop()


def test_a_lost_file_system_is_told_once_and_nothing_passes() -> None:
    fence = Fence()
    told: list[object] = []
    ownership = Scripted(None, ContestedError(), OwnershipLostError(None))
    kept = keeper(ownership, fence, lost=told)
    kept.turn()
    assert kept.turn() == RETRY_S
    assert fence.state == "waiting"
    kept.start()
    with pytest.raises(CoreError, match="no longer owns"):
        fence.pass_()
    wait_until(lambda: told, "it is told")
    kept.stop()
    assert (len(told), ownership.renewals, fence.state) == (1, 3, "fenced")


def test_replies_that_wait_call_for_an_attempt_and_not_for_hundreds() -> None:
    fence = Fence()
    ownership = Scripted(ContestedError())
    kept = keeper(ownership, fence)
    kept.start()
    wait_until(lambda: fence.state == "waiting", "the first attempt")
    threads = [threading.Thread(target=_ask, args=(fence,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    kept.stop()
    assert ownership.renewals <= 2 + 8 * 3
    assert LEAST_PAUSE_S > 0


def _ask(fence: Fence) -> None:
    for _ in range(3):
        with pytest.raises(Busy):
            fence.pass_()
