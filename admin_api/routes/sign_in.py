"""/v1/sign-in: sign-in by an OpenID Connect issuer, and what is set of it."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import Connection, select, update

from admin_api import meter, oidc, sessions, tables
from admin_api.guard import GuardedRoute, address_of, needs, public
from admin_api.oidc import NO_PASSWORD, SETTING, Person, Provider
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IfMatch, check_match, etag
from admin_api.security import Role
from admin_api.services import Services
from admin_api.storage import record

router = APIRouter(route_class=GuardedRoute, tags=["session"])
ATTEMPT_COOKIE: Final = "__Host-caudal-sign-in"
Values = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=50)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class OidcSettings(BaseModel):
    """redirect_uri: https://HOST:PORT/v1/sign-in/callback, as it is registered with the issuer. roles: for each of viewer,
    operator and admin the values of `role_claim` that give it. client_secret: left out, the one that is set stays.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "issuer": "https://login.microsoftonline.com/TENANT/v2.0",
                    "client_id": "00000000-0000-0000-0000-000000000000",
                    "redirect_uri": "https://nas.example.com:8443/v1/sign-in/callback",
                    "roles": {"admin": ["Caudal.Admin"], "viewer": ["Caudal.Viewer"]},
                }
            ]
        },
    )
    issuer: Text
    client_id: Text
    client_secret: Text | None = None
    redirect_uri: Text
    role_claim: Text = "roles"
    name_claim: Text = "preferred_username"
    scopes: Text = "openid profile email"
    roles: dict[Role, Values]

    @field_validator("issuer", "redirect_uri")
    @classmethod
    def is_secure(cls, value: str) -> str:
        """Over TLS, but for this machine."""
        if not oidc.is_allowed_url(value):
            raise ValueError("give an https:// address")
        return value


class ShownOidc(BaseModel):
    """settings: null until they are set; the secret is not told."""

    settings: OidcSettings | None
    has_secret: bool


def _address(request: Request) -> str:
    return address_of(request)


def _browser(request: Request) -> str | None:
    return request.cookies.get(ATTEMPT_COOKIE)


def _read(connection: Connection) -> tuple[Provider | None, int]:
    found, version = meter.setting(connection, SETTING)
    return (None if found is None else msgspec.convert(found, Provider)), version


def _provider(here: Services) -> Provider:
    with here.engine.connect() as connection:
        provider, _ = _read(connection)
    if provider is None:
        raise Problem(404, "no_issuer", "no issuer is set", "an admin sets one: PUT /v1/sign-in/settings")
    return provider


def _shown(provider: Provider | None) -> ShownOidc:
    if provider is None:
        return ShownOidc(settings=None, has_secret=False)
    fields: dict[str, Any] = {**msgspec.to_builtins(provider), "client_secret": None}
    return ShownOidc(
        settings=OidcSettings.model_validate(fields), has_secret=provider.client_secret is not None
    )


@router.get("/sign-in/settings", openapi_extra=needs(Role.ADMIN), responses=responses(401, 403))
def show_oidc(here: Here, response: Response) -> ShownOidc:
    """The issuer by which people sign in; the ETag is what a change must name."""
    with here.engine.connect() as connection:
        provider, version = _read(connection)
    response.headers["ETag"] = etag(version)
    return _shown(provider)


@router.put(
    "/sign-in/settings",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 412, 422, 428),
)
def set_oidc(
    here: Here, caller: Caller, body: OidcSettings, response: Response, if_match: IfMatch = None
) -> ShownOidc:
    """Sets the issuer. It is asked at the next sign-in."""
    fields: dict[str, Any] = body.model_dump(mode="json")
    with here.engine.begin() as connection:
        before, version = _read(connection)
        check_match(if_match, version)
        if body.client_secret is None and before is not None:
            fields["client_secret"] = before.client_secret
        provider = msgspec.convert(fields, Provider)
        version = meter.put_setting(connection, SETTING, msgspec.to_builtins(provider))
        told = {"issuer": body.issuer, "client_id": body.client_id}
        record(connection, here.now_s(), caller.name, caller.address, "oidc.set", "sign-in", **told)
    response.headers["ETag"] = etag(version)
    return _shown(provider)


