"""Answers that wait for nobody: from the last status and for callers who are known, as long as both are true."""

from typing import Any

from sqlalchemy import delete, event

from admin_api import tables
from admin_api.admitted import KEPT_S, RENEWED_S, Admission, Admitted
from admin_api.link import FRESH_S, YOUNG_S
from admin_api.security import Principal, Role
from tests.unit.admin_api.conftest import Api


class Counted:
    """How often the gateway was asked for its status, and the database for anything."""

    def __init__(self, api: Api) -> None:
        self.statuses = self.queries = 0
        ask = api.gateway.call

        def call(op: str, **fields: object) -> Any:
            self.statuses += op == "status"
            return ask(op, **fields)

        api.gateway.call = call  # type: ignore[method-assign]
        event.listen(api.services.engine, "before_cursor_execute", self._query)

    def _query(self, *_: object) -> None:
        self.queries += 1


def dirty_bytes(api: Api, token: str) -> int:
    return api.ask("GET", "status", token=token).json()["flush"]["dirty_bytes"]


def test_a_young_status_is_told_again_and_a_change_is_seen_at_once(api: Api) -> None:
    token = api.token("operator")
    seen = Counted(api)
    assert dirty_bytes(api, token) == 4
    for path in ("status", "metrics", "health", "journal", "cache", "cache/shelves", "journal/mirrors"):
        assert api.ask("GET", path, token=token).status_code == 200
    assert (seen.statuses, seen.queries) == (1, 1)
    api.gateway.status = {**api.gateway.status, "flush": {"dirty_bytes": 9, "dirty_inodes": 1, "error": None}}
    api.now_s += YOUNG_S / 2
    told = api.ask("GET", "status", token=token).json()
    assert (told["flush"]["dirty_bytes"], told["age_s"]) == (4, YOUNG_S / 2)
    assert api.ask("POST", "cache/drop", {}, token=token).status_code == 204
    assert dirty_bytes(api, token) == 9


def test_what_a_change_did_is_seen_also_where_it_failed(api: Api) -> None:
    api.token("operator")
    token = api.token("operator")
    assert dirty_bytes(api, token) == 4
    api.gateway.status = {**api.gateway.status, "flush": {"dirty_bytes": 9, "dirty_inodes": 1, "error": None}}
    api.gateway.refuses = "half of it is done"
    assert api.ask("POST", "cache/drop", {}, token=token).status_code == 409
    assert dirty_bytes(api, token) == 9


def test_a_gateway_that_is_down_is_told_as_soon_as_somebody_looked(api: Api) -> None:
    token = api.token("viewer")
    assert dirty_bytes(api, token) == 4
    api.gateway.down = True
    api.now_s += FRESH_S
    api.services.sampler.tick()
    assert api.ask("GET", "status", token=token).json()["gateway_down"] == "no server answers"


def test_who_loses_a_token_or_a_role_is_out_at_once(api: Api) -> None:
    token = api.token("viewer")
    assert api.ask("GET", "status", token=token).status_code == 200
    assert api.local("DELETE", f"tokens/{token.split('_')[1]}").status_code == 204
    assert api.ask("GET", "status", token=token).status_code == 401
    brief = api.token("viewer", expires_in_s=3)
    assert api.ask("GET", "status", token=brief).status_code == 200
    api.now_s += 3
    assert api.ask("GET", "status", token=brief).status_code == 401


def test_what_the_database_lost_behind_the_services_back_is_noticed(api: Api) -> None:
    token = api.token("viewer")
    assert api.ask("GET", "status", token=token).status_code == 200
    with api.services.engine.begin() as connection:
        connection.execute(delete(tables.tokens))
    assert api.ask("GET", "status", token=token).status_code == 200
    api.now_s += KEPT_S
    assert api.ask("GET", "status", token=token).status_code == 401


def test_an_admission_is_kept_unless_something_changed_meanwhile() -> None:
    now = [100.0]
    admitted = Admitted(lambda: now[0], lambda: now[0])
    somebody = Admission(Principal("token:1", Role.VIEWER, "::1"))
    key = admitted.key("a", "::1")
    assert key != admitted.key("a", "::2")
    era = admitted.era
    admitted.forget()
    admitted.keep(key, somebody, era)
    assert admitted.find(key) is None
    admitted.keep(key, somebody, admitted.era)
    assert admitted.find(key) == somebody.principal
    assert not admitted.is_due(key)
    now[0] += RENEWED_S
    assert admitted.is_due(key)
    assert not admitted.is_due(key), "one lookup is enough"
    admitted.keep(key, None, admitted.era)
    assert admitted.find(key) is None
