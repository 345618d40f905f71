"""The journal's mirrors: how they are, and which directories are to be some."""

from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import responses
from admin_api.routes.common import Caller, Here, audit, known_now
from admin_api.security import Role

router = APIRouter(route_class=GuardedRoute, tags=["journal"])
TIMEOUT_S: Final = 120.0
CHANGES: Final = responses(400, 401, 403, 409, 422, 503)


class Mirror(BaseModel):
    """A directory that holds all of the journal, or is to. state: healthy, rebuilding or lost; why, if not healthy."""

    model_config = ConfigDict(extra="allow")
    path: str = Field(examples=["/mnt/journal1/journal"])
    state: str = Field(examples=["healthy"])
    why: str = Field(examples=[""])


class Mirrors(BaseModel):
    """All of them. age_s: how old the figures are; gateway_down: why there are no newer ones, else null."""

    items: list[Mirror]
    age_s: float
    gateway_down: str | None = None


class At(BaseModel):
    """A directory of the server's, as an absolute path."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(pattern="^/", max_length=4096, examples=["/mnt/journal1/journal"])


class Added(BaseModel):
    """added: false where it was a mirror already."""

    path: str
    added: bool


@router.get("/journal/mirrors", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 503))
async def list_mirrors(here: Here) -> Mirrors:
    """The mirrors and their states."""
    known = await known_now(here)
    found: list[dict[str, Any]] = known.status.get("journal", {}).get("mirrors", [])
    items = [Mirror.model_validate({"why": "", **one}) for one in found]
    return Mirrors(items=items, age_s=known.age_s, gateway_down=known.why)


@router.post("/journal/mirrors", status_code=201, openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def add_mirror(here: Here, caller: Caller, body: At) -> Added:
    """Takes a directory in as a mirror, now and for later starts; a lost one is rebuilt, whatever disk it lies on."""
    done = here.link.change("mirror_add", TIMEOUT_S, path=body.path)
    audit(here, caller, "journal.mirror.add", body.path)
    return Added(path=body.path, added=done["added"])


@router.post("/journal/mirrors/remove", status_code=204, openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def remove_mirror(here: Here, caller: Caller, body: At) -> None:
    """Takes a mirror out, now and for later starts; its files stay. Refused for the last healthy one."""
    here.link.change("mirror_remove", TIMEOUT_S, path=body.path)
    audit(here, caller, "journal.mirror.remove", body.path)
