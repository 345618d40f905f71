"""/v1/quotas: limits on directories; /v1/tree and /v1/usage: what directories, users and groups hold."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import (
    Caller,
    Cursor,
    Here,
    IdempotencyKey,
    IfMatch,
    Limit,
    Page,
    check_match,
    decode_cursor,
    encode_cursor,
    etag,
)
from admin_api.security import Role
from admin_api.services import Services
from admin_api.storage import once, record

router = APIRouter(route_class=GuardedRoute, tags=["quotas"])

CHANGE_TIMEOUT_S: Final = 60.0
MOST: Final = 2**63 - 1
GRACE_MAX_S: Final = 10 * 365 * 86400
# What the gateway says, in the words of HTTP; others of its refusals are conflicts.
STATUSES: Final = {
    "no_quota": 404,
    "no_such_path": 404,
    "not_exported": 404,
    "changed_meanwhile": 412,
    "invalid": 422,
    "bad_request": 422,
}
EXAMPLE: Final[dict[str, Any]] = {
    "path": "/data/projects",
    "hard_bytes": 1099511627776,
    "soft_bytes": 1000000000000,
    "hard_inodes": 1000000,
    "grace_s": 604800,
}

Id = Annotated[str, Path(pattern=r"^[1-9][0-9]{0,17}$", description="Inode of the directory.")]
Bytes = Annotated[int | None, Field(ge=0, le=MOST)]
Grace = Annotated[int, Field(ge=0, le=GRACE_MAX_S)]
AskedPath = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=4096,
        pattern=r"^/[^\x00]*$",
        description="As clients see it, with the export's.",
        examples=["/data"],
    ),
]
DirectoryPath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^/[^\x00]*$")]


class Limits(BaseModel):
    """Bytes are what is allocated, so holes are free; inodes are files of all kinds and directories. null: no such limit.
    A soft limit may be exceeded for grace_s at a time."""

    model_config = ConfigDict(extra="forbid")
    hard_bytes: Bytes = None
    soft_bytes: Bytes = None
    hard_inodes: Bytes = None
    soft_inodes: Bytes = None
    grace_s: Grace = 7 * 86400


class NewQuota(Limits):
    """path: as clients see it, with the export's."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})
    path: DirectoryPath


class QuotaChange(BaseModel):
    """What is left out stays; null takes a limit away."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"hard_bytes": 2199023255552}]})
    hard_bytes: Bytes = None
    soft_bytes: Bytes = None
    hard_inodes: Bytes = None
    soft_inodes: Bytes = None
    grace_s: Grace | None = None


class Quota(BaseModel):
    """used_*: now. *_grace_ends_s: when an exceeded soft limit turns hard, seconds since 1970; null: it is not exceeded.
    path: null for a directory that was removed a moment ago."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE,
                    "id": "1099511627781",
                    "soft_inodes": None,
                    "used_bytes": 4096,
                    "used_inodes": 1,
                    "bytes_grace_ends_s": None,
                    "inodes_grace_ends_s": None,
                }
            ]
        }
    )
    id: str
    path: str | None
    hard_bytes: int | None
    soft_bytes: int | None
    hard_inodes: int | None
    soft_inodes: int | None
    grace_s: int
    used_bytes: int
    used_inodes: int
    bytes_grace_ends_s: float | None
    inodes_grace_ends_s: float | None


class Quotas(Page):
    items: list[Quota]


class Held(BaseModel):
    """bytes: sizes of files; allocated_bytes: without their holes; blocks: of 512 bytes. As of the files' last flush."""

    files: int
    directories: int
    bytes: int
    allocated_bytes: int
    blocks: int


class Entry(Held):
    """Of a directory: what is below it. name: with signs in the place of bytes that are no UTF-8; id is exact."""

    name: str
    id: str
    is_directory: bool


class Tree(Held, Page):
    """A directory: what is below it, and a page of its entries."""

    id: str = Field(examples=["1"])
    path: str = Field(examples=["/data"])
    items: list[Entry]


class Owned(BaseModel):
    """What a user or group has in the whole file system."""

    id: int = Field(examples=[1000])
    inodes: int
    bytes: int
    allocated_bytes: int


class Usage(Page):
    items: list[Owned]


def _told(ask: Callable[[], Any]) -> Any:
    """The gateway's answer; its refusals with a status of their own."""
    try:
        return ask()
    except Problem as problem:
        status = STATUSES.get(problem.code, problem.status) if problem.status == 409 else problem.status
        raise Problem(status, problem.code, problem.detail, problem.hint, problem.headers) from problem


def _view(found: dict[str, Any]) -> Quota:
    return Quota.model_validate({**found, "id": str(found["id"])})


def _next(found: dict[str, Any]) -> str | None:
    return None if found["next"] is None else encode_cursor(found["next"])


@router.get(
    "/quotas", openapi_extra=needs(Role.VIEWER), responses=responses(400, 401, 403, 404, 409, 422, 503)
)
def list_quotas(here: Here, path: AskedPath = None, limit: Limit = 50, cursor: Cursor = None) -> Quotas:
    """Directories with limits, and what is in them now; with `path` at most that one."""
    after = decode_cursor(cursor)
    if path is not None:
        try:
            found = _told(lambda: here.link.ask("quota_show", path=path))
        except Problem as problem:
            if problem.code == "no_quota":
                return Quotas(items=[])
            raise
        return Quotas(items=[_view(found)])
    found = _told(lambda: here.link.ask("quota_list", after=after, limit=limit))
    return Quotas(items=[_view(item) for item in found["items"]], next_cursor=_next(found))


