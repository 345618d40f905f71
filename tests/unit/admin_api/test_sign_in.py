"""Sign-in by an issuer: a real OpenID provider on loopback, codes and tokens that do not hold, roles."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from admin_api.oidc import Provider, is_allowed_url, name_of, role_of
from admin_api.problems import Problem
from admin_api.security import Role
from tests.support.processes import free_port, wait_until
from tests.unit.admin_api.conftest import Api

CALLBACK = "https://nas.example/v1/sign-in/callback"
ROLES = {"admin": ["Caudal.Admin"], "viewer": ["Caudal.Viewer"]}
PEOPLE = {
    "ada": {"sub": "1", "preferred_username": "ada@example.com", "roles": ["Caudal.Admin", "x"]},
    "eve": {"sub": "2", "preferred_username": "ada@example.com", "roles": []},
    "bob": {"sub": "3", "preferred_username": "bob", "roles": "Caudal.Viewer"},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    port = free_port()
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "oidc_provider_mock",
        "--port",
        str(port),
        "--require-nonce",
    ]
    for person in PEOPLE.values():
        command += ["--user-claims", json.dumps(person)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, "the issuer answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def there(api: Api, issuer: str) -> Api:
    fields = {"issuer": issuer, "client_id": "caudal", "redirect_uri": CALLBACK, "roles": ROLES}
    tag = api.local("GET", "sign-in/settings").headers["etag"]
    made = api.local("PUT", "sign-in/settings", {**fields, "client_secret": "hush"}, If_Match=tag)
    assert made.status_code == 200, made.text
    assert made.json()["has_secret"]
    assert "hush" not in made.text + api.local("GET", "audit").text
    return api


def cookie_of(answer: httpx.Response, name: str) -> str:
    found = re.search(f"{name}=([^;]+)", ";".join(answer.headers.get_list("set-cookie")))
    assert found, answer.headers
    return found[1]


def begun(api: Api, person: str) -> tuple[str, str]:
    """The query with which the issuer sends the browser back, and the browser's cookie."""
    answer = api.ask("GET", "sign-in")
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    back = httpx.post(answer.headers["location"], data={"sub": PEOPLE[person]["sub"]})
    return urlsplit(back.headers["location"]).query, cookie_of(answer, "__Host-caudal-sign-in")


def come_back(api: Api, query: str, browser: str) -> httpx.Response:
    return api.ask("GET", f"sign-in/callback?{query}", headers={"Cookie": f"__Host-caudal-sign-in={browser}"})


def test_somebody_with_a_role_gets_a_session_with_it(there: Api) -> None:
    answer = come_back(there, *begun(there, "ada"))
    assert answer.status_code == 303, answer.text
    session = {"Cookie": f"__Host-caudal={cookie_of(answer, '__Host-caudal')}"}
    shown = there.ask("GET", "session", headers=session).json()
    assert (shown["role"], shown["name"][:16]) == ("admin", "ada@example.com.")
    refused = there.ask("POST", "tokens", {"name": "t", "role": "viewer"}, headers=session)
    assert refused.json()["code"] == "csrf"
    allowed = {**session, "X-CSRF-Token": shown["csrf_token"]}
    assert there.ask("POST", "tokens", {"name": "t", "role": "viewer"}, headers=allowed).status_code == 201
    # The user that stands for her has no password.
    login = {"name": shown["name"], "password": ""}
    assert there.ask("POST", "session", login).status_code == 401
    assert come_back(there, *begun(there, "ada")).status_code == 303
    assert len(there.local("GET", "users").json()["items"]) == 1


def test_without_a_role_nobody_comes_in(there: Api) -> None:
    answer = come_back(there, *begun(there, "eve"))
    assert (answer.status_code, answer.json()["code"]) == (403, "no_role")
    assert there.local("GET", "users").json()["items"] == []
    refused = there.local("GET", "audit").json()["items"][0]
    assert (refused["action"], refused["detail"]) == ("session.refused", {"why": "no_role"})


def test_a_code_is_good_once_and_in_the_browser_that_began(there: Api) -> None:
    query, browser = begun(there, "bob")
    other = begun(there, "bob")[1]
    assert come_back(there, query, other).status_code == 401
    assert come_back(there, query, browser).status_code == 401, "the attempt is used up"
    query, browser = begun(there, "bob")
    assert come_back(there, query, browser).status_code == 303
    assert come_back(there, query, browser).status_code == 401
    query, browser = begun(there, "bob")
    there.now_s += 601
    assert come_back(there, query, browser).status_code == 401
    assert there.ask("GET", "sign-in/callback?state=x&error=access_denied").status_code == 401


def test_tokens_of_another_are_refused(there: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    query, browser = begun(there, "ada")
    forged = jwt.encode({"sub": "1", "nonce": "n", "roles": ["Caudal.Admin"]}, "k" * 32, algorithm="HS256")
    monkeypatch.setattr("admin_api.oidc.Oidc._redeem", lambda *_: forged)
    answer = come_back(there, query, browser)
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_login")


def test_an_issuer_that_is_away_or_another_is_told(api: Api, issuer: str) -> None:
    assert api.ask("GET", "sign-in").json()["code"] == "no_issuer"
    for wrong, code in ((f"http://127.0.0.1:{free_port()}", "issuer_away"), (f"{issuer}/", "issuer_wrong")):
        tag = api.local("GET", "sign-in/settings").headers["etag"]
        fields = {"issuer": wrong, "client_id": "c", "redirect_uri": CALLBACK, "roles": ROLES}
        assert api.local("PUT", "sign-in/settings", fields, If_Match=tag).status_code == 200
        answer = api.ask("GET", "sign-in")
        assert (answer.status_code, answer.json()["code"]) == (502, code)


def test_an_issuer_is_removed_with_its_secret(there: Api) -> None:
    tag = there.local("GET", "sign-in/settings").headers["etag"]
    assert there.local("DELETE", "sign-in/settings").status_code == 428
    assert there.local("DELETE", "sign-in/settings", If_Match='"99"').status_code == 412
    assert there.local("DELETE", "sign-in/settings", If_Match=tag).status_code == 204
    answer = there.local("GET", "sign-in/settings")
    assert answer.json() == {"settings": None, "has_secret": False}
    assert answer.headers["etag"] != tag
    assert there.ask("GET", "sign-in").json()["code"] == "no_issuer"
    assert there.local("DELETE", "sign-in/settings", If_Match=tag).status_code == 404
    assert there.local("GET", "audit").json()["items"][0]["action"] == "oidc.remove"


def test_roles_and_names() -> None:
    provider = Provider("i", "c", CALLBACK, roles=ROLES)
    assert role_of(provider, {"roles": ["Caudal.Viewer", "Caudal.Admin"]}) is Role.ADMIN
    assert role_of(provider, {"roles": "Caudal.Viewer"}) is Role.VIEWER
    for claims in ({}, {"roles": None}, {"roles": ["admin"]}, {"roles": {"Caudal.Admin": 1}}):
        with pytest.raises(Problem):
            role_of(provider, claims)
    names: list[Any] = [name_of(provider, {"sub": str(n), "preferred_username": "../ada b"}) for n in (1, 2)]
    assert names[0] != names[1]
    assert all(name.startswith("adab.") for name in names)
    assert is_allowed_url("https://x/y")
    assert not is_allowed_url("http://example.com")
