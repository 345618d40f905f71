"""The audit of file operations on the server's side: what is audited of which export, and events with their paths."""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway._core import BlockCache
from gateway.cache.heat import Parents
from gateway.control import ControlServer
from gateway.fsal.client_paths import ClientPaths, join
from gateway.metadata.errors import FsError

LEVELS: Final = {"off": 0, "changes": 1, "all": 2}
MAX_TAKEN: Final = 2000
UNDER_WAY: Final = -1


class Audit:
    """levels: what is audited, by the exports' numbers. names: of exports, by number."""

    def __init__(
        self,
        core: BlockCache,
        parents: Parents,
        paths: ClientPaths,
        levels: Callable[[], Mapping[int, str]],
        names: Callable[[], Mapping[int, str]],
    ) -> None:
        self._core = core
        self._parents = parents
        self._paths = paths
        self._levels = levels
        self._names = names
        self.apply()

    def register(self, server: ControlServer) -> None:
        server.register("audit_take", self.take)

    def apply(self) -> None:
        """Puts the levels in force; called too when exports came, changed or went."""
        self._core.audit_set([(export, LEVELS[level]) for export, level in self._levels().items()])

    def status(self) -> dict[str, object]:
        waiting, dropped = self._core.audit_counts()
        return {
            "exports": sum(level != "off" for level in self._levels().values()),
            "waiting": waiting,
            "dropped": dropped,
        }

    def take(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """`most` events, the oldest; `dropped`: since the start of this `run`."""
        taken = self._core.audit_take(min(int(fields["most"]), MAX_TAKEN))
        _, dropped = self._core.audit_counts()
        own, everywhere, names = self._paths.own(), self._paths.pseudos(), self._names()
        events: list[dict[str, object]] = []
        for at_ns, op, export, client, uid, result, inode, place, target in taken:
            name = names.get(export, str(export))
            # By the path that its client mounted, where that leads there.
            tops = (own.get(name, {}), everywhere)
            event: dict[str, object] = {
                "at_s": at_ns / 1e9,
                "op": op,
                "export": name,
                "client": client,
                "uid": uid,
                "path": self._path(inode, place, tops),
                "inode": inode or None,
                "result": _result(result),
            }
            if target is not None:
                event["to"] = self._path(0, target, tops)
            events.append(event)
        return {"events": events, "dropped": dropped, "run": str(os.getpid())}

    def _known(self, inode: int, tops: Sequence[Mapping[int, str]]) -> str | None:
        return next((path for one in tops if (path := self._parents.path(inode, one)) is not None), None)

    def _path(
        self, inode: int, place: tuple[int, bytes] | None, tops: Sequence[Mapping[int, str]]
    ) -> str | None:
        """As clients see it now; None where nobody looked the name up of late."""
        if place is None:
            return self._known(inode, tops)
        directory, name = place
        above = self._known(directory, tops)
        if above is None:
            try:
                above = self._paths.of_directory(directory)
            except FsError:
                above = None
        return None if above is None else join(above, [name.decode("utf-8", "backslashreplace")])


def _result(result: int) -> str | None:
    """ok, an errno's name, or null: under way when it was told."""
    if result == UNDER_WAY:
        return None
    return "ok" if result == 0 else errno.errorcode.get(result, str(result))
