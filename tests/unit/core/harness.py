"""A small file system around the core: rows in a dict, journaled as JSON, with crashes and restarts."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gateway import _core

FS_ID = bytes(range(16))
MIB = 1 << 20
S_IFREG = 0o100000


def attributes(inode: int, **changes: int) -> _core.Attributes:
    """Attributes of an empty regular file, but for the changes."""
    zero = dict.fromkeys(_core.Attributes._fields, 0)
    return _core.Attributes(
        **(zero | {"inode": inode, "generation": 1, "kind": S_IFREG, "mode": 0o644, "nlink": 1} | changes)
    )


def build(directory: Path, *, epoch: int, **changes: Any) -> _core.Core:
    """A core with its journal, store and L2 under `directory`."""
    settings: dict[str, Any] = {
        "fs_id": FS_ID,
        "epoch": epoch,
        "journal": [str(directory / "journal")],
        "store_url": f"file://{directory / 'store'}",
        "store_options": {},
        "l1_bytes": 16 * MIB,
        "l2_dir": None,
        "l2_bytes": 0,
        "segment_bytes": 4 * MIB,
        "journal_limit_bytes": 64 * MIB,
        "dirty_memory_bytes": 32 * MIB,
        "max_inodes": 1000,
        "readahead_bytes": MIB,
        "pack_bytes": 8 * MIB,
        "io_threads": 2,
    }
    (directory / "journal").mkdir(parents=True, exist_ok=True)
    (directory / "store").mkdir(exist_ok=True)
    return _core.Core(**(settings | changes))


class Files:
    """Rows and core together. `checkpoint` writes the rows to a file; what came after it is in the journal."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.directory = directory
        self._changes = changes
        self._epoch_file = directory / "epoch"
        self._rows_file = directory / "rows.json"
        self.epoch = int(self._epoch_file.read_text()) + 1 if self._epoch_file.exists() else 1
        directory.mkdir(parents=True, exist_ok=True)
        self._epoch_file.write_text(str(self.epoch))
        self.checkpoint_lsn = 0
        self.rows: dict[int, tuple[list[int], dict[int, list[int]]]] = {}
        self._read_rows()
        self.core = build(directory, epoch=self.epoch, **changes)
        self.report = self.core.replay(from_lsn=0, on_rows=self._on_rows, load=self._load)
        self.core.start()

    def restart(self) -> "Files":
        """A new core over what is on disk, as after the death of the process."""
        self.core.close()
        return Files(self.directory, **self._changes)

    def create(self, inode: int, **changes: int) -> None:
        row = [inode, list(attributes(inode, **changes))]
        lsn = self.append({"put": row})
        self.rows[inode] = (row[1], {})
        self.core.wait_durable(lsn)
        self.load(inode)

    def delete(self, inode: int) -> None:
        lsn = self.append({"drop": inode})
        self.rows.pop(inode)
        self.core.forget(inode)
        self.core.wait_durable(lsn)

    def load(self, inode: int) -> None:
        row = self._load(inode)
        assert row is not None
        self.core.activate(*row)

    def append(self, change: dict[str, Any]) -> int:
        payload = json.dumps(change).encode()
        self.core.reserve(len(payload))
        return self.core.append_rows(payload)

    def flush(self, **how: Any) -> int:
        """Flushes everything, in batches; returns how many there were."""
        batches = 0
        while batch := self.core.flush_take(
            **({"inodes": None, "dirty_before_ns": None, "upto_lsn": None, "max_bytes": 64 * MIB} | how)
        ):
            batch.write()
            self.finish(batch)
            batches += 1
            if how:
                break
        return batches

    def finish(self, batch: _core.FlushBatch) -> int:
        """The row transaction of a batch, and its end."""
        flushed = [[f.inode, f.taken_lsn, list(f.attributes), f.splices] for f in batch.inodes]
        flushed = [one for one in flushed if one[0] in self.rows]
        lsn = self.append({"flushed": flushed})
        self._apply({"flushed": flushed})
        batch.commit(lsn)
        self.core.wait_durable(lsn)
        return lsn

    def checkpoint(self) -> None:
        """Writes the rows down and trims the journal."""
        lsn = self.core.durable_lsn
        data = {"lsn": lsn, "rows": [[ino, a, list(e.values())] for ino, (a, e) in self.rows.items()]}
        temporary = self._rows_file.with_suffix(".new")
        temporary.write_text(json.dumps(data))
        temporary.replace(self._rows_file)
        self.core.trim(lsn)

    def _read_rows(self) -> None:
        if self._rows_file.exists():
            data = json.loads(self._rows_file.read_text())
            self.checkpoint_lsn = data["lsn"]
            self.rows = {ino: (a, {e[0]: e for e in extents}) for ino, a, extents in data["rows"]}

    def _load(self, inode: int) -> tuple[_core.Attributes, list[_core.Extent]] | None:
        if inode not in self.rows:
            return None
        row, extents = self.rows[inode]
        return _core.Attributes(*row), [tuple(e) for e in extents.values()]  # type: ignore[misc]

    def _on_rows(self, lsn: int, payload: bytes) -> Iterable[_core.Flushed]:
        change = json.loads(payload)
        if lsn > self.checkpoint_lsn:
            self._apply(change)
        if "drop" in change:
            self.core.forget(change["drop"])
        return [
            (ino, taken, [tuple(s) for s in splices]) for ino, taken, _, splices in change.get("flushed", [])
        ]

    def _apply(self, change: dict[str, Any]) -> None:
        if "put" in change:
            inode, row = change["put"]
            self.rows[inode] = (row, self.rows.get(inode, (row, {}))[1])
        if "drop" in change:
            self.rows.pop(change["drop"], None)
        for inode, _taken, row, splices in change.get("flushed", []):
            if inode in self.rows:
                extents = self.rows[inode][1]
                for splice in splices:
                    _splice(extents, *splice)
                self.rows[inode] = (row, extents)


def _splice(extents: dict[int, list[int]], offset: int, length: int, pack: int, pack_offset: int) -> None:
    end = offset + length
    for start, old_length, old_pack, old_offset in list(extents.values()):
        stop = start + old_length
        if start < end and offset < stop:
            del extents[start]
            if start < offset:
                extents[start] = [start, offset - start, old_pack, old_offset]
            if stop > end:
                extents[end] = [end, stop - end, old_pack, old_offset + end - start]
    if pack:
        extents[offset] = [offset, length, pack, pack_offset]


def environment(failpoints: str) -> dict[str, str]:
    """Environment of a child process that dies at a failpoint."""
    return {**os.environ, "CAUDAL_FAILPOINTS": failpoints}
