"""/v1/alerts: what fires, by which rules, who is told, and what is silenced."""

import json
import smtplib
from typing import Annotated, Any, Final, Literal

import httpx
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import delete, select

from admin_api import alerts, tables
from admin_api.alert_rules import RULE_NAMES, Severity
from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import (
    Caller,
    Cursor,
    Here,
    IdempotencyKey,
    Limit,
    Name,
    NamePath,
    Page,
    decode_cursor,
    encode_cursor,
)
from admin_api.security import Role
from admin_api.storage import once, record

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])
MAX_SILENCE_S: Final = 366 * 86400
Number = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class Alert(BaseModel):
    """resolved_s: null while it fires. silenced: nobody is told now."""

    id: int
    rule: str
    severity: Severity
    text: str
    value: float
    fired_s: float
    resolved_s: float | None
    silenced: bool


class AlertPage(Page):
    items: list[Alert]


class RuleView(BaseModel):
    """Fires when the value was above `above` for `for_s` seconds; ends when it was at most `clear` for `clear_for_s`."""

    name: str
    text: str
    unit: str
    state: Literal["ok", "pending", "firing"]
    severity: Severity
    enabled: bool
    above: float
    clear: float
    for_s: float
    clear_for_s: float


class RuleViews(BaseModel):
    items: list[RuleView]


class RuleChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"above": 600, "clear": 300}]})
    enabled: bool | None = None
    above: Number | None = None
    clear: Number | None = None
    for_s: Seconds | None = None
    clear_for_s: Seconds | None = None
    severity: Severity | None = None


