"""Hit rates by export and time: what was read when, kept over restarts of the service, priced by nobody."""

from typing import Any

import pytest

from tests.unit.admin_api.conftest import Api
from tests.unit.admin_api.test_api import problem


def reads(api: Api, **exports: tuple[int, int, int]) -> None:
    """The gateway has counted so much, and the service looks."""
    names = ("l1_reads", "l2_reads", "store_reads")
    counted = [{"name": name, **dict(zip(names, counts, strict=True))} for name, counts in exports.items()]
    api.gateway.status = {**api.gateway.status, "epoch": 1, "pid": 7, "exports": counted}
    api.services.sampler.tick()
    api.now_s += 1


def rates(api: Api, query: str = "") -> Any:
    return api.ask("GET", f"cache/hit-rates{query}", token=api.token("viewer")).json()


def test_rates_by_export_and_time(api: Api) -> None:
    start_s = int(api.now_s)
    reads(api, main=(0, 0, 0), other=(0, 0, 0))
    assert rates(api)["total"]["hit_rate"] is None
    reads(api, main=(8, 1, 1), other=(0, 0, 5))
    api.now_s += 60
    reads(api, main=(18, 1, 1), other=(0, 0, 5))
    found = rates(api)
    assert (found["total"]["reads"], found["total"]["store"]) == (25, 6)
    assert found["exports"]["main"]["l1_rate"] == pytest.approx(0.9)
    assert found["exports"]["other"]["hit_rate"] == 0
    assert [(point["at_s"] - start_s // 60 * 60, point["reads"]) for point in found["points"]] == [
        (0, 15),
        (60, 10),
    ]
    assert found["points"][0]["l2_rate"] == pytest.approx(1 / 7)
    mine = rates(api, "?export=main&step=3600")
    assert (list(mine["exports"]), mine["step_s"], mine["total"]["reads"]) == (["main"], 3600, 20)
    assert rates(api, f"?from={start_s + 60}")["total"]["reads"] == 10
    assert rates(api, "?export=nobody")["total"]["reads"] == 0


def test_a_gateway_that_began_anew_counts_from_nothing(api: Api) -> None:
    reads(api, main=(100, 0, 0))
    api.gateway.status = {**api.gateway.status, "pid": 8}
    reads(api, main=(3, 0, 0))
    assert rates(api)["total"]["reads"] == 103


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?step=7", "invalid"),
        ("?from=5&to=4", "invalid"),
        ("?export=../x", "invalid"),
        ("?from=0&step=60", "too_many_points"),
    ],
)
def test_what_cannot_be_asked(api: Api, query: str, code: str) -> None:
    problem(api.ask("GET", f"cache/hit-rates{query}", token=api.token("viewer")), 422, code)
