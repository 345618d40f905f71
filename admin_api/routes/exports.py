"""/v1/exports: what clients mount. The gateway keeps them; the one of the configuration is shown and is changed there."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import (
    Caller,
    Here,
    IdempotencyKey,
    IfMatch,
    Name,
    NamePath,
    audit,
    check_match,
    etag,
)
from admin_api.routes.kept_by_gateway import add_once, ask
from admin_api.security import Role
from admin_api.services import Services

router = APIRouter(route_class=GuardedRoute, tags=["exports"])
Text = Annotated[str, Field(min_length=1, max_length=4000)]
Client = Annotated[str, Field(min_length=1, max_length=300)]


class ExportRule(BaseModel):
    """What some clients may: addresses, networks, host names, @netgroups or *. The first rule that names a client holds."""

    model_config = ConfigDict(extra="forbid")
    clients: Annotated[list[Client], Field(min_length=1, max_length=200)]
    access: Literal["rw", "ro", "none"] = "rw"
    squash: Literal["none", "root", "all"] = "root"


Rules = Annotated[list[ExportRule], Field(min_length=1, max_length=100)]
Security = Annotated[list[Annotated[str, Field(max_length=16)]], Field(min_length=1, max_length=5)]
"""sys, none, krb5 (who it is), krb5i (and that nobody changed it), krb5p (and that nobody reads it)."""
Audit = Literal["off", "changes", "all"]
"""Which operations of clients are told in the audit of files: changes and writes, or reads too."""


class NewExport(BaseModel):
    """path: a directory, from the root of the file system. pseudo: the path that clients mount."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "projects",
                    "path": "/projects",
                    "pseudo": "/projects",
                    "rules": [{"clients": ["10.0.0.0/8"], "access": "rw", "squash": "root"}],
                }
            ]
        },
    )
    name: Name
    path: Text
    pseudo: Text
    rules: Rules
    security: Security = ["sys"]
    read_only: bool = False
    audit: Audit = "off"


class ExportChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"read_only": True}]})
    rules: Rules | None = None
    security: Security | None = None
    read_only: bool | None = None
    audit: Audit | None = None


class Export(BaseModel):
    """configured: it is the configuration's. serving: clients can mount it; false where its directory is gone."""

    name: str
    id: int
    path: str
    pseudo: str
    rules: list[ExportRule]
    security: list[str]
    read_only: bool
    audit: Audit = "off"
    version: int
    configured: bool
    serving: bool


class Exports(BaseModel):
    items: list[Export]


def _find(here: Services, name: str) -> Export:
    for found in ask(here, "exports"):
        if found["name"] == name:
            return Export.model_validate(found)
    raise Problem(404, "not_found", f"there is no export {name}")


@router.get("/exports", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 409, 503))
def list_exports(here: Here) -> Exports:
    """All exports, that of the configuration first."""
    return Exports(items=[Export.model_validate(one) for one in ask(here, "exports")])


@router.post(
    "/exports",
    status_code=201,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 422, 503),
)
def add_export(
    here: Here, caller: Caller, body: NewExport, response: Response, key: IdempotencyKey = None
) -> Export:
    """Serves one more directory. Clients of other exports do not notice."""
    made = add_once(here, caller, "export", key, body.model_dump(mode="json"), ("path", "pseudo"))
    response.headers["ETag"] = etag(made["version"])
    response.headers["Location"] = f"/v1/exports/{body.name}"
    return Export.model_validate(made)


@router.get(
    "/exports/{name}", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 404, 409, 422, 503)
)
def show_export(here: Here, name: NamePath, response: Response) -> Export:
    """One export; the ETag is what a change must name."""
    found = _find(here, name)
    response.headers["ETag"] = etag(found.version)
    return found


@router.patch(
    "/exports/{name}",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 404, 409, 412, 422, 428, 503),
)
def change_export(
    here: Here,
    caller: Caller,
    name: NamePath,
    body: ExportChange,
    response: Response,
    if_match: IfMatch = None,
) -> Export:
    """Changes who may do what; it holds from the next request of a client on. Paths are not changed."""
    before = _find(here, name)
    check_match(if_match, before.version)
    changes = body.model_dump(exclude_none=True, mode="json")
    made = Export.model_validate(ask(here, "export_set", name=name, version=before.version, changes=changes))
    audit(here, caller, "export.change", name, changed=sorted(changes))
    response.headers["ETag"] = etag(made.version)
    return made


@router.delete(
    "/exports/{name}",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 409, 412, 422, 503),
)
def remove_export(here: Here, caller: Caller, name: NamePath, if_match: IfMatch = None) -> None:
    """Ends an export: its clients get ESTALE; the files stay. If-Match may be left out."""
    version = None
    if if_match is not None:
        before = _find(here, name)
        check_match(if_match, before.version)
        version = before.version
    ask(here, "export_remove", name=name, version=version)
    audit(here, caller, "export.remove", name)
