//! The block cache as its users see it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::cache::{BlockKey, Cache, ShelfStats, TierStats};
use crate::error::Result;
use crate::fetch::Fetcher;
use crate::flight::{Ticket, Tier};
use crate::pack::format::PAYLOAD;
use crate::shelf_set::{Run, ShelfSet};
use crate::store::Store;

/// Streams whose whole read-ahead windows may be under way at once.
const PREFETCH_STREAMS: u64 = 8;
const MIN_PREFETCH_BLOCKS: u64 = 16;
const MAX_PREFETCH_BLOCKS: u64 = 1024;
/// Blocks that are warmed at once: 8 MiB.
const WARM_BLOCKS: u32 = 32;

#[derive(Clone, Debug)]
pub struct BlocksConfig {
    pub l1_bytes: u64,
    /// Directory of L2; without one there is no L2.
    pub l2_dir: Option<PathBuf>,
    pub l2_bytes: u64,
    /// Largest read-ahead window of a file; bounds how much is prefetched at once.
    pub readahead_bytes: u64,
    /// Whose blocks these are: what another file system left in L2 is not read.
    pub fs_id: [u8; 16],
}

/// Figures since the cache was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlocksStats {
    pub l1: TierStats,
    pub l2: TierStats,
    pub shelves: Vec<ShelfStats>,
    pub pinned_blocks: u64,
    /// Blocks that came damaged from the store, counted each time.
    pub bad_blocks: u64,
    /// Those that were damaged when they were fetched again, or gone: a reader got an error.
    pub unreadable_blocks: u64,
    /// What was wrong with the newest damaged one.
    pub last_bad: Option<String>,
    pub prefetched_blocks: u64,
    /// Blocks that were fetched from the store, or raised from L2, not for the first time: a larger cache would have had them.
    pub fetched_again: u64,
    pub raised_again: u64,
    /// Blocks under way.
    pub in_flight: u64,
}

pub struct Blocks {
    fetcher: Arc<Fetcher>,
    rt: Handle,
    prefetches: Arc<Semaphore>,
    max_prefetch: u32,
    prefetched: AtomicU64,
}

impl Blocks {
    /// Opens both tiers. An L2 that can not be opened is left out: it costs hits, not service.
    pub async fn open(rt: Handle, store: Arc<dyn Store>, config: BlocksConfig) -> Result<Arc<Self>> {
        let l2 = config.l2_dir.as_deref().map(|dir| (dir, config.l2_bytes));
        let cache = Cache::open(&rt, config.fs_id, config.l1_bytes, l2).await;
        let max_prefetch = (config.readahead_bytes.saturating_mul(PREFETCH_STREAMS) / PAYLOAD)
            .clamp(MIN_PREFETCH_BLOCKS, MAX_PREFETCH_BLOCKS);
        Ok(Arc::new(Self {
            fetcher: Arc::new(Fetcher::new(rt.clone(), store, cache)),
            rt,
            prefetches: Arc::new(Semaphore::new(max_prefetch as usize)),
            max_prefetch: max_prefetch as u32,
            prefetched: AtomicU64::new(0),
        }))
    }

    /// The payload of a block, if it is in memory. Neither waits nor allocates.
    #[inline]
    #[must_use]
    pub fn get_l1(&self, key: BlockKey) -> Option<Bytes> {
        self.fetcher.cache.get_l1(key)
    }

    /// The payloads of neighbouring blocks, from wherever they are. The first error of a block is the answer to all.
    pub async fn get_run(&self, pack: u64, first: u32, count: u32) -> Result<Vec<Bytes>> {
        Ok(self.get_run_from(pack, first, count).await?.0)
    }

    /// The same, and where the farthest of them was.
    pub async fn get_run_from(&self, pack: u64, first: u32, count: u32) -> Result<(Vec<Bytes>, Tier)> {
        let tickets = self.fetcher.begin(pack, first, count);
        let mut payloads = Vec::with_capacity(tickets.len());
        let mut farthest = Tier::Memory;
        for ticket in tickets {
            let (payload, source) = ticket.wait().await?;
            payloads.push(payload);
            farthest = farthest.max(source);
        }
        Ok((payloads, farthest))
    }

    /// The packs that the store was asked for since the last call.
    #[must_use]
    pub fn take_read_packs(&self) -> Vec<u64> {
        self.fetcher.take_read_packs()
    }

