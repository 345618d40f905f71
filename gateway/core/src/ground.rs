//! What an engine stands on: the machine's own disks, clock and threads, or those of a simulated machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use caudal_base::fate::Fate;
use caudal_blocks::Store;
use caudal_blocks::store::{Measured, RetryPolicy, Retrying, SimStore};
use caudal_journal::disk::{Disk, SystemDisk};
use caudal_journal::simulated::SimDisk;
use caudal_journal::{NewId, random_id};
use parking_lot::Mutex;

use crate::clock::{Clock, SystemClock};
use crate::fence::Fence;

/// Parts of the surroundings that are told to an engine.
#[derive(Clone)]
pub struct Ground {
    pub store: Arc<dyn Store>,
    /// Stands before the store's changes too, if whoever opened the store has put it there.
    pub fence: Arc<Fence>,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    /// Gives ids of new journal mirrors.
    pub new_id: NewId,
    /// Nothing happens by itself: everything on the thread that waits for it, in an order that follows from the calls.
    pub by_hand: bool,
}

impl Ground {
    /// The machine itself, without a lease to keep.
    #[must_use]
    pub fn real(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            fence: Arc::new(Fence::new(Arc::new(SystemClock))),
            clock: Arc::new(SystemClock),
            disk: Arc::new(SystemDisk),
            new_id: Arc::new(random_id),
            by_hand: false,
        }
    }
}

/// A simulated machine with its disk and clock, and the store that it knows. What happens in it is a function of its seed and
/// of what is done with it.
pub struct World {
    pub fate: Arc<Fate>,
    pub store: Arc<SimStore>,
    disk: Mutex<SimDisk>,
    now_ns: Arc<AtomicI64>,
    /// Ids that were given.
    ids: Arc<AtomicU64>,
}

/// Nanoseconds since 1970 at which every world begins: in 2026.
const BEGIN_NS: i64 = 1_780_000_000_000_000_000;

struct WorldClock(Arc<AtomicI64>);

impl Clock for WorldClock {
    fn now_ns(&self) -> i64 {
        self.0.load(SeqCst)
    }

    fn monotonic_ns(&self) -> i64 {
        self.0.load(SeqCst)
    }

    fn boottime_ns(&self) -> i64 {
        self.0.load(SeqCst)
    }
}

impl World {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let fate = Arc::new(Fate::new(seed));
        let now_ns = Arc::new(AtomicI64::new(BEGIN_NS));
        Self {
            store: Arc::new(SimStore::new(fate.clone(), now_ns.clone())),
            disk: Mutex::new(SimDisk::of(fate.clone())),
            fate,
            now_ns,
            ids: Arc::default(),
        }
    }

    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.now_ns.load(SeqCst)
    }

    pub fn advance(&self, ns: i64) {
        self.now_ns.fetch_add(ns, SeqCst);
    }

    #[must_use]
    pub fn disk(&self) -> SimDisk {
        self.disk.lock().clone()
    }

    /// What an engine in this world stands on. Its retries are those of a real store, in time that does not pass.
    #[must_use]
    pub fn ground(&self, patience: Duration) -> Ground {
        let fate = self.fate.clone();
        let policy = RetryPolicy {
            deadline: patience,
            jitter: Arc::new(move || fate.unit()),
            ..RetryPolicy::default()
        };
        let clock = Arc::new(WorldClock(self.now_ns.clone()));
        let ids = self.ids.clone();
        Ground {
            fence: Arc::new(Fence::new(clock.clone())),
            clock,
            store: Arc::new(Retrying::new(Measured::new(self.store.clone()), policy)),
            disk: Arc::new(self.disk()),
            new_id: Arc::new(move || u128::from(1 + ids.fetch_add(1, SeqCst)).to_le_bytes()),
            by_hand: true,
        }
    }

    /// The machine starts again. Without power meanwhile, each unsynced sector and name survives with the probability
    /// `survives`; with it, all that was written is there, though nothing of it is any more durable than it was.
    pub fn restart(&self, without_power: bool, survives: f64) {
        let mut disk = self.disk.lock();
        if without_power {
            *disk = disk.after_power_loss(|| self.fate.chance(survives));
        }
        disk.heal_all();
        self.store.settle_late();
        self.fate.live();
    }
}
