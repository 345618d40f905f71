"""Sealing anew: what lives in packs that the current key did not seal moves into new packs, as compaction moves it.

The old packs are deleted by garbage collection when its grace time is over. Runs in the process of the command, beside the
server, which does the moves.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway import _core, config
from gateway.errors import CaudalError
from gateway.fsal.check import Call, open_database, wait_for_steward
from gateway.metadata import usage
from gateway.metadata.database import Database
from gateway.objects import core_options, keys

PACKS_PER_ROUND: Final = 16
ROUND_BYTES: Final = 64 << 20
# A request on the control socket is at most 1 MiB.
MOVES_PER_CALL: Final = 4096
BUSY_S: Final = 30.0
PAUSE_S: Final = 0.05
CALL_TIMEOUT_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Old packs that nothing lives in any more, and those that something busy lives in still."""

    packs: int
    packs_left: int


def rewrite(root: Path, env: Mapping[str, str], call: Call) -> Rewritten:
    """Seals everything that lives with the current key of the running server. Raises CaudalError, CoreError."""
    settings = config.effective(root)
    current = call("status")["encryption"].get("key")
    if current is None:
        raise CaudalError("nothing is sealed: there is no current key", "start with --encryption-key")
    database = open_database(root)
    try:
        store = _core.PackStore(settings.store, core_options(settings.store, env))
        wait_for_steward(call)
        old = [pack for pack, key_id in keys.packs_by_key(store) if key_id != current]
        rounds = range(0, len(old), PACKS_PER_ROUND)
        left = sum(_empty(database, old[at : at + PACKS_PER_ROUND], call) for at in rounds)
        # Backups from before go when their retention is over; the newest is to be of the current key.
        call("backup_snapshot", CALL_TIMEOUT_S)
        return Rewritten(len(old) - left, left)
    finally:
        database.close()


def _moves(database: Database, packs: Sequence[int]) -> list[usage.Move]:
    with database.reader() as connection:
        return usage.live_extents(connection, packs, max_bytes=ROUND_BYTES)


def _empty(database: Database, packs: Sequence[int], call: Call) -> int:
    """Moves what lives in some packs; returns how many of them it could not empty."""
    before: list[usage.Move] = []
    deadline_s = time.monotonic() + BUSY_S
    while moves := _moves(database, packs):
        if moves != before:
            deadline_s = time.monotonic() + BUSY_S
        elif time.monotonic() > deadline_s:
            break
        before = moves
        # A piece of a file that is being flushed stays, and is tried again; one that has moved already is passed over: the
        # move's rows may not be in the database yet.
        for first in range(0, len(moves), MOVES_PER_CALL):
            chosen = [list(move) for move in moves[first : first + MOVES_PER_CALL]]
            call("packs_compact", CALL_TIMEOUT_S, moves=chosen)
        wait_for_steward(call)
        time.sleep(PAUSE_S)
    return len({move[3] for move in moves})
