"""The steward's work: checkpoints are batches that can fail anywhere, and never go past what the owner calls
durable.
"""

import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from gateway import pack_proposals, sqlite
from gateway._core import StoreError
from gateway.checkpointer import EMPTY_ADVANCE_S, Checkpointer, Position
from gateway.errors import STORE_AWAY, ControlError, NotRunningError
from gateway.metadata import checkpoint, rows
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.rows import InodeRow, PutInode, PutPack, Splice
from gateway.metadata.usage import Move
from gateway.steward import RETRY_FIRST_S, Loop

FS_ID = b"0123456789abcdef"
EPOCH = 1 << 40


class FakeJournal:
    """Records by LSN; some hold rows, some do not."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes | None]] = []
        self.opened: list[int] = []
        self.batch_records = 100

    def append(self, payload: bytes | None, epoch: int = 1) -> int:
        number = sum(lsn >> 40 == epoch for lsn, _ in self.records) + 1
        self.records.append((epoch << 40 | number, payload))
        return self.records[-1][0]

    def open(self, from_lsn: int) -> "FakeTail":
        self.opened.append(from_lsn)
        return FakeTail(self, from_lsn - 1)


class FakeTail:
    def __init__(self, journal: FakeJournal, position: int) -> None:
        self._journal = journal
        self.position = position

    def next_batch(self, durable_lsn: int, max_bytes: int) -> list[tuple[int, bytes]]:
        assert max_bytes > 0
        batch: list[tuple[int, bytes]] = []
        for lsn, payload in self._journal.records:
            if self.position < lsn <= durable_lsn and len(batch) < self._journal.batch_records:
                self.position = lsn
                if payload is not None:
                    batch.append((lsn, payload))
        return batch


class FakeOwner:
    def __init__(self) -> None:
        self.durable = 0
        self.known = 0
        self.wanted = 0
        self.told: list[int] = []
        self.dead: list[int] = []
        self.moves: list[list[Move]] = []
        self.away = False

    def checkpoint_position(self) -> Position:
        if self.away:
            raise NotRunningError("away")
        return Position(self.durable, self.known, self.wanted)

    def checkpointed(self, lsn: int) -> None:
        self.known = lsn
        self.told.append(lsn)

    def packs_dead(self, packs: Sequence[int]) -> list[int]:
        self.dead.extend(packs)
        return list(packs)

    def packs_compact(self, moves: Sequence[Move]) -> int:
        self.moves.append(list(moves))
        return len(moves)

    def packs_unnamed(self, from_epoch: int) -> int:
        """Nothing is listed here."""
        return 0


def inode(ino: int) -> bytes:
    times = (0, 0, 0, 0)
    return rows.encode(
        [PutInode(InodeRow(ino, 1, stat.S_IFREG, 0o644, 1, 0, 0, 0, 0, 0, 0, 0, *times, 0), keep_data=False)]
    )


class Bench:
    """A checkpointer with everything around it."""

    def __init__(self, path: Path) -> None:
        self.journal = FakeJournal()
        self.owner = FakeOwner()
        self.database = Database(sqlite_url(path), FS_ID)
        self.time_s = 1000.0
        self.fail_at = ""
        self.checkpointer = Checkpointer(
            self.database,
            self.owner,
            self.journal.open,
            now_s=lambda: self.time_s,
            monotonic_s=lambda: self.time_s,
            failpoint=self._failpoint,
        )

    def _failpoint(self, name: str) -> None:
        if name == self.fail_at:
            raise OSError(5, name)

    def reached(self) -> int:
        with self.database.reader() as connection:
            return checkpoint.checkpoint_lsn(connection)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "metadata.db")
    yield made
    made.database.close()


def test_goes_as_far_as_what_is_durable(bench: Bench) -> None:
    lsns = [bench.journal.append(inode(ino)) for ino in (2, 3, 4)]
    bench.owner.durable = lsns[1]
    assert bench.checkpointer.step()
    assert not bench.checkpointer.step()
    assert bench.reached() == lsns[1]
    assert bench.owner.told == [lsns[1]]
    bench.owner.durable = lsns[2]
    bench.checkpointer.step()
    assert bench.owner.told == [lsns[1], lsns[2]]
    assert bench.journal.opened == [1]


def test_says_when_more_waits(bench: Bench) -> None:
    bench.journal.batch_records = 1
    for ino in (2, 3, 4):
        bench.owner.durable = bench.journal.append(inode(ino))
    turns = [bench.checkpointer.step() for _ in range(4)]
    assert turns == [True, True, True, False]
    assert bench.reached() == bench.owner.durable


@pytest.mark.parametrize("point", ["checkpoint.before_commit", "checkpoint.after_commit"])
def test_a_failure_around_the_commit_repeats_harmlessly(bench: Bench, point: str) -> None:
    bench.owner.durable = bench.journal.append(inode(2))
    bench.fail_at = point
    with pytest.raises(OSError, match=point):
        bench.checkpointer.step()
    assert bench.owner.told == [], "the owner hears of nothing that may not be on the disk"
    assert bench.reached() == (0 if point.endswith("before_commit") else bench.owner.durable)
    bench.fail_at = ""
    bench.checkpointer.reset()
    bench.checkpointer.step()
    assert bench.reached() == bench.owner.durable
    assert bench.owner.told == [bench.owner.durable]


def test_an_owner_that_started_again_is_told_anew(bench: Bench) -> None:
    bench.owner.durable = bench.journal.append(inode(2))
    bench.checkpointer.step()
    # The new start knows of no checkpoint and writes a new epoch's segment.
    bench.owner.known = 0
    bench.owner.durable = bench.journal.append(inode(3), epoch=2)
    bench.checkpointer.step()
    assert bench.owner.told[-1] == bench.owner.durable
    assert len(bench.journal.opened) == 2
    bench.owner.known = 0
    assert not bench.checkpointer.step()
    assert bench.owner.known == bench.owner.durable


def test_records_without_rows_move_the_checkpoint_now_and_then(bench: Bench) -> None:
    bench.owner.durable = bench.journal.append(inode(2))
    bench.checkpointer.step()
    first = bench.owner.durable
    bench.owner.durable = bench.journal.append(None)
    bench.checkpointer.step()
    assert bench.reached() == first
    bench.time_s += EMPTY_ADVANCE_S
    bench.checkpointer.step()
    assert bench.reached() == bench.owner.durable
    assert bench.owner.told == [first, bench.owner.durable]
    # At once where somebody waits.
    bench.owner.durable = bench.owner.wanted = bench.journal.append(None)
    bench.checkpointer.step()
    assert bench.owner.told[-1] == bench.owner.durable


def test_proposes_dead_and_sparse_packs(bench: Bench) -> None:
    size = 8 << 20
    ops: list[rows.RowOp] = [
        rows.decode(inode(2))[0],
        PutPack(10, size),
        PutPack(11, size),
        PutPack(12, size),
    ]
    # Pack 11 keeps an eighth, pack 12 all but nothing of what matters: only 11 is worth moving.
    ops += [Splice(2, 0, size // 8, 11, 0), Splice(2, 1 << 30, size // 2, 12, 0)]
    bench.owner.durable = bench.journal.append(rows.encode(ops))
    bench.checkpointer.step()

    upto_lsn = bench.owner.durable

    def propose(grace_s: float) -> pack_proposals.Proposed:
        return pack_proposals.propose(
            bench.database, bench.owner, grace_s=grace_s, upto_lsn=upto_lsn, now_s=lambda: bench.time_s
        )

    assert propose(600).dead == 0
    assert bench.owner.dead == []
    bench.time_s += 700
    # A backup that restores to a moment before needs it still.
    upto_lsn -= 1
    assert propose(600).dead == 0
    upto_lsn += 1
    assert propose(600) == pack_proposals.Proposed(
        dead=1, moves=((2, 0, size // 8, 11, 0),), deleted=1, deleted_bytes=size, moved_pieces=1
    )
    assert bench.owner.dead == [10]
    assert bench.owner.moves[-1] == [(2, 0, size // 8, 11, 0)]


def test_many_moves_go_in_several_requests(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_proposals, "MOVES_PER_CALL", 2)
    ops: list[rows.RowOp] = [rows.decode(inode(2))[0], PutPack(11, 8 << 20)]
    ops += [Splice(2, number << 20, 4096, 11, number << 13) for number in range(5)]
    bench.owner.durable = bench.journal.append(rows.encode(ops))
    bench.checkpointer.step()
    pack_proposals.propose(
        bench.database, bench.owner, grace_s=0, upto_lsn=bench.owner.durable, now_s=lambda: bench.time_s
    )
    assert [len(moves) for moves in bench.owner.moves] == [2, 2, 1]


def run_loop(turn: Callable[[], bool], stop: threading.Event) -> int:
    failures = 0

    def after_failure() -> None:
        nonlocal failures
        failures += 1

    Loop("test", 0.0, stop).run(turn, after_failure)
    return failures


def scripted(outcomes: list[Exception | bool], stop: threading.Event) -> Callable[[], bool]:
    """A loop's turn that raises or returns one outcome after the other; with the last one the loop is to stop."""

    def turn() -> bool:
        outcome = outcomes.pop(0)
        if not outcomes:
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return turn


