"""No route without a permission: each names its role, and its request is let in before anything of it is read."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy import select

from admin_api import sessions, tables
from admin_api.admitted import Admission, Admitted
from admin_api.problems import Problem
from admin_api.security import Principal, Role, digest, same, split_token
from admin_api.services import Services, services_of
from admin_api.sessions import COOKIE

LOCAL_SCOPE: Final = "caudal.local"
"""Set in the scope of requests that came by the local socket, whose peer the kernel named."""
ROLE_KEY: Final = "x-caudal-role"
PUBLIC: Final = "public"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
Look = Callable[[Services, str, str], Admission | None]
"""Takes a credential and the address it came from."""


def needs(role: Role) -> dict[str, Any]:
    """A route's permission, as its openapi_extra."""
    return {ROLE_KEY: role.value, "security": [{"token": []}, {"session": []}]}


def public() -> dict[str, Any]:
    """A route that everybody may call."""
    return {ROLE_KEY: PUBLIC, "security": []}


class GuardedRoute(APIRoute):
    """Raises TypeError when it is made without a permission."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        declared = (self.openapi_extra or {}).get(ROLE_KEY)
        if declared is None:
            raise TypeError(f"the route {self.path} declares no permission")
        handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()
        # Signing in is public, and a GET where an issuer sends people back: it may change their role.
        changes = declared == PUBLIC or not SAFE_METHODS.issuperset(self.methods or ())

        async def guarded(request: Request) -> Response:
            if declared != PUBLIC:
                request.state.principal = await admit(request, Role(declared))
            try:
                return await handle(request)
            finally:
                if changes:
                    services_of(request).admitted.forget()

        return guarded


async def admit(request: Request, needed: Role) -> Principal:
    """Who calls. Raises Problem: 401 when nobody known does, 403 when they may not."""
    principal = await _caller(request)
    if principal is None:
        raise Problem(
            401,
            "unauthorized",
            "a valid token is needed",
            "send it as `Authorization: Bearer TOKEN`; `caudal token create` makes one",
            {"WWW-Authenticate": 'Bearer realm="caudal"'},
        )
    if not principal.role.covers(needed):
        raise Problem(403, "forbidden", f"this takes the role {needed}; yours is {principal.role}")
    if principal.csrf_hash is not None and request.method not in SAFE_METHODS:
        sent = request.headers.get("x-csrf-token", "")
        if not same(digest(sent), principal.csrf_hash):
            raise Problem(403, "csrf", "the session's X-CSRF-Token is missing or wrong", "sign in again")
    return principal


def address_of(request: Request) -> str:
    return "local" if request.scope.get(LOCAL_SCOPE) else request.client.host if request.client else "unknown"


async def _caller(request: Request) -> Principal | None:
    """The caller by token, session or local socket, in this order."""
    address = address_of(request)
    header, cookie = request.headers.get("authorization"), request.cookies.get(COOKIE)
    if header is not None:
        scheme, _, text = header.partition(" ")
        return await _looked_up(request, _by_token, text.strip()) if scheme.lower() == "bearer" else None
    if cookie is not None:
        return await _looked_up(request, _by_session, cookie)
    return Principal("local:root", Role.ADMIN, address) if request.scope.get(LOCAL_SCOPE) else None


async def _looked_up(request: Request, look: Look, credential: str) -> Principal | None:
    services, address = services_of(request), address_of(request)
    admitted, key = services.admitted, Admitted.key(f"{look.__name__} {credential}", address)

    async def looked_up() -> Principal | None:
        era = admitted.era
        found = await run_in_threadpool(look, services, credential, address)
        admitted.keep(key, found, era)
        return None if found is None else found.principal

    # What changes something goes by the database alone.
    known = admitted.find(key) if request.method in SAFE_METHODS else None
    if known is not None and admitted.is_due(key):
        admitted.renew(looked_up())
    return known or await looked_up()


def token_row(services: Services, text: str) -> Mapping[str, Any] | None:
    """The row of a token that is valid now; None for anything else."""
    parts = split_token(text)
    if parts is None:
        return None
    table = tables.tokens
    with services.engine.connect() as connection:
        found = connection.execute(select(table).where(table.c.public_id == parts[0])).mappings().first()
    if found is None or not same(found["secret_hash"], digest(parts[1])):
        return None
    if found["expires_s"] is not None and found["expires_s"] <= services.now_s():
        return None
    return dict(found)


def _by_token(services: Services, text: str, address: str) -> Admission | None:
    found = token_row(services, text)
    if found is None:
        return None
    principal = Principal(f"token:{found['public_id']}", Role(found["role"]), address)
    return Admission(principal, found["expires_s"])


def _by_session(services: Services, cookie: str, address: str) -> Admission | None:
    with services.engine.connect() as connection:
        return sessions.find(connection, cookie, services.now_s(), address)
