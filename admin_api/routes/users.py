"""/v1/users and /v1/session: people with passwords."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, delete, select, update

from admin_api import sessions, tables
from admin_api.guard import GuardedRoute, address_of, needs, public
from admin_api.problems import Problem, responses
from admin_api.routes.common import (
    Caller,
    Cursor,
    Here,
    IdempotencyKey,
    IfMatch,
    Limit,
    Name,
    NamePath,
    Page,
    check_match,
    etag,
    page,
)
from admin_api.security import Role, hash_password, password_matches
from admin_api.services import Services
from admin_api.sessions import COOKIE, Begun
from admin_api.storage import once, record

router = APIRouter(route_class=GuardedRoute, tags=["users"])


def _cookie(request: Request) -> str | None:
    return request.cookies.get(COOKIE)


Address = Annotated[str, Depends(address_of)]
SessionCookie = Annotated[str | None, Depends(_cookie)]
Password = Annotated[str, Field(min_length=10, max_length=256)]


class NewUser(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "ada", "role": "operator", "password": "correct horse battery"}]
        },
    )
    name: Name
    role: Role
    password: Password


class UserChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "viewer"}]})
    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class User(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "ada", "role": "operator", "disabled": False, "created_s": 1790000000.0}]
        }
    )
    name: str
    role: Role
    disabled: bool
    created_s: float


class Users(Page):
    items: list[User]


class Login(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "ada", "password": "correct horse battery"}]},
    )
    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=256)]


class Session(BaseModel):
    """csrf_token: to be sent as X-CSRF-Token with every change that the session's cookie makes."""

    name: str
    role: Role
    csrf_token: str
    expires_s: float


def _find(connection: Connection, name: str) -> dict[str, Any]:
    found = connection.execute(select(tables.users).where(tables.users.c.name == name)).mappings().first()
    if found is None:
        raise Problem(404, "not_found", f"there is no user {name}")
    return dict(found)


@router.get("/users", openapi_extra=needs(Role.ADMIN), responses=responses(400, 401, 403, 422))
def list_users(here: Here, limit: Limit = 50, cursor: Cursor = None) -> Users:
    """The users, in the order in which they were made."""
    with here.engine.connect() as connection:
        rows, following = page(connection, tables.users, limit, cursor)
    return Users(items=[User.model_validate(row) for row in rows], next_cursor=following)


@router.post(
    "/users", status_code=201, openapi_extra=needs(Role.ADMIN), responses=responses(400, 401, 403, 409, 422)
)
def create_user(here: Here, caller: Caller, body: NewUser, key: IdempotencyKey = None) -> User:
    """Adds a user."""
    password_hash = hash_password(body.password)
    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            query = select(tables.users.c.id).where(tables.users.c.name == body.name)
            if connection.execute(query).first() is not None:
                raise Problem(409, "exists", f"there is a user {body.name} already")
            made = {"name": body.name, "role": body.role.value, "disabled": False, "created_s": here.now_s()}
            connection.execute(tables.users.insert().values(**made, password_hash=password_hash, version=1))
            record(
                connection, here.now_s(), caller.name, caller.address, "user.add", body.name, role=body.role
            )
            return made

        made = once(connection, here.now_s(), caller.name, "users", key, body.model_dump(mode="json"), create)
    return User.model_validate(made)


@router.get("/users/{name}", openapi_extra=needs(Role.ADMIN), responses=responses(401, 403, 404, 422))
def show_user(here: Here, name: NamePath, response: Response) -> User:
    """One user; the ETag is what a change must name."""
    with here.engine.connect() as connection:
        found = _find(connection, name)
    response.headers["ETag"] = etag(found["version"])
    return User.model_validate(found)


@router.patch(
    "/users/{name}",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 404, 412, 422, 428),
)
def change_user(
    here: Here, caller: Caller, name: NamePath, body: UserChange, response: Response, if_match: IfMatch = None
) -> User:
    """Changes role, password, or whether the user may sign in; their sessions end."""
    wanted: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"password"}, mode="json")
    if body.password is not None:
        wanted["password_hash"] = hash_password(body.password)
    with here.engine.begin() as connection:
        found = _find(connection, name)
        check_match(if_match, found["version"])
        users = tables.users
        # The version once more: two changes at once must not both pass.
        mine = (users.c.id == found["id"]) & (users.c.version == found["version"])
        changes: dict[str, Any] = {**wanted, "version": found["version"] + 1}
        if not connection.execute(update(users).where(mine).values(**changes)).rowcount:
            raise Problem(412, "changed_meanwhile", "somebody changed it meanwhile", "read it again")
        connection.execute(delete(tables.sessions).where(tables.sessions.c.user_id == found["id"]))
        told = sorted(body.model_dump(exclude_none=True))
        record(connection, here.now_s(), caller.name, caller.address, "user.change", name, changed=told)
        found = _find(connection, name)
    response.headers["ETag"] = etag(found["version"])
    return User.model_validate(found)


@router.delete(
    "/users/{name}",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 412, 422),
)
def remove_user(here: Here, caller: Caller, name: NamePath, if_match: IfMatch = None) -> None:
    """Removes a user with their sessions. If-Match may be left out."""
    with here.engine.begin() as connection:
        found = _find(connection, name)
        if if_match is not None:
            check_match(if_match, found["version"])
        connection.execute(delete(tables.users).where(tables.users.c.id == found["id"]))
        record(connection, here.now_s(), caller.name, caller.address, "user.remove", name)


def login_keys(here: Services, caller: str, *names: str) -> tuple[str, ...]:
    """What failed logins are counted by. Raises Problem (429) where too many of them failed of late."""
    keys = (*(f"name:{name}" for name in names), f"address:{caller}")
    if (wait_s := here.logins.wait_s(keys, here.monotonic_s())) > 0:
        headers = {"Retry-After": str(int(wait_s) + 1)}
        raise Problem(429, "too_many_logins", "too many logins failed", "wait, then try again", headers)
    return keys


@router.post(
    "/session",
    status_code=201,
    openapi_extra=public(),
    responses=responses(400, 401, 422, 429),
    tags=["session"],
)
def sign_in(here: Here, body: Login, caller: Address, response: Response) -> Session:
    """Signs a user in: a cookie for browsers, and the CSRF token that changes need beside it."""
    keys = login_keys(here, caller, body.name)
    with here.engine.connect() as connection:
        query = select(tables.users).where(
            tables.users.c.name == body.name, tables.users.c.disabled.is_(False)
        )
        found = connection.execute(query).mappings().first()
    matches = password_matches(found["password_hash"] if found else None, body.password)
    begun: Begun | None = None
    with here.engine.begin() as connection:
        if found is None or not matches:
            here.logins.failed(keys, here.monotonic_s())
            record(connection, here.now_s(), f"user:{body.name}", caller, "session.refused", "session")
        else:
            begun = sessions.of_user(connection, found["id"], here.now_s())
            record(connection, here.now_s(), f"user:{body.name}", caller, "session.begin", "session")
    if found is None or begun is None:
        raise Problem(401, "wrong_login", "name or password is wrong")
    sessions.give(response, begun, here.now_s())
    return Session(name=body.name, role=Role(found["role"]), csrf_token=begun.csrf, expires_s=begun.expires_s)
