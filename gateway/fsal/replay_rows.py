"""Bringing a database up to a journal that nobody writes."""

from collections.abc import Mapping
from typing import Final

from gateway import _core
from gateway.config import Config
from gateway.metadata import checkpoint
from gateway.metadata.database import Database
from gateway.objects import core_options

BATCH_RECORDS: Final = 2000
REPLAY_CACHE_BYTES: Final = 16 << 20


def replay_rows(
    database: Database, settings: Config, env: Mapping[str, str], *, membership: int = 0
) -> _core.ReplayReport:
    """Brings every row that the journal holds into the database, as a start would: by replay, which knows where a crash
    cut the journal off. Changes nothing in the journal. Raises CoreError, MetadataError, SQLAlchemyError.

    membership: the newest epoch of the journal's mirrors that is known; older ones are refused.
    """
    with database.reader() as connection:
        reached = checkpoint.checkpoint_lsn(connection)
    batch: list[tuple[int, bytes]] = []

    def apply() -> None:
        with database.writer() as connection:
            checkpoint.apply(connection, batch)
        batch.clear()

    def collect(lsn: int, payload: bytes) -> tuple[()]:
        batch.append((lsn, payload))
        if len(batch) >= BATCH_RECORDS:
            apply()
        return ()

    core = _open_core(settings, database.fs_id, env, membership)
    try:
        report = core.replay(from_lsn=reached + 1, on_rows=collect, load=lambda _: None)
    finally:
        core.close()
    apply()
    return report


def _open_core(settings: Config, fs_id: bytes, env: Mapping[str, str], membership: int) -> _core.Core:
    """A core that only ever replays: it has no caches to speak of, and its epoch is never written."""
    return _core.Core(
        fs_id=fs_id,
        epoch=1,
        journal=[str(path) for path in settings.journal],
        store_url=settings.store,
        store_options=core_options(settings.store, env),
        l1_bytes=REPLAY_CACHE_BYTES,
        l2_dir=None,
        l2_bytes=0,
        segment_bytes=settings.segment_bytes,
        journal_limit_bytes=settings.journal_limit_bytes,
        dirty_memory_bytes=settings.dirty_memory_bytes,
        max_inodes=settings.max_inodes,
        readahead_bytes=0,
        pack_bytes=settings.pack_bytes,
        io_threads=1,
        membership=membership,
    )
