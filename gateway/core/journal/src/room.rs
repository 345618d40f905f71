//! Room in the journal: what the segments take and what was promised, against the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Full;
use crate::format::span;

/// Bytes of the kept segments, and of the promises that nothing was appended for yet.
pub struct Room {
    limit: u64,
    used: AtomicU64,
    promised: AtomicU64,
}

/// Room in the journal, given back when dropped; hold it until the record was appended.
pub struct Permit {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    #[must_use]
    pub fn new(limit: u64, used: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(used),
            promised: AtomicU64::new(0),
        })
    }

    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Permit, Full> {
        let bytes = span(bytes);
        let promised = self.promised.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Made first, so that it is given back on refusal too.
        let permit = Permit {
            room: self.clone(),
            bytes,
        };
        if self.used().saturating_add(promised) > self.limit {
            Err(Full)
        } else {
            Ok(permit)
        }
    }

    /// Bytes promised and not given back.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Permit {
    /// Bytes that it promises.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.room.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
