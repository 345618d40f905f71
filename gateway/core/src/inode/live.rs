//! A resident inode: its state behind a lock, and what can be reached without it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use caudal_blocks::Readahead;
use parking_lot::{Mutex, RwLock};

use super::state::State;

/// Readers share the state's lock and hold it for microseconds; no I/O happens under it.
pub struct Live {
    pub inode: u64,
    pub generation: u64,
    pub state: RwLock<State>,
    pub readahead: Mutex<Readahead>,
    touched: AtomicBool,
}

impl Live {
    #[must_use]
    pub fn new(state: State, readahead: Readahead) -> Self {
        Self {
            inode: state.attributes.inode,
            generation: state.attributes.generation,
            state: RwLock::new(state),
            readahead: Mutex::new(readahead),
            touched: AtomicBool::new(true),
        }
    }

    /// Marks it as used since the eviction's hand last passed; writes only where that is news, to keep the line shared.
    #[inline]
    pub fn touch(&self) {
        if !self.touched.load(Relaxed) {
            self.touched.store(true, Relaxed);
        }
    }

    /// Whether it was used since the last call.
    pub fn untouch(&self) -> bool {
        self.touched.swap(false, Relaxed)
    }
}
