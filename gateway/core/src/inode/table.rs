//! All resident inodes, in shards, and the eviction of clean ones.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::RwLock;

use super::live::Live;

const SHARDS: usize = 64;

/// Inode numbers are ours, not a client's choice: one multiplication spreads them well enough.
#[derive(Default)]
pub struct InodeHasher(u64);

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for InodeHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(SPREAD);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = HashMap<u64, Arc<Live>, BuildHasherDefault<InodeHasher>>;

/// Resident inodes by number.
pub struct Table {
    shards: Box<[RwLock<Shard>]>,
    count: AtomicUsize,
    /// Shard that the eviction's hand stands at.
    hand: AtomicUsize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }
}

impl Table {
    fn shard(&self, inode: u64) -> &RwLock<Shard> {
        &self.shards[(inode.wrapping_mul(SPREAD) >> 58) as usize % SHARDS]
    }

    #[inline]
    #[must_use]
    pub fn get(&self, inode: u64) -> Option<Arc<Live>> {
        self.shard(inode).read().get(&inode).cloned()
    }

    /// Adds an inode unless it is there; true if it was added.
    pub fn add(&self, live: impl FnOnce() -> Live, inode: u64) -> bool {
        let mut shard = self.shard(inode).write();
        if shard.contains_key(&inode) {
            return false;
        }
        shard.insert(inode, Arc::new(live()));
        self.count.fetch_add(1, Relaxed);
        true
    }

    pub fn remove(&self, inode: u64) -> Option<Arc<Live>> {
        let removed = self.shard(inode).write().remove(&inode);
        if removed.is_some() {
            self.count.fetch_sub(1, Relaxed);
        }
        removed
    }

    /// All of them, shard by shard: those that come or go meanwhile may be among them or not.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Live>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Brings the table down to `max` inodes, if enough of them are clean and have not been used lately (clock algorithm).
    /// Each call looks at a few shards only.
    pub fn evict(&self, max: usize) {
        for _ in 0..4 {
            let over = self.len().saturating_sub(max);
            if over == 0 {
                return;
            }
            let shard = &self.shards[self.hand.fetch_add(1, Relaxed) % SHARDS];
            let mut left = over + max / 256;
            let mut evicted = 0;
            shard.write().retain(|_, live| {
                let stays = left == 0 || live.untouch() || !try_part(live);
                if !stays {
                    left -= 1;
                    evicted += 1;
                }
                stays
            });
            self.count.fetch_sub(evicted, Relaxed);
        }
    }
}

/// Marks the inode as gone if nothing of it would be lost. Whoever holds it meanwhile looks it up again.
fn try_part(live: &Live) -> bool {
    let Some(mut state) = live.state.try_write() else {
        return false;
    };
    let idle = state.is_clean() && state.since.is_none() && !state.flushing;
    if idle {
        state.gone = true;
    }
    idle
}
