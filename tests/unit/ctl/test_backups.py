"""The steward's backups: whatever fails between, what the owner was told is in the container, and comes back exactly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import backuper as module
from gateway.backuper import EMPTY_S, EXPIRE_S
from gateway.data.restore import NothingToRestoreError
from gateway.metadata import usage
from gateway.objects.backup_chain import Listing, parse
from tests.unit.ctl.backup_bench import Objects, World, drop, put, restored, spliced

POINTS = (
    "backup.before_increment",
    "backup.after_increment",
    "backup.before_part",
    "backup.before_manifest",
    "backup.after_manifest",
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "state", Objects())
    yield made
    made.close()


def listing(world: World) -> Listing:
    return parse(world.objects.list_objects("caudal/backup"))


def test_nothing_is_told_before_there_is_a_snapshot(world: World, tmp_path: Path) -> None:
    world.change([put(2, 0o600)])
    world.sync()
    world.checkpoint()
    world.objects.fail = ["before"]
    world.back_up()
    assert world.owner.backup_lsn == 0
    with pytest.raises(NothingToRestoreError):
        restored(world.objects, tmp_path / "new.db")
    world.back_up(3)
    assert world.owner.backup_lsn == world.owner.durable_lsn
    found, rows = restored(world.objects, tmp_path / "new.db")
    assert (found.lsn, rows) == (world.owner.durable_lsn, {2: 0o600})


def test_increments_follow_the_checkpoint_only(world: World, tmp_path: Path) -> None:
    world.settle()
    first = world.change([put(2, 0o600)])
    world.sync()
    world.checkpoint()
    world.change([put(3, 0o600)])
    world.sync()
    world.back_up()
    assert world.owner.backup_lsn == first
    assert restored(world.objects, tmp_path / "new.db")[1] == {2: 0o600}
    assert len(listing(world).snapshots) == 1


def test_an_idle_file_system_puts_nothing(world: World) -> None:
    world.change([put(2, 0o600)])
    world.settle()
    puts = world.objects.puts
    for _ in range(10):
        world.time_s += EXPIRE_S
        world.back_up()
    assert world.objects.puts == puts


def test_records_without_rows_move_the_backup_when_wanted_and_now_and_then(world: World) -> None:
    world.settle()
    before = world.owner.backup_lsn
    world.write()
    world.sync()
    world.checkpoint()
    world.back_up()
    assert world.owner.backup_lsn == before
    world.owner.wanted_lsn = world.owner.durable_lsn
    world.back_up()
    assert world.owner.backup_lsn == world.owner.durable_lsn
    world.write()
    world.sync()
    world.checkpoint()
    world.time_s += EMPTY_S
    world.back_up()
    assert world.owner.backup_lsn == world.owner.durable_lsn


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("restart", [False, True], ids=["goes on", "dies"])
def test_a_failure_at_each_step_repeats_harmlessly(
    world: World, tmp_path: Path, point: str, restart: bool
) -> None:
    world.change([put(2, 0o600)])
    world.settle()
    world.change([put(3, 0o600), drop(2)])
    world.sync()
    world.checkpoint()
    world.owner.wanted = 1
    world.fail_at = point
    for _ in range(3):
        world.back_up()
        if not world.fail_at:
            break
    assert world.fail_at == "", "the point was passed"
    if restart:
        world.restart_steward()
    told = world.owner.backup_lsn
    found, _ = restored(world.objects, tmp_path / "early.db")
    assert found.lsn >= told
    world.settle()
    assert world.owner.made == 1
    found, rows = restored(world.objects, tmp_path / "new.db")
    assert (found.lsn, rows) == (world.owner.durable_lsn, {3: 0o600})
    # What was cut off is cleared away.
    world.retention_s = 0
    world.restart_steward()
    world.time_s += 1
    world.back_up(2)
    left = listing(world)
    assert set(left.parts) == set(left.snapshots)
    assert len(left.snapshots) == 1
    assert restored(world.objects, tmp_path / "last.db")[1] == {3: 0o600}


def test_large_snapshots_go_in_parts_while_increments_go_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.backup_upload.PART_BYTES", 8192)
    world.change([put(ino, 0o600) for ino in range(2, 400)])
    world.settle()
    world.owner.wanted = 1
    world.back_up()
    while world.owner.made < 1:
        lsn = world.change([put(2, 0o611)])
        world.sync()
        world.checkpoint()
        world.back_up()
        assert world.owner.backup_lsn == lsn
    assert len(max(listing(world).parts.values(), key=len)) > 3
    assert restored(world.objects, tmp_path / "new.db")[1] == world.last


def test_a_journal_that_was_trimmed_too_far_begins_a_new_chain(world: World, tmp_path: Path) -> None:
    world.change([put(2, 0o600)])
    world.settle()
    world.change([put(3, 0o600)])
    world.sync()
    world.checkpoint()
    world.journal.trim(world.owner.checkpoint_lsn)
    world.restart_steward()
    world.back_up(3)
    assert world.owner.backup_lsn == world.owner.durable_lsn
    assert restored(world.objects, tmp_path / "new.db")[1] == {2: 0o600, 3: 0o600}


def test_a_container_that_lost_its_backups_gets_new_ones(world: World, tmp_path: Path) -> None:
    world.change([put(2, 0o600)])
    world.settle()
    world.objects.data.clear()
    world.restart_steward()
    world.back_up(3)
    assert restored(world.objects, tmp_path / "new.db")[1] == {2: 0o600}


def test_snapshots_are_due_by_what_came_since_and_by_age(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_FLOOR_BYTES", 20_000)
    world.settle()
    assert len(listing(world).snapshots) == 1
    world.change([put(2, 0o600)])
    world.settle()
    assert len(listing(world).snapshots) == 1
    for ino in range(3, 100):
        world.change([put(ino, 0o600), put(ino + 1000, 0o600)])
        world.settle()
    by_size = len(listing(world).snapshots)
    assert by_size > 1
    world.time_s += module.SNAPSHOT_AGE_S + 1
    world.back_up(3)
    # Of those of the day before, only the one that leads to the beginning of the retention is needed.
    assert world.owner.told["snapshots"] == 2
    newest = max(listing(world).snapshots)
    world.time_s += module.SNAPSHOT_AGE_S + 1
    world.back_up(3)
    assert max(listing(world).snapshots) == newest, "nothing changed"


def test_dead_packs_have_a_snapshot_made_and_wait_for_the_retention(world: World, tmp_path: Path) -> None:
    pack = 1 << 40 | 7
    world.change([put(2, 0o600), *spliced(2, pack)])
    world.settle()
    dead_lsn = world.change([drop(2)])
    world.settle()

    def dead() -> list[int]:
        oldest = world.backuper.oldest_lsn
        assert oldest is not None
        with world.database.reader() as connection:
            return usage.dead_packs(connection, dead_before_s=2**40, upto_lsn=oldest, limit=9)

    with world.database.reader() as connection:
        assert usage.any_dead_after(connection, lsn=dead_lsn - 1, dead_before_s=2**40)
        assert not usage.any_dead_after(connection, lsn=dead_lsn, dead_before_s=2**40)
    world.dead = True
    assert dead() == []
    world.time_s += world.retention_s / 7 + 1
    world.back_up(3)
    world.dead = False
    assert len(listing(world).snapshots) == 2
    # The first snapshot restores to a moment within the retention, at which the pack was alive.
    assert dead() == []
    assert restored(world.objects, tmp_path / "then.db", upto_ms=min(listing(world).snapshots).complete_ms)[1]
    world.time_s += world.retention_s
    world.back_up(3)
    assert len(listing(world).snapshots) == 1
    assert dead() == [pack]


def test_without_a_lease_nothing_is_deleted(world: World) -> None:
    world.retention_s = 0
    world.restart_steward()
    world.settle()
    world.owner.valid = False
    world.owner.wanted = 1
    world.change([put(2, 0o600)])
    world.settle()
    assert len(listing(world).snapshots) == 2
    assert world.backuper.oldest_lsn == min(listing(world).snapshots).lsn


def test_recovery_to_a_moment_before(world: World, tmp_path: Path) -> None:
    moments: list[tuple[float, dict[int, int]]] = []
    for ino in range(2, 8):
        world.change([put(ino, 0o600)])
        world.settle()
        world.time_s += 10
        world.back_up()
        moments.append((world.time_s, world.last))
        world.time_s += 10
    for time_s, rows in moments:
        assert restored(world.objects, tmp_path / "new.db", upto_ms=int(time_s * 1000))[1] == rows
    with pytest.raises(NothingToRestoreError, match="so old"):
        restored(world.objects, tmp_path / "new.db", upto_ms=1)


@pytest.mark.parametrize("kind", ["increments", "snapshots"])
@pytest.mark.parametrize("how", ["flipped", "gone", "swapped"])
def test_damaged_objects_are_passed_over_loudly(world: World, tmp_path: Path, kind: str, how: str) -> None:
    world.change([put(2, 0o600)])
    world.settle()
    world.change([put(3, 0o600)])
    world.settle()
    if kind == "snapshots":
        world.owner.wanted = 1
        world.settle()
    data = world.objects.data
    victim = max(key for key in data if f"/{kind}/" in key)
    if how == "flipped":
        data[victim] = data[victim][:60] + bytes([data[victim][60] ^ 1]) + data[victim][61:]
    elif how == "swapped":
        data[victim] = data[min(key for key in data if f"/{kind}/" in key)]
    else:
        del data[victim]
    found, rows = restored(world.objects, tmp_path / "new.db")
    if kind == "snapshots":
        # The older one, and what came since, lead to the same.
        assert rows == {2: 0o600, 3: 0o600}
    else:
        assert rows == ({2: 0o600} if how != "swapped" or len(found.skipped) else rows)
    assert found.skipped or how == "gone" or victim == min(key for key in data if f"/{kind}/" in key)


def test_two_machines_that_both_went_on_are_told_apart(tmp_path: Path) -> None:
    objects = Objects()
    old = World(tmp_path / "old", objects)
    old.change([put(2, 0o600)])
    old.settle()
    found, _ = restored(objects, tmp_path / "recovered.db")
    (tmp_path / "new").mkdir()
    (tmp_path / "recovered.db").rename(tmp_path / "new" / "metadata.db")
    new = World(tmp_path / "new", objects, epoch=2)
    assert new.last == {2: 0o600}
    new.settle()
    # The old machine does not know that it was replaced.
    old.change([put(3, 0o600)])
    old.settle()
    assert old.owner.backup_lsn > found.lsn
    assert restored(objects, tmp_path / "a.db")[1] == {2: 0o600}
    new.change([put(4, 0o600)])
    new.settle()
    assert restored(objects, tmp_path / "b.db")[1] == {2: 0o600, 4: 0o600}
    assert new.backuper.oldest_epoch == 1
    for world in (old, new):
        world.close()
