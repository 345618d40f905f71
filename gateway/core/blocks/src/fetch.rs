//! Bringing blocks that L1 lacks: from L2, else from the store.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use caudal_base::failpoint;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::cache::{BlockKey, Cache};
use crate::error::{BlockError, Result, StoreError};
use crate::flight::{Claim, Flights, Ticket, Tier};
use crate::pack::format::{pack_key, read_block, stride};
use crate::seen::Seen;
use crate::store::Store;

/// Blocks of one GET: 4 MiB.
const RUN_BLOCKS: usize = 16;
/// GETs of all readers under way at once; with `RUN_BLOCKS` this bounds their memory.
const CONCURRENT_GETS: usize = 64;
/// Packs that are noted as read between two looks.
const MAX_READ_PACKS: usize = 65_536;

pub struct Fetcher {
    rt: Handle,
    store: Arc<dyn Store>,
    pub cache: Cache,
    pub flights: Arc<Flights>,
    gets: Semaphore,
    bad_blocks: AtomicU64,
    unreadable_blocks: AtomicU64,
    last_bad: Mutex<Option<String>>,
    /// Blocks that came from L2.
    pub raised: Seen,
    /// Packs that the store was asked for since somebody looked, at most MAX_READ_PACKS.
    read_packs: Mutex<HashSet<u64>>,
}

impl Fetcher {
    pub fn new(rt: Handle, store: Arc<dyn Store>, cache: Cache) -> Self {
        Self {
            rt,
            store,
            cache,
            flights: Arc::default(),
            gets: Semaphore::new(CONCURRENT_GETS),
            bad_blocks: AtomicU64::new(0),
            unreadable_blocks: AtomicU64::new(0),
            last_bad: Mutex::default(),
            raised: Seen::default(),
            read_packs: Mutex::default(),
        }
    }

    /// Blocks that did not fit their checksum when they came from the store, counted each time.
    pub fn bad_blocks(&self) -> u64 {
        self.bad_blocks.load(Relaxed)
    }

    /// Blocks that were still bad when they were fetched again, or that the store does not have, counted each time: a reader
    /// got an error.
    pub fn unreadable_blocks(&self) -> u64 {
        self.unreadable_blocks.load(Relaxed)
    }

    /// What was wrong with the newest bad block.
    pub fn last_bad(&self) -> Option<String> {
        self.last_bad.lock().clone()
    }

    /// Begins to bring blocks; it happens whether or not somebody waits. Every run of neighbours gets a task of its own.
    pub fn begin(self: &Arc<Self>, pack: u64, first: u32, count: u32) -> Vec<Ticket> {
        let keys = (first..=u32::MAX)
            .take(count as usize)
            .map(|block| BlockKey { pack, block });
        let (tickets, claims) = self.flights.board(keys, |key| self.cache.peek_l1(key));
        for run in split_runs(claims, usize::MAX) {
            self.rt.spawn(self.clone().bring(run));
        }
        tickets
    }

    /// Brings one run: what L2 has from there, the gaps from the store at the same time.
    async fn bring(self: Arc<Self>, run: Vec<Claim>) {
        let cached = join_all(run.iter().map(|claim| self.cache.get_l2(claim.key))).await;
        let mut missing = Vec::new();
        for (claim, found) in run.into_iter().zip(cached) {
            match found {
                Some(payload) => {
                    self.raised.note(claim.key);
                    self.cache.raise(claim.key, &payload);
                    claim.finish(Ok(payload), Tier::Disk);
                }
                None => missing.push(claim),
            }
        }
        join_all(
            split_runs(missing, RUN_BLOCKS)
                .into_iter()
                .map(|run| self.fetch(run)),
        )
        .await;
    }

    async fn fetch(&self, run: Vec<Claim>) {
        let Some(BlockKey { pack, block: first }) = run.first().map(|claim| claim.key) else {
            return;
        };
        let outcomes = self.fetch_run(pack, first, run.len()).await;
        for (claim, outcome) in run.into_iter().zip(outcomes) {
            if let Ok(payload) = &outcome {
                self.cache.insert(claim.key, payload.clone());
            }
            claim.finish(outcome, Tier::Store);
        }
    }

