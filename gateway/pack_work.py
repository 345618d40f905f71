"""What the steward does with packs: collection by itself now and then, and whatever is asked for, as one thread's work."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gateway import pack_proposals
from gateway.errors import CaudalError, ControlError
from gateway.metadata import usage
from gateway.metadata.database import Database, read_meta
from gateway.pack_tiering import Tiering
from gateway.tiering import parse

log = structlog.get_logger(__name__)
LISTING_FACTOR: Final = 10
WAIT_MAX_S: Final = 1.0
"""Of a wait for requests: whoever ends the steward waits for it."""
LOOK_S: Final = 0.1
BACKUPS_WAIT_S: Final = 60.0
COLLECT: Final = "objects.collect"
TIER: Final = "objects.tier"

Tell = Callable[[Mapping[str, object]], None]
"""Tells how far a request is. Raises EndedError when it is to end."""


class EndedError(Exception):
    """Whoever asked for the work does not want it any more."""


class Owner(pack_proposals.PackOwner, Protocol):
    """The process that owns the packs, and knows what was asked for."""

    def checkpoint_lsns(self) -> tuple[int, int]:
        """What is durable in the journal, and in the database."""
        ...

    def next_job(self, timeout_s: float) -> dict[str, Any] | None: ...
    def job_progress(self, number: str, progress: Mapping[str, object]) -> bool: ...
    def job_ended(self, number: str, error: str | None) -> None: ...


class Needs(Protocol):
    """What retained backups need; see gateway.backuper.Backuper."""

    @property
    def oldest_lsn(self) -> int | None: ...
    @property
    def oldest_epoch(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """interval_s: between rounds. grace_s: for how long packs stay after their death."""

    interval_s: float
    grace_s: float


class PackWork:
    """turn() is called again and again by one thread."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        needs: Needs,
        settings: Settings,
        stop: threading.Event,
        tiering: Tiering,
        *,
        now_s: Callable[[], float],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._owner = owner
        self._needs = needs
        self._settings = settings
        self._stop = stop
        self._tiering = tiering
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        # Looking for packs that a crash left behind lists the whole store: seldom.
        self._listing_s = max(LISTING_FACTOR * settings.interval_s, settings.grace_s)
        self._listed_at_s = monotonic_s()
        self._round_at_s = monotonic_s() + settings.interval_s

    def turn(self) -> bool:
        """Waits for a request or the next round, and does it. Raises what owner and database raise."""
        left_s = self._round_at_s - self._monotonic_s()
        if left_s > 0:
            request = self._owner.next_job(min(left_s, WAIT_MAX_S))
            if request is not None:
                self._serve(request)
            return False
        self._round_at_s = self._monotonic_s() + self._settings.interval_s
        self._round()
        self._tiering.turn()
        return False

    def _round(self) -> None:
        upto_lsn = self._needs.oldest_lsn
        if upto_lsn is None:
            # What backups need is not known yet, and may be anything.
            return
        if self._monotonic_s() - self._listed_at_s >= self._listing_s:
            self._owner.packs_unnamed(self._unnamed_from_epoch())
            self._listed_at_s = self._monotonic_s()
        self._propose(upto_lsn)

    def _propose(self, upto_lsn: int, *, early: bool = False) -> pack_proposals.Proposed:
        return pack_proposals.propose(
            self._database,
            self._owner,
            grace_s=self._settings.grace_s,
            upto_lsn=upto_lsn,
            now_s=self._now_s,
            early=early,
        )

    def _serve(self, request: Mapping[str, Any]) -> None:
        """One request. Only the death of this process leaves it without an end."""
        number = str(request["id"])
        error: str | None = None

        def tell(progress: Mapping[str, object]) -> None:
            if self._stop.is_set() or not self._owner.job_progress(number, progress):
                raise EndedError

        try:
            self._work(request, tell)
        except EndedError:
            if self._stop.is_set():
                return  # the next steward takes it again
        except CaudalError as failed:
            error = failed.message
        except Exception as failed:
            log.exception("packs.request_failed", kind=request["kind"])
            error = f"{type(failed).__name__}; the steward's log says more"
        self._owner.job_ended(number, error)

    def _work(self, request: Mapping[str, Any], tell: Tell) -> None:
        kind = str(request["kind"])
        if kind == COLLECT:
            self.collect(tell, early=bool(request.get("early")))
        elif kind == TIER:
            self._tiering.run(parse(request["policy"]), tell)
        else:
            raise ControlError("unknown", f"this steward does not know how to do {kind}")

    def collect(self, tell: Tell, *, early: bool = False) -> None:
        """Deletes and compacts until nothing is left to do. early: as of pack_proposals.propose. Raises EndedError and what
        owner and database raise.
        """
        upto_lsn = self._backups_known(tell)
        told = {
            "unnamed_packs": self._owner.packs_unnamed(self._unnamed_from_epoch()),
            "deleted_packs": 0,
            "deleted_bytes": 0,
            "moved_pieces": 0,
            "moved_bytes": 0,
        }
        self._listed_at_s = self._monotonic_s()
        before: pack_proposals.Proposed | None = None
        while True:
            tell(told)
            # What was done by now is to be seen in the database, or it would be proposed again.
            self._caught_up(tell)
            done = self._propose(upto_lsn, early=early)
            if not done.dead and (not done.moves or (before is not None and done.moves == before.moves)):
                break  # nothing is left, but perhaps pieces that are in use
            before = done
            told["deleted_packs"] += done.deleted
            told["deleted_bytes"] += done.deleted_bytes
            told["moved_pieces"] += done.moved_pieces
            told["moved_bytes"] += done.moved_bytes
        with self._database.reader() as connection:
            left = usage.pack_usage(connection)
        tell({**told, "waiting_packs": left.dead, "waiting_bytes": left.dead_bytes})

    def _backups_known(self, tell: Tell) -> int:
        deadline_s = self._monotonic_s() + BACKUPS_WAIT_S
        while (upto_lsn := self._needs.oldest_lsn) is None:
            if self._monotonic_s() > deadline_s:
                raise ControlError(
                    "backups_unknown",
                    "it is not known yet which packs the backups need",
                    "`caudal status`: backup.error",
                )
            tell({})
            self._stop.wait(LOOK_S)
        return upto_lsn

    def _caught_up(self, tell: Tell) -> None:
        target, reached = self._owner.checkpoint_lsns()
        while reached < target:
            tell({})
            self._stop.wait(LOOK_S)
            _, reached = self._owner.checkpoint_lsns()

    def _unnamed_from_epoch(self) -> int:
        """The first epoch whose unnamed packs no retained backup can name: not even one of a history that was left behind
        when this database was recovered from an earlier moment.
        """
        with self._database.reader() as connection:
            forked_epoch = int(read_meta(connection).get("forked_epoch", 0))
        return forked_epoch if self._needs.oldest_epoch < forked_epoch else 0
