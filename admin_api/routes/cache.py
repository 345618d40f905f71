"""The block cache: its size, shelves, what is warmed and pinned, its policy; and who uses the file system most just now."""

from typing import Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import responses
from admin_api.routes.common import Caller, Here, audit, known_now
from admin_api.routes.jobs import TIMEOUT_S, begin
from admin_api.routes.parts import OperationView
from admin_api.security import Role

router = APIRouter(route_class=GuardedRoute, tags=["cache"])
ASK_TIMEOUT_S: Final = 20.0
CHANGES: Final = responses(400, 401, 403, 409, 422, 503)
WORK: Final = responses(400, 401, 403, 409, 422, 429, 503)
READS: Final = responses(401, 403, 409, 503)
MAX_BYTES: Final = 1 << 60
PATH_LENGTH: Final = 4096


class L1Size(BaseModel):
    """Bytes of L1."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"bytes": 4294967296}]})
    bytes: int = Field(ge=16 << 20, le=MAX_BYTES)


class CacheSettings(BaseModel):
    """Sizes as they are set. changed: the keys that are not as the configuration says."""

    l1_bytes: int
    shelf: list[str] = Field(examples=[["/mnt/nvme0=536870912000"]])
    changed: list[str]


class NewShelf(BaseModel):
    """A directory on the server that exists. bytes: null takes nine tenths of what is free there."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"path": "/mnt/nvme0", "bytes": None}]}
    )
    path: str = Field(max_length=PATH_LENGTH)
    bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)


class ShelfSize(BaseModel):
    """Another size of a shelf."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(max_length=PATH_LENGTH, examples=["/mnt/nvme0"])
    bytes: int = Field(ge=0, le=MAX_BYTES)


class At(BaseModel):
    """A path: of a shelf on the server, or as clients see it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "/data/projects"}]})
    path: str = Field(max_length=PATH_LENGTH)


class Shelf(BaseModel):
    """state: ok, draining (takes nothing new), full (takes nothing for now) or failed (is left alone, and looked at again).
    damaged_blocks: those that did not fit their checksums any more; they were fetched from the store.
    """

    path: str
    state: str
    why: str | None
    hits: int
    bytes: int
    capacity_bytes: int
    errors: int
    damaged_blocks: int


class Shelves(BaseModel):
    items: list[Shelf]
    age_s: float
    gateway_down: str | None = None


class Removed(BaseModel):
    """left: why the shelf's directory could not be emptied; null: it is empty."""

    left: str | None


class Pin(BaseModel):
    """A path that is kept in L2. held_bytes: what of it is there. why: what is wrong; null while all of it is kept."""

    path: str
    bytes: int
    held_bytes: int
    why: str | None


class Pins(BaseModel):
    """room_bytes: what all pins together may take."""

    room_bytes: int
    items: list[Pin]


@router.put("/cache/l1", openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def resize_l1(here: Here, caller: Caller, body: L1Size) -> CacheSettings:
    """Another size of L1, at once. It lasts over restarts, until the configuration's l1_bytes is changed."""
    settings = here.link.change("cache_resize", TIMEOUT_S, l1_bytes=body.bytes)
    audit(here, caller, "cache.resize", "l1", bytes=body.bytes)
    return CacheSettings.model_validate(settings)


@router.get("/cache/shelves", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 503))
async def list_shelves(here: Here) -> Shelves:
    """The shelves of L2."""
    known = await known_now(here)
    items = [Shelf.model_validate(one) for one in known.status.get("cache", {}).get("shelves", [])]
    return Shelves(items=items, age_s=known.age_s, gateway_down=known.why)


