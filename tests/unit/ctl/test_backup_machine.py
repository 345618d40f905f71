"""Backups against a plain model: random transactions, failures, deaths, replaced machines, and a recovery at any time gives
exactly the rows of the moment that it states, never from before what the owner was told.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.data.restore import NothingToRestoreError
from gateway.objects.backup_chain import Chain
from gateway.objects.backup_memo import FOLDER
from tests.unit.ctl.backup_bench import Objects, Rows, World, drop, put, restored

POINTS = (
    "backup.before_increment",
    "backup.after_increment",
    "backup.before_part",
    "backup.before_manifest",
    "backup.after_manifest",
    "backup.before_delete",
)
INODES = st.integers(2, 6)


def _epoch_of(skipped: str) -> int:
    """Of an object that a recovery passed over."""
    return int(skipped.split("/")[3].partition("-")[0], 16)


class Backups(RuleBasedStateMachine):
    """`world` owns the file system; `replaced` once did, and may not know that it does not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="backups."))
        self.objects = Objects()
        self.world = World(self.folder / "1", self.objects, retention_s=60)
        self.replaced: World | None = None
        self.epoch = 1
        self.machines = 1
        # Of the machine that is the owner now: what it put is whole. One that was replaced may name parts that are gone.
        self.first_epoch = 1
        # Rows at each LSN that was ever durable, in all histories: an LSN belongs to one.
        self.known: dict[int, Rows] = {0: {}}

    def teardown(self) -> None:
        for world in filter(None, (self.world, self.replaced)):
            world.close()
        shutil.rmtree(self.folder)

    def _learn(self, world: World) -> None:
        for lsn, rows in world.history.items():
            if lsn <= world.owner.durable_lsn:
                assert self.known.setdefault(lsn, rows) == rows

    @initialize()
    def first(self) -> None:
        self.world.settle()

    @rule(ino=INODES, mode=st.integers(0, 0o777), sync=st.booleans())
    def change(self, ino: int, mode: int, sync: bool) -> None:
        self.world.change([put(ino, mode)])
        if sync:
            self.world.sync()
            self._learn(self.world)

    @rule(ino=INODES)
    def remove(self, ino: int) -> None:
        self.world.change([drop(ino)])

    @rule()
    def write(self) -> None:
        self.world.write()

    @rule()
    def checkpoint(self) -> None:
        self.world.sync()
        self._learn(self.world)
        self.world.checkpoint()

    @rule(steps=st.integers(1, 3), wanted=st.booleans())
    def back_up(self, steps: int, wanted: bool) -> None:
        if wanted:
            self.world.owner.wanted_lsn = self.world.owner.durable_lsn
        self.world.back_up(steps)

    @rule(fail=st.lists(st.sampled_from(["before", "after"]), min_size=1, max_size=2))
    def store_fails(self, fail: list[str]) -> None:
        self.objects.fail = fail
        self.world.back_up(2)

    @rule(point=st.sampled_from(POINTS), dies=st.booleans())
    def fails_between(self, point: str, dies: bool) -> None:
        self.world.fail_at = point
        self.world.back_up(2)
        self.world.fail_at = ""
        if dies:
            self.world.restart_steward()

    @rule()
    def a_snapshot_is_wanted(self) -> None:
        self.world.owner.wanted += 1

    @rule(seconds=st.sampled_from([1.0, 40.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.time_s += seconds
        if self.replaced is not None:
            self.replaced.time_s = self.world.time_s

    @rule()
    def trim(self) -> None:
        self.world.trim()

    @rule(steward=st.booleans())
    def owner_restarts(self, steward: bool) -> None:
        self.epoch += 1
        self.world.restart_owner(self.epoch)
        if steward:
            self.world.restart_steward()

    @rule(forgets=st.booleans())
    def machine_is_replaced(self, forgets: bool) -> None:
        """From the container alone; the old one may live on."""
        self.machines += 1
        self.epoch += 1
        self.first_epoch = self.epoch
        folder = self.folder / str(self.machines)
        folder.mkdir()
        found, rows = restored(self.objects, folder / "metadata.db")
        assert rows == self.known[found.lsn]
        if self.replaced is not None:
            self.replaced.close()
            self.replaced = None
        if forgets:
            self.world.close()
        else:
            self.replaced = self.world
            self.replaced.owner.valid = False
        time_s = self.world.time_s
        self.world = World(folder, self.objects, self.epoch, retention_s=60)
        self.world.time_s = time_s
        assert not (folder / FOLDER).exists()

    @precondition(lambda self: self.replaced is not None)
    @rule(ino=INODES, mode=st.integers(0, 0o777))
    def the_replaced_one_goes_on(self, ino: int, mode: int) -> None:
        assert self.replaced is not None
        self.replaced.change([put(ino, mode)])
        self.replaced.sync()
        self._learn(self.replaced)
        self.replaced.checkpoint()
        self.replaced.back_up(2)

    @invariant()
    def what_comes_back_is_what_is_stated(self) -> None:
        try:
            found, rows = restored(self.objects, self.folder / "look.db")
        except NothingToRestoreError:
            assert self.world.owner.backup_lsn == 0
            assert self.machines == 1
            return
        assert all(_epoch_of(why) < self.first_epoch for why in found.skipped), found.skipped
        assert rows == self.known[found.lsn], hex(found.lsn)
        assert found.lsn >= self.world.owner.backup_lsn
        assert _is_whole(found.chain)
        if self.world.owner.backup_lsn:
            assert found.lsn in self.world.history, "another machine's"


def _is_whole(chain: Chain) -> bool:
    ends = [chain.snapshot.lsn, *(step.to_lsn for step in chain.increments)]
    return [step.from_lsn for step in chain.increments] == ends[:-1]


TestBackups = Backups.TestCase
TestBackups.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
