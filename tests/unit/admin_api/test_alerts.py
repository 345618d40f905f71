"""Alerts: when they fire and end, who is told, how often it is tried; webhooks and mail go to real servers on loopback."""

import copy
import email
import email.message
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from admin_api import tables
from admin_api.alert_rules import RULES, Facts, Machine, Rule, Severity
from admin_api.notify import FIRST_PAUSE_S, GIVE_UP_S, LONGEST_PAUSE_S, pause_s
from admin_api.series import BY_NAME, NOTHING, SERIES
from admin_api.services import build
from tests.support.processes import free_port
from tests.unit.admin_api.conftest import STATUS, Api

SECRET = "sixteen signs and more"


def rule(above: float, clear: float, for_s: float, clear_for_s: float) -> Rule:
    return Rule("r", "text", "", Severity.WARNING, above, clear, for_s, clear_for_s, lambda _: None)


histories = st.lists(st.tuples(st.integers(1, 4), st.none() | st.integers(0, 10)), max_size=60)


@settings(max_examples=200)
@given(
    st.tuples(st.integers(0, 10), st.integers(0, 10)).map(sorted),
    st.integers(0, 6),
    st.integers(0, 6),
    histories,
)
def test_the_machine_does_what_a_look_at_the_whole_history_says(
    bounds: list[int], for_s: int, clear_for_s: int, history: list[tuple[int, int | None]]
) -> None:
    clear, above = bounds
    watched = rule(above, clear, for_s, clear_for_s)
    machine = Machine()
    now_s = 0.0
    # The plain model keeps everything known since the last turn, and looks at all of it each time.
    known: list[tuple[float, int]] = []
    firing = False
    turns = 0
    for pause, value in history:
        now_s += pause
        turned = machine.step(watched, value, now_s)
        if value is not None:
            known.append((now_s, value))
        run: list[tuple[float, int]] = []
        for at_s, one in reversed(known):
            if (one <= clear) if firing else (one > above):
                run.append((at_s, one))
            else:
                break
        due = value is not None and bool(run) and now_s - run[-1][0] >= (clear_for_s if firing else for_s)
        assert turned == due
        if due:
            firing, known, turns = not firing, [], turns + 1
        assert machine.firing == firing
    assert machine.firing == bool(turns % 2)


def test_a_value_between_the_thresholds_changes_nothing() -> None:
    watched, machine = rule(10, 5, 0, 0), Machine()
    assert machine.step(watched, 11, 0)
    assert not any(machine.step(watched, 7, second) for second in range(1, 50))
    assert machine.step(watched, 5, 60)
    assert not any(machine.step(watched, 9, second) for second in range(61, 99))


