"""/v1/tokens: what programs sign in with. The secret is shown once, when the token is made."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select

from admin_api import tables
from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Cursor, Here, IdempotencyKey, Limit, Name, Page, TokenPath, page
from admin_api.security import Role, digest, new_token
from admin_api.storage import once, record

router = APIRouter(route_class=GuardedRoute, tags=["tokens"])


class NewToken(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "grafana", "role": "viewer", "expires_in_s": 7776000}]},
    )
    name: Name
    role: Role
    expires_in_s: Annotated[float | None, Field(gt=0, le=3650 * 86400, allow_inf_nan=False)] = None


class Token(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0f3a5c7e9b1d2468",
                    "name": "grafana",
                    "role": "viewer",
                    "created_s": 1790000000.0,
                    "created_by": "local:root",
                    "expires_s": 1797776000.0,
                }
            ]
        }
    )
    id: str
    name: str
    role: Role
    created_s: float
    created_by: str
    expires_s: float | None


class MadeToken(Token):
    """token: the whole secret, never shown again; null when a repeated Idempotency-Key finds it made already."""

    token: str | None


class Tokens(Page):
    items: list[Token]


def _shown(row: dict[str, Any]) -> Token:
    return Token.model_validate({**row, "id": row["public_id"]})


@router.get("/tokens", openapi_extra=needs(Role.ADMIN), responses=responses(400, 401, 403, 422))
def list_tokens(here: Here, limit: Limit = 50, cursor: Cursor = None) -> Tokens:
    """The tokens, in the order in which they were made, also those that have expired."""
    with here.engine.connect() as connection:
        rows, following = page(connection, tables.tokens, limit, cursor)
    return Tokens(items=[_shown(row) for row in rows], next_cursor=following)


@router.post(
    "/tokens", status_code=201, openapi_extra=needs(Role.ADMIN), responses=responses(400, 401, 403, 422)
)
def create_token(here: Here, caller: Caller, body: NewToken, key: IdempotencyKey = None) -> MadeToken:
    """Makes a token with a role of its own."""
    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            public_id, secret, whole = new_token()
            now_s = here.now_s()
            row = {
                "name": body.name,
                "role": body.role.value,
                "created_s": now_s,
                "created_by": caller.name,
                "expires_s": None if body.expires_in_s is None else now_s + body.expires_in_s,
            }
            values = {**row, "public_id": public_id, "secret_hash": digest(secret)}
            connection.execute(tables.tokens.insert().values(**values))
            record(
                connection,
                now_s,
                caller.name,
                caller.address,
                "token.create",
                public_id,
                name=body.name,
                role=body.role,
            )
            return {"id": public_id, **row, "token": whole}

        made = once(
            connection,
            here.now_s(),
            caller.name,
            "tokens",
            key,
            body.model_dump(mode="json"),
            create,
            frozenset({"token"}),
        )
    return MadeToken.model_validate(made)


@router.get("/tokens/{token_id}", openapi_extra=needs(Role.ADMIN), responses=responses(401, 403, 404, 422))
def show_token(here: Here, token_id: TokenPath) -> Token:
    """One token, without its secret."""
    with here.engine.connect() as connection:
        query = select(tables.tokens).where(tables.tokens.c.public_id == token_id)
        found = connection.execute(query).mappings().first()
    if found is None:
        raise Problem(404, "not_found", f"there is no token {token_id}")
    return _shown(dict(found))


@router.delete(
    "/tokens/{token_id}",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 422),
)
def revoke_token(here: Here, caller: Caller, token_id: TokenPath) -> None:
    """Revokes a token: from now on it is unknown."""
    with here.engine.begin() as connection:
        gone = connection.execute(delete(tables.tokens).where(tables.tokens.c.public_id == token_id)).rowcount
        if not gone:
            raise Problem(404, "not_found", f"there is no token {token_id}")
        record(connection, here.now_s(), caller.name, caller.address, "token.revoke", token_id)
