"""/v1/exports: what is asked of the gateway, and what is answered when somebody else was quicker."""

from tests.unit.admin_api.conftest import Api

NEW = {"name": "projects", "path": "/projects", "pseudo": "/projects", "rules": [{"clients": ["10.0.0.1/8"]}]}


def test_an_export_comes_changes_and_goes(api: Api) -> None:
    made = api.local("POST", "exports", NEW, Idempotency_Key="k")
    assert made.status_code == 201, made.text
    assert made.json()["rules"] == [{"clients": ["10.0.0.0/8"], "access": "rw", "squash": "root"}]
    assert api.local("POST", "exports", NEW, Idempotency_Key="k").json() == made.json()
    assert api.local("POST", "exports", NEW).json()["code"] == "exists"
    tag = api.local("GET", "exports/projects").headers["etag"]
    assert api.local("PATCH", "exports/projects", {"read_only": True}).status_code == 428
    changed = api.local("PATCH", "exports/projects", {"read_only": True}, If_Match=tag)
    assert changed.json()["read_only"]
    assert api.local("PATCH", "exports/projects", {"read_only": False}, If_Match=tag).status_code == 412
    assert api.local("DELETE", "exports/projects", If_Match=tag).status_code == 412
    assert api.local("DELETE", "exports/projects", If_Match=changed.headers["etag"]).status_code == 204
    assert api.local("GET", "exports/projects").status_code == 404
    actions = [one["action"] for one in api.local("GET", "audit").json()["items"]]
    assert actions == ["export.remove", "export.change", "export.add"]


def test_viewers_see_exports_and_admins_make_them(api: Api) -> None:
    assert api.ask("GET", "exports", token=api.token("viewer")).status_code == 200
    assert api.ask("POST", "exports", NEW, token=api.token("operator")).status_code == 403


def test_what_the_gateway_refuses_is_told(api: Api) -> None:
    refused = api.local("POST", "exports", {**NEW, "security": ["dh"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert "krb5p" in refused.json()["hint"]
    api.gateway.down = True
    assert api.local("POST", "exports", NEW).status_code == 503
    assert api.local("GET", "exports").status_code == 503
