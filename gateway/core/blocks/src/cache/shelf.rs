//! One shelf: a directory or a device with blocks, or the place of one that is not there at the moment.
//!
//! A shelf that fails is left: its engine is closed, its blocks are misses, others take what it would have taken. It is
//! looked at again and again, and taken back with what it still holds when its directory is there and can be opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use super::l2::L2;
use super::pins::Pins;
use super::{BlockKey, disk};
use crate::error::{BlockError, Result};

/// An engine that is not open after this time is waited for no longer; what is in the directory may be much.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
/// First pause before a shelf that failed is tried again; doubled each time.
const RETRY: Duration = Duration::from_secs(2);
/// About a quarter of an hour.
const MAX_DOUBLINGS: u32 = 9;

/// What every shelf of a cache is opened with.
pub struct Opening {
    pub rt: Handle,
    pub fs_id: [u8; 16],
    pub pins: Arc<Pins>,
}

/// Figures of one shelf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShelfStats {
    pub dir: PathBuf,
    /// ok, draining (takes nothing new), full (takes nothing for now) or failed (is left alone).
    pub state: &'static str,
    /// What is wrong; None while all is well.
    pub why: Option<String>,
    pub hits: u64,
    /// What was written to it, at most its capacity.
    pub bytes: u64,
    pub capacity_bytes: u64,
    pub errors: u64,
    /// Blocks that did not fit their checksums any more: they were fetched from the store.
    pub damaged_blocks: u64,
}

/// Figures of engines that are closed by now.
#[derive(Default)]
struct Before {
    errors: AtomicU64,
    damaged: AtomicU64,
}

struct Retry {
    pauses: u32,
    at: Instant,
}

pub struct Shelf {
    dir: PathBuf,
    seed: u64,
    opening: Arc<Opening>,
    bytes: AtomicU64,
    queue_bytes: AtomicU64,
    l2: RwLock<Option<Arc<L2>>>,
    draining: AtomicBool,
    /// It was open once: it is the directory that has its marker, and not a mount point without its disk.
    known: AtomicBool,
    trouble: Mutex<Option<String>>,
    retry: Mutex<Retry>,
    hits: AtomicU64,
    before: Before,
    /// One opening, closing or emptying at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// A shelf that is not open yet.
    pub fn new(dir: &Path, bytes: u64, queue_bytes: u64, opening: Arc<Opening>) -> Self {
        Self {
            dir: dir.to_owned(),
            seed: seed_of(dir),
            opening,
            bytes: AtomicU64::new(bytes),
            queue_bytes: AtomicU64::new(queue_bytes),
            l2: RwLock::default(),
            draining: AtomicBool::new(false),
            known: AtomicBool::new(false),
            trouble: Mutex::default(),
            retry: Mutex::new(Retry {
                pauses: 0,
                at: Instant::now(),
            }),
            hits: AtomicU64::new(0),
            before: Before::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn l2(&self) -> Option<Arc<L2>> {
        self.l2.read().clone()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Relaxed);
    }

    pub fn takes_blocks(&self) -> bool {
        !self.is_draining() && self.l2.read().as_ref().is_some_and(|l2| l2.takes_blocks())
    }

    pub fn capacity_bytes(&self) -> u64 {
        disk::capacity_bytes(self.bytes.load(Relaxed))
    }

    /// How much this shelf wants a block: the one that wants it most gets it. A shelf that comes or goes moves only the blocks
    /// that are, or were, its own; of two shelves the larger gets more, in proportion.
    pub fn affinity(&self, key: BlockKey) -> f64 {
        let mixed = mix(mix(self.seed ^ key.pack) ^ u64::from(key.block));
        let unit = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -(self.capacity_bytes() as f64) / unit.ln()
    }

    pub fn contains(&self, key: BlockKey) -> bool {
        self.l2.read().as_ref().is_some_and(|l2| l2.contains(key))
    }

    pub async fn get(&self, key: BlockKey) -> Option<Bytes> {
        let l2 = self.l2()?;
        if !l2.contains(key) {
            return None;
        }
        let found = l2.get(key).await;
        if found.is_some() {
            self.hits.fetch_add(1, Relaxed);
            self.retry.lock().pauses = 0;
        }
        found
    }

    /// Whether others have to go for what comes.
    pub fn is_full(&self) -> bool {
        self.l2.read().as_ref().is_some_and(|l2| l2.is_full())
    }

    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        if let Some(l2) = self.l2() {
            l2.insert(key, payload);
        }
    }

