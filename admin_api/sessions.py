"""Sessions of browsers: begun by password, issuer or token; a cookie that no script reads, and a CSRF token beside it.

Of both the hash is kept. A session that a token began ends with the token, whether that is revoked or expires.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, select, update
from starlette.responses import Response

from admin_api import tables
from admin_api.admitted import Admission
from admin_api.security import Principal, Role, digest

COOKIE: Final = "__Host-caudal"
SESSION_S: Final = 12 * 3600
_TABLES: Final = (tables.sessions, tables.token_sessions)


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session's secrets, which are told once."""

    cookie: str
    csrf: str
    expires_s: float


def of_user(connection: Connection, user_id: int, now_s: float) -> Begun:
    return _begin(connection, tables.sessions, {"user_id": user_id}, now_s, now_s + SESSION_S)


def of_token(connection: Connection, token: Mapping[str, Any], now_s: float) -> Begun:
    """token: its row. The session lasts no longer than it."""
    expires_s = min(now_s + SESSION_S, token["expires_s"] or now_s + SESSION_S)
    return _begin(connection, tables.token_sessions, {"token_id": token["id"]}, now_s, expires_s)


def _begin(
    connection: Connection, table: Table, owner: dict[str, int], now_s: float, expires_s: float
) -> Begun:
    for one in _TABLES:
        connection.execute(delete(one).where(one.c.expires_s <= now_s))
    begun = Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32), expires_s)
    row = {"secret_hash": digest(begun.cookie), "csrf_hash": digest(begun.csrf), "expires_s": expires_s}
    connection.execute(table.insert().values(**row, **owner))
    return begun


def find(connection: Connection, cookie: str, now_s: float, address: str) -> Admission | None:
    """Who has the session of a cookie; None where it has ended, or its owner may not come in any more."""
    secret_hash = digest(cookie)
    users, tokens = tables.users, tables.tokens
    mine, theirs = tables.sessions, tables.token_sessions
    by_user = (
        select(users.c.name, users.c.role, mine.c.csrf_hash, mine.c.expires_s)
        .join(users, users.c.id == mine.c.user_id)
        .where(mine.c.secret_hash == secret_hash, mine.c.expires_s > now_s, users.c.disabled.is_(False))
    )
    by_token = (
        select(tokens.c.public_id.label("name"), tokens.c.role, theirs.c.csrf_hash, theirs.c.expires_s)
        .join(tokens, tokens.c.id == theirs.c.token_id)
        .where(theirs.c.secret_hash == secret_hash, theirs.c.expires_s > now_s)
        .where(tokens.c.expires_s.is_(None) | (tokens.c.expires_s > now_s))
    )
    for kind, query in (("user", by_user), ("token", by_token)):
        if (found := connection.execute(query).mappings().first()) is not None:
            principal = Principal(f"{kind}:{found['name']}", Role(found["role"]), address, found["csrf_hash"])
            return Admission(principal, found["expires_s"])
    return None


def renew(connection: Connection, cookie: str) -> tuple[str, float] | None:
    """Another CSRF token in the place of the last, and when the session ends; None where there is none."""
    csrf = secrets.token_urlsafe(32)
    for table in _TABLES:
        mine = table.c.secret_hash == digest(cookie)
        if connection.execute(update(table).where(mine).values(csrf_hash=digest(csrf))).rowcount:
            expires_s = connection.execute(select(table.c.expires_s).where(mine)).scalar()
            return csrf, float(expires_s or 0.0)
    return None


def end(connection: Connection, cookie: str) -> bool:
    """Whether there was one."""
    hashed = digest(cookie)
    done = [connection.execute(delete(one).where(one.c.secret_hash == hashed)).rowcount for one in _TABLES]
    return any(done)


def give(response: Response, begun: Begun, now_s: float) -> None:
    """Sets the cookie: for this host and TLS alone, for no script, and sent with nothing that another site begins."""
    left_s = max(1, int(begun.expires_s - now_s))
    response.set_cookie(
        COOKIE, begun.cookie, max_age=left_s, path="/", secure=True, httponly=True, samesite="strict"
    )


def take(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
