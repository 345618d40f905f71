"""/v1/session of browsers: begun with a token, looked at, ended. /v1/sign-in/options: how one may sign in."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api import meter, sessions
from admin_api.guard import GuardedRoute, needs, public, token_row
from admin_api.oidc import SETTING
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here
from admin_api.routes.users import Address, Session, SessionCookie, login_keys
from admin_api.security import Role
from admin_api.storage import record

router = APIRouter(route_class=GuardedRoute, tags=["session"])


class TokenLogin(BaseModel):
    """token: the whole, as it was shown when it was made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"token": "caudal_0f3a5c7e9b1d2468_SECRET"}]}
    )
    token: Annotated[str, Field(min_length=1, max_length=256)]


class SignInOptions(BaseModel):
    """issuer: people may sign in by an OpenID Connect issuer: /v1/sign-in."""

    issuer: bool


@router.get("/sign-in/options", openapi_extra=public())
def show_options(here: Here) -> SignInOptions:
    """What the sign-in page offers beside a password and a token."""
    with here.engine.connect() as connection:
        found, _ = meter.setting(connection, SETTING)
    return SignInOptions(issuer=found is not None)


@router.post(
    "/session/token", status_code=201, openapi_extra=public(), responses=responses(400, 401, 422, 429)
)
def sign_in_by_token(here: Here, body: TokenLogin, caller: Address, response: Response) -> Session:
    """Begins a browser's session with a token's role. It ends with the token, or after 12 hours; the page keeps no token."""
    keys = login_keys(here, caller)
    row = token_row(here, body.token.strip())
    if row is None:
        here.logins.failed(keys, here.monotonic_s())
        with here.engine.begin() as connection:
            record(connection, here.now_s(), "token:unknown", caller, "session.refused", "session")
        raise Problem(
            401, "wrong_login", "the token is not valid", "`caudal token create` makes one, as root"
        )
    name = f"token:{row['public_id']}"
    with here.engine.begin() as connection:
        begun = sessions.of_token(connection, row, here.now_s())
        record(connection, here.now_s(), name, caller, "session.begin", "session")
    sessions.give(response, begun, here.now_s())
    return Session(name=row["name"], role=Role(row["role"]), csrf_token=begun.csrf, expires_s=begun.expires_s)


@router.get("/session", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 404))
def show_session(here: Here, caller: Caller, cookie: SessionCookie) -> Session:
    """Who is signed in by the browser's cookie, with a new CSRF token; the one before ends."""
    with here.engine.begin() as connection:
        renewed = sessions.renew(connection, cookie or "")
    if renewed is None:
        raise Problem(404, "no_session", "there is no session", "only browsers that signed in have one")
    csrf, expires_s = renewed
    name = caller.name.removeprefix("user:")
    return Session(name=name, role=caller.role, csrf_token=csrf, expires_s=expires_s)


@router.delete("/session", status_code=204, openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def sign_out(here: Here, caller: Caller, cookie: SessionCookie, response: Response) -> None:
    """Ends the session of the cookie; without one nothing happens."""
    if cookie is not None:
        with here.engine.begin() as connection:
            if sessions.end(connection, cookie):
                record(connection, here.now_s(), caller.name, caller.address, "session.end", "session")
    sessions.take(response)
