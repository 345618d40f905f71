"""The REST interface of the cache: what is asked of the gateway, who may, what is audited."""

import time
from typing import Any

from admin_api.link import YOUNG_S
from tests.unit.admin_api.conftest import JOB, SET, Api
from tests.unit.admin_api.test_api import problem


def ended(api: Api, begun: Any) -> dict[str, Any]:
    assert begun.status_code == 202, begun.text
    place = begun.headers["location"].removeprefix("/v1/")
    for _ in range(300):
        found = api.local("GET", place).json()
        if found["state"] != "running":
            return found
        time.sleep(0.01)
    raise AssertionError("it does not end")


def test_sizes_and_shelves(api: Api) -> None:
    assert api.local("PUT", "cache/l1", {"bytes": 1 << 30}).json() == SET
    made = api.local("POST", "cache/shelves", {"path": "/s1"})
    assert (made.status_code, made.json()) == (201, {"path": "/s1", "bytes": 1 << 30})
    assert api.local("GET", "cache/shelves").json()["items"][0]["damaged_blocks"] == 1
    assert api.local("POST", "cache/shelves/resize", {"path": "/s1", "bytes": 5}).json() == SET
    assert ended(api, api.local("POST", "cache/shelves/drain", {"path": "/s0"}))["state"] == "done"
    assert api.local("POST", "cache/shelves/undrain", {"path": "/s0"}).status_code == 204
    assert api.local("POST", "cache/shelves/remove", {"path": "/s0"}).json() == {"left": None}
    changes = [call for call in api.gateway.calls if call[0] != "cache_job"]
    assert changes == [
        ("cache_resize", {"l1_bytes": 1 << 30}),
        ("shelf_add", {"path": "/s1", "bytes": None}),
        ("shelf_resize", {"path": "/s1", "bytes": 5}),
        ("shelf_drain", {"path": "/s0"}),
        ("shelf_drain", {"path": "/s0", "undo": True}),
        ("shelf_remove", {"path": "/s0"}),
    ]
    audited = [one["action"] for one in api.local("GET", "audit").json()["items"]]
    assert audited == [
        f"cache.{name}"
        for name in ("shelf.remove", "shelf.undrain", "shelf.drain", "shelf.resize", "shelf.add", "resize")
    ]


def test_only_administrators_change_sizes_and_shelves(api: Api) -> None:
    operator, viewer = api.token("operator"), api.token("viewer")
    problem(api.ask("PUT", "cache/l1", {"bytes": 1 << 30}, token=operator), 403, "forbidden")
    problem(api.ask("POST", "cache/shelves", {"path": "/s1"}, token=operator), 403, "forbidden")
    problem(api.ask("POST", "cache/warm", {"path": "/data"}, token=viewer), 403, "forbidden")
    assert api.ask("POST", "cache/warm", {"path": "/data"}, token=operator).status_code == 202
    assert api.ask("GET", "cache/pins", token=viewer).json()["items"][0]["path"] == "/data/a"


def test_jobs_are_operations(api: Api) -> None:
    done = ended(api, api.local("POST", "cache/warm", {"path": "/data/a"}))
    assert (done["state"], done["result"], done["kind"]) == ("done", {"files": 2}, "cache.warm")
    api.gateway.answers["cache_job"] = {**JOB, "state": "failed", "error": "it does not fit"}
    failed = ended(api, api.local("POST", "cache/pins", {"path": "/data/a"}))
    assert (failed["state"], failed["error"]) == ("failed", "it does not fit")
    assert api.local("DELETE", "cache/pins?path=/data/a").status_code == 204
    assert api.gateway.calls[-1] == ("cache_unpin", {"path": "/data/a"})
    api.gateway.refuses = "no such path"
    problem(api.local("POST", "cache/warm", {"path": "/x"}), 409, "refused")


def test_an_operation_is_cancelled(api: Api) -> None:
    api.gateway.answers["cache_job"] = {**JOB, "state": "running"}
    begun = api.local("POST", "cache/warm", {"path": "/data/a"})
    place = begun.headers["location"].removeprefix("/v1/")
    assert api.local("POST", f"{place}/cancel").status_code == 202
    assert ("cache_job_cancel", {"id": "j1"}) in api.gateway.calls
    api.gateway.answers["cache_job"] = {**JOB, "state": "cancelled"}
    assert ended(api, begun)["state"] == "cancelled"
    problem(api.local("POST", f"{place}/cancel"), 409, "not_cancelled")
    problem(api.local("POST", "operations/none/cancel"), 404, "not_found")


def test_the_configuration_shows_what_was_changed(api: Api) -> None:
    cache = {**api.gateway.status["cache"], "settings": {"nfs_port": 7, "changed": ["nfs_port"]}}
    api.gateway.status = {**api.gateway.status, "cache": cache}
    shown = api.local("GET", "config").json()[0]
    assert (shown["value"], shown["source"]) == (7, "changed")


def test_shelves_in_metrics_and_health(api: Api) -> None:
    shown = api.local("GET", "metrics").text
    assert 'caudal_shelf_state{path="/s0",state="ok"} 1.0' in shown
    assert 'caudal_shelf_damaged_blocks_total{path="/s0"} 1.0' in shown
    shelf = {**api.gateway.status["cache"]["shelves"][0], "state": "failed", "why": "gone"}
    cache = {**api.gateway.status["cache"], "shelves": [shelf]}
    api.gateway.status = {**api.gateway.status, "cache": cache}
    api.now_s += YOUNG_S
    assert api.local("GET", "health").json()["findings"][0]["text"] == "the shelf /s0 is failed: gone"


def test_policy_and_activity(api: Api) -> None:
    viewer = api.token("viewer")
    assert api.ask("GET", "cache/policy", token=viewer).json()["on"] is False
    assert api.ask("GET", "activity?most=3", token=viewer).json()["half_life_s"] == 30.0
    assert api.gateway.calls[-1] == ("activity", {"most": 3})
    problem(api.ask("GET", "activity?most=0", token=viewer), 422, "invalid")
