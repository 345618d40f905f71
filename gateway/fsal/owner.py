"""The owner of a file system: builds its parts, recovers, serves, and takes them down in order.

This is the one place of the server process where concrete parts are put together; everything else takes what it is given.
Order at the start: ownership (lease and epoch), database, core, the thread that keeps the lease, replay, journal opened,
flush, control socket. A failure anywhere closes what was opened before it, and nothing was acknowledged yet.
"""

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Self, cast

import structlog

from gateway._core import Core, CorruptError, Fence, Limits, StaleJournalError
from gateway.cache.settings import Settings
from gateway.config import Config
from gateway.control import ControlServer
from gateway.data.collector import Collector
from gateway.data.flusher import Flusher, FlushSettings
from gateway.errors import Reason, StartError
from gateway.fsal.audit import Audit
from gateway.fsal.backups import Progress
from gateway.fsal.caching import Caching, kept_settings
from gateway.fsal.client_paths import ClientPaths
from gateway.fsal.client_records import ClientRecords
from gateway.fsal.commands import Commands
from gateway.fsal.encryption import Encryption
from gateway.fsal.exports import Exports, Reload
from gateway.fsal.formats import refuse_newer
from gateway.fsal.heap import HeapTrimmer
from gateway.fsal.kerberos import KerberosCommands
from gateway.fsal.lease_keeper import LeaseKeeper
from gateway.fsal.limits import LimitKeeper
from gateway.fsal.mirrors import Mirrors, published
from gateway.fsal.pack_commands import PackCommands
from gateway.fsal.quota_commands import QuotaCommands, SoftLimits
from gateway.fsal.smb_shares import SmbShares
from gateway.fsal.space import Space
from gateway.fsal.watch import Watch
from gateway.metadata import namespace as names
from gateway.metadata.attributes import Counts
from gateway.metadata.checkpoint import checkpoint_lsn
from gateway.metadata.clock import SystemClock
from gateway.metadata.database import Database, sqlite_url
from gateway.metadata.namespace import Namespace
from gateway.objects import core_options, open_root_store
from gateway.objects.container import RootStore
from gateway.objects.ownership import Claim, ContestedError, Ownership, OwnershipLostError
from gateway.objects.place import owner_here
from gateway.pyganesha import FsInfo
from gateway.state import StateDir

log = structlog.get_logger(__name__)

FLUSH_HIGH_FRACTION = 0.5
ORPHAN_GRACE_FACTOR = 1.5
ACCEPT_STALE = (
    "attach the disk of a mirror that has it, and start again;"
    " `caudal up --accept-loss` starts without what is missing, for ever"
)
ACCEPT_DAMAGE = (
    "attach another mirror, if there is one;"
    " `caudal up --accept-loss` starts with what is intact before the damage"
)
URGENT_FILL = 0.4
URGENT_PAUSE_S = 0.5
FENCED_STATUS = 77
"""What the process ends with when another server has taken the file system over."""


