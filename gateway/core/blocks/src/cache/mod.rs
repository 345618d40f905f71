//! The two tiers of the block cache. Both hold verified payloads. Blocks are immutable, so nothing is ever invalidated: a
//! tier may lose any block at any time, and must never give out another one.

mod device;
mod disk;
mod l1;
mod l2;
mod later;
mod pending;
mod pins;
mod raw;
mod recent;
mod shelf;
mod shelves;
mod stored;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::error::Result;
use l1::L1;
use later::Later;
pub use shelf::ShelfStats;
use shelves::Shelves;

/// A block of a pack. It means the same for ever and everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    pub pack: u64,
    pub block: u32,
}

/// Figures of one tier since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    pub hits: u64,
    pub misses: u64,
    /// What the tier holds; in L2 an upper bound, from what was written to it.
    pub bytes: u64,
    pub capacity_bytes: u64,
    /// Reads of L2's device that failed; they count as misses.
    pub errors: u64,
    /// Why the tier is not in use, if it is not.
    pub off: Option<String>,
}

/// Bounds of what may wait to be written to L2; blocks beyond it are not admitted.
const MIN_L2_QUEUE: u64 = 16 << 20;
const MAX_L2_QUEUE: u64 = 512 << 20;

/// How often blocks of flushes are copied to L2, and how many at once: 64 MiB a second.
const COPY_EVERY: Duration = Duration::from_millis(500);
const COPY_BLOCKS: usize = 128;

/// Steps in which who brings blocks in advance waits for the disks.
const WAIT: Duration = Duration::from_millis(5);
const WAITS: u32 = 6000;

pub struct Cache {
    rt: Handle,
    tiers: Arc<Tiers>,
    copying: AtomicBool,
}

struct Tiers {
    l1: L1,
    l2: Arc<Shelves>,
    later: Later,
}

impl Tiers {
    /// Offers blocks to L2 that are in L1 and not there yet.
    fn copy_down(&self, keys: Vec<BlockKey>) {
        for key in keys {
            if let Some(payload) = self.l1.peek(key).filter(|_| !self.l2.contains(key)) {
                self.l2.insert(key, payload);
            }
        }
    }

    fn copy_all_down(&self) {
        if self.l2.any() {
            self.copy_down(self.later.drain());
        }
    }
}

/// Copies what has waited long enough, as long as the cache lives.
async fn copy_later(tiers: Weak<Tiers>) {
    loop {
        tokio::time::sleep(COPY_EVERY).await;
        let Some(tiers) = tiers.upgrade() else {
            return;
        };
        if let Some(until) = Instant::now().checked_sub(later::AGE) {
            tiers.copy_down(tiers.later.take(until, COPY_BLOCKS));
        }
    }
}

impl Cache {
    /// Opens both tiers. An L2 that can not be opened is left out: it costs hits, not service.
    pub async fn open(rt: &Handle, fs_id: [u8; 16], l1_bytes: u64, l2: Option<(&Path, u64)>) -> Self {
        let queue_bytes = (l1_bytes / 4).clamp(MIN_L2_QUEUE, MAX_L2_QUEUE);
        let shelves = Arc::new(Shelves::new(rt, fs_id, queue_bytes));
        let cache = Self {
            rt: rt.clone(),
            tiers: Arc::new(Tiers {
                l1: L1::new(l1_bytes, shelves.clone()),
                l2: shelves,
                later: Later::default(),
            }),
            copying: AtomicBool::new(false),
        };
        if let Some((dir, bytes)) = l2.filter(|(_, bytes)| *bytes > 0) {
            // Why it could not be opened is in its figures, and it is tried again.
            drop(cache.add_shelf(dir, bytes).await);
        }
        cache
    }

    /// Puts another shelf into L2, see [`Shelves::add`].
    pub async fn add_shelf(&self, dir: &Path, bytes: u64) -> Result<()> {
        if !self.copying.swap(true, Relaxed) {
            self.rt.spawn(copy_later(Arc::downgrade(&self.tiers)));
        }
        self.tiers.l2.add(dir, bytes).await
    }

    /// Waits while the shelves cannot keep up with what is offered, no longer than a device may take to be given up.
    pub async fn wait_for_shelves(&self) {
        for _ in 0..WAITS {
            if !self.tiers.l2.is_busy() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// Puts a block that is wanted there into L2, whatever has to go for it.
    pub fn keep(&self, key: BlockKey, payload: Bytes) {
        if self.tiers.l2.any() && !self.tiers.l2.contains(key) {
            self.tiers.l2.insert(key, payload);
        }
    }

    /// Whether the tier that keeps blocks longest has this one. What only memory has is offered to L2.
    pub fn holds_longest(&self, key: BlockKey) -> bool {
        if !self.tiers.l2.any() {
            return self.tiers.l1.contains(key);
        }
        if self.tiers.l2.contains(key) {
            return true;
        }
        let in_memory = self.tiers.l1.peek(key);
        let found = in_memory.is_some();
        if let Some(payload) = in_memory {
            self.tiers.l2.insert(key, payload);
        }
        found
    }

    pub fn shelves(&self) -> &Shelves {
        &self.tiers.l2
    }

    /// Looks a block up in L1 and counts.
    #[inline]
    pub fn get_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.tiers.l1.get(key)
    }

    /// Looks a block up in L1 for a reader that was counted already.
    pub fn peek_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.tiers.l1.peek(key)
    }

    pub fn contains_l1(&self, key: BlockKey) -> bool {
        self.tiers.l1.contains(key)
    }

    /// Looks a block up in L2. What L2 cannot read or find sound is not there.
    pub async fn get_l2(&self, key: BlockKey) -> Option<Bytes> {
        if self.tiers.l2.any() {
            self.tiers.l2.get(key).await
        } else {
            None
        }
    }

    /// Puts a verified payload that came from the store into both tiers, see [`Shelves::insert_read`]; L2 takes it later, or not where it is too busy.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        self.tiers.l2.fetched.note(key);
        self.tiers.l1.insert(key, &payload);
        if self.tiers.l2.any() {
            self.tiers.l2.insert_read(key, payload);
        }
    }

    /// Puts what was just written into memory; L2 gets it when it leaves that, or has been there for some time.
    pub fn insert_written(&self, key: BlockKey, payload: &Bytes) {
        self.tiers.l1.insert(key, payload);
        if self.tiers.l2.any() {
            self.tiers.later.push(key, Instant::now());
        }
    }

    /// Puts what L2 holds into L1.
    pub fn raise(&self, key: BlockKey, payload: &Bytes) {
        self.tiers.l1.insert(key, payload);
    }

    /// What L2 was to get later it is offered now.
    pub fn drop_l1(&self) {
        self.tiers.copy_all_down();
        self.tiers.l1.clear();
    }

    pub async fn drop_l2(&self) -> Result<()> {
        self.tiers.later.clear();
        self.tiers.l2.clear().await
    }

    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.tiers.l1.resize(bytes)
    }

    pub fn l1_stats(&self) -> TierStats {
        self.tiers.l1.stats()
    }

    pub fn l2_stats(&self) -> TierStats {
        self.tiers.l2.stats()
    }

    /// Writes what waits for L2.
    pub async fn close(&self) -> Result<()> {
        self.tiers.copy_all_down();
        self.tiers.l2.close().await
    }
}
