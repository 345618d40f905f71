//! L1 in memory and L2 in a directory. Both hold verified payloads.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Load, RecoverMode, S3FifoConfig, Spawner,
};
use tokio::runtime::Handle;

use crate::error::{BlockError, Result};

/// A block of a pack. It means the same for ever and everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    pub pack: u64,
    pub block: u32,
}

impl Code for BlockKey {
    fn encode(&self, writer: &mut impl io::Write) -> foyer::Result<()> {
        self.pack.encode(writer)?;
        self.block.encode(writer)
    }

    fn decode(reader: &mut impl io::Read) -> foyer::Result<Self> {
        Ok(Self {
            pack: u64::decode(reader)?,
            block: u32::decode(reader)?,
        })
    }

    fn estimated_size(&self) -> usize {
        12
    }
}

/// Figures of one tier since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    pub hits: u64,
    pub misses: u64,
    /// In L1 what it holds; in L2 what was written to it.
    pub bytes: u64,
    pub capacity_bytes: u64,
}

/// What is weighed for an entry besides its payload.
const ENTRY_BYTES: usize = 128;
/// Smallest share of L1 that gets a lock of its own.
const SHARD_BYTES: u64 = 64 << 20;
/// L2 below this is not worth a directory and could not hold a few of its regions.
const SMALLEST_L2: u64 = 8 << 20;
/// What may wait to be written to L2; blocks beyond it are not admitted.
const L2_QUEUE_BYTES: usize = 64 << 20;
const IDENTITY: &str = "caudal-identity";

pub struct Cache {
    tiers: HybridCache<BlockKey, Bytes>,
    l2_capacity: u64,
    l1_hits: AtomicU64,
    l1_misses: AtomicU64,
    l2_hits: AtomicU64,
    l2_misses: AtomicU64,
}

impl Cache {
    /// `identity` names the store: an L2 directory of another one is emptied, because its keys mean other blocks.
    pub async fn open(rt: Handle, identity: &str, l1_bytes: u64, l2: Option<(&Path, u64)>) -> Result<Self> {
        let shards = (l1_bytes / SHARD_BYTES).clamp(1, 16) as usize;
        // A third for what was seen once: read-ahead must not push itself out.
        let eviction = S3FifoConfig {
            small_queue_capacity_ratio: 0.33,
            ..S3FifoConfig::default()
        };
        let builder = HybridCacheBuilder::new()
            .with_name("caudal")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            .memory(l1_bytes as usize)
            .with_shards(shards)
            .with_eviction_config(eviction)
            .with_weighter(|_, value: &Bytes| value.len() + ENTRY_BYTES)
            .storage()
            .with_spawner(Spawner::from(rt));
        let l2 = l2.filter(|(_, bytes)| *bytes > 0);
        let builder = match l2 {
            None => builder,
            Some((dir, bytes)) => {
                let bytes = bytes.max(SMALLEST_L2);
                let region = region_bytes(bytes);
                prepare(dir, &format!("{identity}\nregion {region}\n"))?;
                let device = FsDeviceBuilder::new(dir)
                    .with_capacity(bytes as usize)
                    .build()
                    .map_err(cache_error)?;
                let engine = BlockEngineConfig::new(device)
                    .with_block_size(region)
                    .with_submit_queue_size_threshold(L2_QUEUE_BYTES);
                builder
                    .with_engine_config(engine)
                    .with_recover_mode(RecoverMode::Quiet)
            }
        };
        Ok(Self {
            tiers: builder.build().await.map_err(cache_error)?,
            l2_capacity: l2.map_or(0, |(_, bytes)| bytes.max(SMALLEST_L2)),
            l1_hits: AtomicU64::new(0),
            l1_misses: AtomicU64::new(0),
            l2_hits: AtomicU64::new(0),
            l2_misses: AtomicU64::new(0),
        })
    }

    /// Looks a block up in L1 and counts.
    #[inline]
    pub fn get_l1(&self, key: BlockKey) -> Option<Bytes> {
        let found = self.peek_l1(key);
        let counter = if found.is_some() {
            &self.l1_hits
        } else {
            &self.l1_misses
        };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Looks a block up in L1 for a reader that was counted already.
    #[inline]
    pub fn peek_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.tiers.memory().get(&key).map(|entry| entry.value().clone())
    }

    pub fn contains_l1(&self, key: BlockKey) -> bool {
        self.tiers.memory().contains(&key)
    }

    /// Looks a block up in L2. What L2 cannot read or find sound is not there.
    pub async fn get_l2(&self, key: BlockKey) -> Option<Bytes> {
        if self.l2_capacity == 0 {
            return None;
        }
        let found = match self.tiers.storage().load(&key).await {
            Ok(Load::Entry { value, .. }) => Some(value),
            Ok(Load::Piece { piece, .. }) => Some(piece.value().clone()),
            Ok(Load::Miss | Load::Throttled) | Err(_) => None,
        };
        let counter = if found.is_some() {
            &self.l2_hits
        } else {
            &self.l2_misses
        };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Puts a verified payload into both tiers; L2 takes it later, or not where it is too busy.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        self.tiers.insert(key, payload);
    }

    /// Puts what L2 holds into L1.
    pub fn raise(&self, key: BlockKey, payload: Bytes) {
        self.tiers.memory().insert(key, payload);
    }

    pub fn drop_l1(&self) {
        self.tiers.memory().clear();
    }

    pub async fn drop_l2(&self) -> Result<()> {
        if self.l2_capacity == 0 {
            return Ok(());
        }
        self.tiers.storage().destroy().await.map_err(cache_error)
    }

    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.tiers.memory().resize(bytes as usize).map_err(cache_error)
    }

    pub fn l1_capacity(&self) -> u64 {
        self.tiers.memory().capacity() as u64
    }

    pub fn l1_stats(&self) -> TierStats {
        TierStats {
            hits: self.l1_hits.load(Relaxed),
            misses: self.l1_misses.load(Relaxed),
            bytes: self.tiers.memory().usage() as u64,
            capacity_bytes: self.l1_capacity(),
        }
    }

    pub fn l2_stats(&self) -> TierStats {
        TierStats {
            hits: self.l2_hits.load(Relaxed),
            misses: self.l2_misses.load(Relaxed),
            bytes: self.tiers.statistics().disk_write_bytes() as u64,
            capacity_bytes: self.l2_capacity,
        }
    }

    /// Writes what waits for L2.
    pub async fn close(&self) -> Result<()> {
        self.tiers.close().await.map_err(cache_error)
    }
}

fn cache_error(error: foyer::Error) -> BlockError {
    BlockError::Cache(error.to_string())
}

/// Size of the regions that L2 reclaims at once: at least eight of them.
fn region_bytes(l2_bytes: u64) -> usize {
    let share = (l2_bytes / 8).clamp(1 << 20, 16 << 20);
    1 << share.ilog2()
}

/// Makes the directory, and empties it where it was filled by another store or with other regions.
fn prepare(dir: &Path, identity: &str) -> Result<()> {
    let failed = |error: io::Error| BlockError::Cache(format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    let mark = dir.join(IDENTITY);
    match fs::read(&mark) {
        Ok(found) if found == identity.as_bytes() => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with("foyer-") {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    // Written after the old blocks are gone; a crash in between only empties it again.
    fs::write(&mark, identity).map_err(failed)
}
