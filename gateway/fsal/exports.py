"""Exports that come, change and go while others serve: their file, their Fsals, and Ganesha's reload.

Ganesha 4.3 reads its configuration again on SIGHUP and then has exactly the exports that it names: new ones are added,
others get their new rules, missing ones go. Requests of the others run on meanwhile.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog

from gateway import exports as files
from gateway import kerberos
from gateway._core import failpoint
from gateway.config import Config
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.exports import CONFIGURED_NAME, Export, Kept, Wanted, overlaps
from gateway.fsal.client_paths import Top
from gateway.metadata.attributes import DIRECTORY, ROOT_INODE
from gateway.metadata.errors import FsError
from gateway.metadata.namespace import Namespace
from gateway.state import StateDir

log = structlog.get_logger(__name__)

RELOAD_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02
_DONE: Final = re.compile(rb":Reread exports complete")
_FAILED: Final = re.compile(rb":Error while parsing (?:EXPORT entries|new configuration file)")


USAGE: Final = ("reads", "read_bytes", "writes", "written_bytes")
TIERS: Final = ("l1_reads", "l2_reads", "store_reads")
Usage = tuple[int, int, int, int]
NO_USAGE: Final = (0, 0, 0, 0)


def _sum(one: Usage, other: Usage) -> Usage:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])


def directory_at(namespace: Namespace, path: str) -> int:
    """The inode of a directory, by its path from the root. Raises ControlError (invalid)."""
    inode = ROOT_INODE
    try:
        for name in path.split("/"):
            if name:
                inode = namespace.lookup(inode, name.encode("utf-8", "surrogateescape")).inode
        kind = namespace.getattr(inode).kind
    except FsError as error:
        raise files.wrong(
            f"{path} is no directory of the file system: {os.strerror(error.errno)}",
            "make it first, by a client that mounts an export above it",
        ) from None
    if kind != DIRECTORY:
        raise files.wrong(f"{path} is no directory", "give a directory")
    return inode


class Reload:
    """Has this process's Ganesha read its configuration again, and waits until it did."""

    def __init__(self, state: StateDir, sleep: Callable[[float], None] = time.sleep) -> None:
        self._log = state.logs / "ganesha.log"
        self._sleep = sleep

    def __call__(self) -> str:
        """Empty, or why Ganesha did not take all of it."""
        start = self._log.stat().st_size if self._log.exists() else 0
        os.kill(os.getpid(), signal.SIGHUP)
        deadline_s = time.monotonic() + RELOAD_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with self._log.open("rb") as file:
                file.seek(start)
                text = file.read()
            if _DONE.search(text):
                return ""
            if _FAILED.search(text):
                lines = [line for line in text.decode("utf-8", "replace").splitlines() if ":CRIT" in line]
                return lines[0].rpartition(":CRIT :")[2] if lines else "Ganesha refused the export"
            self._sleep(POLL_S)
        return f"Ganesha did not reload its exports within {RELOAD_TIMEOUT_S:g} s"


