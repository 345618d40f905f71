"""How the dashboard is served, sessions of tokens, and the figures that it needs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from admin_api import pages, sessions
from admin_api.app import make_app
from admin_api.series import SERIES, Readings
from tests.unit.admin_api.conftest import Api
from tests.unit.admin_api.test_api import problem

Ask = Callable[..., httpx.Response]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A build: a page and one asset, packed."""
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>Caudal</title>")
    (web / "assets/index-abc.js").write_text("let plain;")
    (web / "assets/index-abc.js.br").write_bytes(b"brotli")
    (web / "assets/index-abc.js.gz").write_bytes(b"gzip")
    return web


@pytest.fixture
def get(api: Api, built: Path) -> Ask:
    app = make_app(api.services, built)
    return lambda path, **headers: api.ask_app(app, path, headers)


def test_the_page_comes_with_a_strict_policy_and_is_asked_for_again(get: Ask) -> None:
    page = get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-cache"
    again = get("/", **{"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == policy


def test_assets_are_packed_and_kept_for_ever(get: Ask) -> None:
    plain = get("/assets/index-abc.js", **{"Accept-Encoding": "identity"})
    assert (plain.text, plain.headers.get("content-encoding")) == ("let plain;", None)
    assert "immutable" in plain.headers["cache-control"]
    # httpx has no brotli: that the packed file is sent shows in the header and the length.
    packed = get("/assets/index-abc.js", **{"Accept-Encoding": "gzip, br;q=1.0"})
    assert packed.headers["content-encoding"] == "br"
    assert packed.headers["content-length"] == str(len(b"brotli"))
    assert packed.headers["etag"] != plain.headers["etag"]
    assert "Accept-Encoding" in packed.headers["vary"]


@pytest.mark.parametrize("path", ["/assets/none.js", "/assets/..%2Findex.html", "/assets/%2e%2e/index.html"])
def test_nothing_else_is_served(get: Ask, path: str) -> None:
    assert get(path).status_code == 404


def test_without_a_build_the_page_says_so(api: Api, tmp_path: Path) -> None:
    absent = api.ask_app(make_app(api.services, tmp_path / "nothing"), "/", {})
    assert absent.status_code == 503
    assert "tools/setup web" in absent.text
    assert pages.read(tmp_path / "nothing") == {}


def signed_in(api: Api, token: str) -> tuple[str, str]:
    """Cookie and CSRF token of a session that a token began."""
    made = api.ask("POST", "session/token", {"token": token})
    assert made.status_code == 201, made.text
    cookie = made.headers["set-cookie"]
    for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert word in cookie
    assert token not in cookie
    return cookie.split(";")[0], made.json()["csrf_token"]


def test_a_token_begins_a_session_of_its_role(api: Api) -> None:
    cookie, csrf = signed_in(api, api.token("operator"))
    assert api.ask("GET", "status", headers={"Cookie": cookie}).status_code == 200
    problem(api.ask("POST", "cache/drop", {}, headers={"Cookie": cookie}), 403, "csrf")
    both = {"Cookie": cookie, "X-CSRF-Token": csrf}
    assert api.ask("POST", "cache/drop", {}, headers=both).status_code == 204
    problem(api.ask("GET", "users", headers=both), 403, "forbidden")
    renewed = api.ask("GET", "session", headers={"Cookie": cookie}).json()
    assert renewed["role"] == "operator"
    problem(api.ask("POST", "cache/drop", {}, headers=both), 403, "csrf")
    both["X-CSRF-Token"] = renewed["csrf_token"]
    assert api.ask("DELETE", "session", headers=both).status_code == 204
    problem(api.ask("GET", "status", headers={"Cookie": cookie}), 401, "unauthorized")


def test_a_session_ends_with_its_token(api: Api) -> None:
    token = api.token("viewer")
    cookie, _ = signed_in(api, token)
    assert api.local("DELETE", f"tokens/{token.split('_')[1]}").status_code == 204
    problem(api.ask("GET", "status", headers={"Cookie": cookie}), 401, "unauthorized")
    cookie, _ = signed_in(api, api.token("viewer", expires_in_s=60))
    api.now_s += 61
    problem(api.ask("GET", "status", headers={"Cookie": cookie}), 401, "unauthorized")
    cookie, _ = signed_in(api, api.token("viewer"))
    api.now_s += sessions.SESSION_S + 1
    problem(api.ask("GET", "status", headers={"Cookie": cookie}), 401, "unauthorized")


def test_wrong_tokens_are_counted_and_recorded(api: Api) -> None:
    for _ in range(5):
        problem(api.ask("POST", "session/token", {"token": "caudal_0_0"}), 401, "wrong_login")
    problem(api.ask("POST", "session/token", {"token": api.token("viewer")}), 429, "too_many_logins")
    actions = [one["action"] for one in api.local("GET", "audit").json()["items"]]
    assert actions.count("session.refused") == 5
    api.now_s += 301
    signed_in(api, api.token("viewer"))


def test_costs_are_null_without_prices_and_sums_with_them(api: Api) -> None:
    token = api.token("admin")
    costs = api.ask("GET", "overview", token=token).json()["costs"]
    assert set(costs.values()) == {None}
    sheet = {"currency": "EUR", "prices": {"vm_hour": 3600}, "budget_month": 9}
    assert api.ask("PUT", "meter/prices", sheet, token, headers={"If-Match": "*"}).status_code == 200
    for _ in range(3):
        api.services.sampler.tick()
        api.now_s += 1
    api.services.sampler.tick()
    shown = api.ask("GET", "overview", token=token).json()
    assert shown["costs"] == {"currency": "EUR", "hour": 3, "day": 3, "month": 3, "budget_month": 9}
    assert (shown["host"], shown["version"]) == ("nas", "9.9")


def test_latencies_are_means_of_the_second(tmp_path: Path) -> None:
    def status(reads: int, took_us: float) -> dict[str, Any]:
        return {"io": {"reads": reads, "read_us_sum": took_us}}

    number = next(place for place, one in enumerate(SERIES) if one.name == "read_us_mean")
    readings = Readings()
    values = [
        readings.take(found, at_s)[number]
        for at_s, found in enumerate((status(10, 5e6), status(14, 5e6 + 800), status(14, 5e6 + 800)))
    ]
    assert json.dumps(values) == "[NaN, 200.0, NaN]"


def test_only_large_answers_are_packed(api: Api) -> None:
    token = api.token("admin")
    large = api.ask("GET", "openapi.json", headers={"Accept-Encoding": "gzip"})
    assert large.headers["content-encoding"] == "gzip"
    made = api.ask(
        "POST", "tokens", {"name": "x", "role": "viewer"}, token, headers={"Accept-Encoding": "gzip"}
    )
    assert "content-encoding" not in made.headers
