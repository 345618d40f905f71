"""After a crash the core holds a prefix of what was done, and at least what was acknowledged."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import _core
from tests.unit.core.harness import FS_ID, MIB, Files, environment
from tests.unit.core.workload import INODES, Model, operations

REPOSITORY = Path(__file__).parents[3]


def crash(directory: Path, seed: int, failpoints: str) -> int:
    """Runs the workload until it dies; returns the number of operations that were acknowledged, -1 before the first."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.unit.core.workload", str(directory), str(seed)],
        cwd=REPOSITORY,
        env=environment(failpoints),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -9, child.stderr
    words = child.stdout.split()
    return int(words[-1]) if len(words) > 1 else -1


def recovered_state(files: Files) -> dict[int, bytes]:
    for inode in INODES:
        if inode in files.rows:
            files.load(inode)
    return {i: files.core.read(i, 0, MIB) if i in files.rows else b"" for i in INODES}


def prefix_length(seed: int, state: dict[int, bytes], before: dict[int, bytes]) -> set[int]:
    """Numbers of operations after which the model is in this state."""
    model = Model(before)
    lengths = {-1} if model.files == state else set[int]()
    for number, operation in enumerate(operations(seed)):
        model.apply(operation, number)
        if model.files == state:
            lengths.add(number)
    return lengths


POINTS = [
    "core.before_data_append=kill@40",
    "core.after_data_append=kill@60",
    "flush.after_take=kill@8",
    "flush.before_put=kill@8",
    "flush.after_put=kill@8",
    "flush.before_commit=kill@8",
    "flush.after_commit=kill@12",
    "journal.before_write=kill@15",
    "journal.torn_write=kill@15",
    "journal.before_sync=kill@15",
    "journal.after_sync=kill@15",
    "journal.before_roll=kill@1",
    "journal.after_roll=kill@1",
    "journal.before_trim=kill@3",
    "journal.after_trim=kill@3",
    "pack.before_put=kill@6",
    "pack.after_put=kill@6",
]


