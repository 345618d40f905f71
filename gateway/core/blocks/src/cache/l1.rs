//! Blocks in memory. A hit is one hash, one shared lock and one reference count: no allocation, no system call.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use foyer::{CacheBuilder, Event, EventListener, S3FifoConfig};

use super::recent::Recent;
use super::shelves::Shelves;
use super::{BlockKey, TierStats};
use crate::error::{BlockError, Result};

/// What an entry takes besides its payload.
const ENTRY_BYTES: usize = 160;
/// A smaller shard would hold too few blocks to choose well among them.
const SHARD_BYTES: u64 = 32 << 20;
const MAX_SHARDS: u64 = 64;
/// Share of what was seen once: read-ahead must not push itself out before it is read.
const NEW_SHARE: f64 = 0.33;
/// Uses after which a block is worth keeping. The first use of a block that read-ahead brought is a hit, too, and does not say that
/// it will be read again.
const PROVEN_HITS: u8 = 2;
const COUNTERS: usize = 32;

/// Mixes a key in a few instructions. Keys come from our own numbering, so nobody can aim at collisions.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHash;

#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (mixed as u64) ^ ((mixed >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher::default()
    }
}

/// Counters apart from each other, so that readers of different blocks do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter {
    hits: AtomicU64,
    misses: AtomicU64,
}

pub struct L1 {
    cache: foyer::Cache<BlockKey, Bytes, KeyHash>,
    recent: Recent,
    counters: [Counter; COUNTERS],
    /// The cache itself only knows the one that it was made with.
    capacity_bytes: AtomicU64,
    dropping: Arc<AtomicBool>,
}

/// Offers a block that has to leave memory to the disk, if it lacks it: it may have been too busy when the block came.
struct Demote {
    l2: Arc<Shelves>,
    /// Blocks are dropped on purpose: those are not offered.
    dropping: Arc<AtomicBool>,
}

impl EventListener for Demote {
    type Key = BlockKey;
    type Value = Bytes;

    fn on_leave(&self, reason: Event, key: &BlockKey, payload: &Bytes) {
        if reason == Event::Evict && self.l2.any() && !self.dropping.load(Relaxed) && !self.l2.contains(*key)
        {
            self.l2.insert_read(*key, payload.clone());
        }
    }
}

impl L1 {
    pub fn new(capacity_bytes: u64, l2: Arc<Shelves>) -> Self {
        let shards = (capacity_bytes / SHARD_BYTES).clamp(1, MAX_SHARDS) as usize;
        let eviction = S3FifoConfig {
            small_queue_capacity_ratio: NEW_SHARE,
            small_to_main_freq_threshold: PROVEN_HITS,
            ..S3FifoConfig::default()
        };
        let dropping = Arc::new(AtomicBool::new(false));
        let builder = CacheBuilder::new(capacity_bytes as usize)
            .with_name("l1")
            .with_shards(shards)
            .with_eviction_config(eviction)
            .with_hash_builder(KeyHash)
            .with_weighter(|_: &BlockKey, payload: &Bytes| payload.len() + ENTRY_BYTES)
            .with_event_listener(Arc::new(Demote {
                l2,
                dropping: dropping.clone(),
            }));
        let capacity_bytes = AtomicU64::new(capacity_bytes);
        Self {
            cache: builder.build(),
            recent: Recent::default(),
            counters: Default::default(),
            capacity_bytes,
            dropping,
        }
    }

    /// A read's look-up, counted.
    #[inline]
    pub fn get(&self, key: BlockKey) -> Option<Bytes> {
        let counter = &self.counters[(key.block as usize ^ key.pack as usize) % COUNTERS];
        if let Some(payload) = self.recent.same_use(key) {
            counter.hits.fetch_add(1, Relaxed);
            Some(payload)
        } else if let Some(entry) = self.cache.get(&key) {
            counter.hits.fetch_add(1, Relaxed);
            self.recent.begin(key, entry.value());
            Some(entry.value().clone())
        } else {
            counter.misses.fetch_add(1, Relaxed);
            None
        }
    }

    /// A look-up that is no read's own.
    pub fn peek(&self, key: BlockKey) -> Option<Bytes> {
        self.cache.get(&key).map(|entry| entry.value().clone())
    }

    pub fn contains(&self, key: BlockKey) -> bool {
        self.cache.contains(&key)
    }

    pub fn insert(&self, key: BlockKey, payload: &Bytes) {
        // The clone makes the memory shared now: else the first hit would allocate the reference count.
        drop(self.cache.insert(key, payload.clone()));
    }

    pub fn clear(&self) {
        // Not `clear`: that forgets to count what leaves, and takes the cache for full ever after.
        self.dropping.store(true, Relaxed);
        self.recent.clear();
        self.cache.evict_all();
        self.dropping.store(false, Relaxed);
    }

    pub fn resize(&self, capacity_bytes: u64) -> Result<()> {
        self.cache
            .resize(capacity_bytes as usize)
            .map_err(|error| BlockError::Cache(error.to_string()))?;
        self.capacity_bytes.store(capacity_bytes, Relaxed);
        Ok(())
    }

    pub fn stats(&self) -> TierStats {
        let sum =
            |pick: fn(&Counter) -> &AtomicU64| self.counters.iter().map(|c| pick(c).load(Relaxed)).sum();
        TierStats {
            hits: sum(|counter| &counter.hits),
            misses: sum(|counter| &counter.misses),
            bytes: self.cache.usage() as u64,
            capacity_bytes: self.capacity_bytes.load(Relaxed),
            errors: 0,
            off: None,
        }
    }
}
