"""The REST interface of the store and its packs."""

import pytest

from gateway.errors import ControlError
from tests.unit.admin_api.conftest import Api
from tests.unit.admin_api.test_api import problem
from tests.unit.admin_api.test_cache import ended


def test_the_store_with_its_packs(api: Api) -> None:
    found = api.ask("GET", "objects", token=api.token("viewer")).json()
    assert (found["gets"], found["state"], found["packs"]["dead_bytes"]) == (7, "ok", 5)
    api.gateway.down = True
    api.now_s += 1
    found = api.local("GET", "objects").json()
    assert (found["gets"], found["packs"]) == (7, None)
    assert found["gateway_down"]


def test_a_collection_is_an_operation_of_operators(api: Api) -> None:
    problem(api.ask("POST", "objects/collections", token=api.token("viewer")), 403, "forbidden")
    begun = api.local("POST", "objects/collections", Idempotency_Key="once")
    done = ended(api, begun)
    assert (done["kind"], done["state"], done["result"]) == ("objects.collect", "done", {"files": 2})
    again = api.local("POST", "objects/collections", Idempotency_Key="once")
    assert again.json()["id"] == done["id"]
    assert [op for op, _ in api.gateway.calls].count("objects_collect") == 1
    assert api.local("GET", "audit").json()["items"][0]["action"] == "objects.collect"
    api.gateway.refuses = "one runs already"
    problem(api.local("POST", "objects/collections"), 409, "refused")


def test_a_policy_of_tiers_is_changed_by_its_etag(api: Api) -> None:
    found = api.ask("GET", "objects/tiering", token=api.token("viewer"))
    assert (found.json()["cool_after_days"], found.headers["etag"]) == (30, '"4"')
    wanted = {"enabled": True, "cool_after_days": 10, "cold_after_days": 100, "min_pack_bytes": 0}
    problem(api.local("PUT", "objects/tiering", wanted), 428, "if_match_needed")
    problem(api.local("PUT", "objects/tiering", wanted, If_Match='"3"'), 412, "changed_meanwhile")
    problem(api.ask("PUT", "objects/tiering", wanted, token=api.token("operator")), 403, "forbidden")
    assert api.local("PUT", "objects/tiering", wanted, If_Match='"4"').status_code == 200
    assert ("tiering_set", {"policy": wanted, "version": 4}) in api.gateway.calls
    api.gateway.refusals["tiering_set"] = ControlError("no_tiers", "a directory has no tiers")
    problem(api.local("PUT", "objects/tiering", wanted, If_Match='"4"'), 409, "no_tiers")


def test_what_tiers_cost_is_told_before(api: Api) -> None:
    found = api.local("GET", "objects/tiering/estimate").json()
    assert (found["cool"]["packs"], found["cool"]["reads"], found["cool"]["read_cost"]) == (2, 256, None)
    sheet = {
        "currency": "EUR",
        "prices": {
            "capacity_gib_month": 0.02,
            "cool_gib_month": 0.01,
            "cool_read_gib": 0.5,
            "cool_reads_10k": 100.0,
            "cool_writes_10k": 10.0,
        },
    }
    assert api.local("PUT", "meter/prices", sheet, If_Match='"0"').status_code == 200
    found = api.local("GET", "objects/tiering/estimate?cool_after_days=3").json()
    asked = {"enabled": False, "cool_after_days": 3, "cold_after_days": None, "min_pack_bytes": 1 << 20}
    assert ("tiering_estimate", {"policy": asked}) in api.gateway.calls
    cool = found["cool"]
    assert (found["currency"], cool["month_cost"], found["month_now_cost"]) == ("EUR", 0.01, 0.02)
    assert cool["read_cost"] == pytest.approx(0.5 + 256 / 100)
    assert cool["move_cost"] == pytest.approx(2 / 1000)
    assert found["cold"]["read_cost"] is None
    assert api.local("GET", "meter").json()["cost_by_item"]["cool_read_gib"] == 0


def test_a_run_is_an_operation(api: Api) -> None:
    done = ended(api, api.local("POST", "objects/tiering/runs", {"policy": {"cool_after_days": 5}}))
    assert (done["kind"], done["state"]) == ("objects.tier", "done")
    (asked,) = [fields for op, fields in api.gateway.calls if op == "tiering_run"]
    assert asked["policy"]["cool_after_days"] == 5