    /// Fetches neighbours with one GET. A block that is bad is fetched once more, alone.
    async fn fetch_run(&self, pack: u64, first: u32, count: usize) -> Vec<Result<Bytes>> {
        let pieces = match self.get(pack, first, count).await {
            Ok(pieces) => pieces,
            Err(error) => {
                if !error.is_away() {
                    self.note_unreadable(&error, count as u64);
                }
                return vec![Err(error); count];
            }
        };
        let mut outcomes = Vec::with_capacity(count);
        for (index, block) in (first..=u32::MAX).take(count).enumerate() {
            let sound = self.check(pack, block, pieces.get(index));
            outcomes.push(match sound {
                Ok(payload) => Ok(payload),
                Err(_) => self.fetch_again(pack, block).await,
            });
        }
        outcomes
    }

    async fn fetch_again(&self, pack: u64, block: u32) -> Result<Bytes> {
        let pieces = self.get(pack, block, 1).await?;
        let checked = self.check(pack, block, pieces.first());
        if let Err(error) = &checked {
            self.note_unreadable(error, 1);
        }
        checked
    }

    fn note_unreadable(&self, error: &BlockError, blocks: u64) {
        self.unreadable_blocks.fetch_add(blocks, Relaxed);
        *self.last_bad.lock() = Some(error.to_string());
    }

    /// The payload of a piece, if it is the block that it should be.
    fn check(&self, pack: u64, block: u32, piece: Option<&Bytes>) -> Result<Bytes> {
        let checked = match piece {
            Some(bytes) => read_block(self.store.keys(), pack, block, bytes).map(|checked| checked.payload),
            None => Err(beyond_end(pack, block)),
        };
        if let Err(error) = &checked {
            self.bad_blocks.fetch_add(1, Relaxed);
            *self.last_bad.lock() = Some(error.to_string());
        }
        checked
    }

    /// The packs that the store was asked for since the last call.
    pub fn take_read_packs(&self) -> Vec<u64> {
        std::mem::take(&mut *self.read_packs.lock()).into_iter().collect()
    }

    /// What finds no room is not noted: it is only taken to be read less than it was.
    fn note_read(&self, pack: u64) {
        let mut packs = self.read_packs.lock();
        if packs.len() < MAX_READ_PACKS {
            packs.insert(pack);
        }
    }

    async fn get(&self, pack: u64, first: u32, count: usize) -> Result<Vec<Bytes>> {
        self.note_read(pack);
        let key = pack_key(pack);
        failpoint::hit("pack.before_get").map_err(|error| StoreError::Permanent {
            key: key.clone(),
            message: error.to_string(),
        })?;
        let _permit = self.gets.acquire().await.map_err(|_| BlockError::Abandoned)?;
        let stride = stride(pack);
        let start = u64::from(first) * stride;
        match self
            .store
            .get_pieces(&key, start..start + count as u64 * stride, stride as usize)
            .await
        {
            Ok(pieces) => Ok(pieces),
            Err(StoreError::Range(_)) => Err(beyond_end(pack, first)),
            Err(error) => Err(error.into()),
        }
    }
}

fn beyond_end(pack: u64, block: u32) -> BlockError {
    BlockError::Corrupt {
        pack,
        block: Some(block),
        why: "the object ends before it".to_owned(),
    }
}

/// Groups claims into runs of neighbours, each of at most `longest` blocks.
fn split_runs(claims: Vec<Claim>, longest: usize) -> Vec<Vec<Claim>> {
    let mut runs: Vec<Vec<Claim>> = Vec::new();
    for claim in claims {
        let follows = |last: &Claim| last.key.block.checked_add(1) == Some(claim.key.block);
        match runs.last_mut() {
            Some(run) if run.len() < longest && run.last().is_some_and(follows) => run.push(claim),
            _ => runs.push(vec![claim]),
        }
    }
    runs
}
