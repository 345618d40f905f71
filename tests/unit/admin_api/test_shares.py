"""/v1/smb/shares: what is asked of the gateway, and what is answered when somebody else was quicker."""

from tests.unit.admin_api.conftest import Api

NEW = {"name": "Projects of 2026", "path": "/projects", "users": ["ada"]}
WHERE = "smb/shares/Projects%20of%202026"


def test_a_share_comes_changes_and_goes(api: Api) -> None:
    made = api.local("POST", "smb/shares", NEW, Idempotency_Key="k")
    assert made.status_code == 201, made.text
    assert made.headers["location"] == "/v1/" + WHERE
    assert (made.json()["users"], made.json()["encrypt"]) == (["ada"], "inherit")
    assert api.local("POST", "smb/shares", NEW, Idempotency_Key="k").json() == made.json()
    assert api.local("POST", "smb/shares", {**NEW, "name": "PROJECTS of 2026"}).json()["code"] == "exists"
    listed = api.local("GET", "smb/shares").json()
    assert (listed["running"], [one["name"] for one in listed["items"]]) == (True, [NEW["name"]])
    tag = api.local("GET", WHERE.lower()).headers["etag"]
    change = {"path": "/projects", "read_only": True}
    assert api.local("PUT", WHERE, change).status_code == 428
    changed = api.local("PUT", WHERE, change, If_Match=tag)
    assert (changed.json()["read_only"], changed.json()["users"]) == (True, [])
    assert api.local("PUT", WHERE, change, If_Match=tag).status_code == 412
    assert api.local("DELETE", WHERE, If_Match=tag).status_code == 412
    assert api.local("DELETE", WHERE, If_Match=changed.headers["etag"]).status_code == 204
    assert api.local("GET", WHERE).status_code == 404
    assert api.local("DELETE", WHERE).status_code == 404
    told = api.local("GET", "audit").json()["items"]
    assert [one["action"] for one in told] == ["share.remove", "share.change", "share.add"]
    assert told[2]["detail"] == {"path": "/projects", "users": ["ada"]}
    assert told[1]["detail"] == {"changed": ["read_only", "users"]}


def test_viewers_see_shares_and_admins_make_them(api: Api) -> None:
    assert api.ask("GET", "smb/shares", token=api.token("viewer")).status_code == 200
    assert api.ask("POST", "smb/shares", NEW, token=api.token("operator")).status_code == 403


def test_what_the_gateway_refuses_is_told(api: Api) -> None:
    refused = api.local("POST", "smb/shares", {**NEW, "name": "a/b"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert "SMB forbids /" in refused.json()["detail"]
    api.gateway.down = True
    assert api.local("GET", "smb/shares").status_code == 503
