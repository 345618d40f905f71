//! The two tiers of the block cache. Both hold verified payloads. Blocks are immutable, so nothing is ever invalidated: a
//! tier may lose any block at any time, and must never give out another one.

mod disk;
mod l1;
mod l2;
mod pending;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::error::Result;
use l1::L1;
use l2::L2;

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

pub struct Cache {
    l1: L1,
    l2: Option<Arc<L2>>,
    /// Why there is no L2, if there is none.
    l2_off: Option<String>,
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
        Self {
            l1: L1::new(l1_bytes, l2.clone()),
            l2,
            l2_off,
        }
    }

    /// Looks a block up in L1 and counts.
    #[inline]
    pub fn get_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.l1.get(key)
    }

    /// Looks a block up in L1 for a reader that was counted already.
    pub fn peek_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.l1.peek(key)
    }

    pub fn contains_l1(&self, key: BlockKey) -> bool {
        self.l1.contains(key)
    }

    /// Looks a block up in L2. What L2 cannot read or find sound is not there.
    pub async fn get_l2(&self, key: BlockKey) -> Option<Bytes> {
        match &self.l2 {
            Some(l2) => l2.get(key).await,
            None => None,
        }
    }

    /// Puts a verified payload into both tiers; L2 takes it later, or not where it is too busy.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        self.l1.insert(key, &payload);
        if let Some(l2) = &self.l2 {
            l2.insert(key, payload);
        }
    }

    /// Puts what L2 holds into L1.
    pub fn raise(&self, key: BlockKey, payload: &Bytes) {
        self.l1.insert(key, payload);
    }

    pub fn drop_l1(&self) {
        self.l1.clear();
    }

    pub async fn drop_l2(&self) -> Result<()> {
        match &self.l2 {
            Some(l2) => l2.clear().await,
            None => Ok(()),
        }
    }

    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.l1.resize(bytes)
    }

    pub fn l1_stats(&self) -> TierStats {
        self.l1.stats()
    }

    pub fn l2_stats(&self) -> TierStats {
        match &self.l2 {
            Some(l2) => l2.stats(),
            None => TierStats {
                off: self.l2_off.clone(),
                ..TierStats::default()
            },
        }
    }

    /// Writes what waits for L2.
    pub async fn close(&self) -> Result<()> {
        match &self.l2 {
            Some(l2) => l2.close().await,
            None => Ok(()),
        }
    }
}