@pytest.mark.parametrize("failpoints", POINTS)
def test_killed_at(failpoints: str, tmp_path: Path) -> None:
    seed = POINTS.index(failpoints)
    acknowledged = crash(tmp_path / "fs", seed, failpoints)
    files = Files(tmp_path / "fs", segment_bytes=MIB // 4)
    state = recovered_state(files)
    lengths = prefix_length(seed, state, {})
    assert lengths, "the files are in a state that they never had"
    assert max(lengths) >= acknowledged
    assert files.core.dirty().oldest_lsn <= files.core.last_lsn
    files.flush()
    files.checkpoint()
    files = files.restart()
    assert files.core.dirty().inodes == 0
    assert recovered_state(files) == state
    files.core.close()


def test_killed_again_and_again(tmp_path: Path) -> None:
    before: dict[int, bytes] = {}
    for seed, failpoints in enumerate(
        [
            "flush.after_put=kill@5",
            "journal.torn_write=kill@30",
            "journal.after_roll=kill@4",
            "flush.after_take=kill@3",
        ]
    ):
        acknowledged = crash(tmp_path / "fs", seed, failpoints)
        files = Files(tmp_path / "fs", segment_bytes=MIB // 4)
        state = recovered_state(files)
        lengths = prefix_length(seed, state, before)
        assert lengths, "the files are in a state that they never had"
        assert max(lengths) >= acknowledged
        before = state
        files.core.close()


def test_a_journal_of_another_file_system_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10)
    files.core.close()
    with pytest.raises(_core.JournalError):
        Files(tmp_path / "fs", fs_id=bytes(16))


def test_a_clean_restart_keeps_dirty_data_and_lsns_grow(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10)
    first = files.core.write(10, 5, b"hello")
    files = files.restart()
    assert files.report.records == 2
    assert files.report.rows == 1
    assert files.core.attributes(10) is not None
    assert files.core.read(10, 0, 100) == b"\0\0\0\0\0hello"
    assert files.core.write(10, 0, b"x") > first
    assert files.core.last_lsn >> 40 == 2
    files.flush()
    assert files.core.read(10, 0, 100) == b"x\0\0\0\0hello"
    files.core.close()


def test_a_flush_that_no_checkpoint_has_keeps_its_changes_through_two_crashes(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs", segment_bytes=MIB // 4)
    files.create(10)
    files.create(11)
    files.core.write(10, 0, b"x" * 50_000)
    for offset in range(0, MIB, 50_000):
        files.core.write(11, offset, b"y" * 50_000)
    files.checkpoint()
    checkpoint_lsn = files.core.durable_lsn
    files.core.write(10, 0, b"z")
    files.flush()
    files = files.restart()
    files.core.trim(checkpoint_lsn)
    files = files.restart()
    for inode in (10, 11):
        files.load(inode)
    assert files.core.read(10, 0, MIB) == b"z" + b"x" * 49_999
    assert len(files.core.read(11, 0, 2 * MIB)) == 1_050_000
    files.checkpoint()
    assert files.core.trim(files.core.durable_lsn) == 0
    files.core.close()


def test_a_deleted_file_stays_deleted(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10)
    files.core.write(10, 0, b"x")
    files.delete(10)
    files.checkpoint()
    files = files.restart()
    assert files.core.dirty().inodes == 0
    assert files.core.attributes(10) is None
    files.core.close()


def test_an_exception_of_a_callback_passes_through(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10)
    files.core.close()

    def fail(_lsn: int, _payload: bytes) -> list[_core.Flushed]:
        raise LookupError("rows")

    from tests.unit.core.harness import build

    core = build(tmp_path / "fs", epoch=9)
    with pytest.raises(LookupError, match="rows"):
        core.replay(from_lsn=0, on_rows=fail, load=lambda _: None)
    core.close()


def test_the_tail_follows_a_live_journal(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    tail = _core.JournalTail([str(tmp_path / "fs" / "journal")], FS_ID, 0)
    files.create(10)
    files.core.write(10, 0, b"x" * MIB)
    lsn = files.append({"put": [11, [0] * 16]})
    files.core.wait_durable(lsn)
    rows = tail.next_batch(lsn, MIB)
    assert [one for one, _ in rows][-1] == lsn
    assert len(rows) == 2
    assert tail.next_batch(files.core.durable_lsn, MIB) == []
    assert tail.position >= lsn
    for inode in range(20, 40):
        files.create(inode)
    assert len(tail.next_batch(files.core.durable_lsn, MIB)) == 20
    files.core.close()


def test_a_store_that_fails_leaves_everything_dirty(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10)
    files.core.write(10, 0, b"x" * 1000)
    store, away = tmp_path / "fs" / "store", tmp_path / "away"
    store.rename(away)
    store.write_text("not a directory")
    batch = files.core.flush_take(inodes=None, dirty_before_ns=None, upto_lsn=None, max_bytes=MIB)
    assert batch is not None
    with pytest.raises(_core.StoreError):
        batch.write()
    batch.abort()
    store.unlink()
    away.rename(store)
    files.flush()
    files.core.cache_drop(True, True)
    assert files.core.read(10, 0, 2000) == b"x" * 1000
    files.core.close()


def test_a_damaged_block_is_reported_and_not_served(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    files.create(10)
    files.core.write(10, 0, b"x" * 1000)
    files.flush()
    [(pack, _, _)] = files.core.list_packs()
    files.core.verify_pack(pack, True)
    footer = files.core.pack_footer(pack)
    assert footer.entries == [(10, 0, 1000, 0)]
    [path] = [p for p in (tmp_path / "fs" / "store").rglob("*") if p.is_file()]
    raw = bytearray(path.read_bytes())
    raw[500] ^= 1
    path.write_bytes(raw)
    with pytest.raises(_core.CorruptError):
        files.core.verify_pack(pack, True)
    store = _core.PackStore(f"file://{tmp_path / 'fs' / 'store'}", {})
    with pytest.raises(_core.CorruptError):
        store.verify_pack(pack, True)
    files.core.cache_drop(True, True)
    with pytest.raises((_core.CorruptError, OSError)):
        files.core.read(10, 0, 10)
    files.core.close()


def test_a_journal_that_was_left_behind_puts_no_old_bytes_over_newer_ones(tmp_path: Path) -> None:
    files = Files(tmp_path / "fs")
    for inode in (1, 2):
        files.create(inode)
        files.core.write(inode, 0, b"old")
    files.core.wait_durable(files.core.last_lsn)
    left_behind = tmp_path / "left_behind"
    shutil.copytree(tmp_path / "fs" / "journal", left_behind)
    files.core.write(1, 0, b"new")
    files.flush(inodes=[1])
    files.checkpoint()
    files.core.close()
    shutil.rmtree(tmp_path / "fs" / "journal")
    shutil.copytree(left_behind, tmp_path / "fs" / "journal")
    files = Files(tmp_path / "fs", accept_loss=True)
    for inode in (1, 2):
        files.load(inode)
    assert files.core.read(1, 0, 10) == b"new"
    assert files.core.read(2, 0, 10) == b"old"
    assert files.report.skipped == 1
    files.core.close()
