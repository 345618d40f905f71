"""Limits, trees and usage over REST: what is asked of the gateway, and how its refusals are told."""

from typing import Any

import pytest

from gateway.errors import ControlError
from tests.unit.admin_api.conftest import HELD, QUOTA, Api

BODY = {"path": "/data/q", "hard_bytes": 1048576, "soft_inodes": 10}
ID = "1099511627781"


def problem(answer: Any, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


def test_limits_are_made_once_by_key_and_audited(api: Api) -> None:
    first = api.local("POST", "quotas", BODY, Idempotency_Key="k1")
    assert first.status_code == 201, first.text
    assert first.headers["location"] == f"/v1/quotas/{ID}"
    assert first.headers["etag"] == '"3"'
    again = api.local("POST", "quotas", BODY, Idempotency_Key="k1")
    assert again.json() == first.json()
    asked = [fields for op, fields in api.gateway.calls if op == "quota_create"]
    assert asked == [{**BODY, "soft_bytes": None, "hard_inodes": None, "grace_s": 604800}]
    entry = api.local("GET", "audit").json()["items"][0]
    assert (entry["action"], entry["target"]) == ("quota.set", "/data/q")
    problem(
        api.local("POST", "quotas", {**BODY, "grace_s": 1}, Idempotency_Key="k1"),
        422,
        "idempotency_key_reused",
    )


def test_changes_name_what_they_are_based_on(api: Api) -> None:
    shown = api.local("GET", f"quotas/{ID}")
    assert shown.headers["etag"] == '"3"'
    assert shown.json() == {
        **{name: value for name, value in QUOTA.items() if name != "version"},
        "id": ID,
    }
    change = {"hard_bytes": None, "soft_bytes": 7}
    problem(api.local("PATCH", f"quotas/{ID}", change), 428, "if_match_needed")
    problem(api.local("PATCH", f"quotas/{ID}", change, If_Match='"2"'), 412, "changed_meanwhile")
    assert api.local("PATCH", f"quotas/{ID}", change, If_Match='"3"').status_code == 200
    asked = [fields for op, fields in api.gateway.calls if op == "quota_change"]
    # What was not named is not sent: it stays as it is.
    assert asked == [{"id": int(ID), "version": 3, "hard_bytes": None, "soft_bytes": 7}]
    problem(api.local("PATCH", f"quotas/{ID}", {"grace_s": None}, If_Match='"3"'), 422, "invalid")
    # Somebody was faster than the gateway's own look.
    api.gateway.refusals["quota_change"] = ControlError("changed_meanwhile", "changed")
    problem(api.local("PATCH", f"quotas/{ID}", change, If_Match='"3"'), 412, "changed_meanwhile")


def test_limits_go(api: Api) -> None:
    problem(api.local("DELETE", f"quotas/{ID}", If_Match='"2"'), 412, "changed_meanwhile")
    assert api.local("DELETE", f"quotas/{ID}", If_Match='"3"').status_code == 204
    assert api.local("DELETE", f"quotas/{ID}").status_code == 204
    asked = [fields for op, fields in api.gateway.calls if op == "quota_remove"]
    assert asked == [{"id": int(ID), "version": 3}, {"id": int(ID), "version": None}]


@pytest.mark.parametrize(
    ("code", "status"),
    [("no_quota", 404), ("no_such_path", 404), ("not_exported", 404), ("exists", 409), ("invalid", 422)],
)
def test_refusals_have_a_status_of_their_own(api: Api, code: str, status: int) -> None:
    api.gateway.refusals["quota_create"] = ControlError(code, "why", "what to do")
    answer = api.local("POST", "quotas", BODY)
    problem(answer, status, code)
    assert (answer.json()["detail"], answer.json()["hint"]) == ("why", "what to do")
    assert api.local("GET", "audit").json()["items"] == []


def test_lists_go_on_where_the_last_page_ended(api: Api) -> None:
    page = api.local("GET", "quotas?limit=1").json()
    assert [item["id"] for item in page["items"]] == [ID]
    api.local("GET", f"quotas?limit=1&cursor={page['next_cursor']}")
    asked = [fields for op, fields in api.gateway.calls if op == "quota_list"]
    assert asked == [{"after": None, "limit": 1}, {"after": int(ID), "limit": 1}]


def test_a_tree_is_named_by_path_or_inode(api: Api) -> None:
    found = api.local("GET", "tree?path=/data").json()
    assert {name: found[name] for name in HELD} == HELD
    assert found["items"] == [{"name": "q", "id": ID, "is_directory": True, **HELD}]
    assert found["next_cursor"] is None
    assert api.local("GET", f"tree?id={ID}").status_code == 200
    asked = [fields for op, fields in api.gateway.calls if op == "tree"]
    assert asked == [
        {"after": None, "limit": 50, "path": "/data"},
        {"after": None, "limit": 50, "id": int(ID)},
    ]
    problem(api.local("GET", "tree"), 422, "invalid")
    problem(api.local("GET", f"tree?path=/data&id={ID}"), 422, "invalid")
    problem(api.local("GET", "tree?path=data"), 422, "invalid")


def test_usage_by_user_and_group(api: Api) -> None:
    for name, kind in (("users", "user"), ("groups", "group")):
        found = api.local("GET", f"usage/{name}").json()
        assert found["items"] == [{"id": 0, "inodes": 4, "bytes": 9, "allocated_bytes": 1024}]
        assert api.gateway.calls[-1] == ("owner_usage", {"kind": kind, "after": None, "limit": 50})


def test_figures(api: Api) -> None:
    text = api.local("GET", "metrics").text
    for line in (
        "caudal_quotas 2.0",
        "caudal_quotas_over_soft 1.0",
        "caudal_quotas_nearly_full 1.0",
        f'caudal_quota_used_ratio{{id="{ID}"}} 0.8',
    ):
        assert line in text


def test_nothing_goes_without_the_gateway(api: Api) -> None:
    api.gateway.down = True
    for method, path, body in (
        ("GET", "quotas", None),
        ("GET", "tree?path=/data", None),
        ("GET", "usage/users", None),
        ("POST", "quotas", BODY),
    ):
        problem(api.local(method, path, body), 503, "gateway_down")