@pytest.mark.parametrize("error", [NotRunningError("away"), OSError(5, "disk"), ValueError("odd")])
def test_a_loop_outlives_failures(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    waits: list[float] = []

    def wait(pause_s: float) -> bool:
        waits.append(pause_s)
        return False

    monkeypatch.setattr(stop, "wait", wait)
    outcomes: list[Exception | bool] = [error, error, True, error, False]

    assert run_loop(scripted(outcomes, stop), stop) == 3
    assert waits == [RETRY_FIRST_S, RETRY_FIRST_S * 2, 0.0, RETRY_FIRST_S, 0.0]


def test_a_loop_tells_its_trouble_and_its_end() -> None:
    stop = threading.Event()
    told: list[str | None] = []
    full = OperationalError("INSERT", {}, sqlite.DRIVER.OperationalError("database or disk is full"))
    away = ControlError(STORE_AWAY, "no answer")
    gone = StoreError("503")
    outcomes: list[Exception | bool] = [full, NotRunningError("away"), True, True, away, True, gone, False]

    with capture_logs() as lines:
        Loop("test", 0.0, stop).run(scripted(outcomes, stop), lambda: None, told.append)
    assert told == ["database or disk is full", None, "no answer", None, "503", None]
    # That the store is away is no defect of ours: no trace of the stack.
    assert [line["event"] for line in lines] == ["task.failed", "owner.away", "store.away", "store.away"]
