"""What routes share: names, pages, ETags."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import Connection, Table, select

from admin_api.link import Known
from admin_api.problems import Problem
from admin_api.security import Principal
from admin_api.services import Services, principal_of, services_of
from admin_api.storage import record


# Coroutines: for a plain function each of them would take a thread, and a request under load waits for every switch.
async def _here(request: Request) -> Services:
    return services_of(request)


async def _caller(request: Request) -> Principal:
    return principal_of(request)


Here = Annotated[Services, Depends(_here)]
Caller = Annotated[Principal, Depends(_caller)]
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
NamePath = Annotated[str, Path(pattern=NAME_PATTERN)]
TokenPath = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
Limit = Annotated[int, Query(ge=1, le=200, description="Most items of the page.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before; opaque.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="The same key with the same body creates once, within a day.",
    ),
]
IfMatch = Annotated[str | None, Header(alias="If-Match", description="ETag that the caller has seen.")]


def audit(here: Services, caller: Principal, action: str, target: str, **detail: object) -> None:
    """Records a change that the gateway made."""
    with here.engine.begin() as connection:
        record(connection, here.now_s(), caller.name, caller.address, action, target[:200], **detail)


async def known_now(here: Services) -> Known:
    """The gateway's status, without a thread where the last one will do. Raises Problem (503) where none was ever known."""
    return here.link.recent() or await run_in_threadpool(here.link.known)


class Page(BaseModel):
    """Base of lists: next_cursor is null on the last page."""

    next_cursor: str | None = Field(default=None)


def encode_cursor(row_id: int) -> str:
    return base64.urlsafe_b64encode(f"v1:{row_id}".encode()).decode()


def decode_cursor(cursor: str | None) -> int | None:
    """Raises Problem (400) for what no page ended with."""
    if cursor is None:
        return None
    try:
        version, _, number = (
            base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().partition(":")
        )
        row_id = int(number)
    except (binascii.Error, ValueError) as error:
        raise Problem(
            400, "bad_cursor", "the cursor is not one of ours", "leave it out to begin anew"
        ) from error
    if version != "v1" or not 0 <= row_id < 1 << 62:
        raise Problem(400, "bad_cursor", "the cursor is not one of ours", "leave it out to begin anew")
    return row_id


def page(
    connection: Connection, table: Table, limit: int, cursor: str | None, *, newest_first: bool = False
) -> tuple[Sequence[dict[str, Any]], str | None]:
    """Rows by id after the cursor, and the cursor of the next page."""
    after = decode_cursor(cursor)
    query = select(table).order_by(table.c.id.desc() if newest_first else table.c.id).limit(limit + 1)
    if after is not None:
        query = query.where(table.c.id < after if newest_first else table.c.id > after)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    more = len(rows) > limit
    rows = rows[:limit]
    return rows, encode_cursor(rows[-1]["id"]) if more else None


def etag(version: int) -> str:
    return f'"{version}"'


def check_match(if_match: str | None, version: int) -> None:
    """Raises Problem: 428 without If-Match, 412 when the resource has changed since."""
    if if_match is None:
        raise Problem(428, "if_match_needed", "a change names the ETag that it is based on", "send If-Match")
    if if_match.strip() not in ("*", etag(version)):
        raise Problem(412, "changed_meanwhile", "somebody changed it meanwhile", "read it again")
