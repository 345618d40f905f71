//! Bringing blocks: from the disk tier, else from the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use caudal_base::failpoint;
use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::cache::l1::L1;
use crate::cache::l2::L2;
use crate::cache::{BlockKey, FetchStats};
use crate::errors::{BlockError, StoreError};
use crate::flights::{Boarding, Flight, Flights, Lead};
use crate::pack::format::BLOCK_BYTES;
use crate::pack::reader::decode_block;
use crate::store::keys::pack_key;
use crate::store::{Store, failpoint_error};

/// Blocks of one GET: 4 MiB.
pub const RUN_BLOCKS: usize = 16;
/// GETs on their way at once, of all readers; with `RUN_BLOCKS` this bounds their memory.
const CONCURRENT_GETS: usize = 64;

type Outcome = Result<Bytes, BlockError>;

/// A block of a reader: here, or on its way.
pub enum Seat {
    Here(Bytes),
    Waiting(Flight),
}

impl Seat {
    pub async fn arrive(self) -> Outcome {
        match self {
            Self::Here(bytes) => Ok(bytes),
            Self::Waiting(flight) => flight.await.unwrap_or(Err(BlockError::Closed)),
        }
    }
}

#[derive(Default)]
struct Counters {
    runs: AtomicU64,
    blocks: AtomicU64,
    joined: AtomicU64,
    refetched: AtomicU64,
    corrupt: AtomicU64,
}

pub struct Fetcher {
    runtime: Handle,
    store: Arc<dyn Store>,
    pub l1: L1,
    pub l2: Option<Arc<L2>>,
    flights: Flights,
    gets: Semaphore,
    counters: Counters,
}

impl Fetcher {
    pub fn new(runtime: Handle, store: Arc<dyn Store>, l1: L1, l2: Option<Arc<L2>>) -> Self {
        Self {
            runtime,
            store,
            l1,
            l2,
            flights: Flights::default(),
            gets: Semaphore::new(CONCURRENT_GETS),
            counters: Counters::default(),
        }
    }

    /// Begins to bring blocks; nobody has to wait for it to happen. Each run of neighbours that are missing gets a task.
    pub fn begin(self: &Arc<Self>, pack: u64, first: u32, count: u32) -> Vec<Seat> {
        let mut seats = Vec::with_capacity(count as usize);
        let mut leads: Vec<Lead> = Vec::new();
        for block in (first..=u32::MAX).take(count as usize) {
            let key = BlockKey { pack, block };
            let seat = match self.flights.board(key, || self.l1.peek(key)) {
                Boarding::Here(bytes) => Seat::Here(bytes),
                Boarding::Join(flight) => {
                    self.counters.joined.fetch_add(1, Relaxed);
                    Seat::Waiting(flight)
                }
                Boarding::Lead(flight, lead) => {
                    if leads.last().is_some_and(|last| last.key().block + 1 != block) {
                        self.spawn(pack, std::mem::take(&mut leads));
                    }
                    leads.push(lead);
                    Seat::Waiting(flight)
                }
            };
            seats.push(seat);
        }
        self.spawn(pack, leads);
        seats
    }

    fn spawn(self: &Arc<Self>, pack: u64, leads: Vec<Lead>) {
        if !leads.is_empty() {
            let crew = Crew { fetcher: self.clone(), leads };
            self.runtime.spawn(crew.bring(pack));
        }
    }

    async fn from_l2(&self, keys: impl Iterator<Item = BlockKey>) -> Vec<Option<Bytes>> {
        let Some(l2) = &self.l2 else { return keys.map(|_| None).collect() };
        join_all(keys.map(|key| l2.get(key))).await
    }

    /// Fetches neighbours with one GET. Blocks that are bad are fetched once more, each alone.
    async fn from_store(&self, pack: u64, first: u32, count: usize) -> Vec<Outcome> {
        let raw = match self.get(pack, first, count).await {
            Ok(raw) => raw,
            Err(error) => return vec![Err(error); count],
        };
        let mut outcomes = Vec::with_capacity(count);
        for (index, block) in (first..=u32::MAX).take(count).enumerate() {
            let raw = raw.get(index).cloned().unwrap_or_default();
            outcomes.push(match decode_block(pack, block, &raw) {
                Ok(payload) => Ok(payload),
                Err(_) => self.again(pack, block).await,
            });
        }
        outcomes
    }

