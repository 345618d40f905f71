"""/v1/audit: who changed what."""

import json
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from admin_api import tables
from admin_api.guard import GuardedRoute, needs
from admin_api.problems import responses
from admin_api.routes.common import Cursor, Here, Limit, Page, page
from admin_api.security import Role

router = APIRouter(route_class=GuardedRoute, tags=["audit"])


class AuditRecord(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "at_s": 1790000000.0,
                    "principal": "local:root",
                    "address": "local",
                    "action": "token.create",
                    "target": "0f3a5c7e9b1d2468",
                    "detail": {"name": "grafana", "role": "viewer"},
                }
            ]
        }
    )
    at_s: float
    principal: str
    address: str
    action: str
    target: str
    detail: dict[str, Any]


class AuditRecords(Page):
    items: list[AuditRecord]


@router.get("/audit", openapi_extra=needs(Role.ADMIN), responses=responses(400, 401, 403, 422))
def list_audit(here: Here, limit: Limit = 50, cursor: Cursor = None) -> AuditRecords:
    """Changes and refused logins, the newest first; the newest 100 000 are kept."""
    with here.engine.connect() as connection:
        rows, following = page(connection, tables.audit, limit, cursor, newest_first=True)
    items = [AuditRecord.model_validate({**row, "detail": json.loads(row["detail"])}) for row in rows]
    return AuditRecords(items=items, next_cursor=following)
