"""Tiering as the owner sees it: the policy's file, what it would do, and the steward's job that does it."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from gateway import tiering as files
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.fsal.steward_jobs import StewardJobs
from gateway.metadata import pack_tiers
from gateway.metadata.database import Database
from gateway.objects.tiers import has_tiers, no_tiers
from gateway.state import StateDir
from gateway.tiering import Policy

log = structlog.get_logger(__name__)


class TieringCommands:
    """Operations of the control socket. now_s: seconds since 1970. read_packs: those read since it was asked last."""

    def __init__(
        self,
        state: StateDir,
        database: Database,
        steward: StewardJobs,
        *,
        store: str,
        now_s: Callable[[], float],
        read_packs: Callable[[], list[int]],
    ) -> None:
        self._state = state
        self._database = database
        self._steward = steward
        self._store = store
        self._now_s = now_s
        self._read_packs = read_packs
        self._lock = threading.Lock()
        self._policy = files.read(state)

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "tiering": self.show,
            "tiering_set": self.set,
            "tiering_estimate": self.estimate,
            "tiering_run": self.run,
            "packs_read": self.packs_read,
        }.items():
            server.register(op, handler)

    def show(self, _fields: Mapping[str, Any]) -> dict[str, Any]:
        return {**msgspec.to_builtins(self._policy), "available": has_tiers(self._store)}

    def set(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces the policy, where its version is `version` (None: whatever it is)."""
        wanted = files.parse(fields["policy"])
        if wanted.enabled:
            self._check()
        with self._lock:
            version = fields.get("version")
            if version is not None and int(version) != self._policy.version:
                raise ControlError("changed_meanwhile", "somebody changed it meanwhile", "read it again")
            made = msgspec.structs.replace(wanted, version=self._policy.version + 1)
            files.write(self._state, made)
            self._policy = made
            log.info("tiering.set", enabled=made.enabled)
        return self.show({})

    def estimate(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What a run would put into which tier now, by the policy, or by `policy` in its place."""
        policy = self._asked(fields)
        self._check()
        now_s = int(self._now_s())
        with self._database.reader() as connection:
            cold = self._due(connection, pack_tiers.COLD, policy.cold_after_days, policy, now_s)
            cool = self._due(connection, pack_tiers.COOL, policy.cool_after_days, policy, now_s)
            # What is due for both goes into the colder.
            if policy.cool_after_days is not None and policy.cold_after_days is not None:
                both = self._due(connection, pack_tiers.COOL, policy.cold_after_days, policy, now_s)
                cool = pack_tiers.TierSums(cool.packs - both.packs, cool.bytes - both.bytes)
        return {"cool": cool._asdict(), "cold": cold._asdict()}

    def _due(
        self, connection: Any, tier: int, after_days: int | None, policy: Policy, now_s: int
    ) -> pack_tiers.TierSums:
        if after_days is None:
            return pack_tiers.TierSums(0, 0)
        return pack_tiers.due_sums(
            connection,
            tier,
            read_before_day=now_s // pack_tiers.DAY_S - after_days + 1,
            min_bytes=policy.min_pack_bytes,
            now_s=now_s,
        )

    def run(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Has the steward carry out the policy, or `policy` in its place: a job."""
        policy = self._asked(fields)
        self._check()
        return self._steward.start("objects.tier", policy=msgspec.to_builtins(policy))

    def packs_read(self, _fields: Mapping[str, Any]) -> list[int]:
        return self._read_packs()

    def _asked(self, fields: Mapping[str, Any]) -> Policy:
        asked = fields.get("policy")
        return self._policy if asked is None else files.parse(asked)

    def _check(self) -> None:
        if not has_tiers(self._store):
            raise no_tiers(self._store)
