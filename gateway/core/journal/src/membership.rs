//! Which mirrors hold everything that was acknowledged, as the mirrors themselves and others have it in writing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::members::{Entry, MAX_MIRRORS, Members};

/// Told of each new list once all its mirrors have it; what was acknowledged since the last one did not wait for those that
/// are gone from it.
pub type OnMembers = Arc<dyn Fn(&Members) + Send + Sync>;
/// Seconds since 1970.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The newest list.
pub struct Membership {
    recorded: Mutex<Recorded>,
    fs_id: [u8; 16],
    now_s: Now,
    on_members: OnMembers,
}

struct Recorded {
    /// The last that was tried, which some mirrors may have.
    tried: u64,
    /// The last that all its mirrors have.
    list: Members,
    keys: Vec<u64>,
}

impl Membership {
    /// Nothing is written by an owner of this epoch yet.
    #[must_use]
    pub fn new(fs_id: [u8; 16], owner_epoch: u64, now_s: Now, on_members: OnMembers) -> Self {
        let tried = owner_epoch << 40;
        let list = Members {
            fs_id,
            epoch: tried,
            own: [0; 16],
            written_at_s: 0,
            entries: Vec::new(),
        };
        Self {
            recorded: Mutex::new(Recorded {
                tried,
                list,
                keys: Vec::new(),
            }),
            fs_id,
            now_s,
            on_members,
        }
    }

    /// A list newer than all before.
    #[must_use]
    pub fn next(&self, entries: Vec<Entry>) -> Members {
        let mut recorded = self.recorded.lock();
        recorded.tried += 1;
        Members {
            fs_id: self.fs_id,
            epoch: recorded.tried,
            own: [0; 16],
            written_at_s: (self.now_s)(),
            entries,
        }
    }

    /// All mirrors of the list have it.
    pub fn record(&self, list: Members, keys: Vec<u64>) {
        {
            let mut recorded = self.recorded.lock();
            recorded.list = list.clone();
            recorded.keys = keys;
        }
        (self.on_members)(&list);
    }

    /// Whether the mirror holds everything that was acknowledged.
    #[must_use]
    pub fn has(&self, key: u64) -> bool {
        self.recorded.lock().keys.contains(&key)
    }

    /// The newest list that all its mirrors have.
    #[must_use]
    pub fn list(&self) -> Members {
        self.recorded.lock().list.clone()
    }
}

/// Mirrors that a journal may have.
pub const MOST: usize = MAX_MIRRORS;

/// The machine's clock.
#[must_use]
pub fn system_now() -> Now {
    Arc::new(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs()
    })
}
