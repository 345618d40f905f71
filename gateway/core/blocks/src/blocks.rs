//! The block cache as its users see it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::cache::l1::L1;
use crate::cache::l2::L2;
use crate::cache::{BlockKey, BlocksStats, FetchStats, TierStats};
use crate::errors::BlockError;
use crate::fetch::Fetcher;
use crate::pack::format::PAYLOAD;
use crate::store::Store;

/// Streams whose whole read-ahead window may be on its way at once.
const PREFETCH_STREAMS: u64 = 8;
const MIN_PREFETCH_BLOCKS: u64 = 16;
const MAX_PREFETCH_BLOCKS: u64 = 1024;
/// Bounds of what may wait to be written to L2.
const MIN_L2_BUFFER: u64 = 8 << 20;
const MAX_L2_BUFFER: u64 = 64 << 20;

#[derive(Clone, Debug)]
pub struct BlocksConfig {
    pub l1_bytes: u64,
    /// Directory of L2; without one there is no L2.
    pub l2_dir: Option<PathBuf>,
    pub l2_bytes: u64,
    /// Largest read-ahead window of a file; bounds how much is prefetched at once.
    pub readahead_bytes: u64,
    /// Whose blocks these are: L2 of another file system is not read.
    pub fs_id: [u8; 16],
}

pub struct Blocks {
    fetcher: Arc<Fetcher>,
    runtime: Handle,
    l2_off: Option<String>,
    prefetches: Arc<Semaphore>,
    max_prefetch: u32,
    prefetched: AtomicU64,
    prefetches_dropped: AtomicU64,
}

impl Blocks {
    /// Opens the tiers. An L2 that can not be opened is left out; `stats().l2.off` says why.
    pub async fn open(runtime: Handle, store: Arc<dyn Store>, config: BlocksConfig) -> Result<Arc<Self>, BlockError> {
        let buffer_bytes = (config.l1_bytes / 8).clamp(MIN_L2_BUFFER, MAX_L2_BUFFER);
        let (l2, l2_off) = match &config.l2_dir {
            None => (None, Some("no directory is set".to_owned())),
            Some(dir) => match L2::open(&runtime, dir, config.l2_bytes, buffer_bytes, config.fs_id).await {
                Ok(l2) => (Some(Arc::new(l2)), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        let l1 = L1::new(config.l1_bytes, l2.clone());
        let max_prefetch = (config.readahead_bytes.saturating_mul(PREFETCH_STREAMS) / PAYLOAD)
            .clamp(MIN_PREFETCH_BLOCKS, MAX_PREFETCH_BLOCKS);
        Ok(Arc::new(Self {
            fetcher: Arc::new(Fetcher::new(runtime.clone(), store, l1, l2)),
            runtime,
            l2_off,
            prefetches: Arc::new(Semaphore::new(max_prefetch as usize)),
            max_prefetch: max_prefetch as u32,
            prefetched: AtomicU64::new(0),
            prefetches_dropped: AtomicU64::new(0),
        }))
    }

    /// The payload of a block, if it is in memory. Neither waits nor allocates.
    #[inline]
    #[must_use]
    pub fn get_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.fetcher.l1.get(key)
    }

    /// The payloads of neighbouring blocks, from wherever they are. The first error of a block is the answer to all.
    pub async fn get_run(&self, pack: u64, first: u32, count: u32) -> Result<Vec<Bytes>, BlockError> {
        let seats = self.fetcher.begin(pack, first, count);
        let mut payloads = Vec::with_capacity(seats.len());
        for seat in seats {
            payloads.push(seat.arrive().await?);
        }
        Ok(payloads)
    }

    /// Puts a verified payload into both tiers.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        self.fetcher.l1.insert(key, &payload);
        if let Some(l2) = &self.fetcher.l2 {
            l2.insert(key, payload);
        }
    }

    /// Begins to bring blocks into memory, unless too many are on their way already. Errors are left to the reader.
    pub fn prefetch(&self, pack: u64, first: u32, count: u32) {
        let l1 = &self.fetcher.l1;
        let wanted = |block: &u32| !l1.contains(BlockKey { pack, block: *block });
        let blocks = || (first..=u32::MAX).take(count as usize);
        let (Some(start), Some(last)) = (blocks().find(wanted), blocks().rev().find(wanted)) else { return };
        let count = (last - start + 1).min(self.max_prefetch);
        let Ok(permits) = self.prefetches.clone().try_acquire_many_owned(count) else {
            self.prefetches_dropped.fetch_add(u64::from(count), Relaxed);
            return;
        };
        self.prefetched.fetch_add(u64::from(count), Relaxed);
        let seats = self.fetcher.begin(pack, start, count);
        self.runtime.spawn(async move {
            drop(join_all(seats.into_iter().map(crate::fetch::Seat::arrive)).await);
            drop(permits);
        });
    }

    pub fn drop_l1(&self) {
        self.fetcher.l1.clear();
    }

    /// Empties L2, if there is one.
    pub async fn drop_l2(&self) -> Result<(), BlockError> {
        match &self.fetcher.l2 {
            Some(l2) => l2.clear().await,
            None => Ok(()),
        }
    }

    /// Sets the capacity of L1, at once.
    pub fn resize_l1(&self, bytes: u64) -> Result<(), BlockError> {
        self.fetcher.l1.resize(bytes)
    }

    #[must_use]
    pub fn stats(&self) -> BlocksStats {
        let off = || TierStats { off: self.l2_off.clone(), ..TierStats::default() };
        BlocksStats {
            l1: self.fetcher.l1.stats(),
            l2: self.fetcher.l2.as_ref().map_or_else(off, |l2| l2.stats()),
            fetch: FetchStats {
                prefetched: self.prefetched.load(Relaxed),
                prefetches_dropped: self.prefetches_dropped.load(Relaxed),
                ..self.fetcher.stats()
            },
        }
    }

    /// Writes out what waits for L2. What is asked afterwards still works, but L2 takes nothing new.
    pub async fn close(&self) {
        if let Some(l2) = &self.fetcher.l2 {
            l2.close().await;
        }
    }
}
