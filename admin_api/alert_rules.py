"""What is worth an alert: rules over the gateway's figures, with defaults that fit most servers, and their state machine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from admin_api.metrics import at
from admin_api.series import BY_NAME


class Severity(StrEnum):
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules look at. status: None while the gateway does not answer. values: of SERIES, with the rates of counters.
    spent_share: what this month has cost of its budget; None without one.
    """

    status: dict[str, Any] | None
    values: Sequence[float]
    spent_share: float | None = None

    def rate(self, name: str) -> float:
        """Growth a second of a counter; 0 where it is not known."""
        found = self.values[BY_NAME[name]] if self.values else math.nan
        return 0.0 if math.isnan(found) else found


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires when the value has been above `above` for `for_s`, ends when it has been at most `clear` for `clear_for_s`."""

    name: str
    text: str
    unit: str
    severity: Severity
    above: float
    clear: float
    for_s: float
    clear_for_s: float
    value: Callable[[Facts], float | None]
    """None: not known just now, and nothing changes."""
    enabled: bool = True


def _down(facts: Facts) -> float:
    return 1.0 if facts.status is None else 0.0


def _figure(path: str) -> Callable[[Facts], float | None]:
    def value(facts: Facts) -> float | None:
        return None if facts.status is None else at(facts.status, path) or 0.0

    return value


def _journal_fill(facts: Facts) -> float | None:
    if facts.status is None or not (limit := at(facts.status, "journal.limit_bytes")):
        return None
    return (at(facts.status, "journal.bytes") or 0.0) / limit


def _mirrors_down(facts: Facts) -> float | None:
    if facts.status is None:
        return None
    mirrors: list[dict[str, Any]] = facts.status.get("journal", {}).get("mirrors", [])
    return float(sum(mirror.get("state") != "healthy" for mirror in mirrors))


def _store_trouble(facts: Facts) -> float | None:
    if facts.status is None:
        return None
    return float(facts.status.get("store", {}).get("state", "ok") != "ok")


def _store_errors(facts: Facts) -> float | None:
    return None if facts.status is None else facts.rate("store_errors")


FULL_SHARE: Final = 0.95
BUSY_READS: Final = 50.0


def _thrash(facts: Facts) -> float | None:
    """Share of misses where the last level is full and many blocks are asked for: what is read does not stay."""
    if facts.status is None:
        return None
    capacity = at(facts.status, "cache.l2.capacity_bytes") or 0.0
    level = "l2" if capacity else "l1"
    capacity = capacity or at(facts.status, "cache.l1.capacity_bytes") or 0.0
    held = at(facts.status, f"cache.{level}.bytes") or 0.0
    misses, asked = facts.rate(f"{level}_misses"), facts.rate("l1_hits") + facts.rate("l1_misses")
    if not capacity or held < FULL_SHARE * capacity or asked < BUSY_READS:
        return 0.0
    return min(1.0, misses / asked)


def _disk_fill(facts: Facts) -> float | None:
    if facts.status is None:
        return None
    disks: dict[str, dict[str, Any]] = facts.status.get("disks") or {}
    shares = [
        1 - float(one["free_bytes"]) / float(one["total_bytes"])
        for name, one in disks.items()
        if name != "l2" and one.get("total_bytes")
    ]
    return max(shares, default=0.0)


def _quota(facts: Facts) -> float | None:
    """The used share of the fullest directory with a limit."""
    if facts.status is None:
        return None
    quotas: dict[str, Any] = facts.status.get("quotas") or {}
    fullest: list[dict[str, Any]] = quotas.get("fullest") or []
    return max((float(one["share"]) for one in fullest), default=0.0)


def _budget(facts: Facts) -> float | None:
    return facts.spent_share


_WARNING, _CRITICAL = Severity.WARNING, Severity.CRITICAL
RULES: Final = tuple(
    Rule(*fields)
    for fields in (
        ("gateway-down", "the gateway does not answer", "", _CRITICAL, 0, 0, 30, 10, _down),
        (
            "journal-age",
            "writes wait for the store",
            "s",
            _WARNING,
            300,
            60,
            30,
            60,
            _figure("journal.oldest_unflushed_s"),
        ),
        ("journal-full", "the journal fills up", "share", _CRITICAL, 0.8, 0.6, 10, 60, _journal_fill),
        ("mirror-down", "journal mirrors are down", "mirrors", _CRITICAL, 0, 0, 5, 30, _mirrors_down),
        (
            "store-trouble",
            "the object store does not do its work",
            "",
            _CRITICAL,
            0,
            0,
            60,
            60,
            _store_trouble,
        ),
        ("store-errors", "requests to the store fail", "1/s", _WARNING, 1, 0.1, 60, 300, _store_errors),
        (
            "cache-thrash",
            "what is read does not stay in the cache",
            "share",
            _WARNING,
            0.5,
            0.3,
            300,
            300,
            _thrash,
        ),
        ("disk-full", "a disk of the server fills up", "share", _CRITICAL, 0.95, 0.9, 60, 60, _disk_fill),
        ("quota-near", "a quota is nearly used up", "share", _WARNING, 0.9, 0.85, 60, 60, _quota),
        ("budget-near", "this month's budget is nearly spent", "share", _WARNING, 0.8, 0.79, 0, 60, _budget),
        ("budget-spent", "this month's budget is spent", "share", _CRITICAL, 1, 0.99, 0, 60, _budget),
    )
)
RULE_NAMES: Final = tuple(rule.name for rule in RULES)
CHANGEABLE: Final = ("enabled", "above", "clear", "for_s", "clear_for_s", "severity")


def changed(rule: Rule, changes: dict[str, Any]) -> Rule:
    """The rule with an operator's changes."""
    fields: dict[str, Any] = {name: value for name, value in changes.items() if name in CHANGEABLE}
    if "severity" in fields:
        fields["severity"] = Severity(fields["severity"])
    return replace(rule, **fields)


class Machine:
    """Whether one rule fires. step() is called with each value; times never go back.

    Not firing: it fires when every value of at least for_s was above. Firing: it ends when every value of at least
    clear_for_s was at most `clear`. Values that are not known count for neither.
    """

    def __init__(self, *, firing: bool = False) -> None:
        self.firing = firing
        self._since_s: float | None = None

    @property
    def pending(self) -> bool:
        return not self.firing and self._since_s is not None

    def step(self, rule: Rule, value: float | None, now_s: float) -> bool:
        """True: it began or ended."""
        if value is None:
            return False
        turns = value <= rule.clear if self.firing else value > rule.above
        if not turns:
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < (rule.clear_for_s if self.firing else rule.for_s):
            return False
        self.firing = not self.firing
        self._since_s = None
        return True
