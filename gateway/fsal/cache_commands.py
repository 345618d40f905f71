"""Operations of the control socket on the block cache: sizes, shelves, warming, pins, and the jobs that do it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.control import ControlServer
from gateway.fsal.caching import Caching, as_plain

if TYPE_CHECKING:
    from gateway.fsal.owner import Owner

Fields = Mapping[str, Any]
MAX_TOLD: Final = 512


class CacheCommands:
    """Handlers bound to one owner. Jobs go on when the answer is given: `cache_job` tells how far they are."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "cache_resize": self.resize,
            "shelf_add": self.add_shelf,
            "shelf_drain": self.drain_shelf,
            "shelf_remove": self.remove_shelf,
            "shelf_resize": self.resize_shelf,
            "cache_warm": self.warm,
            "cache_pin": self.pin,
            "cache_unpin": self.unpin,
            "cache_pins": self.pins,
            "cache_policy": self.policy,
            "activity": self.activity,
            "cache_job": self.job,
            "cache_job_cancel": self.cancel,
        }.items():
            server.register(op, handler)

    @property
    def _caching(self) -> Caching:
        return self._owner.caching

    def resize(self, fields: Fields) -> dict[str, Any]:
        """`l1_bytes`, at once and for later starts."""
        self._caching.tiers.resize_l1(int(fields["l1_bytes"]))
        return self._caching.tiers.describe()

    def add_shelf(self, fields: Fields) -> dict[str, Any]:
        """`path`, and `bytes` where it is not to be most of what is free there."""
        wanted = fields.get("bytes")
        added = self._caching.tiers.add_shelf(
            Path(str(fields["path"])), None if wanted is None else int(wanted)
        )
        return as_plain(added)

    def drain_shelf(self, fields: Fields) -> dict[str, Any]:
        """`path` takes nothing new; a job copies what only it has to the others. `undo`: it is used again."""
        path, undo = str(fields["path"]), bool(fields.get("undo"))
        caching = self._caching
        caching.tiers.drain_shelf(path, draining=not undo)
        return {} if undo else caching.jobs.start("cache.shelf.drain", lambda job: caching.drain(path, job))

    def remove_shelf(self, fields: Fields) -> dict[str, Any]:
        """`path`. `left`: why its directory could not be emptied, if it could not."""
        return {"left": self._caching.tiers.remove_shelf(str(fields["path"]))}

    def resize_shelf(self, fields: Fields) -> dict[str, Any]:
        """`path` and `bytes`."""
        self._caching.tiers.resize_shelf(str(fields["path"]), int(fields["bytes"]))
        return self._caching.tiers.describe()

    def warm(self, fields: Fields) -> dict[str, Any]:
        """`path`: a job brings what it holds into the cache."""
        work = self._caching.warmth.warm(str(fields["path"]))
        return self._caching.jobs.start("cache.warm", work)

    def pin(self, fields: Fields) -> dict[str, Any]:
        """`path`: a job brings what it holds into L2, where it stays."""
        work = self._caching.warmth.pin(str(fields["path"]))
        return self._caching.jobs.start("cache.pin", work)

    def unpin(self, fields: Fields) -> None:
        self._caching.warmth.unpin(str(fields["path"]))

    def pins(self, _fields: Fields) -> dict[str, Any]:
        return self._caching.warmth.describe()

    def policy(self, _fields: Fields) -> dict[str, Any]:
        """Bounds, prices, the latest decisions and the newest changes, with their reasons."""
        return self._caching.elastic.describe()

    def activity(self, fields: Fields) -> dict[str, Any]:
        """`most`: so many of the heaviest clients, files and directories."""
        return self._caching.heat.describe(min(int(fields.get("most", 20)), MAX_TOLD))

    def job(self, fields: Fields) -> dict[str, Any]:
        return self._caching.jobs.get(str(fields["id"])).describe()

    def cancel(self, fields: Fields) -> dict[str, Any]:
        """The job ends at its next step; its state says when."""
        job = self._caching.jobs.get(str(fields["id"]))
        job.cancel()
        return job.describe()
