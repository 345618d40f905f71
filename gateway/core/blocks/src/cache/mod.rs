//! The two tiers of the block cache. Both hold verified payloads. Blocks are immutable, so nothing is ever invalidated: a
//! tier may lose any block at any time, and must never give out another one.

mod device;
mod disk;
mod l1;
mod l2;
mod later;
mod pending;

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::error::Result;
use l1::L1;
use l2::L2;
use later::Later;

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

pub struct Cache {
    tiers: Arc<Tiers>,
    /// Why there is no L2, if there is none.
    l2_off: Option<String>,
}

struct Tiers {
    l1: L1,
    l2: Option<Arc<L2>>,
    later: Later,
}

impl Tiers {
    /// Offers blocks to L2 that are in L1 and not there yet.
    fn copy_down(&self, l2: &L2, keys: Vec<BlockKey>) {
        for key in keys {
            if let Some(payload) = self.l1.peek(key).filter(|_| !l2.contains(key)) {
                l2.insert(key, payload);
            }
        }
    }

    fn copy_all_down(&self) {
        if let Some(l2) = &self.l2 {
            self.copy_down(l2, self.later.drain());
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
        if let (Some(l2), Some(until)) = (&tiers.l2, Instant::now().checked_sub(later::AGE)) {
            tiers.copy_down(l2, tiers.later.take(until, COPY_BLOCKS));
        }
    }
}

impl Cache {
    /// Opens both tiers. An L2 that can not be opened is left out: it costs hits, not service.
    pub async fn open(rt: &Handle, fs_id: [u8; 16], l1_bytes: u64, l2: Option<(&Path, u64)>) -> Self {
        let queue_bytes = (l1_bytes / 4).clamp(MIN_L2_QUEUE, MAX_L2_QUEUE);
        let opened = match l2 {
            None | Some((_, 0)) => Err("not set up".to_owned()),
            Some((dir, bytes)) => L2::open(rt, dir, bytes, queue_bytes, fs_id)
                .await
                .map_err(|error| error.to_string()),
        };
        let (l2, l2_off) = match opened {
            Ok(l2) => (Some(Arc::new(l2)), None),
            Err(why) => (None, Some(why)),
        };
        let tiers = Arc::new(Tiers {
            l1: L1::new(l1_bytes, l2.clone()),
            l2,
            later: Later::default(),
        });
        if tiers.l2.is_some() {
            rt.spawn(copy_later(Arc::downgrade(&tiers)));
        }
        Self { tiers, l2_off }
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
        match &self.tiers.l2 {
            Some(l2) => l2.get(key).await,
            None => None,
        }
    }

    /// Puts a verified payload into both tiers; L2 takes it later, or not where it is too busy.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        self.tiers.l1.insert(key, &payload);
        if let Some(l2) = &self.tiers.l2 {
            l2.insert(key, payload);
        }
    }

    /// Puts what was just written into memory; L2 gets it when it leaves that, or has been there for some time.
    pub fn insert_written(&self, key: BlockKey, payload: &Bytes) {
        self.tiers.l1.insert(key, payload);
        if self.tiers.l2.is_some() {
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
        match &self.tiers.l2 {
            Some(l2) => l2.clear().await,
            None => Ok(()),
        }
    }

    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.tiers.l1.resize(bytes)
    }

    pub fn l1_stats(&self) -> TierStats {
        self.tiers.l1.stats()
    }

    pub fn l2_stats(&self) -> TierStats {
        match &self.tiers.l2 {
            Some(l2) => l2.stats(),
            None => TierStats {
                off: self.l2_off.clone(),
                ..TierStats::default()
            },
        }
    }

    /// Writes what waits for L2.
    pub async fn close(&self) -> Result<()> {
        self.tiers.copy_all_down();
        match &self.tiers.l2 {
            Some(l2) => l2.close().await,
            None => Ok(()),
        }
    }
}
