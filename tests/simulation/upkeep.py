"""What the system does by itself, one turn at a time: flush, checkpoint, collection, the journal's own rounds."""

import random

from gateway._core import CorruptError, FlushBatch, StoreError
from gateway.metadata import usage
from tests.simulation.client import Client
from tests.simulation.machine import GRACE_S, Life, Machine
from tests.simulation.shape import Shape

BATCHES_MAX = 2
# No backup is kept that needs a dead pack.
NO_BACKUPS_LSN = 2**63 - 1
LONGEST_ADVANCE_NS = 30_000_000_000


class Upkeep:
    """Turns of the parts that work behind the clients' backs. Raises what ends the process, and AssertionError."""

    def __init__(self, machine: Machine, client: Client, rng: random.Random, shape: Shape) -> None:
        self._machine = machine
        self._client = client
        self._rng = rng
        self._shape = shape

    @property
    def _life(self) -> Life:
        return self._machine.life

    def step(self, kind: str) -> str:
        """One turn; what the store's troubles did to it is no error."""
        try:
            done = getattr(self, f"_{kind}")()
        except (StoreError, CorruptError) as error:
            # What was fetched ahead while the store was ill may still fail for lack of an answer once it is well.
            if self._client.store_is_well and isinstance(error, CorruptError):
                raise
            return f"{kind}: {type(error).__name__}"
        return f"{kind}: {done}"

    # Flush: whole turns as the flusher takes them, and parts of turns with anything in between

    def _flush(self) -> object:
        flusher = self._rng.choice((self._life.eager, self._life.aged))
        return flusher.step()

    def _flush_take(self) -> object:
        if len(self._life.batches) >= BATCHES_MAX:
            return "enough are under way"
        batch = self._life.core.flush_take(
            inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=self._shape.batch_bytes
        )
        if batch is not None:
            self._life.batches.append((batch, False))
        return batch is not None

    def _flush_write(self) -> object:
        batch = self._of_batches(written=False)
        if batch is None:
            return "none"
        try:
            batch.write()
        except BaseException:
            batch.abort()
            raise
        self._life.batches.append((batch, True))
        return "written"

    def _flush_commit(self) -> object:
        batch = self._of_batches(written=True)
        if batch is None:
            return "none"
        self._life.namespace.flush_commit(batch)
        return "committed"

    def _of_batches(self, *, written: bool) -> FlushBatch | None:
        for index, (batch, is_written) in enumerate(self._life.batches):
            if is_written == written:
                del self._life.batches[index]
                return batch
        return None

    # The steward

    def _checkpoint(self) -> object:
        steward = self._machine.steward
        try:
            return steward.step()
        except BaseException:
            steward.reset()
            raise

    def _collect(self) -> object:
        now_s = self._machine.clock.now_s()
        with self._machine.database.reader() as connection:
            dead = usage.dead_packs(
                connection, dead_before_s=int(now_s - GRACE_S), upto_lsn=NO_BACKUPS_LSN, limit=100
            )
        return self._life.collector.delete_dead(dead) if dead else "nothing dead"

    def _compact(self) -> object:
        with self._machine.database.reader() as connection:
            sparse = usage.compaction_candidates(connection, live_fraction=0.8, min_bytes=1, limit=3)
            moves = usage.live_extents(connection, sparse, max_bytes=20_000) if sparse else []
        return self._life.collector.compact(moves) if moves else "nothing sparse"

    def _unnamed(self) -> object:
        return self._life.collector.delete_unnamed()

    # The rest

    def _orphans(self) -> object:
        return self._client.drop_orphans()

    def _write_journal(self) -> object:
        sync = self._rng.random() < 0.3
        self._machine.world.write_journal(self._life.core, sync=sync)
        return sync

    def _spares(self) -> object:
        self._machine.world.tend_mirrors(self._life.core)
        return ""

    def _drop_cache(self) -> object:
        self._life.core.cache_drop(True, False)
        return ""

    def _advance(self) -> object:
        ns = self._rng.choice((1000, 1_000_000_000, self._rng.randint(1, LONGEST_ADVANCE_NS)))
        self._machine.world.advance(ns)
        return ns

    def settle(self) -> None:
        """All is flushed, checkpointed, and what is dead for long enough is deleted. The store must be well."""
        life = self._life
        for batch, _ in life.batches:
            batch.abort()
        life.batches.clear()
        for _ in range(1000):
            if not life.core.dirty().inodes:
                break
            life.eager.step()
        else:
            raise AssertionError("the flush does not come to an end")
        life.core.wait_durable(life.core.last_lsn)
        self._checkpoint_all()
        self._machine.world.advance(2 * GRACE_S * 1_000_000_000)
        self._collect()
        self._unnamed()
        life.core.wait_durable(life.core.last_lsn)
        self._checkpoint_all()
        reached = life.namespace.checkpoint_lsn
        assert reached == life.core.durable_lsn, (
            f"the checkpoint is at {reached:#x}, not at {life.core.durable_lsn:#x}"
        )
        self._no_garbage()

    def _checkpoint_all(self) -> None:
        """Until nothing waits; the place in the journal moves on by time alone, so some of that passes."""
        for _ in range(100):
            self._machine.world.advance(10_000_000_000)
            if (
                not self._machine.steward.step()
                and self._life.namespace.checkpoint_lsn == self._life.core.durable_lsn
            ):
                return

    def _no_garbage(self) -> None:
        """Every object that an older epoch left is a pack that rows name."""
        namespace = self._life.namespace
        for pack, _, _ in self._life.core.list_packs():
            if pack >> 40 < self._life.epoch:
                assert namespace.live_bytes(pack) is not None, f"pack {pack:016x} is garbage that stays"
