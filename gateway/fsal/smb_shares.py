"""SMB shares that come, change and go: their file, and Samba's form of it, which Samba takes over by itself.

Where first boot runs no Samba, shares are kept all the same, for the machine that serves this file system next; answers say
that they are not served here.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from gateway import smb_shares as files
from gateway._core import failpoint
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.fsal.exports import directory_at
from gateway.metadata.namespace import Namespace
from gateway.smb_shares import Kept, Samba, Share, Wanted
from gateway.state import StateDir

log = structlog.get_logger(__name__)

NOT_HERE: Final = (
    "Samba is not set up on this machine: shares are kept, for an appliance with /etc/caudal/smb.toml"
)
NOT_RUNNING: Final = "Samba does not run: journalctl -u caudal-smb"
CHANGEABLE: Final = {"path", "read_only", "users", "hidden", "comment", "encrypt"}


def runs(samba: Samba, proc: Path = Path("/proc")) -> bool:
    """Whether the process that Samba's pid file names is there."""
    try:
        pid = int(Path(samba.pid_file).read_text())
        return (proc / str(pid) / "comm").read_text().startswith("smbd")
    except (OSError, ValueError):
        return False


class SmbShares:
    """The shares of one server."""

    def __init__(
        self, state: StateDir, namespace: Namespace, running: Callable[[Samba], bool] = runs
    ) -> None:
        self._state = state
        self._namespace = namespace
        self._running = running
        self._lock = threading.Lock()
        self._kept = files.read(state)
        # A crash may have left Samba's form behind; Samba starts after this.
        self._tell_samba()

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "shares": self.list,
            "share_add": self.add,
            "share_set": self.set,
            "share_remove": self.remove,
        }.items():
            server.register(op, handler)

    def list(self, _fields: Mapping[str, Any]) -> dict[str, Any]:
        """All of them, the configured one first, and how Samba is doing."""
        samba = files.samba_here(self._state)
        running = samba is not None and self._running(samba)
        items = [self._shown(share, samba, running=running) for share in self._kept.shares]
        if samba is not None:
            items.insert(0, self._configured(samba, running=running))
        why = NOT_HERE if samba is None else "" if running else NOT_RUNNING
        return {"set_up": samba is not None, "running": running, "why": why, "items": items}

    def _configured(self, samba: Samba, *, running: bool) -> dict[str, Any]:
        share = Share(name=samba.share, path="/")
        fields: dict[str, Any] = msgspec.to_builtins(share)
        return {**fields, "encrypt": samba.encrypt, "configured": True, "serving": running, "why": ""}

    def _shown(self, share: Share, samba: Samba | None, *, running: bool) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(share)
        why = ""
        if samba is not None and files.key(share.name) == files.key(samba.share):
            why = "the configured share has this name: rename it in /etc/caudal/smb.toml"
        else:
            try:
                directory_at(self._namespace, share.path)
            except ControlError as error:
                why = error.message
        return {**fields, "configured": False, "serving": running and not why, "why": why}

    def _shown_now(self, share: Share) -> dict[str, Any]:
        samba = files.samba_here(self._state)
        return self._shown(share, samba, running=samba is not None and self._running(samba))

    def add(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Shares one more directory: `share` holds the fields of Wanted."""
        wanted = files.parse(fields["share"])
        with self._lock:
            self._check_free(wanted)
            if len(self._kept.shares) >= files.MAX_SHARES:
                raise ControlError("too_many", f"there are {files.MAX_SHARES} shares", "remove some")
            directory_at(self._namespace, wanted.path)
            made = Share(**msgspec.structs.asdict(wanted))
            self._apply((*self._kept.shares, made))
        log.info("share.added", name=made.name, path=made.path)
        return self._shown_now(made)

    def _check_free(self, wanted: Wanted) -> None:
        samba = files.samba_here(self._state)
        taken = {files.key(one.name): one.name for one in self._kept.shares}
        if samba is not None:
            taken[files.key(samba.share)] = samba.share
        if other := taken.get(files.key(wanted.name)):
            raise ControlError(
                "exists", f"there is a share {other} already", "names differ in more than case: take another"
            )

    def set(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Changes all but the name of `name`, where its version is `version` (None: whatever it is)."""
        changes: dict[str, Any] = dict(fields["changes"])
        if unknown := set(changes) - CHANGEABLE:
            raise files.wrong(
                f"{', '.join(sorted(unknown))} cannot be changed", "remove the share and add another"
            )
        with self._lock:
            before = self._find(fields)
            asked: dict[str, Any] = msgspec.to_builtins(before)
            version = int(asked.pop("version"))
            wanted = files.parse({**asked, **changes})
            if wanted.path != before.path:
                directory_at(self._namespace, wanted.path)
            made = Share(**msgspec.structs.asdict(wanted), version=version + 1)
            self._apply(tuple(made if one.name == made.name else one for one in self._kept.shares))
        log.info("share.changed", name=made.name, changed=sorted(changes))
        return self._shown_now(made)

    def remove(self, fields: Mapping[str, Any]) -> None:
        """Ends a share and its connections. The files stay."""
        with self._lock:
            gone = self._find(fields)
            self._apply(tuple(one for one in self._kept.shares if one.name != gone.name))
        log.info("share.removed", name=gone.name)

    def _find(self, fields: Mapping[str, Any]) -> Share:
        name, version = str(fields["name"]), fields.get("version")
        wanted = files.key(name)
        found = next((one for one in self._kept.shares if files.key(one.name) == wanted), None)
        if found is None:
            samba = files.samba_here(self._state)
            if samba is not None and wanted == files.key(samba.share):
                raise ControlError(
                    "configured", "this share is the configured one", "change it in /etc/caudal/smb.toml"
                )
            raise ControlError(
                "not_found", f"there is no share {name[:80]}", "`caudal share list` shows them"
            )
        if version is not None and int(version) != found.version:
            raise ControlError("changed_meanwhile", "somebody changed it meanwhile", "read it again")
        return found

    def _apply(self, shares: tuple[Share, ...]) -> None:
        """Keeps it and has Samba take it over.

        The file comes first: who was told that a share is there finds it after a crash, and the start writes Samba's form.
        """
        after = Kept(shares=shares)
        files.write(self._state, after)
        self._kept = after
        failpoint("shares.after_file")
        self._tell_samba()

    def _tell_samba(self) -> None:
        samba = files.samba_here(self._state)
        if samba is not None:
            files.write_conf(self._state, self._kept, samba)
