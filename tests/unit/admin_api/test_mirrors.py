"""The REST interface of the journal's mirrors."""

from tests.unit.admin_api.conftest import Api
from tests.unit.admin_api.test_api import problem


def test_mirrors_come_and_go(api: Api) -> None:
    listed = api.local("GET", "journal/mirrors").json()
    assert listed["items"] == [{"why": "", **one} for one in api.gateway.status["journal"]["mirrors"]]
    assert listed["items"], "there is something to list"
    made = api.local("POST", "journal/mirrors", {"path": "/mnt/j1"})
    assert (made.status_code, made.json()) == (201, {"path": "/mnt/j1", "added": True})
    assert api.local("POST", "journal/mirrors/remove", {"path": "/mnt/j1"}).status_code == 204
    changes = [call for call in api.gateway.calls if call[0].startswith("mirror")]
    assert changes == [("mirror_add", {"path": "/mnt/j1"}), ("mirror_remove", {"path": "/mnt/j1"})]
    audited = [one["action"] for one in api.local("GET", "audit").json()["items"]]
    assert audited == ["journal.mirror.remove", "journal.mirror.add"]


def test_who_may_and_what_is_refused(api: Api) -> None:
    operator, viewer = api.token("operator"), api.token("viewer")
    assert api.ask("GET", "journal/mirrors", token=viewer).status_code == 200
    problem(api.ask("POST", "journal/mirrors", {"path": "/j"}, token=operator), 403, "forbidden")
    problem(api.ask("POST", "journal/mirrors/remove", {"path": "/j"}, token=operator), 403, "forbidden")
    assert api.local("POST", "journal/mirrors", {"path": "j"}).status_code == 422
    api.gateway.refuses = "it is the last healthy mirror"
    problem(api.local("POST", "journal/mirrors/remove", {"path": "/j"}), 409, "refused")
