"""Sign-in by an OpenID Connect issuer such as Entra ID: authorization code with PKCE, identity token, roles by a claim."""

import base64
import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import msgspec

from admin_api.problems import Problem
from admin_api.security import Role

TIMEOUT_S: Final = 10.0
ATTEMPT_S: Final = 600.0
MAX_ATTEMPTS: Final = 1000
KNOWN_S: Final = 3600.0
LEEWAY_S: Final = 60
ALGORITHMS: Final = ("RS256", "PS256", "ES256")
SETTING: Final = "oidc"
NO_PASSWORD: Final = ""
"""Password hash of who signs in elsewhere: no password matches it."""


class Provider(msgspec.Struct, frozen=True):
    """roles: for each role the values of the claim that give it."""

    issuer: str
    client_id: str
    redirect_uri: str
    client_secret: str | None = None
    role_claim: str = "roles"
    name_claim: str = "preferred_username"
    scopes: str = "openid profile email"
    roles: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in under way. browser: what the cookie of the browser that began it holds."""

    nonce: str
    verifier: str
    browser: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in, by which name, and what they may."""

    name: str
    role: Role


class Oidc:
    """Sign-ins under way and what is known of the issuer; for any number of threads."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._documents: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def begin(self, provider: Provider) -> tuple[str, str]:
        """Where to send the browser, and what it has to bring back in its cookie."""
        state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        attempt = Attempt(
            secrets.token_urlsafe(32), secrets.token_urlsafe(48), browser, self._monotonic_s() + ATTEMPT_S
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": provider.redirect_uri,
            "scope": provider.scopes,
            "state": state,
            "nonce": attempt.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        where = str(self._discover(provider)["authorization_endpoint"])
        with self._lock:
            self._attempts[state] = attempt
            while len(self._attempts) > MAX_ATTEMPTS:
                self._attempts.popitem(last=False)
        return f"{where}{'&' if '?' in where else '?'}{urlencode(query)}", browser

    def finish(self, provider: Provider, state: str, browser: str | None, code: str) -> Person:
        """Who came back with a code. Raises Problem: 401 unless it ends a sign-in that we began, 403 without a role."""
        with self._lock:
            attempt = self._attempts.pop(state, None)
        if (
            attempt is None
            or attempt.until_s < self._monotonic_s()
            or browser is None
            or not secrets.compare_digest(attempt.browser.encode(), browser.encode())
        ):
            raise Problem(
                401, "wrong_login", "this sign-in was not begun here, or too long ago", "sign in again"
            )
        claims = self._claims(provider, attempt, self._redeem(provider, attempt, code))
        return Person(name_of(provider, claims), role_of(provider, claims))

    def _redeem(self, provider: Provider, attempt: Attempt, code: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": provider.redirect_uri,
            "client_id": provider.client_id,
            "code_verifier": attempt.verifier,
        }
        if provider.client_secret:
            form["client_secret"] = provider.client_secret
        answer = _ask("POST", str(self._discover(provider)["token_endpoint"]), form)
        return str(answer.get("id_token") or "")

    def _claims(self, provider: Provider, attempt: Attempt, token: str) -> dict[str, Any]:
        keys = self._document(str(self._discover(provider)["jwks_uri"]))
        try:
            header = jwt.get_unverified_header(token)
            known = [
                key for key in jwt.PyJWKSet.from_dict(keys).keys if header.get("kid") in (None, key.key_id)
            ]
            if header.get("alg") not in ALGORITHMS or not known:
                raise jwt.InvalidTokenError("its key or algorithm is none of the issuer's")
            claims: dict[str, Any] = jwt.decode(
                token,
                known[0].key,
                algorithms=[str(header["alg"])],
                audience=provider.client_id,
                issuer=provider.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "nonce"]},
            )
        except jwt.PyJWTError as error:
            # A key that the issuer has changed to is found at the next try.
            self._forget()
            raise Problem(
                401, "wrong_login", f"the identity token does not hold: {error}", "sign in again"
            ) from error
        if not secrets.compare_digest(str(claims["nonce"]).encode(), attempt.nonce.encode()):
            raise Problem(401, "wrong_login", "the identity token is of another sign-in", "sign in again")
        return claims

    def _discover(self, provider: Provider) -> dict[str, Any]:
        found = self._document(provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != provider.issuer:
            self._forget()
            raise Problem(
                502,
                "issuer_wrong",
                f"the issuer calls itself {str(found.get('issuer'))[:200]}",
                "correct `issuer`",
            )
        return found

    def _document(self, url: str) -> dict[str, Any]:
        with self._lock:
            until_s, known = self._documents.get(url, (0.0, {}))
        if self._monotonic_s() < until_s:
            return known
        found = _ask("GET", url, None)
        with self._lock:
            self._documents[url] = (self._monotonic_s() + KNOWN_S, found)
        return found

    def _forget(self) -> None:
        with self._lock:
            self._documents.clear()


def _ask(method: str, url: str, form: dict[str, str] | None) -> dict[str, Any]:
    """A JSON object from the issuer. Raises Problem (502, or 401 where it refused a code)."""
    try:
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            answer = client.request(method, url, data=form)
        found: Any = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Problem(
            502, "issuer_away", f"the issuer does not answer: {type(error).__name__}", "try again"
        ) from error
    if answer.is_error or not isinstance(found, dict):
        status = 401 if form is not None and answer.status_code < 500 else 502
        raise Problem(status, "wrong_login", f"the issuer answered {answer.status_code}", "sign in again")
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def role_of(provider: Provider, claims: dict[str, Any]) -> Role:
    """The highest role that the claim gives. Raises Problem (403) where it gives none."""
    found: Any = claims.get(provider.role_claim)
    values: list[Any] = list(found) if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownArgumentType]
    given = {str(value) for value in values if value is not None}
    for role in reversed(Role):
        if given & set(provider.roles.get(role.value, [])):
            return role
    raise Problem(
        403, "no_role", "the issuer gives no role for this server", "ask who manages its groups and roles"
    )


def name_of(provider: Provider, claims: dict[str, Any]) -> str:
    """A name for people, made unique by issuer and subject: who has a name elsewhere must not become somebody here."""
    subject = hashlib.sha256(f"{provider.issuer}\n{claims['sub']}".encode()).hexdigest()[:10]
    shown = re.sub(r"[^A-Za-z0-9._@-]", "", str(claims.get(provider.name_claim) or ""))[:50]
    return f"{shown.lstrip('._@-') or 'oidc'}.{subject}"


def is_allowed_url(url: str) -> bool:
    """https, or plain http to this machine."""
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and local))