    /// Puts a verified payload into both tiers.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        self.fetcher.cache.insert(key, payload);
    }

    /// Puts a payload that was just put into the store into memory, and some time later into L2.
    pub fn insert_written(&self, key: BlockKey, payload: &Bytes) {
        self.fetcher.cache.insert_written(key, payload);
    }

    /// Begins to bring blocks into memory, unless too many are under way already. Errors are left to the reader.
    pub fn prefetch(&self, pack: u64, first: u32, count: u32) {
        let wanted = |block: &u32| !self.fetcher.cache.contains_l1(BlockKey { pack, block: *block });
        let Some(end) = first.checked_add(count) else {
            return;
        };
        let (Some(start), Some(last)) = ((first..end).find(wanted), (first..end).rev().find(wanted)) else {
            return;
        };
        let count = (last - start + 1).min(self.max_prefetch);
        let Ok(permits) = self.prefetches.clone().try_acquire_many_owned(count) else {
            return;
        };
        self.prefetched.fetch_add(u64::from(count), Relaxed);
        let tickets = self.fetcher.begin(pack, start, count);
        self.rt.spawn(async move {
            drop(join_all(tickets.into_iter().map(Ticket::wait)).await);
            drop(permits);
        });
    }

    /// Brings neighbouring blocks where they stay longest: into L2, or into memory where there is none. Returns how many had to be
    /// fetched from the store. Waits while L2 cannot keep up.
    pub async fn warm(&self, run: Run) -> Result<u64> {
        let cache = &self.fetcher.cache;
        cache.wait_for_shelves().await;
        let mut fetched = 0;
        for (pack, first, count) in runs_without(run, |key| cache.holds_longest(key)) {
            fetched += u64::from(count);
            let payloads = self.get_run(pack, first, count).await?;
            for (block, payload) in (first..=u32::MAX).zip(payloads) {
                cache.keep(BlockKey { pack, block }, payload);
            }
        }
        Ok(fetched)
    }

    /// How many of these blocks are in L2, or in memory where there is no L2.
    #[must_use]
    pub fn held(&self, run: Run) -> u64 {
        let missing = runs_without(run, |key| self.fetcher.cache.holds_longest(key));
        let missing: u64 = missing.iter().map(|(_, _, count)| u64::from(*count)).sum();
        u64::from(run.2) - missing
    }

    /// What prefetches may have under way at once.
    #[must_use]
    pub fn max_prefetch_bytes(&self) -> u64 {
        u64::from(self.max_prefetch) * PAYLOAD
    }

    pub fn drop_l1(&self) {
        self.fetcher.cache.drop_l1();
    }

    /// Empties L2, if there is one.
    pub async fn drop_l2(&self) -> Result<()> {
        self.fetcher.cache.drop_l2().await
    }

    /// Sets the capacity of L1, at once.
    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.fetcher.cache.resize_l1(bytes)
    }

    /// The shelves of L2, which come and go while blocks are read.
    #[must_use]
    pub fn shelf_set(&self) -> ShelfSet<'_> {
        ShelfSet(&self.fetcher.cache)
    }

    /// Whether blocks wait to be written to L2.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.fetcher.cache.shelves().is_writing()
    }

    #[must_use]
    pub fn stats(&self) -> BlocksStats {
        BlocksStats {
            l1: self.fetcher.cache.l1_stats(),
            l2: self.fetcher.cache.l2_stats(),
            shelves: self.fetcher.cache.shelves().shelf_stats(),
            pinned_blocks: self.fetcher.cache.shelves().pins().len() as u64,
            bad_blocks: self.fetcher.bad_blocks(),
            unreadable_blocks: self.fetcher.unreadable_blocks(),
            last_bad: self.fetcher.last_bad(),
            prefetched_blocks: self.prefetched.load(Relaxed),
            fetched_again: self.fetcher.cache.shelves().fetched.again(),
            raised_again: self.fetcher.raised.again(),
            in_flight: self.fetcher.flights.len() as u64,
        }
    }

    /// Writes out what waits for L2. Reads still work afterwards, but L2 takes nothing new.
    pub async fn close(&self) -> Result<()> {
        self.fetcher.cache.close().await
    }
}

/// The parts of a run that lack what is held already, each of at most [`WARM_BLOCKS`].
fn runs_without((pack, first, count): Run, held: impl Fn(BlockKey) -> bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for block in (first..=u32::MAX).take(count as usize) {
        if held(BlockKey { pack, block }) {
            continue;
        }
        match runs.last_mut() {
            Some((_, start, count)) if *start + *count == block && *count < WARM_BLOCKS => *count += 1,
            _ => runs.push((pack, block, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_left_out() {
        let held = |key: BlockKey| key.block % 10 == 3;
        assert_eq!(runs_without((7, 2, 4), held), [(7, 2, 1), (7, 4, 2)]);
        assert_eq!(runs_without((7, 3, 1), held), []);
        assert_eq!(runs_without((7, 0, 40), |_| false), [(7, 0, 32), (7, 32, 8)]);
        assert_eq!(runs_without((7, u32::MAX, 5), |_| false), [(7, u32::MAX, 1)]);
    }
}
