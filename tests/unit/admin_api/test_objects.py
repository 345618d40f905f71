"""The REST interface of the store and its packs."""

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
