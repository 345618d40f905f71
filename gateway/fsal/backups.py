"""Metadata backups as the owner sees them: the steward makes them and tells how far they got; the journal keeps what they
lack, and whoever wants to be sure waits for them.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway._core import CoreError
from gateway.control import ControlServer
from gateway.errors import ControlError

if TYPE_CHECKING:
    from gateway.fsal.owner import Owner

WAIT_MAX_S: Final = 10.0
"""A steward's wait for something to do: shorter than its patience with an answer."""


class Progress:
    """How far checkpoint and backup are, and who waits for them. For any threads.

    now_s: seconds since 1970.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._changed = threading.Condition()
        self._checkpoint_lsn = 0
        self._backup_lsn = 0
        self._wanted_lsn = 0
        self._complete_ns = 0
        self._snapshots_made = 0
        self._snapshots_wanted = 0
        self._told: dict[str, object] = {"snapshots": 0, "bytes": 0, "oldest_lsn": 0, "key": None}
        self._error: str | None = None

    @property
    def backup_lsn(self) -> int:
        """What is below it is in the container: 0 until the steward has told."""
        return self._backup_lsn

    @property
    def wanted_lsn(self) -> int:
        """How far somebody waits for the backup to come."""
        return self._wanted_lsn

    @property
    def snapshots_wanted(self) -> int:
        """A snapshot is to be made at once while this is above the number of those that were."""
        return self._snapshots_wanted

    @property
    def snapshots_made(self) -> int:
        return self._snapshots_made

    @property
    def error(self) -> str | None:
        """Why backups fail; None: they do not."""
        return self._error

    def checkpointed(self, lsn: int) -> None:
        with self._changed:
            self._checkpoint_lsn = max(self._checkpoint_lsn, lsn)
            self._changed.notify_all()

    def backed_up(self, lsn: int, complete_ns: int, snapshots_made: int, told: Mapping[str, object]) -> None:
        """The container holds every row up to `lsn`, durably."""
        with self._changed:
            self._backup_lsn = max(self._backup_lsn, lsn)
            self._complete_ns = max(self._complete_ns, complete_ns)
            self._snapshots_made = max(self._snapshots_made, snapshots_made)
            self._told = {key: told.get(key) for key in self._told}
            self._changed.notify_all()

    def seen(self, durable_lsn: int) -> None:
        """Takes note of the time at which the backup lacked nothing."""
        now_ns = int(self._now_s() * 1e9)
        with self._changed:
            if self._backup_lsn and durable_lsn <= self._backup_lsn:
                self._complete_ns = max(self._complete_ns, now_ns)

    def trouble(self, error: str | None) -> None:
        self._error = error

    def status(self, durable_lsn: int) -> dict[str, object]:
        """For `caudal status`. age_s: how far back the loss of this machine would set the metadata; None: not known yet."""
        age_s: float | None = None
        if self._backup_lsn:
            behind = durable_lsn > self._backup_lsn
            age_s = max(0.0, self._now_s() - self._complete_ns / 1e9) if behind else 0.0
        return {
            "lsn": self._backup_lsn,
            "age_s": age_s,
            "error": self._error,
            **self._told,
        }

    def want(self, lsn: int) -> None:
        """Has checkpoint and backup come to `lsn` at once; does not wait."""
        with self._changed:
            self._wanted_lsn = max(self._wanted_lsn, lsn)
            self._changed.notify_all()

    def wait_until(self, lsn: int, timeout_s: float | None) -> bool:
        """Waits until everything up to `lsn` is in database and container; False when the time passed first."""
        self.want(lsn)
        with self._changed:
            return self._changed.wait_for(lambda: self._backup_lsn >= lsn, timeout_s)

    def wait_snapshot(self, timeout_s: float | None) -> bool:
        """Has a snapshot made that begins after this call, and waits for it."""
        with self._changed:
            # One that is being made may have begun before.
            number = self._snapshots_wanted = max(self._snapshots_wanted, self._snapshots_made) + 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._snapshots_made >= number, timeout_s)

    def wait_work(self, task: str, timeout_s: float) -> bool:
        """Returns when somebody waits for the steward's task and it can come further, or, with False, the time is over."""

        def has_work() -> bool:
            if task == "checkpoint":
                return self._wanted_lsn > self._checkpoint_lsn
            return (
                min(self._wanted_lsn, self._checkpoint_lsn) > self._backup_lsn
                or self._snapshots_wanted > self._snapshots_made
            )

        with self._changed:
            return self._changed.wait_for(has_work, min(timeout_s, WAIT_MAX_S))


class BackupCommands:
    """Operations of the control socket that concern backups, bound to one owner."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self.progress = owner.progress

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "backup_position": self.backup_position,
            "backed_up": self.backed_up,
            "backup_trouble": self.backup_trouble,
            "backup_may_delete": self.may_delete,
        }.items():
            server.register(op, handler)
        server.register("backup_snapshot", self.backup_snapshot, only_waits=True)
        server.register("steward_wait", self.steward_wait, only_waits=True)

    def backup_position(self, _fields: Mapping[str, Any]) -> dict[str, object]:
        owner = self._owner
        self.progress.seen(owner.core.durable_lsn)
        return {
            "epoch": owner.epoch,
            "durable_lsn": owner.core.durable_lsn,
            "checkpoint_lsn": owner.namespace.checkpoint_lsn,
            "backup_lsn": self.progress.backup_lsn,
            "wanted_lsn": self.progress.wanted_lsn,
            "snapshots_wanted": self.progress.snapshots_wanted,
            "snapshots_made": self.progress.snapshots_made,
            "key": owner.encryption.ring.current if owner.encryption.ring is not None else None,
        }

    def backed_up(self, fields: Mapping[str, Any]) -> dict[str, int]:
        """The container holds every row up to `lsn`: the journal need not keep what flush and checkpoint passed, too."""
        lsn = int(fields["lsn"])
        # After a recovery from the container the journal is empty, and knows nothing of what the database has.
        known = max(self._owner.core.durable_lsn, self._owner.namespace.checkpoint_lsn)
        if lsn > known:
            raise ValueError(f"LSN {lsn} is above the durable {known}")
        told = {key: fields.get(key) for key in ("snapshots", "bytes", "oldest_lsn", "key")}
        self.progress.backed_up(lsn, int(fields["complete_ns"]), int(fields["snapshots_made"]), told)
        return {"trimmed_bytes": self.trim()}

    def trim(self) -> int:
        """Drops what checkpoint and backup have both passed; until the steward has told of backups, nothing."""
        lsn = min(self._owner.namespace.checkpoint_lsn, self.progress.backup_lsn)
        return self._owner.core.trim(lsn) if lsn else 0

    def backup_trouble(self, fields: Mapping[str, Any]) -> None:
        error = fields.get("error")
        self.progress.trouble(None if error is None else str(error))

    def backup_snapshot(self, fields: Mapping[str, Any]) -> None:
        """A fresh snapshot is in the container when this returns."""
        timeout_s = fields.get("timeout_s")
        if not self.progress.wait_snapshot(None if timeout_s is None else float(timeout_s)):
            raise ControlError("no_snapshot", "no snapshot was made in time", "`caudal status`: backup.error")

    def may_delete(self, _fields: Mapping[str, Any]) -> bool:
        """Whether this owner may delete backups: only one whose lease is valid may. Waits as replies do."""
        try:
            self._owner.fence.pass_()
        except CoreError:
            return False
        return True

    def steward_wait(self, fields: Mapping[str, Any]) -> bool:
        return self.progress.wait_work(str(fields["task"]), float(fields["timeout_s"]))
