"""Limits in force: their file, the core's gate, and what operators ask for. A change holds for the next request."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from gateway import limits as files
from gateway._core import Limits, failpoint
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.limits import Kept, Limit
from gateway.state import StateDir

log = structlog.get_logger(__name__)

COUNTS: Final = ("passed", "delayed", "refused", "delayed_s")


class LimitKeeper:
    """The limits of one server. export_ids: numbers of the exports, by name. trial: the safety limiter is on, too."""

    def __init__(
        self, state: StateDir, gate: Limits, export_ids: Callable[[], Mapping[str, int]], *, trial: bool
    ) -> None:
        self._state = state
        self._gate = gate
        self._export_ids = export_ids
        self._trial = (files.trial(),) if trial else ()
        self._lock = threading.Lock()
        self._kept = files.read(state)
        self._in_force: list[str] = []
        self.apply()

    def register(self, server: ControlServer) -> None:
        for op, handler in {"limits": self.list, "limit_set": self.set, "limit_remove": self.remove}.items():
            server.register(op, handler)

    def apply(self) -> None:
        """Puts the limits in force; called too when exports came or went."""
        with self._lock:
            self._apply()

    def _apply(self) -> None:
        ids = self._export_ids()
        # A limit of an export that is not there waits for one of that name.
        live = [limit for limit in self._all() if limit.export is None or limit.export in ids]
        self._gate.set(
            [files.rule_of(limit, None if limit.export is None else ids[limit.export]) for limit in live]
        )
        self._in_force = [limit.name for limit in live]

    def _all(self) -> tuple[Limit, ...]:
        """The narrower network comes first: of the limits for clients the first that names one holds."""

        def width(limit: Limit) -> int:
            return -files.rule_of(limit, None)[3] if limit.client is not None else 0

        return (*self._trial, *sorted(self._kept.limits, key=width))

    def list(self, _fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All limits, with what they did since the last change of any."""
        with self._lock:
            counts = dict(zip(self._in_force, self._gate.counts(), strict=True))
            return [self._shown(limit, counts.get(limit.name)) for limit in self._all()]

    def _shown(self, limit: Limit, counts: tuple[int, int, int, float] | None) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(limit)
        told = dict(zip(COUNTS, counts or (0, 0, 0, 0.0), strict=True))
        return {**fields, **told, "active": counts is not None, "trial": limit in self._trial}

    def set(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Makes or replaces a limit; `version`: which one is to be replaced, 0 for none, None for whatever there is."""
        wanted = files.parse(fields["limit"])
        with self._lock:
            before = next((one for one in self._kept.limits if one.name == wanted.name), None)
            _check_version(fields.get("version"), before)
            if before is None and len(self._kept.limits) >= files.MAX_LIMITS:
                raise ControlError("too_many", f"there are {files.MAX_LIMITS} limits", "remove some")
            made = msgspec.structs.replace(wanted, version=before.version + 1 if before else 1)
            others = tuple(one for one in self._kept.limits if one.name != made.name)
            self._keep((*others, made))
            log.info("limit.set", name=made.name)
            counts = (0, 0, 0, 0.0) if made.name in self._in_force else None
            return self._shown(made, counts)

    def remove(self, fields: Mapping[str, Any]) -> None:
        """Ends a limit."""
        name = str(fields["name"])
        with self._lock:
            found = next((one for one in self._kept.limits if one.name == name), None)
            if found is None:
                raise ControlError(
                    "not_found", f"there is no limit {name[:70]}", "`caudal limit list` shows them"
                )
            _check_version(fields.get("version"), found)
            self._keep(tuple(one for one in self._kept.limits if one.name != name))
            log.info("limit.removed", name=name)

    def _keep(self, limits: tuple[Limit, ...]) -> None:
        """The file comes first: whoever was told of a limit finds it after a crash."""
        kept = Kept(limits=limits)
        files.write(self._state, kept)
        failpoint("limits.after_file")
        self._kept = kept
        self._apply()


def _check_version(version: Any, found: Limit | None) -> None:
    if version is not None and int(version) != (found.version if found else 0):
        raise ControlError("changed_meanwhile", "somebody changed it meanwhile", "read it again")
