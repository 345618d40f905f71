"""/v1/limits: made, replaced by those who have seen them, and removed."""

from tests.unit.admin_api.conftest import Api

BODY = {"export": "main", "read_bytes_s": 1e6, "burst_s": 2}


def test_a_limit_comes_changes_and_goes(api: Api) -> None:
    made = api.local("PUT", "limits/slow", BODY)
    assert made.status_code == 200, made.text
    assert made.json()["read_bytes_s"] == 1e6
    assert api.local("PUT", "limits/slow", BODY).status_code == 428
    tag = api.local("GET", "limits/slow").headers["etag"]
    assert api.local("PUT", "limits/slow", {**BODY, "ops_s": 5}, If_Match=tag).json()["version"] == 2
    assert api.local("PUT", "limits/slow", BODY, If_Match=tag).status_code == 412
    assert api.local("DELETE", "limits/slow", If_Match=tag).status_code == 412
    assert api.local("DELETE", "limits/slow").status_code == 204
    assert api.local("GET", "limits/slow").status_code == 404
    assert api.local("PUT", "limits/slow", BODY, If_Match=tag).status_code == 412
    actions = [one["action"] for one in api.local("GET", "audit").json()["items"]]
    assert actions == ["limit.remove", "limit.set", "limit.set"]


def test_limits_that_mean_nothing_are_refused(api: Api) -> None:
    for body in (
        {"export": "a", "client": "::1", "ops_s": 1},
        {"export": "a"},
        {"client": "nobody", "ops_s": 1},
    ):
        assert api.local("PUT", "limits/x", body).status_code == 422
    assert api.local("PUT", "limits/trial", BODY).status_code == 422
    assert api.ask("PUT", "limits/x", BODY, token=api.token("operator")).status_code == 403