    /// Opens the directory; a shelf that cannot be opened is left alone for a while.
    pub async fn open(&self) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.open_unless_open().await
    }

    async fn open_unless_open(&self) -> Result<()> {
        if self.l2.read().is_some() {
            return Ok(());
        }
        let Opening { rt, fs_id, pins } = &*self.opening;
        if self.known.load(Relaxed)
            && let Err(error) = self.is_itself().await
        {
            self.leave(error.to_string());
            return Err(error);
        }
        let (bytes, queue_bytes) = (self.bytes.load(Relaxed), self.queue_bytes.load(Relaxed));
        let opened = tokio::time::timeout(
            OPEN_LIMIT,
            L2::open(rt, &self.dir, bytes, queue_bytes, *fs_id, pins.clone()),
        )
        .await
        .unwrap_or_else(|_| Err(self.error("it was not opened in time")));
        match opened {
            Ok(l2) => {
                l2.set_queue(self.queue_bytes.load(Relaxed));
                *self.l2.write() = Some(Arc::new(l2));
                *self.trouble.lock() = None;
                self.known.store(true, Relaxed);
                Ok(())
            }
            Err(error) => {
                self.leave(error.to_string());
                Err(error)
            }
        }
    }

    async fn is_itself(&self) -> Result<()> {
        let (dir, fs_id) = (self.dir.clone(), self.opening.fs_id);
        let looked = tokio::task::spawn_blocking(move || disk::is_ours(&dir, fs_id));
        match tokio::time::timeout(OPEN_LIMIT, looked).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => Err(self.error(&error.to_string())),
            Err(_) => Err(self.error("the device does not answer")),
        }
    }

    /// Notes why the shelf is left alone, and for how long.
    fn leave(&self, why: String) {
        *self.trouble.lock() = Some(why);
        let mut retry = self.retry.lock();
        retry.at = Instant::now() + RETRY * 2u32.pow(retry.pauses);
        retry.pauses = (retry.pauses + 1).min(MAX_DOUBLINGS);
    }

    /// Looks whether the shelf is still what it should be: leaves one that failed, tries one that was left.
    pub async fn tend(&self) {
        let _changing = self.changing.lock().await;
        let Some(l2) = self.l2() else {
            if Instant::now() >= self.retry.lock().at {
                // Why it still cannot be opened is in its figures.
                drop(self.open_unless_open().await);
            }
            return;
        };
        if let Some(why) = l2.lost().await {
            self.take_engine().await;
            self.leave(why);
        }
    }

    /// Closes the engine, if there is one, as far as it lets itself be closed.
    async fn take_engine(&self) {
        let taken = self.l2.write().take();
        if let Some(l2) = taken {
            let stats = l2.stats();
            self.before.errors.fetch_add(stats.errors, Relaxed);
            self.before.damaged.fetch_add(l2.damaged_blocks(), Relaxed);
            drop(l2.close().await);
        }
    }

    /// Another size, at once: what fits stays. While the directory is opened again its blocks are misses.
    pub async fn resize(&self, bytes: u64) -> Result<()> {
        let _changing = self.changing.lock().await;
        if self.bytes.swap(bytes, Relaxed) == bytes {
            return Ok(());
        }
        self.take_engine().await;
        self.open_unless_open().await
    }

    pub fn set_queue(&self, bytes: u64) {
        self.queue_bytes.store(bytes, Relaxed);
        if let Some(l2) = self.l2() {
            l2.set_queue(bytes);
        }
    }

    pub async fn clear(&self) -> Result<()> {
        let _changing = self.changing.lock().await;
        match self.l2() {
            Some(l2) => l2.clear().await,
            None => Ok(()),
        }
    }

    /// Writes what waits, and lets go of the directory.
    pub async fn close(&self) -> Result<()> {
        let _changing = self.changing.lock().await;
        match self.l2() {
            Some(l2) => l2.close().await,
            None => Ok(()),
        }
    }

    /// Closes the shelf for good, and removes from its directory what a shelf puts there.
    pub async fn remove(&self) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.take_engine().await;
        let (dir, fs_id) = (self.dir.clone(), self.opening.fs_id);
        tokio::task::spawn_blocking(move || disk::remove(&dir, fs_id))
            .await
            .map_err(|error| self.error(&error.to_string()))?
    }

    fn error(&self, why: &str) -> BlockError {
        BlockError::Cache(format!("{}: {why}", self.dir.display()))
    }

    pub fn stats(&self) -> ShelfStats {
        let l2 = self.l2();
        let engine = l2.as_ref().map(|l2| l2.stats()).unwrap_or_default();
        let why = self.trouble.lock().clone().or(engine.off);
        let state = match (&l2, &why) {
            (None, _) => "failed",
            (Some(_), Some(_)) => "full",
            (Some(_), None) if self.is_draining() => "draining",
            (Some(_), None) => "ok",
        };
        ShelfStats {
            dir: self.dir.clone(),
            state,
            why,
            hits: self.hits.load(Relaxed),
            bytes: engine.bytes,
            capacity_bytes: self.capacity_bytes(),
            errors: engine.errors + self.before.errors.load(Relaxed),
            damaged_blocks: l2.map_or(0, |l2| l2.damaged_blocks()) + self.before.damaged.load(Relaxed),
        }
    }
}

/// The same for a directory after every restart: its blocks are looked for where they are.
fn seed_of(dir: &Path) -> u64 {
    dir.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |seed, byte| mix(seed ^ u64::from(*byte)))
}

const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(name: &str, gib: u64) -> Shelf {
        let opening = Arc::new(Opening {
            rt: tokio::runtime::Handle::current(),
            fs_id: [0; 16],
            pins: Arc::default(),
        });
        Shelf::new(Path::new(name), gib << 30, 1, opening)
    }

    fn home(shelves: &[Shelf], pack: u64) -> &str {
        let key = BlockKey { pack, block: 3 };
        let best = shelves
            .iter()
            .max_by(|a, b| a.affinity(key).total_cmp(&b.affinity(key)));
        best.unwrap().dir().to_str().unwrap()
    }

    #[tokio::test]
    async fn blocks_go_to_shelves_by_their_size_and_stay_when_one_comes() {
        let mut shelves = vec![shelf("/a", 100), shelf("/b", 300)];
        let before: Vec<String> = (0..20_000).map(|pack| home(&shelves, pack).to_owned()).collect();
        let large = before.iter().filter(|name| *name == "/b").count();
        assert!(
            (14_600..15_400).contains(&large),
            "{large} of 20000 on three quarters"
        );
        shelves.push(shelf("/c", 100));
        let moved = (0..20_000)
            .filter(|pack| home(&shelves, *pack) != before[*pack as usize])
            .inspect(|pack| assert_eq!(home(&shelves, *pack), "/c"))
            .count();
        assert!((3_700..4_300).contains(&moved), "{moved} of 20000 to a fifth");
    }
}