def status(**parts: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(STATUS)
    for name, fields in parts.items():
        made.setdefault(name, {}).update(fields)
    return made


def values(**known: float) -> list[float]:
    made = [NOTHING] * len(SERIES)
    for name, value in known.items():
        made[BY_NAME[name]] = value
    return made


BROKEN: dict[str, Facts] = {
    "gateway-down": Facts(None, ()),
    "journal-age": Facts(status(journal={"oldest_unflushed_s": 301.0}), values()),
    "journal-full": Facts(status(journal={"bytes": 81}), values()),
    "mirror-down": Facts(status(journal={"mirrors": [{"path": "/a", "state": "dropped"}]}), values()),
    "store-trouble": Facts(status(store={"state": "unreachable"}), values()),
    "store-errors": Facts(status(), values(store_errors=2.0)),
    "cache-thrash": Facts(
        status(cache={"l2": {"bytes": 99, "capacity_bytes": 100}}),
        values(l1_hits=10.0, l1_misses=90.0, l2_misses=80.0),
    ),
    "disk-full": Facts(status(disks={"state": {"free_bytes": 4, "total_bytes": 100}}), values()),
    "quota-near": Facts({**status(), "quotas": {"fullest": [{"id": 7, "share": 0.95}]}}, values()),
    "budget-near": Facts(status(), values(), 0.85),
    "budget-spent": Facts(status(), values(), 1.01),
}


def test_every_rule_sees_what_it_is_for_and_is_quiet_when_all_is_well() -> None:
    assert set(BROKEN) == {one.name for one in RULES}
    for one in RULES:
        well = one.value(Facts(status(), values()))
        assert well is None or well <= one.clear, one.name
        found = one.value(BROKEN[one.name])
        assert found is not None, one.name
        assert found > one.above, one.name
        assert one.clear <= one.above


def seconds(api: Api, count: int) -> None:
    for _ in range(count):
        api.now_s += 1
        api.services.sampler.tick()


def states(api: Api) -> list[tuple[str, bool]]:
    found = api.local("GET", "alerts").json()["items"]
    return [(one["rule"], one["resolved_s"] is None) for one in found]


def test_an_alert_fires_ends_and_survives_a_restart_of_the_service(api: Api) -> None:
    api.gateway.down = True
    seconds(api, 29)
    assert states(api) == []
    rules = {one["name"]: one["state"] for one in api.local("GET", "alerts/rules").json()["items"]}
    assert rules["gateway-down"] == "pending"
    seconds(api, 3)
    assert states(api) == [("gateway-down", True)]
    old = api.services
    again = build(
        old.settings,
        old.engine,
        old.link,
        now_s=old.now_s,
        monotonic_s=old.monotonic_s,
        new_id=old.new_id,
        host="nas",
    )
    api.app.state.services = api.services = again
    seconds(api, 40)
    assert states(api) == [("gateway-down", True)]
    api.gateway.down = False
    seconds(api, 12)
    assert states(api) == [("gateway-down", False)]
    assert api.local("GET", "alerts?state=firing").json()["items"] == []


def test_rules_are_changed_and_switched_off(api: Api) -> None:
    api.gateway.status = status(journal={"oldest_unflushed_s": 50.0})
    assert api.local("PATCH", "alerts/rules/journal-age", {"above": 20}).status_code == 422
    fields = {"above": 20, "clear": 10, "for_s": 5}
    assert api.local("PATCH", "alerts/rules/journal-age", fields).status_code == 200
    seconds(api, 8)
    assert states(api) == [("journal-age", True)]
    api.local("PATCH", "alerts/rules/journal-age", {"enabled": False, "clear_for_s": 0})
    seconds(api, 1)
    assert states(api) == [("journal-age", False)]
    seconds(api, 60)
    assert states(api) == [("journal-age", False)]
    assert api.local("PATCH", "alerts/rules/nothing", {}).status_code == 404


class Hook(http.server.BaseHTTPRequestHandler):
    """Takes what comes; `answers` are the statuses of the next requests."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((dict(self.headers), body))
        self.send_response(server.answers.pop(0) if server.answers else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def hook() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def add_webhook(api: Api, port: int) -> None:
    url = f"http://127.0.0.1:{port}/hook"
    made = api.local(
        "POST", "alerts/targets", {"name": "ops", "kind": "webhook", "url": url, "secret": SECRET}
    )
    assert made.status_code == 201, made.text
    assert SECRET not in made.text + api.local("GET", "alerts/targets").text


def test_a_webhook_is_signed_and_tried_again_until_it_is_taken(api: Api, hook: Any) -> None:
    add_webhook(api, hook.server_port)
    hook.answers = [500, 302]
    api.gateway.down = True
    seconds(api, 32)
    notifier = api.services.notifier
    notifier.deliver()
    notifier.deliver()
    assert len(hook.got) == 1, "the next try waits"
    api.now_s += FIRST_PAUSE_S
    notifier.deliver()
    api.now_s += FIRST_PAUSE_S
    notifier.deliver()
    assert len(hook.got) == 2, "and then twice as long"
    api.now_s += FIRST_PAUSE_S
    notifier.deliver()
    notifier.deliver()
    assert len(hook.got) == 3
    assert len({headers["X-Caudal-Delivery"] for headers, _ in hook.got}) == 1
    for headers, body in hook.got:
        at_s, _, mac = headers["X-Caudal-Signature"].partition(",")
        signed = f"{at_s.removeprefix('t=')}.".encode() + body
        assert mac == "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    message = json.loads(hook.got[-1][1])
    assert (message["event"], message["rule"], message["server"]) == ("firing", "gateway-down", "nas")
    sent = api.local("GET", "alerts/deliveries").json()["items"]
    assert [(one["state"], one["attempts"]) for one in sent] == [("sent", 3)]


def test_what_nobody_takes_is_given_up_after_a_day(api: Api) -> None:
    add_webhook(api, free_port())
    api.gateway.down = True
    seconds(api, 32)
    for _ in range(60):
        api.services.notifier.deliver()
        api.now_s += LONGEST_PAUSE_S
    found = api.local("GET", "alerts/deliveries").json()["items"]
    assert found[0]["state"] == "given_up"
    assert "refused" in found[0]["error"]
    assert found[0]["attempts"] < 40
    assert [pause_s(attempts) for attempts in (1, 2, 3, 500)] == [5, 10, 20, LONGEST_PAUSE_S]
    assert GIVE_UP_S == 86400


def test_silence_keeps_messages_back_but_not_alerts(api: Api, hook: Any) -> None:
    add_webhook(api, hook.server_port)
    made = api.local("POST", "alerts/silences", {"rule": "gateway-down", "for_s": 1000, "why": "moving"})
    assert made.status_code == 201
    api.gateway.down = True
    seconds(api, 32)
    api.services.notifier.deliver()
    assert not hook.got
    found = api.local("GET", "alerts").json()["items"]
    assert [one["silenced"] for one in found] == [True]
    assert api.local("DELETE", f"alerts/silences/{made.json()['id']}").status_code == 204
    api.gateway.down = False
    seconds(api, 12)
    api.services.notifier.deliver()
    assert [json.loads(body)["event"] for _, body in hook.got] == ["resolved"]
    assert api.local("POST", "alerts/silences", {"rule": "no", "for_s": 5}).status_code == 422


class Mailbox:
    def __init__(self) -> None:
        self.got: list[email.message.Message] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.got.append(email.message_from_bytes(envelope.content))
        return "250 taken"


def test_mail_goes_to_the_host_that_was_named(api: Api) -> None:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        target = {
            "name": "mail",
            "kind": "email",
            "host": "127.0.0.1",
            "port": controller.port,
            "sender": "nas@example.com",
            "recipients": ["ops@example.com", "boss@example.com"],
        }
        assert api.local("POST", "alerts/targets", target).status_code == 201
        assert api.local("POST", "alerts/targets", target).status_code == 409
        assert api.local("POST", "alerts/targets/mail/test").json() == {"sent": True, "error": None}
    finally:
        controller.stop()
    assert box.got[0]["To"] == "ops@example.com, boss@example.com"
    assert "this is a test" in str(box.got[0]["Subject"])
    refused = api.local("POST", "alerts/targets/mail/test").json()
    assert not refused["sent"]
    assert "refused" in refused["error"]
    assert api.local("DELETE", "alerts/targets/mail").status_code == 204


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "webhook", "url": "ftp://x", "secret": SECRET},
        {"kind": "webhook", "url": "http://x"},
        {"kind": "webhook", "url": "http://x", "secret": "short"},
        {"kind": "email", "host": "h", "sender": "a@b"},
        {"kind": "email", "host": "h", "sender": "a@b\r\nBcc: x@y", "recipients": ["a@b"]},
        {
            "kind": "email",
            "host": "h",
            "sender": "a@b",
            "recipients": ["a@b"],
            "username": "u",
            "password": "p",
        },
    ],
)
def test_targets_that_cannot_work_are_refused(api: Api, fields: dict[str, Any]) -> None:
    assert api.local("POST", "alerts/targets", {"name": "t", **fields}).status_code == 422


def test_a_budget_warns_and_is_spent(api: Api) -> None:
    tag = api.local("GET", "meter/prices").headers["etag"]
    sheet = {"currency": "EUR", "prices": {"vm_hour": 3600.0}, "budget_month": 240.0}
    assert api.local("PUT", "meter/prices", sheet, If_Match=tag).status_code == 200
    seconds(api, 190)
    assert states(api) == []
    seconds(api, 60)
    assert states(api) == [("budget-near", True)]
    seconds(api, 60)
    assert {name for name, _ in states(api)} == {"budget-near", "budget-spent"}


def test_old_alerts_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admin_api.alerts.KEPT", 20)
    alerts = api.services.alerts
    api.local("PATCH", "alerts/rules/gateway-down", {"for_s": 0, "clear_for_s": 0})
    for turn in range(25):
        alerts.look(None, (), api.now_s + 2 * turn)
        alerts.look(STATUS, (), api.now_s + 2 * turn + 1)
    with api.services.engine.connect() as connection:
        assert len(connection.execute(select(tables.alerts.c.id)).all()) == 20
