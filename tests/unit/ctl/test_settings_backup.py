"""Copies of exports and limits among the backups: put when something changed, found by moment, kept for the retention."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import exports, limits
from gateway.objects.backup_chain import SettingsCopy
from gateway.objects.backup_store import BackupStore
from gateway.objects.settings_backup import SettingsBackup, restore
from gateway.state import StateDir

FS_ID = bytes(range(16))


class Objects:
    """A store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def list_objects(self, prefix: str) -> list[tuple[str, int]]:
        return sorted((key, len(data)) for key, data in self.objects.items() if key.startswith(prefix))

    def put_object(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(key, data) is data

    def read_object(self, key: str, max_bytes: int) -> bytes | None:
        return self.objects.get(key, b"")[:max_bytes] or None

    def delete_object(self, key: str) -> None:
        del self.objects[key]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateDir(folder / "state")
        self.state.root.mkdir()
        self.objects = Objects()
        self.store = BackupStore(self.objects, FS_ID, None)
        self.now_s = 1000
        self.dies_at = ""
        self.may_delete = True
        self.epoch = 1
        self.backup = self.steward()

    def steward(self, retention_s: float = 100.0) -> SettingsBackup:
        return SettingsBackup(
            self.store,
            self.state,
            retention_s=retention_s,
            now_ns=lambda: self.now_s * 10**9,
            may_delete=lambda: self.may_delete,
            failpoint=self._failpoint,
        )

    def _failpoint(self, name: str) -> None:
        if name == self.dies_at:
            raise OSError(5, name)

    def step(self) -> int:
        self.backup.step(lambda: self.epoch)
        return len(self.copies())

    def copies(self) -> list[SettingsCopy]:
        return sorted(self.store.list().settings)

    def limit(self, name: str) -> None:
        limits.write(self.state, limits.Kept(limits=(limits.Limit(name, ops_s=1.0),)))

    def restored(
        self, upto_s: int | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> tuple[list[str], StateDir]:
        state = StateDir(self.folder / f"restored{len(list(self.folder.iterdir()))}")
        state.root.mkdir()
        upto_ms = None if upto_s is None else upto_s * 1000
        return restore(self.store, self.store.list(), state, upto_ms=upto_ms, tell=tell), state


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_copy_is_put_when_something_changed(bench: Bench) -> None:
    assert bench.step() == 0
    bench.limit("first")
    assert (bench.step(), bench.step()) == (1, 1)
    # Another steward sees that it is there.
    bench.backup = bench.steward()
    assert bench.step() == 1
    bench.now_s += 10
    bench.limit("second")
    exports.write(bench.state, exports.Kept(next_id=9))
    assert bench.step() == 2
    names, state = bench.restored()
    assert names == ["exports.json", "limits.json"]
    assert limits.read(state) == limits.read(bench.state)
    assert exports.read(state).next_id == 9
    names, state = bench.restored(upto_s=1005)
    assert [limit.name for limit in limits.read(state).limits] == ["first"]
    assert bench.restored(upto_s=999)[0] == []


@pytest.mark.parametrize("point", ["backup.before_settings", "backup.after_settings"])
def test_a_crash_around_a_put_leaves_what_the_next_one_makes_whole(bench: Bench, point: str) -> None:
    bench.limit("first")
    bench.dies_at = point
    with pytest.raises(OSError, match=point):
        bench.step()
    bench.dies_at = ""
    bench.backup = bench.steward()
    bench.now_s += 1
    assert bench.step() == 1
    assert limits.read(bench.restored()[1]) == limits.read(bench.state)


def test_a_damaged_copy_is_told_and_passed_over(bench: Bench) -> None:
    for name in ("first", "second"):
        bench.now_s += 1
        bench.limit(name)
        bench.step()
    key = bench.copies()[-1].key
    bench.objects.objects[key] = bench.objects.objects[key][:-1] + b"?"
    told: list[str] = []
    _, state = bench.restored(tell=told.append)
    assert [limit.name for limit in limits.read(state).limits] == ["first"]
    assert "next best copy" in told[0]


def test_of_old_copies_the_newest_stays(bench: Bench) -> None:
    for number in range(4):
        bench.limit(f"n{number}")
        bench.step()
        bench.now_s += 40
    # At 1120 the moment 1020 has to be found: what was put at 1000 held then.
    assert [copy.complete_ms for copy in bench.copies()] == [1_000_000, 1_040_000, 1_080_000, 1_120_000]
    bench.now_s = 1160
    bench.may_delete = False
    bench.limit("n4")
    assert bench.step() == 5
    bench.may_delete, bench.now_s = True, 1190
    bench.limit("n5")
    bench.step()
    assert [copy.complete_ms // 1000 for copy in bench.copies()] == [1080, 1120, 1160, 1190]
    bench.backup = bench.steward(retention_s=0)
    bench.now_s, bench.epoch = 1200, 2
    bench.limit("n6")
    assert bench.step() == 1


def test_what_came_after_the_copy_took_identities(bench: Bench) -> None:
    rule = exports.Rule(("*",))
    export = exports.Export("a", "/a", "/a", (rule,), id=2)
    exports.write(bench.state, exports.Kept(next_id=3, exports=(export,)))
    bench.step()
    _, state = bench.restored()
    exports.skip_ids(state)
    assert exports.read(state).next_id == 3 + exports.SKIPPED_IDS
    assert exports.read(state).exports == (export,)