    async fn again(&self, pack: u64, block: u32) -> Outcome {
        self.counters.refetched.fetch_add(1, Relaxed);
        let raw = self.get(pack, block, 1).await.map_err(|error| match error {
            BlockError::Store(StoreError::OutOfRange(_)) => {
                BlockError::corrupt(pack, format!("ends before block {block}"))
            }
            other => other,
        });
        let outcome =
            raw.and_then(|raw| decode_block(pack, block, raw.first().unwrap_or(&Bytes::new())));
        if matches!(outcome, Err(BlockError::Corrupt { .. })) {
            self.counters.corrupt.fetch_add(1, Relaxed);
        }
        outcome
    }

    async fn get(&self, pack: u64, first: u32, count: usize) -> Result<Vec<Bytes>, BlockError> {
        failpoint::hit("pack.before_get").map_err(failpoint_error)?;
        let _permit = self.gets.acquire().await.map_err(|_| BlockError::Closed)?;
        self.counters.runs.fetch_add(1, Relaxed);
        self.counters.blocks.fetch_add(count as u64, Relaxed);
        let start = u64::from(first) * BLOCK_BYTES;
        let range = start..start + count as u64 * BLOCK_BYTES;
        Ok(self.store.get_pieces(&pack_key(pack), range, BLOCK_BYTES as usize).await?)
    }

    pub fn stats(&self) -> FetchStats {
        let counters = &self.counters;
        FetchStats {
            runs: counters.runs.load(Relaxed),
            blocks: counters.blocks.load(Relaxed),
            joined: counters.joined.load(Relaxed),
            refetched: counters.refetched.load(Relaxed),
            corrupt: counters.corrupt.load(Relaxed),
            ..FetchStats::default()
        }
    }
}

/// Neighbouring blocks that one task brings. If the task ends early, its flights end too.
struct Crew {
    fetcher: Arc<Fetcher>,
    leads: Vec<Lead>,
}

impl Crew {
    async fn bring(mut self, pack: u64) {
        let fetcher = self.fetcher.clone();
        let cached = fetcher.from_l2(self.leads.iter().map(Lead::key)).await;
        let mut missing: Vec<Lead> = Vec::new();
        for (lead, found) in std::mem::take(&mut self.leads).into_iter().zip(cached) {
            match found {
                Some(payload) => {
                    fetcher.l1.insert(lead.key(), &payload);
                    fetcher.flights.land(lead, Ok(payload));
                }
                None => missing.push(lead),
            }
        }
        let runs = split_runs(missing).into_iter().map(|leads| Self { fetcher: fetcher.clone(), leads }.fetch(pack));
        join_all(runs).await;
    }

    /// Brings one run from the store and puts it into both tiers.
    async fn fetch(mut self, pack: u64) {
        let fetcher = self.fetcher.clone();
        let Some(first) = self.leads.first().map(|lead| lead.key().block) else { return };
        let outcomes = fetcher.from_store(pack, first, self.leads.len()).await;
        for (lead, outcome) in std::mem::take(&mut self.leads).into_iter().zip(outcomes) {
            if let Ok(payload) = &outcome {
                fetcher.l1.insert(lead.key(), payload);
                if let Some(l2) = &fetcher.l2 {
                    l2.insert(lead.key(), payload.clone());
                }
            }
            fetcher.flights.land(lead, outcome);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.fetcher.flights.abandon(std::mem::take(&mut self.leads));
    }
}

/// Splits where blocks are no neighbours, and where a run gets too long.
fn split_runs(leads: Vec<Lead>) -> Vec<Vec<Lead>> {
    let mut runs: Vec<Vec<Lead>> = Vec::new();
    for lead in leads {
        let block = lead.key().block;
        match runs.last_mut() {
            Some(run)
                if run.len() < RUN_BLOCKS && run.last().is_some_and(|last| last.key().block + 1 == block) =>
            {
                run.push(lead);
            }
            _ => runs.push(vec![lead]),
        }
    }
    runs
}