class Exports:
    """The exports of one file system. The file system is closed when the last of them is."""

    def __init__(
        self, config: Config, namespace: Namespace, reload: Callable[[], str], on_closed: Callable[[], None]
    ) -> None:
        self._config = config
        self._state = StateDir(config.state)
        self._namespace = namespace
        self._reload = reload
        self._on_closed = on_closed
        self._lock = threading.Lock()
        self._kept = files.read(self._state)
        self._open: dict[int, int] = {}
        self._usage: dict[int, Callable[[], Usage | None]] = {}
        self._last: dict[int, Usage] = {}
        self._gone = (0, 0, 0, 0)
        self.tier_reads: Callable[[], list[tuple[int, int, int, int]]] = list
        """Reads by export and tier, from the core."""
        self.on_change: Callable[[], None] = lambda: None
        self._open_lock = threading.Lock()

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "exports": self.list,
            "export_add": self.add,
            "export_set": self.set,
            "export_remove": self.remove,
        }.items():
            server.register(op, handler)

    # What Ganesha serves

    def opened(self, export_id: int) -> int:
        """Ganesha makes an export; returns the inode of its root. Raises ControlError where there is none."""
        inode = ROOT_INODE
        if export_id != files.CONFIGURED_ID:
            export = next((one for one in self._kept.exports if one.id == export_id), None)
            if export is None:
                raise files.wrong(f"there is no export {export_id}")
            inode = directory_at(self._namespace, export.path)
        with self._open_lock:
            self._open[export_id] = inode
        return inode

    def closed(self, export_id: int) -> None:
        with self._open_lock:
            known = self._open.pop(export_id, None)
            self._usage.pop(export_id, None)
            self._gone = _sum(self._gone, self._last.pop(export_id, NO_USAGE))
            last = not self._open
        if known is not None and last:
            self._on_closed()

    def tops(self) -> list[Top]:
        """The exports whose directories are there, that of the configuration first."""
        found = [Top(CONFIGURED_NAME, self._config.export, ROOT_INODE)]
        for export in self._kept.exports:
            inode = self._open.get(export.id)
            if inode is None:
                # Ganesha opens them when the first is served; who asks before that sees them too.
                with suppress(ControlError):
                    inode = directory_at(self._namespace, export.path)
            if inode is not None:
                found.append(Top(export.name, export.pseudo, inode))
        return found

    def audited(self) -> dict[int, str]:
        """What is audited, by the exports' numbers."""
        others = {one.id: one.audit for one in self._kept.exports}
        return {files.CONFIGURED_ID: self._config.audit, **others}

    def ids(self) -> dict[str, int]:
        """The numbers of the exports, by name."""
        return {CONFIGURED_NAME: files.CONFIGURED_ID} | {one.name: one.id for one in self._kept.exports}

    def counted(self, export_id: int, usage: Callable[[], Usage | None]) -> None:
        """Where the figures of an export come from."""
        with self._open_lock:
            self._usage[export_id] = usage

    def usage(self) -> tuple[Usage, list[dict[str, object]]]:
        """What clients have moved since the start: in all, and by export."""
        names = {export_id: name for name, export_id in self.ids().items()}
        tiers = {export_id: reads for export_id, *reads in self.tier_reads()}
        with self._open_lock:
            for export_id, ask in self._usage.items():
                self._last[export_id] = ask() or self._last.get(export_id, NO_USAGE)
            found = dict(self._last)
            total = self._gone
        for one in found.values():
            total = _sum(total, one)
        rows: list[dict[str, object]] = [
            {
                "name": names[export_id],
                "id": export_id,
                **dict(zip(USAGE, one, strict=True)),
                **dict(zip(TIERS, tiers.get(export_id, (0, 0, 0)), strict=True)),
            }
            for export_id, one in found.items()
            if export_id in names
        ]
        return total, rows

    # What operators ask for

    def list(self, _fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All of them, that of the configuration first."""
        return [self._configured(), *(self._shown(export) for export in self._kept.exports)]

    def _configured(self) -> dict[str, Any]:
        config = self._config
        rule = {"clients": list(config.clients), "access": "rw", "squash": config.squash}
        return {
            "name": CONFIGURED_NAME,
            "id": files.CONFIGURED_ID,
            "path": "/",
            "pseudo": config.export,
            "rules": [rule],
            "security": ["sys"],
            "read_only": False,
            "audit": config.audit,
            "version": 1,
            "configured": True,
            "serving": True,
        }

    def _shown(self, export: Export) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(export)
        return {**fields, "configured": False, "serving": export.id in self._open}

    def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Serves one more: `export` holds the fields of Wanted."""
        wanted = files.parse(fields["export"])
        with self._lock:
            kept = self._kept
            self._check(wanted)
            self._check_keytab(wanted)
            if len(kept.exports) >= files.MAX_EXPORTS or kept.next_id > files.MAX_ID:
                raise ControlError("too_many", f"there are {len(kept.exports)} exports", "remove some")
            directory_at(self._namespace, wanted.path)
            made = Export(**msgspec.structs.asdict(wanted), id=kept.next_id)
            after = msgspec.structs.replace(kept, next_id=made.id + 1, exports=(*kept.exports, made))
            self._apply(after)
            if made.id not in self._open:
                self._apply(msgspec.structs.replace(kept, next_id=made.id + 1))
                raise ControlError("not_served", "Ganesha did not take the export", "see run/log/ganesha.log")
            log.info("export.added", name=made.name, path=made.path, pseudo=made.pseudo)
            return self._shown(made)

    def _check(self, wanted: Wanted) -> None:
        taken = {CONFIGURED_NAME: self._config.export} | {one.name: one.pseudo for one in self._kept.exports}
        if wanted.name in taken:
            raise ControlError("exists", f"there is an export {wanted.name} already", "take another name")
        for name, pseudo in taken.items():
            if overlaps(wanted.pseudo, pseudo):
                raise files.wrong(
                    f"the mount path {wanted.pseudo} meets {pseudo}, that of the export {name}",
                    "mount paths may not lie within each other: give another --pseudo",
                )

    def _check_keytab(self, wanted: Wanted) -> None:
        flavours = [each for each in wanted.security if each in kerberos.FLAVOURS]
        if flavours and not kerberos.keytab_file(self._state).exists():
            raise files.wrong(f"security: {', '.join(flavours)} needs a keytab", kerberos.NO_KEYTAB)

    def while_none_needs_kerberos(self, act: Callable[[], None]) -> None:
        """Acts where no export asks for Kerberos, and lets none begin to meanwhile. Raises ControlError (in_use)."""
        with self._lock:
            users = [one.name for one in self._kept.exports if set(one.security) & set(kerberos.FLAVOURS)]
            if users:
                raise ControlError(
                    "in_use",
                    f"exports ask for Kerberos: {', '.join(users[:10])}",
                    "give them another security, or remove them",
                )
            act()

    def set(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Changes rules, security, read_only or audit of `name`, where its version is `version` (None: whatever it is)."""
        changes: dict[str, Any] = dict(fields["changes"])
        if unknown := set(changes) - {"rules", "security", "read_only", "audit"}:
            raise files.wrong(
                f"{', '.join(sorted(unknown))} cannot be changed", "remove the export and add another"
            )
        with self._lock:
            before = self._find(fields)
            asked: dict[str, Any] = msgspec.to_builtins(before)
            known = (asked.pop("id"), asked.pop("version"))
            wanted = files.parse({**asked, **changes})
            if "security" in changes:
                self._check_keytab(wanted)
            made = Export(**msgspec.structs.asdict(wanted), id=known[0], version=known[1] + 1)
            others = tuple(made if one.id == made.id else one for one in self._kept.exports)
            self._apply(msgspec.structs.replace(self._kept, exports=others))
            log.info("export.changed", name=made.name, changed=sorted(changes))
            return self._shown(made)

    def remove(self, fields: Mapping[str, Any]) -> None:
        """Ends an export: its clients get ESTALE. The files stay."""
        with self._lock:
            gone = self._find(fields)
            others = tuple(one for one in self._kept.exports if one.id != gone.id)
            self._apply(msgspec.structs.replace(self._kept, exports=others))
            log.info("export.removed", name=gone.name)

    def _find(self, fields: Mapping[str, Any]) -> Export:
        name, version = str(fields["name"]), fields.get("version")
        if name == CONFIGURED_NAME:
            raise ControlError(
                "configured", "this export is the configuration's", "change it there, by `caudal up`"
            )
        found = next((one for one in self._kept.exports if one.name == name), None)
        if found is None:
            raise ControlError(
                "not_found", f"there is no export {name[:70]}", "`caudal export list` shows them"
            )
        if version is not None and int(version) != found.version:
            raise ControlError("changed_meanwhile", "somebody changed it meanwhile", "read it again")
        return found

    def _apply(self, after: Kept) -> None:
        """Keeps and serves it; where Ganesha refuses, all is as before. Raises ControlError.

        The file comes first: whoever was told that an export is there finds it after a crash.
        """
        before = self._kept
        files.write(self._state, after)
        failpoint("exports.after_file")
        self._serve(after)
        if not (why := self._reload()):
            self.on_change()
            return
        log.error("export.refused", why=why)
        files.write(self._state, msgspec.structs.replace(before, next_id=after.next_id))
        self._serve(before)
        self._reload()
        raise ControlError("not_served", f"the exports stay as they were: {why}", "see run/log/ganesha.log")

    def _serve(self, kept: Kept) -> None:
        self._kept = kept
        files.write_conf(self._state, kept, manage_gids=self._config.manage_gids)