@router.post(
    "/quotas",
    status_code=201,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(400, 401, 403, 404, 409, 412, 422, 503),
)
def create_quota(
    here: Here, caller: Caller, body: NewQuota, response: Response, key: IdempotencyKey = None
) -> Quota:
    """Limits a directory. What is in it already counts at once; where that is more, only growth is refused."""
    fields = body.model_dump(mode="json")
    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            made = _told(lambda: here.link.change("quota_create", CHANGE_TIMEOUT_S, **fields))
            record(connection, here.now_s(), caller.name, caller.address, "quota.set", body.path, **fields)
            return made

        made = once(connection, here.now_s(), caller.name, "quotas", key, fields, create)
    response.headers["Location"] = f"/v1/quotas/{made['id']}"
    response.headers["ETag"] = etag(made["version"])
    return _view(made)


@router.get(
    "/quotas/{quota_id}",
    openapi_extra=needs(Role.VIEWER),
    responses=responses(400, 401, 403, 404, 409, 422, 503),
)
def show_quota(here: Here, quota_id: Id, response: Response) -> Quota:
    """One directory's limits; the ETag is what a change must name. It does not change with what is used."""
    found = _told(lambda: here.link.ask("quota_show", id=int(quota_id)))
    response.headers["ETag"] = etag(found["version"])
    return _view(found)


@router.patch(
    "/quotas/{quota_id}",
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(400, 401, 403, 404, 409, 412, 422, 428, 503),
)
def change_quota(
    here: Here,
    caller: Caller,
    quota_id: Id,
    body: QuotaChange,
    response: Response,
    if_match: IfMatch = None,
) -> Quota:
    """Changes limits. Those of a soft limit that is exceeded go on to count from when it was."""
    wanted = body.model_dump(mode="json", exclude_unset=True)
    if "grace_s" in wanted and wanted["grace_s"] is None:
        raise Problem(422, "invalid", "grace_s is a number", "leave it out to keep it")
    version = _seen(here, quota_id, if_match)
    found = _told(
        lambda: here.link.change(
            "quota_change", CHANGE_TIMEOUT_S, id=int(quota_id), version=version, **wanted
        )
    )
    with here.engine.begin() as connection:
        where = found["path"] or quota_id
        record(connection, here.now_s(), caller.name, caller.address, "quota.change", where, **wanted)
    response.headers["ETag"] = etag(found["version"])
    return _view(found)


@router.delete(
    "/quotas/{quota_id}",
    status_code=204,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(400, 401, 403, 404, 409, 412, 422, 503),
)
def remove_quota(here: Here, caller: Caller, quota_id: Id, if_match: IfMatch = None) -> None:
    """Takes a directory's limits away. If-Match may be left out."""
    version = None if if_match is None else _seen(here, quota_id, if_match)
    _told(lambda: here.link.change("quota_remove", CHANGE_TIMEOUT_S, id=int(quota_id), version=version))
    with here.engine.begin() as connection:
        record(connection, here.now_s(), caller.name, caller.address, "quota.remove", quota_id)


def _seen(here: Services, quota_id: str, if_match: str | None) -> int:
    """The version that the caller has seen. The gateway looks once more: two changes at once must not both pass."""
    found = _told(lambda: here.link.ask("quota_show", id=int(quota_id)))
    check_match(if_match, found["version"])
    return int(found["version"])


@router.get("/tree", openapi_extra=needs(Role.VIEWER), responses=responses(400, 401, 403, 404, 409, 422, 503))
def show_tree(
    here: Here,
    path: AskedPath = None,
    id: Annotated[
        str | None, Query(pattern=r"^[1-9][0-9]{0,17}$", description="In the place of path: the inode.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Tree:
    """What is below a directory, and its entries with what is below them: at once, however much that is."""
    if (path is None) == (id is None):
        raise Problem(422, "invalid", "one of path and id names the directory", "give just one of them")
    after = decode_cursor(cursor)
    where: dict[str, object] = {"path": path} if id is None else {"id": int(id)}
    found = _told(lambda: here.link.ask("tree", after=after, limit=limit, **where))
    items = [{**item, "id": str(item["id"])} for item in found["items"]]
    return Tree.model_validate({**found, "id": str(found["id"]), "items": items, "next_cursor": _next(found)})


@router.get(
    "/usage/users", openapi_extra=needs(Role.VIEWER), responses=responses(400, 401, 403, 409, 422, 503)
)
def list_users_usage(here: Here, limit: Limit = 50, cursor: Cursor = None) -> Usage:
    """What each user owns, by uid; some seconds old."""
    return _usage(here, "user", limit, cursor)


@router.get(
    "/usage/groups", openapi_extra=needs(Role.VIEWER), responses=responses(400, 401, 403, 409, 422, 503)
)
def list_groups_usage(here: Here, limit: Limit = 50, cursor: Cursor = None) -> Usage:
    """What belongs to each group, by gid; some seconds old."""
    return _usage(here, "group", limit, cursor)


def _usage(here: Services, kind: str, limit: int, cursor: str | None) -> Usage:
    after = decode_cursor(cursor)
    found = _told(lambda: here.link.ask("owner_usage", kind=kind, after=after, limit=limit))
    return Usage(items=[Owned.model_validate(item) for item in found["items"]], next_cursor=_next(found))
