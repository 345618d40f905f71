"""The block cache of an owner: its parts put together."""

import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gateway._core import BlockCache, CoreError
from gateway.cache import settings, walk
from gateway.cache.elastic import Elastic
from gateway.cache.heat import Heat, Parents
from gateway.cache.jobs import Job, Jobs
from gateway.cache.policy import Bounds, Prices
from gateway.cache.settings import Configured, Settings, ShelfSetting
from gateway.cache.tiers import Tiers
from gateway.cache.warmth import Warmth
from gateway.config import Config
from gateway.metadata.clock import SystemClock
from gateway.metadata.packs import pack_sizes
from gateway.state import StateDir

if TYPE_CHECKING:
    from gateway.fsal.owner import Owner

DRAIN_BLOCKS = 32


def kept_settings(state: StateDir, config: Config) -> Settings:
    """What was changed while an earlier server ran, and still holds. Raises StartError for a file of a later version."""
    given = {"shelf", "l2_dir", "l2_bytes"} & config.explicit
    configured = Configured(
        l1_bytes=config.l1_bytes if "l1_bytes" in config.explicit else None,
        shelves=_shelves(config) if given else None,
    )
    return settings.in_force(settings.read(state.cache_file), configured)


def _shelves(config: Config) -> tuple[ShelfSetting, ...]:
    return tuple(ShelfSetting(str(shelf.path), shelf.bytes) for shelf in config.shelves)


class Caching:
    """Tiers, jobs and pins of one owner."""

    def __init__(self, owner: "Owner", state: StateDir, kept: Settings) -> None:
        config = owner.config
        self._owner = owner
        self.cache = BlockCache(owner.core)
        self.tiers = Tiers(
            owner.core,
            self.cache,
            state.cache_file,
            kept,
            l1_bytes=config.l1_bytes,
            shelves=_shelves(config),
            reserved=config.journal,
            errors=CoreError,
        )
        self.jobs = Jobs(lambda: secrets.token_hex(8))
        self.warmth = Warmth(
            self.cache,
            owner.namespace,
            self._extents,
            self.tiers,
            resolve=owner.paths.resolve,
            l1_bytes=lambda: self.tiers.l1_bytes,
            l2_bytes=self.l2_bytes,
        )

        clock = SystemClock()
        self.parents = Parents()
        self.heat = Heat(self.cache.activity, self.parents, owner.paths.pseudos)
        self.elastic = Elastic(
            lambda: cast("dict[str, Any]", owner.core.stats()),
            self.tiers,
            bounds={
                "l1": Bounds(config.l1_min_bytes, config.l1_max_bytes),
                "l2": Bounds(config.l2_min_bytes, config.l2_max_bytes),
            },
            prices=Prices(
                memory_gib_month=config.memory_price_gib_month,
                disk_gib_month=config.disk_price_gib_month,
                read=config.read_price_10k / 10_000,
                wait_hour=config.wait_price_hour,
            ),
            clock=time.monotonic,
            now_s=lambda: clock.now_ns() / 1e9,
            interval_s=config.cache_policy_interval_s,
        )

    def start(self) -> None:
        """Opens the shelves; from then on pins are kept, sizes follow the policy, and activity is counted."""
        self.tiers.open()
        self.warmth.start()
        self.heat.start()
        self.elastic.start()

    def stop(self) -> None:
        self.elastic.stop()
        self.jobs.stop()
        self.warmth.stop()
        self.heat.stop()

    def figures(self) -> dict[str, Any]:
        """The cache's own, from the core."""
        return cast("dict[str, Any]", self._owner.core.stats()["cache"])

    def l2_bytes(self) -> int:
        """What the shelves hold that are in use and not being emptied."""
        shelves = self.figures()["shelves"]
        return sum(shelf["capacity_bytes"] for shelf in shelves if shelf["state"] == "ok")

    def _extents(self, inode: int) -> list[tuple[int, int, int, int]]:
        owner = self._owner
        found = owner.core.extents(inode)
        if found is not None:
            return found
        with owner.namespace.lock:
            return owner.namespace.view.extents(inode).extents()

    def describe(self) -> dict[str, Any]:
        """What `status` tells of the cache beside the core's figures."""
        return {"settings": self.tiers.describe()}

    def drain(self, path: str, job: Job) -> None:
        """Copies what only this shelf has to the others, of packs that the checkpoint knows."""
        moved = packs = 0
        for page in pack_sizes(self._owner.database):
            for pack, size in page:
                blocks = -(-size // walk.BLOCK_BYTES)
                for first in range(0, blocks, DRAIN_BLOCKS):
                    run = (pack, first, min(DRAIN_BLOCKS, blocks - first))
                    moved += self.cache.move_from_shelf(path, run)
                    job.waited()
                packs += 1
                job.step(packs=packs, moved_blocks=moved)


def as_plain(value: object) -> Any:
    """For an answer of the control socket."""
    return msgspec.to_builtins(value)
