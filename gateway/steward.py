"""caudal-steward: the work behind a file system that burns CPU or may take long: checkpoint, garbage
collection.

It can crash and start again at any time without a client noticing, and outlives starts of the owner, whom it
reaches through the control socket. It ends with the supervisor.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from gateway import _core, log, pack_proposals
from gateway.checkpointer import Checkpointer
from gateway.config import Config, effective
from gateway.control import ControlClient
from gateway.errors import STORE_AWAY, CaudalError, ControlError, NotRunningError, Reason, StartError
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.usage import Move
from gateway.processes import die_with_parent
from gateway.state import StateDir

logger = structlog.get_logger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
CALL_TIMEOUT_S: Final = 30.0
# A round of compaction reads and writes packs before it answers.
PACKS_TIMEOUT_S: Final = 900.0
LISTING_FACTOR: Final = 10
JOIN_TIMEOUT_S: Final = 5.0
NICENESS: Final = 5


class ControlOwner:
    """The owner, reached through its control socket. One for each thread."""

    def __init__(self, socket: Path, timeout_s: float) -> None:
        self._client = ControlClient(socket, timeout_s)

    def checkpoint_position(self) -> tuple[int, int]:
        answer: Any = self._client.call("checkpoint_position")
        return int(answer["durable_lsn"]), int(answer["checkpoint_lsn"])

    def checkpointed(self, lsn: int) -> None:
        self._client.call("checkpointed", lsn=lsn)

    def checkpoint_trouble(self, error: str | None) -> None:
        """Tells why checkpoints fail, for the status; None: they do not any more."""
        self._client.call("checkpoint_trouble", error=error)

    def packs_dead(self, packs: Sequence[int]) -> None:
        self._client.call("packs_dead", packs=list(packs))

    def packs_compact(self, moves: Sequence[Move]) -> None:
        self._client.call("packs_compact", moves=[list(move) for move in moves])

    def packs_unnamed(self) -> None:
        self._client.call("packs_unnamed")

    def close(self) -> None:
        self._client.close()


class Loop:
    """Does something again and again until told to stop: with a pause after success, with growing ones after
    failures.
    """

    def __init__(self, name: str, interval_s: float, stop: threading.Event) -> None:
        self._name = name
        self._interval_s = interval_s
        self._stop = stop

    def run(
        self,
        turn: Callable[[], bool],
        after_failure: Callable[[], None],
        report: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`turn` returns whether more waits to be done at once. `report` is told why turns fail, and None when they do
        not any more.
        """
        retry_s = RETRY_FIRST_S
        trouble = False
        while not self._stop.is_set():
            try:
                pause_s = 0.0 if turn() else self._interval_s
                retry_s = RETRY_FIRST_S
                if trouble:
                    report(None)
                    trouble = False
            except NotRunningError:
                # The owner is starting again; the supervisor sees to it, and this process has no other
                # business.
                logger.info("owner.away", task=self._name)
                after_failure()
                pause_s, retry_s = retry_s, min(retry_s * 2, RETRY_MAX_S)
            except Exception as error:
                if isinstance(error, ControlError) and error.code == STORE_AWAY:
                    # The status tells what is wrong with it, and the log did when it began.
                    logger.info("store.away", task=self._name, why=error.message)
                else:
                    logger.exception("task.failed", task=self._name, retry_s=retry_s)
                after_failure()
                pause_s, retry_s = retry_s, min(retry_s * 2, RETRY_MAX_S)
                trouble = True
                with suppress(CaudalError):
                    report(_reason(error))
            self._stop.wait(pause_s)


def _reason(error: Exception) -> str:
    """One line for people: of the database's errors without the statement."""
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.splitlines()[0][:200]


class Steward:
    """The tasks of one file system."""

    def __init__(self, config: Config, stop: threading.Event) -> None:
        state = StateDir(config.state)
        identity = state.read_identity()
        if identity is None:
            raise StartError(
                f"{state.root} holds no file system", "start it with `caudal up`", Reason.STATE_UNUSABLE
            )
        self._config = config
        self._stop = stop
        self._socket = state.control_socket
        self._fs_id = identity.fs_id
        self._database = Database(sqlite_url(state.metadata_file), identity.fs_id)

    def run(self) -> None:
        """Works until told to stop."""
        collector = threading.Thread(target=self._collect, name="collect", daemon=True)
        collector.start()
        try:
            self._checkpoint()
        finally:
            self._stop.set()
            # A round under way may take minutes; cut off, it changes nothing.
            collector.join(JOIN_TIMEOUT_S)
            self._database.close()

    def _checkpoint(self) -> None:
        owner = ControlOwner(self._socket, CALL_TIMEOUT_S)
        mirrors = [str(mirror) for mirror in self._config.journal]
        checkpointer = Checkpointer(
            self._database,
            owner,
            lambda from_lsn: _core.JournalTail(mirrors, self._fs_id, from_lsn),
            now_s=lambda: time.clock_gettime(time.CLOCK_REALTIME),
            monotonic_s=time.monotonic,
            failpoint=_core.failpoint,
        )

        def after_failure() -> None:
            owner.close()
            checkpointer.reset()

        Loop("checkpoint", self._config.checkpoint_interval_s, self._stop).run(
            checkpointer.step, after_failure, owner.checkpoint_trouble
        )

    def _collect(self) -> None:
        owner = ControlOwner(self._socket, PACKS_TIMEOUT_S)
        config = self._config
        # Looking for packs that a crash left behind lists the whole store: seldom.
        listing_s = max(LISTING_FACTOR * config.gc_interval_s, config.gc_grace_s)
        listed_at_s = time.monotonic()

        def turn() -> bool:
            nonlocal listed_at_s
            if self._stop.wait(config.gc_interval_s):
                return False
            if time.monotonic() - listed_at_s >= listing_s:
                owner.packs_unnamed()
                listed_at_s = time.monotonic()
            pack_proposals.propose(
                self._database,
                owner,
                grace_s=config.gc_grace_s,
                now_s=lambda: time.clock_gettime(time.CLOCK_REALTIME),
            )
            return False

        Loop("collect", 0.0, self._stop).run(turn, owner.close)


def main() -> None:
    """Runs the steward of a state directory until TERM, or the supervisor's death."""
    parser = argparse.ArgumentParser(prog="caudal-steward")
    parser.add_argument("--state", type=Path, required=True)
    state = StateDir(parser.parse_args().state)
    die_with_parent()
    os.nice(NICENESS)
    config = effective(state.root)
    log.configure(config.log_level, state.logs / "steward.log")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    logger.info("steward.started", pid=os.getpid())
    Steward(config, stop).run()
    logger.info("steward.stopped")


if __name__ == "__main__":
    main()
