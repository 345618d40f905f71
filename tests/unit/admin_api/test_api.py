"""The REST interface: who may do what, and what is answered."""

import datetime
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography import x509
from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import select, text

from admin_api import tables, tls
from admin_api.guard import PUBLIC, ROLE_KEY, GuardedRoute
from admin_api.link import YOUNG_S
from admin_api.metrics import COUNTERS, GAUGES
from admin_api.security import Role
from admin_api.storage import NewerDatabaseError, open_engine
from tests.unit.admin_api.conftest import Api

ROOT = Path(__file__).resolve().parents[3]
PUBLIC_PATHS = {
    "/",
    "/assets/{name}",
    "/openapi.json",
    "/ping",
    "/session",
    "/session/token",
    "/sign-in",
    "/sign-in/callback",
    "/sign-in/options",
}


def routes(node: Any) -> list[APIRoute]:
    """All routes of an application, also of routers within."""
    found: list[APIRoute] = []
    for route in node.routes:
        if isinstance(route, APIRoute):
            found.append(route)
        elif (inner := getattr(route, "original_router", None)) is not None:
            found += routes(inner)
        else:
            pytest.fail(f"{route!r} is no guarded route")
    return found


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    return body


def test_every_route_declares_a_permission_and_holds_it(api: Api) -> None:
    tokens = {role: api.token(role) for role in Role}
    found = routes(api.app)
    assert len(found) >= 24
    for route in found:
        assert isinstance(route, GuardedRoute)
        role = (route.openapi_extra or {})[ROLE_KEY]
        path = route.path.removeprefix("/v1")
        if role == PUBLIC:
            assert path in PUBLIC_PATHS
            continue
        asked = re.sub(r"\{.*?\}", "0" * 16, path).lstrip("/")
        if asked == "events":
            continue  # endless: test_events
        for method in route.methods:
            problem(api.ask(method, asked), 401, "unauthorized")
            problem(api.ask(method, asked, token="caudal_0_0"), 401, "unauthorized")
            for mine, token in tokens.items():
                answer = api.ask(method, asked, token=token)
                assert (answer.status_code == 403) == (not mine.covers(Role(role))), (method, path, mine)


def test_a_route_without_a_permission_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="declares no permission"):
        router.get("/open")(lambda: None)


