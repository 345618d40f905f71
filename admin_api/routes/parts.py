"""The gateway's parts: health, status, journal, cache, config, metrics, events, operations."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from admin_api import metrics
from admin_api.guard import GuardedRoute, needs, public
from admin_api.health import Health, judge
from admin_api.link import Known
from admin_api.operations import Progress
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IdempotencyKey, known_now
from admin_api.security import Role
from admin_api.services import Services
from admin_api.storage import once, record

router = APIRouter(route_class=GuardedRoute, tags=["gateway"])
EVENT_PAUSE_S: Final = 1.0
MAX_STREAMS: Final = 16
DROP_TIMEOUT_S: Final = 300.0
READS: Final = responses(401, 403, 503)


class Part(BaseModel):
    """Figures of one part, as the gateway gave them age_s ago. gateway_down: why there are no newer ones; else null."""

    model_config = ConfigDict(extra="allow")
    age_s: float = Field(examples=[0.2])
    gateway_down: str | None = None


def part_of(fields: dict[str, Any], age_s: float, why: str | None) -> Part:
    return Part.model_validate({**fields, "age_s": age_s, "gateway_down": why})


@router.get("/ping", openapi_extra=public())
async def ping() -> dict[str, str]:
    """That the admin service runs; nothing about the gateway."""
    return {"ping": "pong"}


@router.get("/health", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
async def show_health(here: Here) -> Health:
    """Whether all is well, and what is not, the worst first. Answers while the gateway is down, too."""
    try:
        known = await known_now(here)
    except Problem as problem:
        return judge({}, problem.detail)
    return judge(known.status, known.why)


@router.get("/status", openapi_extra=needs(Role.VIEWER), response_model=Part, responses=READS)
async def show_status(here: Here) -> Response:
    """All figures of the gateway."""
    return Response(status_text(await known_now(here)), media_type="application/json")


def status_text(known: Known) -> bytes:
    """A Part with all figures, as JSON. The gateway's answer needs no second look: it is passed on."""
    return msgspec.json.encode({**known.status, "age_s": known.age_s, "gateway_down": known.why})


@router.get("/journal", openapi_extra=needs(Role.VIEWER), responses=READS)
async def show_journal(here: Here) -> Part:
    """Mirrors and their states, fill, age of the oldest unflushed write, commit latency; `flush`: what waits."""
    known = await known_now(here)
    fields = {**known.status.get("journal", {}), "flush": known.status.get("flush", {})}
    return part_of(fields, known.age_s, known.why)


@router.get("/cache", openapi_extra=needs(Role.VIEWER), responses=READS)
async def show_cache(here: Here) -> Part:
    """Tiers with size, hits and misses, and their hit rates (0 to 1; null before the first read)."""
    known = await known_now(here)
    cache: dict[str, Any] = known.status.get("cache", {})
    fields = {**cache}
    for name in ("l1", "l2"):
        tier: dict[str, Any] = cache.get(name, {})
        asked = tier.get("hits", 0) + tier.get("misses", 0)
        fields[name] = {**tier, "hit_rate": tier.get("hits", 0) / asked if asked else None}
    return part_of(fields, known.age_s, known.why)


class ConfigKey(BaseModel):
    """source: `given` to `caudal up` by file, environment or option, `changed` while it served, or `default`."""

    key: str
    value: Any
    source: str
    help: str


