//! L2: a set of shelves. Every block has a home among those that take blocks, by rendezvous hashing; it is looked for on all of
//! them, so that shelves may come, go and fail without a block being lost that another one has.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use super::pins::Pins;
use super::shelf::{Opening, Shelf, ShelfStats};
use super::{BlockKey, TierStats};
use crate::error::{BlockError, Result};
use crate::seen::Seen;

/// Every block is looked for in each of their indices.
pub const MAX_SHELVES: usize = 16;
/// Least that may wait for one shelf: what is written at once.
const MIN_QUEUE: u64 = 8 << 20;
/// How often shelves are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);

pub struct Shelves {
    opening: Arc<Opening>,
    /// Bytes that may wait to be written, of all shelves together.
    queue_bytes: u64,
    list: RwLock<Arc<[Arc<Shelf>]>>,
    /// There is at least one shelf: others need not look at the list.
    any: AtomicBool,
    tended: AtomicBool,
    changing: Mutex<()>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Blocks that came from the store.
    pub fetched: Seen,
}

impl Shelves {
    pub fn new(rt: &Handle, fs_id: [u8; 16], queue_bytes: u64) -> Self {
        Self {
            opening: Arc::new(Opening {
                rt: rt.clone(),
                fs_id,
                pins: Arc::default(),
            }),
            queue_bytes,
            list: RwLock::new(Arc::new([])),
            any: AtomicBool::new(false),
            tended: AtomicBool::new(false),
            changing: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            fetched: Seen::default(),
        }
    }

    pub fn pins(&self) -> &Pins {
        &self.opening.pins
    }

    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    fn list(&self) -> Arc<[Arc<Shelf>]> {
        self.list.read().clone()
    }

    fn find(&self, dir: &Path) -> Result<Arc<Shelf>> {
        self.list()
            .iter()
            .find(|shelf| shelf.dir() == dir)
            .cloned()
            .ok_or_else(|| BlockError::Cache(format!("{} is no shelf", dir.display())))
    }

    /// Puts another shelf into the set. An error says why it could not be opened; it belongs to the set all the same, and is
    /// opened as soon as it can be.
    pub async fn add(self: &Arc<Self>, dir: &Path, bytes: u64) -> Result<()> {
        let shelf = Arc::new(Shelf::new(dir, bytes, self.queue_bytes, self.opening.clone()));
        {
            let _changing = self.changing.lock();
            let mut list = self.list().to_vec();
            if list.len() >= MAX_SHELVES {
                return Err(BlockError::Cache(format!(
                    "there are {MAX_SHELVES} shelves already"
                )));
            }
            if list.iter().any(|known| known.dir() == dir) {
                return Err(BlockError::Cache(format!("{} is a shelf already", dir.display())));
            }
            list.push(shelf.clone());
            self.set(list);
        }
        if !self.tended.swap(true, Relaxed) {
            self.opening.rt.spawn(tend(Arc::downgrade(self)));
        }
        shelf.open().await
    }

    fn set(&self, list: Vec<Arc<Shelf>>) {
        let share = (self.queue_bytes / list.len().max(1) as u64).max(MIN_QUEUE);
        for shelf in &list {
            shelf.set_queue(share);
        }
        self.any.store(!list.is_empty(), Relaxed);
        *self.list.write() = list.into();
    }

    /// Takes a shelf out of the set and removes its blocks. It is out whatever the error says.
    pub async fn remove(&self, dir: &Path) -> Result<()> {
        let shelf = self.find(dir)?;
        {
            let _changing = self.changing.lock();
            let mut list = self.list().to_vec();
            list.retain(|known| known.dir() != dir);
            self.set(list);
        }
        shelf.remove().await
    }

    /// A shelf that is drained takes nothing new; a block that is read from it moves to its new home.
    pub fn drain(&self, dir: &Path, draining: bool) -> Result<()> {
        self.find(dir)?.set_draining(draining);
        Ok(())
    }

    pub async fn resize(&self, dir: &Path, bytes: u64) -> Result<()> {
        self.find(dir)?.resize(bytes).await
    }

