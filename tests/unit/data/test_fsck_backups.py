"""fsck of backups: clean ones are clean, and whatever is wrong with one is told."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.data.fsck_backups import BackupReport, check_backups
from tests.unit.ctl.backup_bench import Objects, World, drop, put, spliced

# Not to be taken for LSNs in what is told.
PACKS = [1 << 40 | 0xABCDE0 | number for number in range(4)]


class Packs:
    def __init__(self) -> None:
        self.ids = list(PACKS)

    def list_packs(self) -> Sequence[tuple[int, int, float]]:
        return [(pack, 4096, 0.0) for pack in self.ids]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "state", Objects())
    made.change([put(2, 0o600), *spliced(2, PACKS[0])])
    made.settle()
    for ino, pack in enumerate(PACKS[1:], 3):
        made.change([put(ino, 0o600), *spliced(ino, pack)])
        made.settle()
    made.change([drop(4)])
    made.settle()
    yield made
    made.close()


def checked(world: World, packs: Packs | None = None, *, expected: bool = True) -> BackupReport:
    file = world.folder / "fsck.db"
    report = check_backups(world.store, packs or Packs(), file, expected=expected, progress=lambda _: None)
    assert not file.exists()
    return report


def texts(report: BackupReport) -> str:
    return "\n".join(problem.text for problem in report.problems)


def test_what_is_sound_is_clean(world: World) -> None:
    report = checked(world)
    assert (report.problems, report.damaged) == ([], [])
    assert (report.snapshots, report.increments) == (1, 4)


@pytest.mark.parametrize("kind", ["manifest", "part-", "/increments/"])
@pytest.mark.parametrize("gone", [False, True], ids=["flipped", "gone"])
def test_each_object_is_looked_at(world: World, kind: str, gone: bool) -> None:
    data = world.objects.data
    key = min(key for key in data if kind in key)
    if gone:
        del data[key]
    else:
        data[key] = data[key][:-1] + bytes([data[key][-1] ^ 1])
    report = checked(world)
    if kind == "manifest" and gone:
        assert texts(report) == "backup: the store holds no snapshot of the metadata"
    elif kind == "/increments/" and gone:
        assert "a gap before" in texts(report)
    else:
        assert key in texts(report)
        assert len(report.damaged) == 1


def test_packs_that_a_snapshot_or_a_moment_after_it_needs_must_exist(world: World) -> None:
    packs = Packs()
    packs.ids = PACKS[:1]
    report = checked(world, packs)
    # Even the one that is dead by now.
    assert [f"{pack:016x}" in texts(report) for pack in PACKS] == [False, True, True, True]
    packs.ids = PACKS[1:]
    assert f"{PACKS[0]:016x}" in texts(checked(world, packs))
    world.owner.wanted = 1
    world.settle()
    world.time_s += world.retention_s + 1
    world.restart_steward()
    world.back_up(2)
    packs.ids = [PACKS[0], PACKS[1], PACKS[3]]
    assert checked(world, packs).problems == []


def test_a_file_system_that_has_no_backups_yet_is_not_damaged(world: World) -> None:
    world.objects.data.clear()
    assert checked(world, expected=False).problems == []


def test_what_expires_under_the_check_is_no_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = world.objects.data
    world.owner.wanted = 1
    world.settle()
    old = [key for key in data if "/increments/" in key] + sorted(key for key in data if "manifest" in key)[
        :1
    ]
    reading = world.objects.read_object

    def read(key: str, max_bytes: int) -> bytes | None:
        for expired in old:
            data.pop(expired, None)
        return reading(key, max_bytes)

    monkeypatch.setattr(world.objects, "read_object", read)
    assert checked(world).problems == []
