"""The journal's mirrors on the owner's side: what is known of the membership, who is told of changes, and alerts.

The newest membership is kept in the state directory (by the core, before anything is acknowledged on its account), in the
metadata database and in the container, so that a mirror that was left behind is known for one.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import structlog

from gateway import config as configuration
from gateway import mirrors_file
from gateway._core import Core, CoreError, JournalError, failpoint
from gateway.config import Config
from gateway.control import ControlServer
from gateway.errors import ControlError, StartError
from gateway.metadata.database import Database, read_meta, write_fact
from gateway.objects.ownership import ContestedError, Ownership, OwnershipLostError
from gateway.state import StateDir, write_atomically

log = structlog.get_logger(__name__)

FACT: Final = "journal_members"
INTERVAL_S: Final = 0.5


def published(database: Database, ownership: Ownership) -> dict[str, Any]:
    """Arguments of a Core: the newest membership that database and container know of."""
    with database.reader() as connection:
        fact = read_meta(connection).get(FACT)
    return {
        "membership": membership_epoch(ownership.membership),
        "members": [] if fact is None else [bytes.fromhex(fact)],
    }


def membership_epoch(found: object) -> int:
    """Of what the root object says of the journal's mirrors; 0 where it says nothing."""
    container = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    epoch = container.get("epoch", 0)
    return epoch if isinstance(epoch, int) else 0


def alerts(journal: Mapping[str, Any]) -> list[dict[str, str]]:
    """What an operator has to see to, of the journal's figures."""
    mirrors: list[dict[str, Any]] = journal.get("mirrors", [])
    healthy = [mirror for mirror in mirrors if mirror["state"] == "healthy"]
    found: list[dict[str, str]] = []
    for mirror in mirrors:
        if mirror["state"] != "healthy":
            text = f"journal mirror {mirror['path']} is {mirror['state']}: {mirror['why']}"
            found.append({"what": f"journal_mirror_{mirror['state']}", "text": text})
    if mirrors and not healthy:
        found.append({"what": "journal_without_mirror", "text": "no journal mirror is left: writes wait"})
    elif len(mirrors) > 1 and len(healthy) == 1:
        text = f"only one journal mirror is left: {healthy[0]['path']}"
        found.append({"what": "journal_one_mirror_left", "text": text})
    return found


class Mirrors:
    """Tells database, container and log of changes, and answers `caudal journal mirror`."""

    def __init__(self, core: Core, database: Database, ownership: Ownership, config: Config) -> None:
        self._core, self._database, self._ownership = core, database, ownership
        self._state = StateDir(config.state)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirrors", daemon=True)
        self._in_database = self._in_container = 0
        self._seen: dict[str, str] = {}
        self._losses: dict[str, int] = {}
        self._failed = False

    def start(self) -> None:
        """Publishes the membership of the start, and from then on each new one."""
        for mended in self._journal()["mended"]:
            segments = [f"{lsn:016x}" for lsn in mended["segments"]]
            log.warning("journal.mended", mirror=str(mended["path"]), segments=segments)
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def register(self, server: ControlServer) -> None:
        server.register("journal_mirrors", lambda _: self._core.mirrors())
        server.register("mirror_list", self.list_all)
        server.register("mirror_add", self.add)
        server.register("mirror_remove", self.remove)

    def list_all(self, _fields: Mapping[str, Any]) -> list[dict[str, object]]:
        return [{**mirror, "path": str(mirror["path"])} for mirror in self._journal()["mirrors"]]

    def add(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """Takes a directory in; it is rebuilt while clients are served."""
        path = _directory(fields)
        try:
            added = self._core.mirror_add(str(path))
        except JournalError as error:
            raise ControlError("mirror_not_added", str(error), "choose another directory") from error
        self._remember(path, present=True)
        log.info("journal.mirror_added", mirror=str(path))
        return {"added": added}

    def remove(self, fields: Mapping[str, Any]) -> None:
        """Takes a directory out for good; its files stay."""
        path = _directory(fields)
        try:
            self._core.mirror_remove(str(path))
        except JournalError as error:
            hint = "`caudal journal mirror list` tells the state of all"
            raise ControlError("mirror_not_removed", str(error), hint) from error
        self._remember(path, present=False)
        log.info("journal.mirror_removed", mirror=str(path))

    def _remember(self, path: Path, *, present: bool) -> None:
        """The next start finds it in mirrors.json, whatever its configuration says; the other processes in caudal.toml."""
        config = configuration.effective(self._state.root)
        known = mirrors_file.read(self._state)
        changes = known.with_added(path, config.journal) if present else known.with_removed(path)
        # A crash before: nobody was told that it was done, and the journal goes by its own list of members. A crash after:
        # the next `up` brings caudal.toml in line.
        failpoint("mirrors.before_remember")
        mirrors_file.write(self._state, changes)
        failpoint("mirrors.after_remember")
        journal = changes.over(config.journal)
        write_atomically(self._state.config_file, config.with_journal(journal).file_text().encode())

    def _journal(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._core.stats()["journal"])

    def look(self) -> None:
        """Logs each change of a mirror once, and publishes a new membership."""
        self._tell(self._journal()["mirrors"])
        epoch, members = self._core.members()
        if epoch > self._in_database:
            with self._database.writer() as connection:
                write_fact(connection, FACT, members.hex())
            self._in_database = epoch
        if epoch > self._in_container:
            self._ownership.update(membership={"epoch": epoch, "mirrors": self._core.mirrors()})
            self._in_container = epoch

    def _tell(self, mirrors: list[dict[str, Any]]) -> None:
        now = {str(mirror["path"]): str(mirror["state"]) for mirror in mirrors}
        whys = {str(mirror["path"]): str(mirror["why"]) for mirror in mirrors}
        healthy = sum(state == "healthy" for state in now.values())
        for mirror in mirrors:
            path, losses = str(mirror["path"]), int(mirror["losses"])
            if now[path] != "lost" and losses > self._losses.get(path, 0):
                # It was rebuilt before anybody looked.
                why = str(mirror["last_loss"])
                log.warning("journal.mirror_lost", mirror=path, why=why, healthy=healthy)
            self._losses[path] = losses
        for path, state in now.items():
            before = self._seen.get(path)
            if state == before or (before is None and state == "healthy"):
                continue
            if state == "lost":
                log.warning("journal.mirror_lost", mirror=path, why=whys[path], healthy=healthy)
            else:
                log.info("journal.mirror_returns", mirror=path, state=state, healthy=healthy)
        self._seen = now

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self.look()
                self._failed = False
            except (StartError, ContestedError, OwnershipLostError, CoreError) as error:
                # The store is away, or the server is about to end; the state directory's copy holds meanwhile.
                if not self._failed:
                    log.info("journal.membership_not_published", why=str(error))
                self._failed = True
            except Exception:
                if not self._failed:
                    log.exception("journal.membership_not_published")
                self._failed = True


def _directory(fields: Mapping[str, Any]) -> Path:
    path = Path(str(fields["path"]))
    if not path.is_absolute():
        raise ControlError("not_absolute", f"{path} is not an absolute path", "give the whole path")
    return path