    /// Copies those of a run of neighbours that only this shelf has to where they belong now; returns how many.
    pub async fn move_from(&self, dir: &Path, pack: u64, first: u32, count: u32) -> Result<u64> {
        let from = self.find(dir)?;
        let mut moved = 0;
        for block in (first..=u32::MAX).take(count as usize) {
            let key = BlockKey { pack, block };
            let elsewhere = |shelf: &Arc<Shelf>| !Arc::ptr_eq(shelf, &from) && shelf.contains(key);
            if !from.contains(key) || self.list().iter().any(elsewhere) {
                continue;
            }
            if let (Some(home), Some(payload)) = (self.home(key), from.get(key).await) {
                home.insert(key, payload);
                moved += 1;
            }
        }
        Ok(moved)
    }

    fn home(&self, key: BlockKey) -> Option<Arc<Shelf>> {
        let list = self.list();
        let mut taking = list.iter().filter(|shelf| shelf.takes_blocks());
        let first = taking.next()?;
        let better = |best: &'_ Arc<Shelf>, other: &'_ Arc<Shelf>| other.affinity(key) > best.affinity(key);
        let home = taking.fold(
            first,
            |best, other| if better(best, other) { other } else { best },
        );
        Some(home.clone())
    }

    pub async fn get(&self, key: BlockKey) -> Option<Bytes> {
        let list = self.list();
        for draining in [false, true] {
            for shelf in list.iter().filter(|shelf| shelf.is_draining() == draining) {
                if let Some(payload) = shelf.get(key).await {
                    self.hits.fetch_add(1, Relaxed);
                    if draining {
                        self.insert(key, payload.clone());
                    }
                    return Some(payload);
                }
            }
        }
        self.misses.fetch_add(1, Relaxed);
        None
    }

    /// Whether the block is there, or on its way there.
    pub fn contains(&self, key: BlockKey) -> bool {
        self.any() && self.list().iter().any(|shelf| shelf.contains(key))
    }

    /// Offers a block to its home. It is written in the background, or not where too much waits already.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        if let Some(home) = self.home(key) {
            home.insert(key, payload);
        }
    }

    /// Offers a block that was read. A shelf that is full takes only what came from the store more than once: what is read a single
    /// time, be it more than the cache holds, pushes nothing out.
    pub fn insert_read(&self, key: BlockKey, payload: Bytes) {
        if let Some(home) = self.home(key)
            && (!home.is_full() || self.fetched.came_again(key))
        {
            home.insert(key, payload);
        }
    }

    /// Whether so much waits to be written that more would soon be turned away.
    pub fn is_busy(&self) -> bool {
        self.list()
            .iter()
            .any(|shelf| shelf.l2().is_some_and(|l2| l2.is_busy()))
    }

    /// Whether anything waits to be written.
    pub fn is_writing(&self) -> bool {
        self.list()
            .iter()
            .any(|shelf| shelf.l2().is_some_and(|l2| l2.is_writing()))
    }

    /// Empties all shelves; the first error of one is the answer.
    pub async fn clear(&self) -> Result<()> {
        let list = self.list();
        let cleared = join_all(list.iter().map(|shelf| shelf.clear())).await;
        cleared.into_iter().collect()
    }

    pub async fn close(&self) -> Result<()> {
        let list = self.list();
        let closed = join_all(list.iter().map(|shelf| shelf.close())).await;
        closed.into_iter().collect()
    }

    pub fn shelf_stats(&self) -> Vec<ShelfStats> {
        self.list().iter().map(|shelf| shelf.stats()).collect()
    }

    /// All shelves as one tier; it is off when there is no shelf that is in use.
    pub fn stats(&self) -> TierStats {
        let shelves = self.shelf_stats();
        let off = if shelves.is_empty() {
            Some("not set up".to_owned())
        } else if shelves.iter().all(|shelf| shelf.why.is_some()) {
            shelves.iter().find_map(|shelf| shelf.why.clone())
        } else {
            None
        };
        TierStats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            bytes: shelves.iter().map(|shelf| shelf.bytes).sum(),
            capacity_bytes: shelves.iter().map(|shelf| shelf.capacity_bytes).sum(),
            errors: shelves.iter().map(|shelf| shelf.errors).sum(),
            off,
        }
    }
}

/// Looks after the shelves, as long as the cache lives.
async fn tend(shelves: Weak<Shelves>) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let Some(shelves) = shelves.upgrade() else {
            return;
        };
        join_all(shelves.list().iter().map(|shelf| shelf.tend())).await;
    }
}
