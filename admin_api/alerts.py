"""Alerts: which rules fire, since when, who is told, and what is silenced."""

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from admin_api import meter, tables
from admin_api.alert_rules import RULES, Facts, Machine, Rule, changed
from admin_api.notify import Notifier

log = structlog.get_logger(__name__)

KEPT: Final = 1000
CHANGES: Final = "alert_rules"

Spent = Callable[[float], float | None]
"""What the month of a time has cost of its budget; None without a budget."""


class Alerts:
    """look() is called once a second by the sampler. For any number of threads."""

    def __init__(self, engine: Engine, notifier: Notifier, spent: Spent, where: str) -> None:
        self._engine = engine
        self._notifier = notifier
        self._spent = spent
        self._where = where
        self._lock = threading.Lock()
        self._share: float | None = None
        self._share_minute = -1
        with engine.connect() as connection:
            query = select(tables.alerts.c.rule).where(tables.alerts.c.resolved_s.is_(None))
            firing = {row.rule for row in connection.execute(query)}
        self._machines = {rule.name: Machine(firing=rule.name in firing) for rule in RULES}
        self._rules: dict[str, Rule] = {}
        self.reload()

    def reload(self) -> None:
        """Takes the operator's changes of the rules."""
        with self._engine.connect() as connection:
            changes, _ = meter.setting(connection, CHANGES)
        known: dict[str, dict[str, Any]] = changes or {}
        rules = {rule.name: changed(rule, known.get(rule.name, {})) for rule in RULES}
        with self._lock:
            self._rules = rules

    def rules(self) -> list[tuple[Rule, str]]:
        """Each rule with its state: ok, pending or firing."""
        with self._lock:
            return [(rule, self._state(rule)) for rule in self._rules.values()]

    def _state(self, rule: Rule) -> str:
        machine = self._machines[rule.name]
        return "firing" if machine.firing else "pending" if machine.pending else "ok"

    def look(self, status: dict[str, Any] | None, values: Sequence[float], now_s: float) -> None:
        """Fires and ends what is due."""
        if (minute := int(now_s) // 60) != self._share_minute:
            self._share_minute = minute
            self._share = self._budget(now_s)
        facts = Facts(status, values, self._share)
        with self._lock:
            for rule in self._rules.values():
                machine = self._machines[rule.name]
                # What is switched off ends as if its value were well.
                value = rule.value(facts) if rule.enabled else (rule.clear if machine.firing else None)
                if machine.step(rule, value, now_s):
                    self._turn(machine, rule, value or 0.0, now_s)

    def _budget(self, now_s: float) -> float | None:
        try:
            return self._spent(now_s)
        except SQLAlchemyError as error:
            log.warning("alerts.no_budget", why=str(error)[:200])
            return None

    def _turn(self, machine: Machine, rule: Rule, value: float, now_s: float) -> None:
        try:
            self._turned(rule, value, now_s, firing=machine.firing)
        except SQLAlchemyError as error:
            # Nobody knows of it yet: it turns again when the database is there.
            machine.firing = not machine.firing
            log.warning("alerts.not_kept", rule=rule.name, why=str(error)[:200])

    def _turned(self, rule: Rule, value: float, now_s: float, *, firing: bool) -> None:
        log.warning("alert.fires" if firing else "alert.ends", rule=rule.name, value=value)
        with self._engine.begin() as connection:
            if firing:
                row = {"rule": rule.name, "severity": rule.severity.value, "text": rule.text, "value": value}
                done = connection.execute(tables.alerts.insert().values(**row, fired_s=now_s))
                key = done.inserted_primary_key
                assert key is not None
                connection.execute(delete(tables.alerts).where(tables.alerts.c.id <= key[0] - KEPT))
            else:
                mine = (tables.alerts.c.rule == rule.name) & tables.alerts.c.resolved_s.is_(None)
                connection.execute(update(tables.alerts).where(mine).values(resolved_s=now_s))
            if silenced(connection, rule.name, now_s):
                return
            self._notifier.enqueue(connection, self._message(rule, value, now_s, firing=firing), now_s)
        self._notifier.wake()

    def _message(self, rule: Rule, value: float, now_s: float, *, firing: bool) -> dict[str, Any]:
        return {
            "event": "firing" if firing else "resolved",
            "rule": rule.name,
            "severity": rule.severity.value,
            "text": rule.text,
            "value": value,
            "unit": rule.unit,
            "at_s": now_s,
            "server": self._where,
        }


def silenced(connection: Connection, rule: str, now_s: float) -> bool:
    """Whether nobody is to be told of a rule."""
    table = tables.silences
    query = select(table.c.id).where(table.c.rule.in_((rule, "*")), table.c.until_s > now_s)
    return connection.execute(query.limit(1)).first() is not None


def trial_message(where: str, now_s: float) -> dict[str, Any]:
    """What a test sends."""
    return {
        "event": "test",
        "rule": "test",
        "severity": "warning",
        "text": "this is a test",
        "value": 0.0,
        "unit": "",
        "at_s": now_s,
        "server": where,
    }


def change_rule(connection: Connection, name: str, fields: dict[str, Any]) -> None:
    """Keeps an operator's changes of one rule."""
    changes, _ = meter.setting(connection, CHANGES)
    kept: dict[str, Any] = json.loads(json.dumps(changes or {}))
    kept[name] = {**kept.get(name, {}), **fields}
    meter.put_setting(connection, CHANGES, kept)
