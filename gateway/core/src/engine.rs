//! The engine: one file system's journal, live inodes, blocks and store, wired together.
//!
//! Order of locks: a table shard, then an inode's state, then the dirty index. A shard's lock is not held while waiting for
//! a state's, except by eviction, which only tries. No lock is held across I/O.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use caudal_base::number;
use caudal_blocks::pack::format::sealed_id;
use caudal_blocks::{Blocks, BlocksConfig, Store};
use caudal_journal::disk::Disk;
use caudal_journal::{Assembly, Journal, NewId};
use parking_lot::{Mutex, RwLockWriteGuard};
use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::errors::{CoreError, Result};
use crate::fence::Fence;
use crate::ground::Ground;
use crate::inode::index::{DirtyIndex, Since};
use crate::inode::live::Live;
use crate::inode::state::State;
use crate::inode::table::Table;
use crate::mirrors::MirrorRules;
use crate::stats::IoStats;
use crate::work::Work;

/// Everything that a core is told when it is built.
#[derive(Clone, Debug)]
pub struct Config {
    pub fs_id: [u8; 16],
    pub epoch: u64,
    pub journal: Vec<PathBuf>,
    pub segment_bytes: u64,
    pub journal_limit_bytes: u64,
    pub wait_slots: usize,
    pub l1_bytes: u64,
    pub l2_dir: Option<PathBuf>,
    pub l2_bytes: u64,
    pub readahead_bytes: u64,
    pub dirty_memory_bytes: u64,
    pub max_inodes: usize,
    pub pack_bytes: u64,
    pub io_threads: usize,
    /// How long a read waits for the store before its client is told to come again.
    pub store_wait: Duration,
    pub mirrors: MirrorRules,
}

/// How long a close waits for what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// A flush whose row transaction a checkpoint may not have seen: the journal keeps what it replaced.
#[derive(Clone, Copy, Debug)]
pub struct PendingFlush {
    pub commit_lsn: u64,
    pub first_lsn: u64,
}

pub struct Engine {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub table: Table,
    pub index: DirtyIndex,
    pub blocks: Arc<Blocks>,
    pub store: Arc<dyn Store>,
    /// Stands before the store's changes too, if whoever opened the store has put it there.
    pub fence: Arc<Fence>,
    pub disk: Arc<dyn Disk>,
    pub new_id: NewId,
    pub io: IoStats,
    pub pending_flushes: Mutex<Vec<PendingFlush>>,
    pub spilling: AtomicBool,
    pub journal: OnceLock<Arc<Journal>>,
    /// Which mirrors the replay was read from.
    pub assembly: Mutex<Option<Assembly>>,
    closed: AtomicBool,
    /// Operations that will complete later.
    pub pending: AtomicUsize,
    packs: AtomicU64,
    pub work: Work,
    handle: Handle,
}

impl Engine {
    /// Opens the caches over a store that was opened already. The journal comes with [`Self::start`].
    pub fn open(config: Config, ground: Ground) -> Result<Arc<Self>> {
        if config.epoch == 0 || config.epoch > number::MAX_EPOCH {
            return Err(CoreError::Invalid(format!(
                "epoch {} is out of range",
                config.epoch
            )));
        }
        let (work, handle) = if ground.by_hand {
            Work::by_hand()?
        } else {
            Work::threads(config.io_threads)?
        };
        let Ground {
            store,
            fence,
            clock,
            disk,
            new_id,
            ..
        } = ground;
        let blocks_config = BlocksConfig {
            l1_bytes: config.l1_bytes,
            l2_dir: config.l2_dir.clone(),
            l2_bytes: config.l2_bytes,
            readahead_bytes: config.readahead_bytes,
            fs_id: config.fs_id,
        };
        let blocks = work.block_on(
            &handle,
            Blocks::open(handle.clone(), store.clone(), blocks_config),
        )?;
        let packs = AtomicU64::new(number::first_of(config.epoch) + 1);
        Ok(Arc::new(Self {
            config,
            clock,
            table: Table::default(),
            index: DirtyIndex::default(),
            blocks,
            store,
            fence,
            disk,
            new_id,
            io: IoStats::default(),
            pending_flushes: Mutex::default(),
            spilling: AtomicBool::new(false),
            journal: OnceLock::new(),
            assembly: Mutex::new(None),
            closed: AtomicBool::new(false),
            pending: AtomicUsize::new(0),
            packs,
            work,
            handle,
        }))
    }

