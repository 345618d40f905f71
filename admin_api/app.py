"""The application: routes, problems, the headers of every answer, the limit on what comes in."""

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin_api import pages, problems
from admin_api.guard import GuardedRoute, public
from admin_api.problems import Problem, ProblemBody
from admin_api.routes import (
    alerts,
    audit,
    cache,
    exports,
    hits,
    kerberos,
    limits,
    meter,
    mirrors,
    objects,
    overview,
    parts,
    quotas,
    samples,
    session,
    shares,
    sign_in,
    tiering,
    tokens,
    users,
)
from admin_api.services import Services
from admin_api.sessions import COOKIE

MAX_BODY_BYTES: Final = 1 << 16
# Figures over time shrink to a tenth. Answers that hold a secret are smaller: none is packed beside text of others.
MIN_PACKED_BYTES: Final = 4096
HEADERS: Final = {
    "Strict-Transport-Security": "max-age=31536000",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def too_large_problem() -> Problem:
    return Problem(413, "too_large", f"a body is at most {MAX_BODY_BYTES} bytes")


class Edge:
    """Around the application: adds HEADERS, and refuses bodies of more than MAX_BODY_BYTES."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0
        too_large = False
        begun = False
        replaced = False

        async def bounded() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                too_large = True
                raise too_large_problem()
            return message

        async def dressed(message: Message) -> None:
            nonlocal begun, replaced
            body: Message | None = None
            if message["type"] == "http.response.start":
                if too_large and not begun and message["status"] != 413:
                    # The framework reports what it could not read in words of its own.
                    replaced = True
                    told = too_large_problem().response()
                    message = {"type": message["type"], "status": 413, "headers": told.raw_headers}
                    body = {"type": "http.response.body", "body": bytes(told.body)}
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                await send(message)
                if body is not None:
                    await send(body)
            elif not replaced:
                await send(message)

        await self._app(scope, bounded, dressed)


def make_app(services: Services, web: Path = pages.WEB) -> FastAPI:
    """The application over its services. web: the built dashboard."""
    app = FastAPI(
        title="Caudal",
        version=services.settings.version,
        description="The admin service of one Caudal server.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    problems.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=MIN_PACKED_BYTES, compresslevel=4)
    app.add_middleware(Edge)
    about = APIRouter(route_class=GuardedRoute)
    cached: list[dict[str, Any]] = []

    @about.get("/openapi.json", openapi_extra=public(), include_in_schema=False)
    def openapi() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """The description of this interface."""
        if not cached:
            cached.append(described(app))
        return JSONResponse(cached[0])

    for one in (
        users,
        tokens,
        audit,
        parts,
        cache,
        hits,
        mirrors,
        objects,
        tiering,
        quotas,
        exports,
        shares,
        kerberos,
        limits,
        samples,
        meter,
        alerts,
        overview,
        session,
        sign_in,
    ):
        app.include_router(one.router, prefix="/v1")
    app.include_router(about, prefix="/v1")
    app.include_router(pages.make_router(web))
    return app


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with our problems in the place of the framework's errors."""
    found = app.openapi()
    schemas: dict[str, Any] = found["components"]["schemas"]
    schemas["ProblemBody"] = ProblemBody.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in found["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                operation["responses"] |= {
                    str(status): text for status, text in problems.responses(413).items()
                }
    found["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    return found
