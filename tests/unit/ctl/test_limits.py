"""Limits: what is taken, what the core is told, and what is there after a restart."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import limits
from gateway.errors import ControlError, StartError
from gateway.fsal.limits import LimitKeeper
from gateway.state import StateDir


class Gate:
    """In the place of the core's: remembers its rules."""

    def __init__(self) -> None:
        self.rules: list[Any] = []

    def set(self, rules: list[Any]) -> None:
        self.rules = rules

    def counts(self) -> list[tuple[int, int, int, float]]:
        return [(number, 0, 0, 0.0) for number in range(len(self.rules))]


def keeper(root: Path, exports: dict[str, int], *, trial: bool = False) -> tuple[LimitKeeper, Gate]:
    state = StateDir(root)
    state.prepare()
    gate: Any = Gate()
    return LimitKeeper(state, gate, lambda: exports, trial=trial), gate


def put(made: LimitKeeper, name: str, **fields: Any) -> dict[str, Any]:
    return made.set({"limit": {"name": name, "ops_s": 5, **fields}})


def test_limits_come_back_and_narrow_networks_first(tmp_path: Path) -> None:
    made, _ = keeper(tmp_path, {"main": 1})
    put(made, "wide", client="10.0.0.0/8")
    put(made, "one", client="10.0.0.1")
    put(made, "six", client="fd00::/64")
    put(made, "whole")
    put(made, "export", export="main")
    again, gate = keeper(tmp_path, {"main": 1})
    assert [(rule[0], rule[1], rule[3]) for rule in gate.rules] == [
        ("clients", 0, 128),
        ("clients", 0, 104),
        ("clients", 0, 64),
        ("server", 0, 0),
        ("export", 1, 0),
    ]
    assert gate.rules[0][2] == bytes(10) + b"\xff\xff\x0a\0\0\x01"
    shown = {one["name"]: one for one in again.list({})}
    assert (shown["wide"]["passed"], shown["wide"]["active"]) == (1, True)


def test_the_limit_of_an_export_waits_for_it(tmp_path: Path) -> None:
    exports: dict[str, int] = {}
    made, gate = keeper(tmp_path, exports)
    assert not put(made, "later", export="projects")["active"]
    assert gate.rules == []
    exports["projects"] = 9
    made.apply()
    assert [rule[1] for rule in gate.rules] == [9]


def test_a_trial_is_limited_and_cannot_be_unlimited(tmp_path: Path) -> None:
    made, gate = keeper(tmp_path, {}, trial=True)
    assert [rule[0] for rule in gate.rules] == ["server"]
    assert [(one["name"], one["trial"]) for one in made.list({})] == [("trial", True)]
    with pytest.raises(ControlError, match="there is no limit"):
        made.remove({"name": "trial"})
    with pytest.raises(ControlError, match="cannot be a name"):
        put(made, "trial")
    _, free = keeper(tmp_path, {})
    assert free.rules == []


def test_versions_keep_two_from_changing_at_once(tmp_path: Path) -> None:
    made, _ = keeper(tmp_path, {})
    first = put(made, "x")
    assert made.set({"limit": {"name": "x", "ops_s": 6}, "version": 1})["version"] == first["version"] + 1
    for ask in (
        lambda: made.set({"limit": {"name": "x", "ops_s": 7}, "version": 1}),
        lambda: made.set({"limit": {"name": "x", "ops_s": 7}, "version": 0}),
        lambda: made.remove({"name": "x", "version": 1}),
    ):
        with pytest.raises(ControlError, match="meanwhile"):
            ask()


@pytest.mark.parametrize("text", [b"[", b'{"format": 1, "limits": [{}]}', b'{"format": 1, "limits": 2}'])
def test_a_damaged_file_is_told(tmp_path: Path, text: bytes) -> None:
    state = StateDir(tmp_path)
    state.limits_file.write_bytes(text)
    with pytest.raises(StartError, match="damaged"):
        limits.read(state)
    state.limits_file.write_text(json.dumps({"format": 2}))
    with pytest.raises(StartError, match="newer version"):
        limits.read(state)


numbers = st.floats() | st.integers()


@given(
    st.fixed_dictionaries(
        {"name": st.text(max_size=5) | st.just("n")},
        optional={
            "client": st.text(max_size=9) | st.ip_addresses().map(str),
            "export": st.text(max_size=5),
            "ops_s": numbers,
            "read_bytes_s": numbers,
            "burst_s": numbers,
        },
    )
)
def test_whatever_is_asked_for_is_refused_or_is_a_rule(fields: dict[str, Any]) -> None:
    try:
        limit = limits.parse(fields)
    except ControlError:
        return
    scope, _, network, prefix, *rates = limits.rule_of(limit, 1 if limit.export is not None else None)
    assert scope in {"server", "export", "clients"}
    assert len(network) == 16
    assert 0 <= prefix <= 128
    assert all(0 <= rate <= limits.MOST for rate in rates)