class Owner:
    """Everything of one file system in the process that owns it. open() returns one that serves."""

    def __init__(self, config: Config, ownership: Ownership, encryption: Encryption) -> None:
        self.config = config
        self.ownership = ownership
        self.fs_id = ownership.fs_id
        self.epoch = ownership.epoch
        self.fence = Fence()
        self.encryption = encryption
        self._urged_at_s = 0.0
        self._stack = ExitStack()

    @classmethod
    def open(cls, config: Config, env: Mapping[str, str]) -> Self:
        """Takes the ownership, recovers and starts serving. Raises StartError, CoreError, MetadataError."""
        state = StateDir(config.state)
        refuse_newer(state, config)
        roots = open_root_store(config.store, env)
        try:
            identity = state.read_identity()
            encryption = Encryption.read(config, identity.fs_id if identity else bytes(16), env)
            if roots.read_root() is not None:
                encryption.check()
            ownership = _take(state, config, roots)
        finally:
            roots.close()
        owner = cls(config, ownership, encryption)
        try:
            owner._build(state, env)
        except BaseException:
            owner.close()
            raise
        return owner

    def _build(self, state: StateDir, env: Mapping[str, str]) -> None:
        config = self.config
        self._hold(env)
        self.database = Database(sqlite_url(state.metadata_file), self.fs_id)
        self._stack.callback(self.database.close)
        self.encryption.remember()
        cached = kept_settings(state, config)
        self.core = self._open_core(state, env, cached)
        self._stack.callback(self.core.close)
        self._keep_lease(state)
        clock = SystemClock()
        bounds = config.metadata
        self.namespace = Namespace(
            self.core,
            self.database,
            clock=clock,
            epoch=self.epoch,
            limits=names.Limits(inodes=bounds.rows, names=bounds.names, changed=bounds.changed),
        )
        self._recover()
        self.progress = Progress(lambda: clock.now_ns() / 1e9)
        self.progress.checkpointed(self.namespace.checkpoint_lsn)
        self.core.start()
        state.accept_loss_file.unlink(missing_ok=True)
        self.mirrors = Mirrors(self.core, self.database, self.ownership, config)
        self.mirrors.start()
        self._stack.callback(self.mirrors.stop)
        self.namespace.ensure_root()
        self.flusher = Flusher(
            self.core,
            self.namespace,
            FlushSettings(
                age_s=config.flush_age_s,
                high_bytes=int(config.dirty_memory_bytes * FLUSH_HIGH_FRACTION),
                high_inodes=int(config.max_inodes * FLUSH_HIGH_FRACTION),
            ),
            journal_fill=self._journal_fill,
            random=random.Random(),
        )
        self.flusher.start()
        self._stack.callback(self.flusher.stop)
        self.collector = Collector(
            self.core,
            self.namespace,
            epoch=self.epoch,
            unnamed_grace_s=config.gc_grace_s,
            now_s=lambda: clock.now_ns() / 1e9,
        )
        self.space = Space(config.store)
        self._answer(state, cached)

    def _answer(self, state: StateDir, cached: Settings) -> None:
        self.exports = Exports(self.config, self.namespace, Reload(state), self.close)
        self.paths = ClientPaths(self.namespace, self.exports.tops)
        self.caching = Caching(self, state, cached)
        self._stack.callback(self.caching.stop)
        self.caching.start()
        self.control = ControlServer(state.control_socket)
        Commands(self).register(self.control)
        self.mirrors.register(self.control)
        PackCommands(self).register(self.control)
        QuotaCommands(self.namespace, self.paths).register(self.control)
        self._open_exports(state)
        self.control.start()
        self._stack.callback(self.control.close)
        self._watch()

    def _open_core(self, state: StateDir, env: Mapping[str, str], cached: Settings) -> Core:
        config = self.config
        return Core(
            fs_id=self.fs_id,
            epoch=self.epoch,
            keys=self.encryption.ring,
            fence=self.fence,
            journal=[str(path) for path in config.journal],
            store_url=config.store,
            store_options=core_options(config.store, env),
            l1_bytes=cached.l1_bytes or config.l1_bytes,
            l2_dir=None,  # shelves come and go: see `caching`
            l2_bytes=0,
            segment_bytes=config.segment_bytes,
            journal_limit_bytes=config.journal_limit_bytes,
            dirty_memory_bytes=config.dirty_memory_bytes,
            max_inodes=config.max_inodes,
            readahead_bytes=config.readahead_bytes,
            pack_bytes=config.pack_bytes,
            io_threads=max(2, os.cpu_count() or 2),
            store_wait_s=config.store_wait_s,
            mirror_wait_s=config.mirror_wait_s,
            members_file=str(state.members_file),
            accept_loss=state.accept_loss_file.exists(),
            **published(self.database, self.ownership),
        )

    def _open_exports(self, state: StateDir) -> None:
        self.exports.register(self.control)
        KerberosCommands(state, self.exports).register(self.control)
        SmbShares(state, self.namespace).register(self.control)
        self.exports.tier_reads = self.caching.cache.export_reads
        self.gate = Limits()
        self._stack.callback(self.gate.close)
        keeper = LimitKeeper(state, self.gate, self.exports.ids, trial=self.config.trial)
        keeper.register(self.control)
        self.audit = Audit(
            self.caching.cache,
            self.caching.parents,
            self.paths,
            self.exports.audited,
            lambda: {number: name for name, number in self.exports.ids().items()},
        )
        self.audit.register(self.control)

        def changed() -> None:
            keeper.apply()
            self.audit.apply()

        self.exports.on_change = changed

    def _watch(self) -> None:
        soft_limits = SoftLimits(self.namespace)
        soft_limits.start()
        self._stack.callback(soft_limits.stop)
        heap = HeapTrimmer()
        heap.start()
        self._stack.callback(heap.stop)
        records = ClientRecords(StateDir(self.config.state), self.core.mirrors, self.fs_id)
        records.start()
        self._stack.callback(records.stop)
        watch = Watch(self.core.stats)
        watch.start()
        self._stack.callback(watch.stop)

    def _hold(self, env: Mapping[str, str]) -> None:
        """Gives the ownership a handle of its own; at the very end it is given back."""
        roots = open_root_store(self.config.store, env, prompt=True)
        self._stack.callback(roots.close)
        self.ownership.keep_with(roots)
        self._stack.callback(self._end_ownership)

    def _end_ownership(self) -> None:
        try:
            self.ownership.end()
        except (StartError, ContestedError, OwnershipLostError) as error:
            # The next start from this state directory gets its lease all the same; others have to wait for its end.
            log.warning("owner.not_ended", why=str(error))

    def _keep_lease(self, state: StateDir) -> None:
        self.keeper = LeaseKeeper(
            self.ownership,
            self.fence,
            lease_s=self.config.owner_lease_s,
            strict=self.config.owner_strict,
            on_lost=lambda lost: _leave(state, lost),
        )
        self.keeper.start()
        self._stack.callback(self.keeper.stop)

    def _recover(self) -> None:
        """Brings back what the journal holds: rows above the checkpoint, and whatever was not flushed."""
        started = time.monotonic()
        with self.database.reader() as connection:
            checkpoint = checkpoint_lsn(connection)
        try:
            report = self.core.replay(
                from_lsn=0,
                on_rows=self.namespace.apply_replayed,
                load=self.namespace.load_for_replay,
            )
        except StaleJournalError as error:
            raise StartError(str(error), ACCEPT_STALE, Reason.JOURNAL_STALE) from error
        except CorruptError as error:
            raise StartError(
                f"the journal is damaged: {error}", ACCEPT_DAMAGE, Reason.JOURNAL_DAMAGED
            ) from error
        if report.lost is not None:
            log.warning("journal.loss_accepted", what=report.lost, last_lsn=report.last_lsn)
        log.info(
            "recovered",
            records=report.records,
            bytes=report.bytes,
            checkpoint_lsn=checkpoint,
            last_lsn=report.last_lsn,
            torn_tail=report.torn_tail,
            seconds=round(time.monotonic() - started, 3),
        )

    def _journal_fill(self) -> float:
        journal = cast("dict[str, Any]", self.core.stats()["journal"])
        fill = float(journal["bytes"]) / self.config.journal_limit_bytes
        now_s = time.monotonic()
        if fill >= URGENT_FILL and now_s - self._urged_at_s >= URGENT_PAUSE_S:
            # What flush has passed goes only when checkpoint and backup have, too: they are not to wait for their time.
            self._urged_at_s = now_s
            self.progress.want(self.core.durable_lsn)
        return fill

    def ready(self, is_open: Callable[[int], bool]) -> None:
        """Clients may come. Once they had the time to claim again what they held open, nameless files can go.

        is_open: whether a client has an inode open; if so, its last close will be told.
        """
        timer = threading.Timer(self.config.grace_s * ORPHAN_GRACE_FACTOR, self._drop_orphans, (is_open,))
        timer.daemon = True
        timer.start()
        self._stack.callback(timer.cancel)

    def _drop_orphans(self, is_open: Callable[[int], bool]) -> None:
        try:
            for inode in self.namespace.orphans():
                if not is_open(inode):
                    self.namespace.released(inode)
        except Exception:
            log.exception("files unlinked before the start could not be dropped; the next start tries again")

    def counts(self) -> Counts:
        return self.namespace.statfs()

    def fs_info(self, inode: int) -> FsInfo:
        """What `df` shows in a place."""
        return self.space.info(self.counts(), self.namespace.room(inode))

    def close(self) -> None:
        """Stops in the reverse order of the start. What is not flushed stays in the journal."""
        self._stack.close()


def _take(state: StateDir, config: Config, roots: RootStore) -> Ownership:
    """The ownership of the state directory's file system, with force where `up --take-over` asked for it."""
    taking_over = state.take_over_file.exists()
    now_s = SystemClock().now_ns() / 1e9
    record = owner_here(
        state.root, config.store, port=config.nfs_port, lease_s=config.owner_lease_s, now_s=now_s
    )
    ownership = Ownership.take(
        state,
        roots,
        record,
        claim=Claim.TAKE_OVER if taking_over else Claim.OWN,
        new_id=lambda: secrets.token_hex(16),
    )
    state.take_over_file.unlink(missing_ok=True)
    state.fenced_file.unlink(missing_ok=True)
    return ownership


def _leave(state: StateDir, lost: OwnershipLostError) -> None:
    """Ends the process at once: another server owns the file system, and nothing of this one may follow."""
    owner = lost.record.owner if lost.record else None
    by = owner.name() if owner else "another server"
    try:
        log.critical("owner.fenced", by=by, epoch=lost.record.epoch if lost.record else None)
        state.write_fenced(by)
    finally:
        os._exit(FENCED_STATUS)
