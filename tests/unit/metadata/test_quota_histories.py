"""Long histories of limits, each from a seed, by the rules of the state machine; and faults that they have to find."""

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.metadata.quotas import QuotaTable
from gateway.metadata.rows import PutQuota
from tests.unit.metadata.test_quota_machine import QuotaMachine, machine_of


def random_step(machine: QuotaMachine, random: Random) -> None:
    """One rule with random arguments: those that grow something more often."""
    pick, other = random.randrange(1000), random.randrange(1000)
    name = random.choice([b"a", b"b", b"c"])
    offset, length = random.randrange(100), random.choice([1, 2, random.randrange(1, 60)])
    few = [random.choice([None, random.randrange(most)]) for most in (150, 150, 10, 10)]
    steps: list[tuple[int, Any, tuple[Any, ...]]] = [
        (3, machine.limit, (pick, tuple(few))),
        (1, machine.unlimit, (pick,)),
        (8, machine.make, (pick, name, random.random() < 0.3)),
        (3, machine.link, (pick, other, name)),
        (2, machine.unlink, (pick, random.random() < 0.4)),
        (1, machine.rmdir, (pick,)),
        (1, machine.release, ()),
        (6, machine.rename, (pick, other, name)),
        (12, machine.write, (pick, offset, length)),
        (2, machine.truncate, (pick, random.randrange(150))),
        (4, machine.punch_or_allocate, (pick, offset, length, random.random() < 0.5)),
        (2, machine.flush_begin, ()),
        (2, machine.flush_end, ()),
        (1, machine.settle, ()),
        (2, machine.checkpoint, (random.randrange(1, 20),)),
        (1, machine.crash, ()),
    ]
    _, step, arguments = random.choices(steps, [weight for weight, _, _ in steps])[0]
    step(*arguments)


def play(template: Path, seed: int, steps: int = 300) -> None:
    machine, random = machine_of(template)(), Random(seed)
    machine.open()
    try:
        for _ in range(steps):
            random_step(machine, random)
            machine.usage_is_right()
        machine.flush_end()
        machine.settle()
    finally:
        machine.teardown()


@pytest.mark.parametrize("seed", range(12))
def test_limits_hold_through_long_histories(template: Path, seed: int) -> None:
    play(template, seed)


def play_many(template: Path, seeds: Iterable[int]) -> None:
    for seed in seeds:
        play(template, seed)


def one_byte_more(real: Any) -> Any:
    """Tells the core a limit that is too high."""

    def tell(self: QuotaTable, op: PutQuota) -> None:
        if op.hard_bytes is not None:
            op = replace(op, hard_bytes=op.hard_bytes + 1)
        real(self, op)

    return tell


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_tell", one_byte_more(QuotaTable._tell)),
        ("_check_inodes", lambda self, node: None),
        ("forget", lambda self, row: self.port.forget(row.ino)),
        ("activate", lambda self, row, fields, extents: self.port.activate(fields, extents, None)),
    ],
)
def test_planted_faults_are_found(
    template: Path, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuotaTable, name, fault)
    with pytest.raises(AssertionError):
        play_many(template, range(30))
