"""Errors as problem+json (RFC 9457): `code` is a word for programs, `hint` says what to do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError, OperationalError
from starlette.exceptions import HTTPException

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"


class ProblemBody(BaseModel):
    """What an error's body holds."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""


class Problem(Exception):
    """An error for the caller: HTTP status, a word for programs, a sentence, and what to do."""

    def __init__(
        self, status: int, code: str, detail: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        body = ProblemBody(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            code=self.code,
            hint=self.hint,
        )
        return JSONResponse(body.model_dump(), self.status, self.headers, media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the problems that a route may answer with."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Every error of the service becomes a problem."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return error.response()

    async def of_http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        code = status.name.lower()
        return Problem(status, code, str(error.detail), headers=error.headers).response()

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # The values themselves are not repeated: a password may be among them.
        told = [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()[:5]]
        return Problem(422, "invalid", "; ".join(told), "see /v1/openapi.json").response()

    async def conflict(_request: Request, _error: Exception) -> JSONResponse:
        return Problem(409, "conflict", "somebody changed it at the same time", "read it again").response()

    async def no_database(request: Request, error: Exception) -> JSONResponse:
        log.error("database.failed", path=request.url.path, why=str(error)[:300])
        told = "the admin service's database does not answer"
        return Problem(503, "database_down", told, "its log says more", {"Retry-After": "5"}).response()

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("request.failed", path=request.url.path, exc_info=error)
        return Problem(500, "internal", "the admin service failed", "its log says more").response()

    app.add_exception_handler(Problem, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(IntegrityError, conflict)
    app.add_exception_handler(OperationalError, no_database)
    app.add_exception_handler(Exception, unforeseen)