@router.post("/cache/shelves", status_code=201, openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def add_shelf(here: Here, caller: Caller, body: NewShelf) -> ShelfSize:
    """Another shelf: it takes its share of new blocks at once. Lasts over restarts."""
    made = here.link.change("shelf_add", TIMEOUT_S, path=body.path, bytes=body.bytes)
    audit(here, caller, "cache.shelf.add", body.path, bytes=made["bytes"])
    return ShelfSize(path=made["path"], bytes=made["bytes"])


@router.post("/cache/shelves/drain", status_code=202, openapi_extra=needs(Role.ADMIN), responses=WORK)
def drain_shelf(here: Here, caller: Caller, response: Response, body: At) -> OperationView:
    """The shelf takes nothing new, and what only it has is copied to the others: an operation. Remove it then."""
    return begin(here, caller, response, "cache.shelf.drain", "shelf_drain", body.path, path=body.path)


@router.post("/cache/shelves/undrain", status_code=204, openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def undrain_shelf(here: Here, caller: Caller, body: At) -> None:
    """A shelf that was drained takes blocks again."""
    here.link.change("shelf_drain", TIMEOUT_S, path=body.path, undo=True)
    audit(here, caller, "cache.shelf.undrain", body.path)


@router.post("/cache/shelves/remove", openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def remove_shelf(here: Here, caller: Caller, body: At) -> Removed:
    """Takes a shelf away and removes its blocks; what only it had is fetched again when it is read."""
    done = here.link.change("shelf_remove", TIMEOUT_S, path=body.path)
    audit(here, caller, "cache.shelf.remove", body.path)
    return Removed(left=done["left"])


@router.post("/cache/shelves/resize", openapi_extra=needs(Role.ADMIN), responses=CHANGES)
def resize_shelf(here: Here, caller: Caller, body: ShelfSize) -> CacheSettings:
    """Another size of a shelf; what fits stays."""
    settings = here.link.change("shelf_resize", TIMEOUT_S, path=body.path, bytes=body.bytes)
    audit(here, caller, "cache.shelf.resize", body.path, bytes=body.bytes)
    return CacheSettings.model_validate(settings)


@router.post("/cache/warm", status_code=202, openapi_extra=needs(Role.OPERATOR), responses=WORK)
def warm(here: Here, caller: Caller, response: Response, body: At) -> OperationView:
    """Brings what a path holds into the cache: an operation."""
    return begin(here, caller, response, "cache.warm", "cache_warm", body.path, path=body.path)


class Policy(BaseModel):
    """latest: by tier, the newest decision with its reason. changes: of size, the newest first. Costs are for an hour."""

    model_config = ConfigDict(extra="allow")
    on: bool
    interval_s: float
    bounds: dict[str, Any]
    prices: dict[str, float]
    latest: dict[str, Any]
    changes: list[dict[str, Any]]


@router.get("/cache/policy", openapi_extra=needs(Role.VIEWER), responses=READS)
def show_policy(here: Here) -> Policy:
    """What the policy of the cache's size decided, and why."""
    return Policy.model_validate(here.link.ask("cache_policy"))


class Activity(BaseModel):
    """Rates a second, estimated from some of the operations, and faded by half in half_life_s. path: null where nobody has
    looked the name up of late. error: operations that may be another one's.
    """

    half_life_s: float
    all: dict[str, float]
    clients: list[dict[str, Any]]
    files: list[dict[str, Any]]
    directories: list[dict[str, Any]]


@router.get("/activity", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 409, 422, 503))
def show_activity(here: Here, most: int = Query(default=20, ge=1, le=512)) -> Activity:
    """The clients, files and directories that are used most just now."""
    return Activity.model_validate(here.link.ask("activity", most=most))


@router.get("/cache/pins", openapi_extra=needs(Role.VIEWER), responses=READS)
def list_pins(here: Here) -> Pins:
    """What is pinned."""
    return Pins.model_validate(here.link.ask("cache_pins"))


@router.post("/cache/pins", status_code=202, openapi_extra=needs(Role.OPERATOR), responses=WORK)
def pin(here: Here, caller: Caller, response: Response, body: At) -> OperationView:
    """Brings what a path holds into L2 and keeps it there: an operation, which fails where it does not fit."""
    return begin(here, caller, response, "cache.pin", "cache_pin", body.path, path=body.path)


@router.delete("/cache/pins", status_code=204, openapi_extra=needs(Role.OPERATOR), responses=CHANGES)
def unpin(here: Here, caller: Caller, path: str = Query(max_length=PATH_LENGTH)) -> None:
    """What was pinned has to go like anything else from now on."""
    here.link.change("cache_unpin", TIMEOUT_S, path=path)
    audit(here, caller, "cache.unpin", path)


@router.post(
    "/operations/{operation_id}/cancel",
    status_code=202,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(401, 403, 404, 409, 422, 503),
    tags=["operations"],
)
def cancel_operation(here: Here, caller: Caller, operation_id: str) -> OperationView:
    """Has an operation end at its next step; its state then is cancelled. A flush cannot be cancelled."""
    cancelled = OperationView.model_validate(here.operations.cancel(operation_id))
    audit(here, caller, "operation.cancel", operation_id)
    return cancelled
