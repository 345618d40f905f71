"""Operations of the control socket that the server process answers: status, flush, cache, checkpoint."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway._core import CoreError
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.fsal.backups import BackupCommands
from gateway.fsal.cache_commands import CacheCommands
from gateway.fsal.mirrors import alerts
from gateway.fsal.quota_commands import figures
from gateway.metadata.rows import decode

if TYPE_CHECKING:
    from gateway.fsal.owner import Owner


class Commands:
    """Handlers bound to one owner."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self._backups = BackupCommands(owner)
        self._checkpoint_error: str | None = None

    def register(self, server: ControlServer) -> None:
        self._backups.register(server)
        CacheCommands(self._owner).register(server)
        for op, handler in {
            "status": self.status,
            "flush": self.flush,
            "cache_drop": self.cache_drop,
            "keys_reload": self.keys_reload,
            "checkpoint_position": self.checkpoint_position,
            "checkpointed": self.checkpointed,
            "checkpoint_trouble": self.checkpoint_trouble,
            "repair": self.repair,
            "ownership": self.ownership,
        }.items():
            server.register(op, handler)

    def status(self, _fields: Mapping[str, Any]) -> dict[str, object]:
        """Figures of the server process; `caudal status` adds what the supervisor knows."""
        owner = self._owner
        stats: dict[str, Any] = dict(owner.core.stats())
        dirty = owner.core.dirty()
        counts = owner.counts()
        stats["cache"] = {**stats["cache"], **owner.caching.describe()}
        total, by_export = owner.exports.usage()
        stats["io"] = {**stats["io"], "read_bytes": total[1], "written_bytes": total[3]}
        stats["journal"] = {**stats["journal"], "oldest_unflushed_s": dirty.oldest_age_s}
        return {
            **stats,
            "version": __version__,
            "pid": os.getpid(),
            "epoch": owner.epoch,
            "fs_id": owner.fs_id.hex(),
            "encryption": owner.encryption.status(),
            "owner": self._lease(),
            "durable_lsn": owner.core.durable_lsn,
            "checkpoint_lsn": owner.namespace.checkpoint_lsn,
            "flush": {
                "dirty_bytes": dirty.bytes,
                "dirty_inodes": dirty.inodes,
                "lag_s": dirty.oldest_age_s,
                "error": owner.flusher.last_error,
            },
            "checkpoint": {"lsn": owner.namespace.checkpoint_lsn, "error": self._checkpoint_error},
            "backup": owner.progress.status(owner.core.durable_lsn),
            "alerts": alerts(stats["journal"]),
            "disks": self._disks(),
            "quotas": figures(owner.namespace),
            "exports": by_export,
            "audit": owner.audit.status(),
            "namespace": {
                "inodes": counts.inodes,
                "bytes": counts.bytes,
                "changed_rows": owner.namespace.overlay_rows,
            },
        }

    def ownership(self, _fields: Mapping[str, Any]) -> dict[str, object]:
        """Who asks before he writes to the store by himself: waits as replies do, and fails where this server may not."""
        try:
            self._owner.fence.pass_()
        except CoreError as error:
            raise ControlError(
                "not_the_owner", str(error), "nothing may be written to the store now"
            ) from error
        return self._lease()

    def _lease(self) -> dict[str, object]:
        owner = self._owner
        left_s = owner.fence.lease_left_s
        return {
            "epoch": owner.epoch,
            "lease": owner.fence.state,
            "lease_left_s": None if left_s is None else round(left_s, 1),
            "host": owner.ownership.owner.host,
            "since_s": owner.ownership.owner.since_s,
            "error": owner.keeper.trouble,
        }

    def _disks(self) -> dict[str, object]:
        """What is free on the disks that must not be full."""
        config = self._owner.config
        found: dict[str, object] = {"state": _disk(config.state)}
        found |= {f"journal{number}": _disk(mirror) for number, mirror in enumerate(self._mirrors())}
        for number, shelf in enumerate(self._owner.caching.tiers.shelves):
            if Path(shelf.path).is_block_device():
                continue  # nobody else writes to it: what is free is in the shelf's own figures
            found["l2" if Path(shelf.path) == config.l2_dir else f"shelf{number}"] = _disk(Path(shelf.path))
        return found

    def _mirrors(self) -> list[Path]:
        journal: Any = self._owner.core.stats()["journal"]
        return [Path(mirror["path"]) for mirror in journal["mirrors"]]

    def flush(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """Everything acknowledged before the call is in the store when this returns (with wait): data, and the metadata's
        backup.
        """
        timeout_s = fields.get("timeout_s")
        if fields.get("wait", True):
            self._flush(None if timeout_s is None else float(timeout_s))
        return {"dirty_bytes": self._owner.core.dirty().bytes}

    def _flush(self, timeout_s: float | None) -> None:
        owner = self._owner
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        reason = ""
        if not owner.flusher.wait_until_flushed(timeout_s):
            reason = owner.flusher.last_error or "the object store has not taken all of it yet"
        else:
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if not owner.progress.wait_until(owner.core.durable_lsn, left_s):
                reason = f"the metadata's backup is behind ({owner.progress.error or 'it goes on'})"
        if reason:
            raise ControlError(
                "not_flushed", f"not flushed in time: {reason}", "everything stays in the journal"
            )

    def cache_drop(self, fields: Mapping[str, Any]) -> None:
        """Empties L1, L2, or both where neither is named."""
        l1, l2 = bool(fields.get("l1")), bool(fields.get("l2"))
        try:
            self._owner.core.cache_drop(l1 or not l2, l2 or not l1)
        except CoreError as error:
            raise ControlError(
                "cache_not_dropped",
                str(error),
                "see what is wrong with the disks of the shelves",
            ) from error

    def keys_reload(self, _fields: Mapping[str, Any]) -> dict[str, object]:
        """The key file has changed: the next pack is sealed with its current key."""
        return self._owner.encryption.reload()

    def checkpoint_position(self, _fields: Mapping[str, Any]) -> dict[str, int]:
        return {
            "durable_lsn": self._owner.core.durable_lsn,
            "checkpoint_lsn": self._owner.namespace.checkpoint_lsn,
            "wanted_lsn": self._owner.progress.wanted_lsn,
        }

    def checkpointed(self, fields: Mapping[str, Any]) -> dict[str, int]:
        """The database holds every row up to `lsn`, durably: the overlay forgets them, the journal is trimmed."""
        lsn = int(fields["lsn"])
        if lsn > self._owner.core.durable_lsn:
            raise ValueError(f"LSN {lsn} is above the durable {self._owner.core.durable_lsn}")
        self._owner.namespace.checkpointed(lsn)
        self._owner.progress.checkpointed(lsn)
        return {"trimmed_bytes": self._backups.trim()}

    def checkpoint_trouble(self, fields: Mapping[str, Any]) -> None:
        """Why the steward's checkpoints fail; None: they do not any more."""
        error = fields.get("error")
        self._checkpoint_error = None if error is None else str(error)

    def repair(self, fields: Mapping[str, Any]) -> dict[str, int]:
        """Row operations of fsck, as the hexadecimal form of a ROWS payload, in one transaction."""
        return {"lsn": self._owner.namespace.repair(decode(bytes.fromhex(fields["rows"])))}


def _disk(directory: Path) -> dict[str, object]:
    try:
        status = os.statvfs(directory)
        device = directory.stat().st_dev
    except OSError as error:
        return {"path": str(directory), "error": os.strerror(error.errno or 0)}
    return {
        "path": str(directory),
        "free_bytes": status.f_bavail * status.f_frsize,
        "total_bytes": status.f_blocks * status.f_frsize,
        "device": device,
    }
