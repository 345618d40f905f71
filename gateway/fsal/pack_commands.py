"""Operations of the control socket on packs: what the steward proposes, what operators ask of it, and figures."""

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway._core import StoreError
from gateway.control import ControlServer, Handler
from gateway.data.collector import Collected
from gateway.errors import STORE_AWAY, ControlError
from gateway.fsal.steward_jobs import StewardJobs
from gateway.fsal.tiering import TieringCommands
from gateway.metadata import pack_tiers, usage
from gateway.metadata.clock import SystemClock
from gateway.state import StateDir

if TYPE_CHECKING:
    from gateway.fsal.owner import Owner

FIGURES_AGE_S: Final = 5.0
"""Figures of all packs read the whole table: those of so long ago do."""


class PackCommands:
    """Handlers bound to one owner."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self._steward = StewardJobs(owner.caching.jobs)
        clock = SystemClock()
        self._tiering = TieringCommands(
            StateDir(owner.config.state),
            owner.database,
            self._steward,
            store=owner.config.store,
            now_s=lambda: clock.now_ns() / 1e9,
            read_packs=owner.caching.cache.take_read_packs,
        )
        self._figures_lock = threading.Lock()
        self._figures: dict[str, object] = {}
        self._figures_at_s = 0.0

    def register(self, server: ControlServer) -> None:
        self._steward.register(server)
        self._tiering.register(server)
        for op, handler in {
            "packs_dead": _asks_the_store(self.packs_dead),
            "packs_compact": _asks_the_store(self.packs_compact),
            "packs_unnamed": _asks_the_store(self.packs_unnamed),
            "packs": self.packs,
            "objects_collect": self.collect,
        }.items():
            server.register(op, handler)

    def packs(self, _fields: Mapping[str, Any]) -> dict[str, object]:
        """Sums over the packs, as of the last checkpoint."""
        with self._figures_lock:
            now_s = time.monotonic()
            if not self._figures or now_s - self._figures_at_s > FIGURES_AGE_S:
                with self._owner.database.reader() as connection:
                    found = usage.pack_usage(connection)
                    tiers = pack_tiers.sums(connection)
                self._figures = {
                    "packs": found.packs,
                    "bytes": found.bytes,
                    "live_bytes": found.live_bytes,
                    "dead_packs": found.dead,
                    "dead_bytes": found.dead_bytes,
                    "tiers": {name: tier._asdict() for name, tier in tiers.items()},
                }
                self._figures_at_s = now_s
            return self._figures

    def collect(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Has the steward delete and compact whatever may be: a job. `early`: what is charged for leaving its tier, too."""
        return self._steward.start("objects.collect", early=bool(fields.get("early")))

    def packs_dead(self, fields: Mapping[str, Any]) -> dict[str, list[int]]:
        """`packs` without live extents: those go that have none. Durable when it returns."""
        done = self._owner.collector.delete_dead([int(pack) for pack in fields["packs"]])
        self._settle(done)
        return {"deleted": list(done.deleted)}

    def _settle(self, done: Collected) -> None:
        # Who proposes again when the database has what is durable then does not meet what was just done.
        if done.lsn:
            self._owner.core.wait_durable(done.lsn)

    def packs_compact(self, fields: Mapping[str, Any]) -> dict[str, int]:
        """`moves`: lists of inode, offset, length, pack, pack offset."""
        moves = [(int(m[0]), int(m[1]), int(m[2]), int(m[3]), int(m[4])) for m in fields["moves"]]
        done = self._owner.collector.compact(moves)
        self._settle(done)
        return {"moved_pieces": done.moved_pieces}

    def packs_unnamed(self, fields: Mapping[str, Any]) -> dict[str, int]:
        """`from_epoch`: packs of earlier ones are left alone, for a retained backup may name them."""
        done = self._owner.collector.delete_unnamed(int(fields.get("from_epoch", 0)))
        return {"deleted": len(done.deleted)}


def _asks_the_store(handler: Handler) -> Handler:
    """A handler that needs the store, which may be away: no fault of the server."""

    def handle(fields: Mapping[str, Any]) -> object:
        try:
            return handler(fields)
        except StoreError as error:
            raise ControlError(
                STORE_AWAY, str(error), "`caudal status` tells of the store's state"
            ) from error

    return handle