def test_tokens_are_shown_once_hashed_expire_and_are_revoked(api: Api) -> None:
    made = api.local("POST", "tokens", {"name": "ci", "role": "admin", "expires_in_s": 60}).json()
    token = made["token"]
    with api.services.engine.connect() as connection:
        kept = str(connection.execute(select(tables.tokens)).all())
    assert token.rsplit("_", 1)[1] not in kept
    listed = api.ask("GET", "tokens", token=token).json()["items"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert "token" not in listed[0]
    api.now_s += 61
    problem(api.ask("GET", "tokens", token=token), 401, "unauthorized")
    other = api.token("viewer")
    assert api.ask("GET", "status", token=other).status_code == 200
    assert api.local("DELETE", f"tokens/{other.split('_')[1]}").status_code == 204
    problem(api.ask("GET", "status", token=other), 401, "unauthorized")


def test_creation_is_idempotent_by_key(api: Api) -> None:
    body = {"name": "ci", "role": "viewer"}
    first = api.local("POST", "tokens", body, Idempotency_Key="k1").json()
    again = api.local("POST", "tokens", body, Idempotency_Key="k1").json()
    assert again == {**first, "token": None}
    answer = api.local("POST", "tokens", {**body, "role": "admin"}, Idempotency_Key="k1")
    problem(answer, 422, "idempotency_key_reused")
    assert len(api.local("GET", "tokens").json()["items"]) == 1


def test_lists_come_in_pages(api: Api) -> None:
    for _ in range(5):
        api.token("viewer")
    seen: list[str] = []
    query = "tokens?limit=2"
    sizes: list[int] = []
    while query:
        page = api.local("GET", query).json()
        sizes.append(len(page["items"]))
        seen += [one["id"] for one in page["items"]]
        query = page["next_cursor"] and f"tokens?limit=2&cursor={page['next_cursor']}"
    assert sizes == [2, 2, 1]
    assert len(set(seen)) == 5
    problem(api.local("GET", "tokens?cursor=AAAA"), 400, "bad_cursor")


def test_users_change_only_by_what_was_seen(api: Api) -> None:
    body = {"name": "ada", "role": "viewer", "password": "correct horse"}
    assert api.local("POST", "users", body).status_code == 201
    problem(api.local("POST", "users", body), 409, "exists")
    etag = api.local("GET", "users/ada").headers["etag"]
    problem(api.local("PATCH", "users/ada", {"role": "admin"}), 428, "if_match_needed")
    changed = api.local("PATCH", "users/ada", {"role": "operator"}, If_Match=etag)
    assert changed.json()["role"] == "operator"
    problem(api.local("PATCH", "users/ada", {"role": "admin"}, If_Match=etag), 412, "changed_meanwhile")
    assert api.local("DELETE", "users/ada", If_Match=changed.headers["etag"]).status_code == 204
    problem(api.local("GET", "users/ada"), 404, "not_found")


def test_sessions_need_their_csrf_token_for_changes(api: Api) -> None:
    api.local("POST", "users", {"name": "ada", "role": "admin", "password": "correct horse"})
    signed = api.ask("POST", "session", {"name": "ada", "password": "correct horse"})
    assert signed.status_code == 201, signed.text
    cookie = signed.headers["set-cookie"]
    for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert word in cookie
    session = {"Cookie": cookie.split(";")[0]}
    csrf = {**session, "X-CSRF-Token": signed.json()["csrf_token"]}
    assert api.ask("GET", "users", headers=session).status_code == 200
    body = {"name": "t", "role": "viewer"}
    problem(api.ask("POST", "tokens", body, headers=session), 403, "csrf")
    assert api.ask("POST", "tokens", body, headers=csrf).status_code == 201
    etag = api.local("GET", "users/ada").headers["etag"]
    api.local("PATCH", "users/ada", {"disabled": True}, If_Match=etag)
    problem(api.ask("GET", "users", headers=session), 401, "unauthorized")


def test_failed_logins_are_limited(api: Api) -> None:
    api.local("POST", "users", {"name": "ada", "role": "admin", "password": "correct horse"})
    for _ in range(5):
        problem(api.ask("POST", "session", {"name": "ada", "password": "wrong"}), 401, "wrong_login")
    right = {"name": "ada", "password": "correct horse"}
    refused = api.ask("POST", "session", right)
    problem(refused, 429, "too_many_logins")
    api.now_s += int(refused.headers["retry-after"])
    assert api.ask("POST", "session", right).status_code == 201


def test_changes_are_audited_without_secrets(api: Api) -> None:
    token = api.token("operator")
    api.local("POST", "users", {"name": "ada", "role": "admin", "password": "correct horse"})
    api.ask("POST", "cache/drop", {"l2": False}, token=token)
    answer = api.local("GET", "audit")
    told = [(one["principal"], one["action"]) for one in answer.json()["items"]]
    me = f"token:{token.split('_')[1]}"
    assert told == [(me, "cache.drop"), ("local:root", "user.add"), ("local:root", "token.create")]
    assert "correct horse" not in answer.text
    assert token.rsplit("_", 1)[1] not in answer.text
    assert api.gateway.calls == [("cache_drop", {"l1": True, "l2": False})]


def test_a_flush_is_an_operation(api: Api) -> None:
    begun = api.local("POST", "journal/flush")
    assert begun.status_code == 202
    place = begun.headers["location"].removeprefix("/v1/")
    for _ in range(200):
        found = api.local("GET", place).json()
        if found["state"] != "running":
            break
        time.sleep(0.01)
    assert found["state"] == "done"
    assert found["result"] == {"dirty_bytes": 0}
    assert found["progress"]["dirty_bytes_at_start"] == 4
    problem(api.local("GET", "operations/none"), 404, "not_found")


def test_while_the_gateway_is_down_reads_say_so_and_changes_are_refused(api: Api) -> None:
    api.gateway.down = True
    problem(api.local("GET", "journal"), 503, "gateway_down")
    assert api.local("GET", "health").json()["state"] == "critical"
    api.gateway.down = False
    api.now_s += 1
    assert api.local("GET", "journal").json()["gateway_down"] is None
    api.gateway.down = True
    api.now_s += 7
    stale = api.local("GET", "journal").json()
    assert (stale["age_s"], stale["gateway_down"], stale["bytes"]) == (7.0, "no server answers", 10)
    for path, body in (("journal/flush", None), ("cache/drop", {"l1": True})):
        problem(api.local("POST", path, body), 503, "gateway_down")
    assert api.gateway.calls == []
    health = api.local("GET", "health").json()
    assert health["read_only"]
    assert "caudal_up 0.0" in api.local("GET", "metrics").text
    assert api.token("viewer"), "what the service owns can be changed"


def test_parts(api: Api) -> None:
    cache = api.local("GET", "cache").json()
    assert (cache["l1"]["hit_rate"], cache["l2"]["hit_rate"]) == (0.75, None)
    assert api.local("GET", "objects").json()["gets"] == 7
    assert api.local("GET", "config").json()[0]["key"] == "nfs_port"
    shown = api.local("GET", "metrics").text
    for line in (
        "caudal_up 1.0",
        'caudal_mirror_healthy{path="/j0"} 1.0',
        'caudal_cache_hits_total{tier="l1"} 3.0',
        'caudal_latency_seconds{operation="journal_commit",quantile="0.99"} 0.00025',
    ):
        assert line in shown
    mirrors = [{"path": "/j1", "state": "lost"}]
    api.gateway.status = {**api.gateway.status, "journal": {"mirrors": mirrors}}
    api.now_s += YOUNG_S
    assert api.local("GET", "health").json()["findings"][0]["text"] == "the mirror /j1 is lost"


def test_large_bodies_and_nonsense_are_refused(api: Api) -> None:
    token = api.token("admin")
    large = api.ask("POST", "users", {"name": "x" * 100_000}, token=token)
    problem(large, 413, "too_large")
    answer = api.ask("POST", "users", {"name": "../x", "role": "king", "password": "hunter2"}, token=token)
    problem(answer, 422, "invalid")
    assert "hunter2" not in answer.text
    assert api.ask("GET", "nothing").status_code == 404
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_documents_name_the_figures_that_there_are(api: Api) -> None:
    shown = api.local("GET", "metrics").text
    families = set(re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE))
    known = families | {name for name, _, _ in GAUGES} | {f"{name}_total" for name, _, _ in COUNTERS}
    for file in ("admin.md", "monitoring/caudal-alerts.yml", "monitoring/caudal-dashboard.json"):
        content = (ROOT / "docs" / file).read_text()
        named = set(re.findall(r"\bcaudal_[a-z0-9_]+", content))
        assert len(named) > 5
        assert not named - known, f"{file} names figures that there are not"
    json.loads((ROOT / "docs/monitoring/caudal-dashboard.json").read_text())


def test_a_later_versions_database_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'admin.db'}"
    engine = open_engine(url)
    with engine.begin() as connection:
        found = compare_metadata(MigrationContext.configure(connection), tables.metadata)
        assert not found, "the migrations make the tables that the code knows"
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(NewerDatabaseError, match="9999"):
        open_engine(url)


def test_the_certificate_is_made_once_and_renewed_in_time(tmp_path: Path) -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate, key = tls.ensure(tmp_path, "nas.example", lambda: now)
    first = certificate.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["nas.example", "localhost"]
    tls.ensure(tmp_path, "nas.example", lambda: now)
    assert certificate.read_bytes() == first
    tls.ensure(tmp_path, "nas.example", lambda: now + datetime.timedelta(days=800))
    second = certificate.read_bytes()
    assert second != first
    # A crash between the two files: they do not fit.
    certificate.write_bytes(first)
    tls.ensure(tmp_path, "nas.example", lambda: now)
    assert certificate.read_bytes() not in (first, second)