    /// Refuses new operations, waits for those under way as long as is decent, commits the journal and stops the threads.
    /// An operation that is still under way then, because the store does not answer, ends with an error.
    pub fn close(&self) {
        if self.closed.swap(true, Relaxed) {
            return;
        }
        self.fence.shut();
        let began = Instant::now();
        while !self.work.is_by_hand() && self.pending.load(Relaxed) > 0 && began.elapsed() < CLOSE_WAIT {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(journal) = self.journal.get() {
            journal.close();
        }
        // What L2 did not get is in the store: a failure costs a fetch after the next start.
        self.work.close(self.blocks.close(), CLOSE_WAIT);
    }

    #[inline]
    pub fn journal(&self) -> Result<&Arc<Journal>> {
        self.check_open()?;
        self.opened_journal()
    }

    /// The journal for an operation that began before the close.
    pub fn opened_journal(&self) -> Result<&Arc<Journal>> {
        self.journal
            .get()
            .ok_or(CoreError::Misuse("the core was not started"))
    }

    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.closed.load(Relaxed) {
            Err(CoreError::Closed)
        } else if self.fence.is_closed() {
            Err(CoreError::Fenced)
        } else {
            Ok(())
        }
    }

    /// Waits until the owner's lease lets a reply pass, in the thread that answers. Busy when too many wait already.
    #[inline]
    pub fn pass_fence(&self) -> Result<()> {
        if self.fence.passes()? {
            Ok(())
        } else {
            self.wait_fence()
        }
    }

    #[cold]
    fn wait_fence(&self) -> Result<()> {
        let slot = self
            .journal()?
            .try_wait_slot()
            .ok_or(CoreError::Busy("too many callers wait for the owner's lease"))?;
        let result = self.fence.wait();
        drop(slot);
        result
    }

    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    pub const fn work(&self) -> &Work {
        &self.work
    }

    /// Runs a future of the store or the cache to its end; not from a thread of the runtime.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output> {
        self.check_open()?;
        Ok(self.work.block_on(&self.handle, future))
    }

    pub fn next_pack(&self) -> u64 {
        let id = self.packs.fetch_add(1, Relaxed);
        let seals = self.store.keys().is_some_and(|keys| keys.current().is_some());
        if seals { sealed_id(id) } else { id }
    }

    /// Finds a resident inode; `generation` None asks for whichever it is.
    #[inline]
    pub fn live(&self, inode: u64, generation: Option<u64>) -> Result<Arc<Live>> {
        let live = self.table.get(inode).ok_or(CoreError::NotResident(inode))?;
        if generation.is_some_and(|generation| generation != live.generation) {
            return Err(CoreError::Stale(inode));
        }
        live.touch();
        Ok(live)
    }

    /// Enters an inode into the dirty index before its first change is appended, so that no trim passes the record.
    pub fn mark_dirty(&self, inode: u64, state: &mut State, lower_lsn: u64) {
        if state.since.is_none() {
            let since = Some(Since {
                lsn: lower_lsn,
                monotonic_ns: self.clock.monotonic_ns(),
            });
            self.index.move_inode(inode, None, since);
            state.since = since;
        }
    }

    /// Takes an inode out of the dirty index again when the change that it was entered for failed.
    pub fn unmark_if_clean(&self, inode: u64, state: &mut State) {
        if state.is_clean() && !state.flushing {
            self.index.move_inode(inode, state.since.take(), None);
        }
    }

    /// Changes a state and keeps the totals right.
    pub fn change<T>(&self, state: &mut RwLockWriteGuard<'_, State>, f: impl FnOnce(&mut State) -> T) -> T {
        let (before, used) = (state.sizes(), state.attributes.space_used);
        let result = f(state);
        self.index.resized(before, state.sizes());
        if state.charge.account.is_some() {
            let now_used = state.attributes.space_used;
            state.charge.moved(used, now_used, self.clock.now_ns());
        }
        result
    }

    /// LSN below which every record of live inodes is flushed, and every flush is in a checkpoint at `checkpoint_lsn`.
    ///
    /// The index is read before the flushes: a flush that ends in between adds itself there before it leaves the index.
    pub fn trim_floor(&self, checkpoint_lsn: u64) -> u64 {
        let mut floor = checkpoint_lsn + 1;
        if let Some(since) = self.index.oldest() {
            floor = floor.min(since.lsn);
        }
        let mut pending = self.pending_flushes.lock();
        pending.retain(|flush| flush.commit_lsn > checkpoint_lsn);
        pending
            .iter()
            .fold(floor, |floor, flush| floor.min(flush.first_lsn))
    }

    pub fn trim(&self, checkpoint_lsn: u64) -> Result<u64> {
        let journal = self.journal()?;
        let floor = self.trim_floor(checkpoint_lsn.min(journal.durable_lsn()));
        journal.trim(floor).map_err(|e| CoreError::Journal(e.to_string()))
    }

    /// Starts a thread that lets go of dirty bytes in memory when they are above their limit.
    pub fn relieve_memory(self: &Arc<Self>) {
        if self.index.memory_bytes() <= self.config.dirty_memory_bytes || self.spilling.swap(true, Relaxed) {
            return;
        }
        let engine = self.clone();
        let run = move || {
            crate::spill::run(&engine);
            engine.spilling.store(false, Relaxed);
        };
        if self.work.is_by_hand() {
            run();
        } else {
            self.handle.spawn_blocking(run);
        }
    }
}
