"""The dashboard at /: files that `tools/setup web` built, held in memory, with the headers that keep the page to itself."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from admin_api.guard import GuardedRoute, public
from admin_api.problems import Problem

WEB: Final = Path(__file__).parent / "_web"
# Scripts, styles and figures come from here alone, nothing stands in the page itself, and text never becomes markup.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Names of these hold a hash of what is in them.
IMMUTABLE: Final = "public, max-age=31536000, immutable"
FRESH: Final = "no-cache"
ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
ABSENT: Final = """<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Caudal</title><h1>The dashboard is not built</h1>
<p>The admin service runs, and everything can be done over REST and by the command line.
<p>In a clone, <code>tools/setup web</code> builds the dashboard; packages and the appliance bring it along.
Restart the admin service then.</html>"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. bodies: by content encoding, "" for as it is."""

    media_type: str
    cache: str
    bodies: dict[str, bytes]
    etags: dict[str, str]


def read(directory: Path) -> dict[str, Asset]:
    """The files of a build by their paths below /; none where there is no build."""
    suffixes = {suffix for _, suffix in ENCODINGS}
    found: dict[str, Asset] = {}
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.suffix in suffixes:
            continue
        name = path.relative_to(directory).as_posix()
        bodies = {"": path.read_bytes()}
        for encoding, suffix in ENCODINGS:
            packed = path.with_name(path.name + suffix)
            if packed.is_file():
                bodies[encoding] = packed.read_bytes()
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        etags = {encoding: f'"{hashlib.sha256(body).hexdigest()[:32]}"' for encoding, body in bodies.items()}
        found[name] = Asset(media_type, IMMUTABLE if name.startswith("assets/") else FRESH, bodies, etags)
    return found


def make_router(directory: Path = WEB) -> APIRouter:
    """The page and its assets. Everybody may load them: nothing of the server is in them."""
    router = APIRouter(route_class=GuardedRoute)
    files = read(directory)

    @router.get("/", openapi_extra=public(), include_in_schema=False)
    def page(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The dashboard."""
        found = files.get("index.html")
        if found is None:
            return HTMLResponse(ABSENT, 503, {"Cache-Control": "no-store"})
        return answer(request, found)

    @router.get("/assets/{name}", openapi_extra=public(), include_in_schema=False)
    def asset(request: Request, name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """What the page loads."""
        found = files.get(f"assets/{name}")
        if found is None:
            raise Problem(404, "not_found", "there is no such file", "load the page again")
        return answer(request, found)

    return router


def answer(request: Request, asset: Asset) -> Response:
    """The asset in the best encoding that the browser takes, or that it has it already."""
    taken = {one.split(";")[0].strip() for one in request.headers.get("accept-encoding", "").split(",")}
    encoding = next((one for one, _ in ENCODINGS if one in taken and one in asset.bodies), "")
    headers = {
        **HEADERS,
        "Cache-Control": asset.cache,
        "ETag": asset.etags[encoding],
        "Vary": "Accept-Encoding",
    }
    if asset.etags[encoding] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if encoding:
        headers["Content-Encoding"] = encoding
    return Response(asset.bodies[encoding], headers=headers, media_type=asset.media_type)
