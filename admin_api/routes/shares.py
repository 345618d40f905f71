"""/v1/smb/shares: what SMB clients see. The gateway keeps them; the configured one is shown, and changed in smb.toml."""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IdempotencyKey, IfMatch, audit, check_match, etag
from admin_api.routes.kept_by_gateway import add_once, ask
from admin_api.security import Role
from admin_api.services import Services

router = APIRouter(route_class=GuardedRoute, tags=["shares"])
Name = Annotated[str, Field(min_length=1, max_length=80)]
NamePath = Annotated[str, Path(min_length=1, max_length=80)]
User = Annotated[str, Field(min_length=1, max_length=104)]
EXAMPLE: dict[str, JsonValue] = {
    "path": "/projects",
    "read_only": False,
    "users": ["ada", "@staff"],
    "hidden": False,
    "comment": "Projects of the house",
    "encrypt": "inherit",
}


class ShareChange(BaseModel):
    """path: a directory, from the root of the file system. users: who may, @ before a group; none: every user of SMB.
    hidden: not in the list of shares. encrypt: required, or as the configured share has it.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})
    path: Annotated[str, Field(min_length=1, max_length=4000)]
    read_only: bool = False
    users: Annotated[list[User], Field(max_length=200)] = []
    hidden: bool = False
    comment: Annotated[str, Field(max_length=200)] = ""
    encrypt: Literal["inherit", "required"] = "inherit"


class NewShare(ShareChange):
    """A share and its name, which is never changed. Names that differ in case alone are one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "projects", **EXAMPLE}]}
    )
    name: Name


class Share(BaseModel):
    """configured: it is that of smb.toml; encrypt then says what holds. serving: SMB clients can use it; why: why not, where
    it is because of this share.
    """

    name: str
    path: str
    read_only: bool
    users: list[str]
    hidden: bool
    comment: str
    encrypt: Literal["inherit", "required", "desired"]
    version: int
    configured: bool
    serving: bool
    why: str = ""


class Shares(BaseModel):
    """set_up: first boot runs Samba on this machine. running: it does. why: why nothing is served."""

    set_up: bool
    running: bool
    why: str
    items: list[Share]


def _listed(here: Services) -> Shares:
    return Shares.model_validate(ask(here, "shares"))


def _find(here: Services, name: str) -> Share:
    wanted = name.casefold()
    for found in _listed(here).items:
        if found.name.casefold() == wanted:
            return found
    raise Problem(404, "not_found", f"there is no share {name}")


@router.get("/smb/shares", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 409, 503))
def list_shares(here: Here) -> Shares:
    """All shares, the configured one first, and whether Samba runs."""
    return _listed(here)


@router.post(
    "/smb/shares",
    status_code=201,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 422, 503),
)
def add_share(
    here: Here, caller: Caller, body: NewShare, response: Response, key: IdempotencyKey = None
) -> Share:
    """Shares one more directory. Clients of other shares do not notice. Without Samba on this machine it is only kept."""
    made = add_once(here, caller, "share", key, body.model_dump(mode="json"), ("path", "users"))
    response.headers["ETag"] = etag(made["version"])
    response.headers["Location"] = f"/v1/smb/shares/{quote(body.name)}"
    return Share.model_validate(made)


@router.get(
    "/smb/shares/{name}", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 404, 409, 422, 503)
)
def show_share(here: Here, name: NamePath, response: Response) -> Share:
    """One share; the ETag is what a change must name."""
    found = _find(here, name)
    response.headers["ETag"] = etag(found.version)
    return found


@router.put(
    "/smb/shares/{name}",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 404, 409, 412, 422, 428, 503),
)
def change_share(
    here: Here,
    caller: Caller,
    name: NamePath,
    body: ShareChange,
    response: Response,
    if_match: IfMatch = None,
) -> Share:
    """Replaces all but the name. Connections stay, unless less is allowed now or the path is another."""
    before = _find(here, name)
    check_match(if_match, before.version)
    fields = body.model_dump(mode="json")
    changed = sorted(field for field, value in fields.items() if getattr(before, field) != value)
    made = Share.model_validate(
        ask(here, "share_set", name=before.name, version=before.version, changes=fields)
    )
    audit(here, caller, "share.change", made.name, changed=changed)
    response.headers["ETag"] = etag(made.version)
    return made


@router.delete(
    "/smb/shares/{name}",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 409, 412, 422, 503),
)
def remove_share(here: Here, caller: Caller, name: NamePath, if_match: IfMatch = None) -> None:
    """Ends a share and its connections; the files stay. If-Match may be left out."""
    before = _find(here, name)
    if if_match is not None:
        check_match(if_match, before.version)
    version = None if if_match is None else before.version
    ask(here, "share_remove", name=before.name, version=version)
    audit(here, caller, "share.remove", before.name)