@router.delete(
    "/sign-in/settings",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 412, 422, 428),
)
def remove_oidc(here: Here, caller: Caller, if_match: IfMatch = None) -> None:
    """Forgets the issuer and its secret. Sessions that it began end in their time; disabling a user ends theirs at once."""
    with here.engine.begin() as connection:
        before, version = _read(connection)
        if before is None:
            raise Problem(404, "no_issuer", "no issuer is set")
        check_match(if_match, version)
        # The version goes on: an ETag from before names nothing that comes later.
        meter.put_setting(connection, SETTING, None)
        told = {"issuer": before.issuer, "client_id": before.client_id}
        record(connection, here.now_s(), caller.name, caller.address, "oidc.remove", "sign-in", **told)


@router.get(
    "/sign-in",
    status_code=303,
    response_class=RedirectResponse,
    openapi_extra=public(),
    responses=responses(404, 502),
)
def begin_sign_in(here: Here) -> RedirectResponse:
    """Sends the browser to the issuer."""
    where, browser = here.oidc.begin(_provider(here))
    answer = RedirectResponse(where, 303)
    # Lax: the browser comes back from another site.
    answer.set_cookie(
        ATTEMPT_COOKIE, browser, max_age=600, path="/", secure=True, httponly=True, samesite="lax"
    )
    return answer


@router.get(
    "/sign-in/callback",
    status_code=303,
    response_class=RedirectResponse,
    openapi_extra=public(),
    responses=responses(401, 403, 404, 409, 422, 502),
)
def end_sign_in(
    here: Here,
    state: Annotated[str, Query(max_length=200)],
    address: Annotated[str, Depends(_address)],
    browser: Annotated[str | None, Depends(_browser)],
    code: Annotated[str, Query(max_length=4000)] = "",
) -> RedirectResponse:
    """Where the issuer sends the browser back to: a session begins, and the browser goes on to /."""
    try:
        if not code:
            raise Problem(401, "wrong_login", "the issuer did not let anybody in", "sign in again")
        person = here.oidc.finish(_provider(here), state, browser, code)
    except Problem as problem:
        with here.engine.begin() as connection:
            record(connection, here.now_s(), "oidc", address, "session.refused", "sign-in", why=problem.code)
        raise
    with here.engine.begin() as connection:
        begun = sessions.of_user(connection, _shadow(connection, person, here.now_s()), here.now_s())
        record(connection, here.now_s(), f"user:{person.name}", address, "session.begin", "sign-in")
    answer = RedirectResponse("/", 303)
    sessions.give(answer, begun, here.now_s())
    answer.delete_cookie(ATTEMPT_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def _shadow(connection: Connection, person: Person, now_s: float) -> int:
    """The user that stands for somebody who signs in elsewhere: without a password, with the role of this sign-in."""
    users = tables.users
    found = connection.execute(select(users).where(users.c.name == person.name)).mappings().first()
    if found is None:
        row = {"name": person.name, "role": person.role.value, "disabled": False, "created_s": now_s}
        done = connection.execute(users.insert().values(**row, password_hash=NO_PASSWORD, version=1))
        key = done.inserted_primary_key
        assert key is not None
        return int(key[0])
    if found["disabled"] or found["password_hash"] != NO_PASSWORD:
        raise Problem(403, "forbidden", f"{person.name} may not sign in", "ask an admin of this server")
    changes = {"role": person.role.value, "version": found["version"] + 1}
    if found["role"] != person.role.value:
        connection.execute(update(users).where(users.c.id == found["id"]).values(**changes))
    return int(found["id"])