@router.get("/config", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def show_config(here: Here) -> list[ConfigKey]:
    """The effective configuration. It holds no secrets: credentials are in no key, keys only name files."""
    settings: dict[str, Any] = {}
    try:
        settings: dict[str, Any] = here.link.known().status.get("cache", {}).get("settings", {})
    except Problem:
        pass  # of a gateway that is down what it was started with is known
    changed: dict[str, Any] = {key: settings[key] for key in settings.get("changed", ())}
    return [
        ConfigKey(
            key=one.key,
            value=changed.get(one.key, one.value),
            source="changed" if one.key in changed else one.source,
            help=one.help,
        )
        for one in here.settings.config
    ]


class Drop(BaseModel):
    """Which tiers to empty."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"l1": True, "l2": False}]})
    l1: bool = True
    l2: bool = True


@router.post(
    "/cache/drop",
    status_code=204,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(400, 401, 403, 409, 422, 503),
)
def drop_cache(here: Here, caller: Caller, body: Drop) -> None:
    """Empties the block cache. What is dirty stays."""
    if not body.l1 and not body.l2:
        raise Problem(422, "invalid", "neither l1 nor l2 is to be dropped", "name one")
    here.link.change("cache_drop", DROP_TIMEOUT_S, l1=body.l1, l2=body.l2)
    with here.engine.begin() as connection:
        fields = body.model_dump()
        record(connection, here.now_s(), caller.name, caller.address, "cache.drop", "cache", **fields)


class OperationView(BaseModel):
    """Work that runs on after its request. state: running, done, failed or cancelled."""

    id: str = Field(examples=["b7d0c2a49e3f4f0c"])
    kind: str = Field(examples=["journal.flush"])
    started_by: str
    started_s: float
    state: str
    ended_s: float | None
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None


class OperationViews(BaseModel):
    items: list[OperationView]


@router.post(
    "/journal/flush",
    status_code=202,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(400, 401, 403, 422, 429, 503),
)
def flush_journal(
    here: Here, caller: Caller, response: Response, key: IdempotencyKey = None
) -> OperationView:
    """Brings everything acknowledged so far to the store: an operation, whose progress its address tells."""
    here.link.check()

    def work(progress: Progress) -> dict[str, Any]:
        before = here.link.known().status.get("flush", {})
        progress(dirty_bytes_at_start=before.get("dirty_bytes"))
        return here.link.change("flush", None, wait=True)

    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            record(connection, here.now_s(), caller.name, caller.address, "journal.flush", "journal")
            return here.operations.start("journal.flush", caller.name, work)

        made = once(connection, here.now_s(), caller.name, "journal/flush", key, {}, create)
    response.headers["Location"] = f"/v1/operations/{made['id']}"
    return OperationView.model_validate(made)


@router.get(
    "/operations", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403), tags=["operations"]
)
def list_operations(here: Here) -> OperationViews:
    """The newest operations since the service started, at most 200."""
    return OperationViews(items=[OperationView.model_validate(one) for one in here.operations.list()])


@router.get(
    "/operations/{operation_id}",
    openapi_extra=needs(Role.VIEWER),
    responses=responses(401, 403, 404, 422),
    tags=["operations"],
)
def show_operation(here: Here, operation_id: str) -> OperationView:
    """One operation; while it runs `progress.dirty_bytes` tells what is left."""
    found = here.operations.get(operation_id)
    if found["state"] == "running" and found["kind"] == "journal.flush":
        try:
            left = here.link.known().status.get("flush", {}).get("dirty_bytes")
        except Problem:
            left = None
        found["progress"] = {**found["progress"], "dirty_bytes": left}
    return OperationView.model_validate(found)


@router.get(
    "/metrics",
    openapi_extra=needs(Role.VIEWER),
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses(401, 403)},
)
async def show_metrics(here: Here) -> Response:
    """Figures for Prometheus, in its text format. `caudal_up` is 0 while the gateway is down."""
    try:
        known = await known_now(here)
    except Problem:
        return Response(
            metrics.expose({}, up=False, version=here.settings.version), media_type=metrics.MEDIA_TYPE
        )
    text = metrics.expose(known.status, up=known.why is None, version=here.settings.version)
    return Response(text, media_type=metrics.MEDIA_TYPE)


class Streams:
    """How many event streams are open."""

    def __init__(self) -> None:
        self.open = 0


_STREAMS: Final = Streams()


@router.get(
    "/events",
    openapi_extra=needs(Role.VIEWER),
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **responses(401, 403, 429),
    },
)
async def stream_events(here: Here) -> StreamingResponse:
    """Server-sent events: `status` once a second, as GET /v1/status gives it; `down` while nothing is known."""
    if _STREAMS.open >= MAX_STREAMS:
        raise Problem(429, "too_many_streams", f"{MAX_STREAMS} event streams are open", "close one")
    return StreamingResponse(
        _events(here), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(here: Services) -> AsyncGenerator[str, None]:
    _STREAMS.open += 1
    try:
        while True:
            try:
                yield f"event: status\ndata: {status_text(await known_now(here)).decode()}\n\n"
            except Problem as problem:
                yield f"event: down\ndata: {json.dumps({'detail': problem.detail})}\n\n"
            await asyncio.sleep(EVENT_PAUSE_S)
    finally:
        _STREAMS.open -= 1