class NewSilence(BaseModel):
    """rule: the name of one, or * for all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"rule": "journal-age", "for_s": 3600, "why": "move"}]},
    )
    rule: Annotated[str, Field(max_length=40)]
    for_s: Annotated[float, Field(gt=0, le=MAX_SILENCE_S, allow_inf_nan=False)]
    why: Annotated[str, Field(max_length=200)] = ""


class Silence(BaseModel):
    id: int
    rule: str
    until_s: float
    why: str
    created_by: str


class Silences(BaseModel):
    items: list[Silence]


class NewTarget(BaseModel):
    """webhook: url, secret. email: host, port, sender, recipients; starttls, username, password where it wants them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "ops",
                    "kind": "webhook",
                    "url": "https://example.com/hook",
                    "secret": "at least 16 signs",
                }
            ]
        },
    )
    name: Name
    kind: Literal["webhook", "email"]
    url: Annotated[str, Field(max_length=1000, pattern=r"^https?://[^\s/]+")] | None = None
    secret: Annotated[str, Field(min_length=16, max_length=256)] | None = None
    host: Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9.:-]+$")] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    sender: Annotated[str, Field(max_length=254, pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")] | None = None
    recipients: Annotated[
        list[Annotated[str, Field(max_length=254, pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")]], Field(max_length=50)
    ] = []
    starttls: bool = False
    username: Annotated[str, Field(max_length=256)] | None = None
    password: Annotated[str, Field(max_length=256)] | None = None

    @model_validator(mode="after")
    def whole(self) -> "NewTarget":
        """What its kind needs."""
        if self.kind == "webhook" and not (self.url and self.secret):
            raise ValueError("a webhook needs url and secret")
        if self.kind == "email" and not (self.host and self.sender and self.recipients):
            raise ValueError("an e-mail target needs host, sender and recipients")
        if self.username is not None and not self.starttls:
            raise ValueError("a password is sent over TLS only: set starttls")
        return self


class Target(BaseModel):
    """where: the URL, or the recipients. Secrets are not told."""

    name: str
    kind: Literal["webhook", "email"]
    where: str


class Targets(BaseModel):
    items: list[Target]


class Delivery(BaseModel):
    """state: waiting (for the next try), sent, given_up."""

    id: str
    target: str
    state: str
    attempts: int
    created_s: float
    error: str | None


class Deliveries(BaseModel):
    items: list[Delivery]


class TrialResult(BaseModel):
    """error: why the target did not take it; null when it did."""

    sent: bool
    error: str | None


@router.get("/alerts", openapi_extra=needs(Role.VIEWER), responses=responses(400, 401, 403, 422))
def list_alerts(
    here: Here,
    state: Annotated[Literal["firing", "all"], Query()] = "all",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AlertPage:
    """Alerts, the newest first; the newest 1000 are kept."""
    table = tables.alerts
    query = select(table).order_by(table.c.id.desc()).limit(limit + 1)
    if (after := decode_cursor(cursor)) is not None:
        query = query.where(table.c.id < after)
    if state == "firing":
        query = query.where(table.c.resolved_s.is_(None))
    now_s = here.now_s()
    with here.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        quiet = {rule: alerts.silenced(connection, rule, now_s) for rule in {row["rule"] for row in rows}}
    items = [Alert.model_validate({**row, "silenced": quiet[row["rule"]]}) for row in rows[:limit]]
    return AlertPage(items=items, next_cursor=encode_cursor(items[-1].id) if len(rows) > limit else None)


@router.get("/alerts/rules", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def list_rules(here: Here) -> RuleViews:
    """All rules and how they stand."""
    fields = ("name", "text", "unit", "severity", "enabled", "above", "clear", "for_s", "clear_for_s")
    return RuleViews(
        items=[
            RuleView.model_validate({**{name: getattr(rule, name) for name in fields}, "state": state})
            for rule, state in here.alerts.rules()
        ]
    )


@router.patch(
    "/alerts/rules/{name}", openapi_extra=needs(Role.OPERATOR), responses=responses(400, 401, 403, 404, 422)
)
def change_rule(here: Here, caller: Caller, name: NamePath, body: RuleChange) -> RuleView:
    """Changes a rule's thresholds and times, or switches it off; what is switched off ends."""
    found = next((rule for rule, _ in here.alerts.rules() if rule.name == name), None)
    if found is None:
        raise Problem(404, "not_found", f"there is no rule {name}", f"rules: {', '.join(RULE_NAMES)}")
    fields: dict[str, Any] = body.model_dump(exclude_none=True, mode="json")
    if fields.get("clear", found.clear) > fields.get("above", found.above):
        raise Problem(
            422, "invalid", "`clear` is above `above`: it would fire and end at once", "lower `clear`"
        )
    with here.engine.begin() as connection:
        alerts.change_rule(connection, name, fields)
        record(connection, here.now_s(), caller.name, caller.address, "alert.rule", name, **fields)
    here.alerts.reload()
    return next(view for view in list_rules(here).items if view.name == name)


@router.get("/alerts/silences", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403))
def list_silences(here: Here) -> Silences:
    """Silences that have not ended."""
    query = select(tables.silences).where(tables.silences.c.until_s > here.now_s())
    with here.engine.connect() as connection:
        rows = connection.execute(query.order_by(tables.silences.c.id)).mappings().all()
    return Silences(items=[Silence.model_validate(dict(row)) for row in rows])


@router.post(
    "/alerts/silences",
    status_code=201,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(400, 401, 403, 422),
)
def add_silence(here: Here, caller: Caller, body: NewSilence, key: IdempotencyKey = None) -> Silence:
    """Tells nobody of a rule for some time; it fires and ends all the same."""
    if body.rule != "*" and body.rule not in RULE_NAMES:
        raise Problem(422, "invalid", f"there is no rule {body.rule}", f"rules: *, {', '.join(RULE_NAMES)}")
    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            now_s = here.now_s()
            connection.execute(delete(tables.silences).where(tables.silences.c.until_s <= now_s))
            row = {
                "rule": body.rule,
                "until_s": now_s + body.for_s,
                "why": body.why,
                "created_by": caller.name,
            }
            done = connection.execute(tables.silences.insert().values(**row))
            key_of = done.inserted_primary_key
            assert key_of is not None
            record(
                connection, now_s, caller.name, caller.address, "alert.silence", body.rule, for_s=body.for_s
            )
            return {"id": key_of[0], **row}

        fields = body.model_dump(mode="json")
        made = once(connection, here.now_s(), caller.name, "alerts/silences", key, fields, create)
    return Silence.model_validate(made)


@router.delete(
    "/alerts/silences/{silence_id}",
    status_code=204,
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(401, 403, 404, 422),
)
def end_silence(here: Here, caller: Caller, silence_id: int) -> None:
    """Ends a silence."""
    known = 0 <= silence_id < 1 << 31
    with here.engine.begin() as connection:
        mine = tables.silences.c.id == silence_id
        if not known or not connection.execute(delete(tables.silences).where(mine)).rowcount:
            raise Problem(404, "not_found", f"there is no silence {silence_id}")
        record(connection, here.now_s(), caller.name, caller.address, "alert.unsilence", str(silence_id))


def _shown(name: str, kind: str, fields: dict[str, Any]) -> Target:
    where = fields["url"] if kind == "webhook" else ", ".join(fields["recipients"])
    return Target.model_validate({"name": name, "kind": kind, "where": where})


@router.get("/alerts/targets", openapi_extra=needs(Role.OPERATOR), responses=responses(401, 403))
def list_targets(here: Here) -> Targets:
    """Who is told."""
    with here.engine.connect() as connection:
        rows = connection.execute(select(tables.targets).order_by(tables.targets.c.name)).mappings().all()
    return Targets(items=[_shown(row["name"], row["kind"], json.loads(row["body"])) for row in rows])


@router.post(
    "/alerts/targets",
    status_code=201,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 422),
)
def add_target(here: Here, caller: Caller, body: NewTarget, key: IdempotencyKey = None) -> Target:
    """Tells one more."""
    fields: dict[str, Any] = body.model_dump(mode="json", exclude={"name", "kind"})
    with here.engine.begin() as connection:

        def create() -> dict[str, Any]:
            known = select(tables.targets.c.name).where(tables.targets.c.name == body.name)
            if connection.execute(known).first() is not None:
                raise Problem(409, "exists", f"there is a target {body.name} already")
            row = {"name": body.name, "kind": body.kind, "body": json.dumps(fields)}
            connection.execute(tables.targets.insert().values(**row))
            record(
                connection,
                here.now_s(),
                caller.name,
                caller.address,
                "alert.target",
                body.name,
                kind=body.kind,
            )
            return _shown(body.name, body.kind, fields).model_dump()

        digest_of = body.model_dump(mode="json")
        made = once(connection, here.now_s(), caller.name, "alerts/targets", key, digest_of, create)
    return Target.model_validate(made)


@router.delete(
    "/alerts/targets/{name}",
    status_code=204,
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 422),
)
def remove_target(here: Here, caller: Caller, name: NamePath) -> None:
    """Tells it no more, neither of what waits."""
    with here.engine.begin() as connection:
        if not connection.execute(delete(tables.targets).where(tables.targets.c.name == name)).rowcount:
            raise Problem(404, "not_found", f"there is no target {name}")
        record(connection, here.now_s(), caller.name, caller.address, "alert.target.remove", name)


@router.post(
    "/alerts/targets/{name}/test",
    openapi_extra=needs(Role.OPERATOR),
    responses=responses(401, 403, 404, 422),
)
def try_target(here: Here, name: NamePath) -> TrialResult:
    """Sends a test at once and says how that went."""
    with here.engine.connect() as connection:
        query = select(tables.targets).where(tables.targets.c.name == name)
        found = connection.execute(query).mappings().first()
    if found is None:
        raise Problem(404, "not_found", f"there is no target {name}")
    try:
        here.notifier.send(dict(found), here.new_id(), alerts.trial_message(here.host, here.now_s()))
    except (OSError, httpx.HTTPError, httpx.InvalidURL, smtplib.SMTPException, ValueError) as error:
        return TrialResult(sent=False, error=f"{type(error).__name__}: {str(error)[:200]}")
    return TrialResult(sent=True, error=None)


@router.get("/alerts/deliveries", openapi_extra=needs(Role.OPERATOR), responses=responses(401, 403))
def list_deliveries(here: Here) -> Deliveries:
    """Messages that wait or went, the newest 200 first."""
    table = tables.deliveries
    with here.engine.connect() as connection:
        rows = (
            connection.execute(select(table).order_by(table.c.created_s.desc()).limit(200)).mappings().all()
        )
    return Deliveries(items=[Delivery.model_validate(dict(row)) for row in rows])
