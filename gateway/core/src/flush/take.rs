//! Choosing what to flush.

use std::sync::Arc;

use caudal_base::failpoint;

use super::{Batch, BatchInode};
use crate::engine::Engine;
use crate::errors::Result;
use crate::inode::live::Live;
use crate::inode::state::Taken;

/// Inodes and pieces of one batch at most: its row transaction is one journal record.
const MAX_INODES: usize = 4096;
const MAX_PIECES: usize = 1 << 14;

/// What may be taken; None leaves it open.
#[derive(Clone, Debug, Default)]
pub struct TakeHow {
    pub inodes: Option<Vec<u64>>,
    /// Only what is dirty since before this monotonic time.
    pub dirty_before_ns: Option<i64>,
    /// Only what has a change that is not newer.
    pub upto_lsn: Option<u64>,
    pub max_bytes: u64,
}

impl Engine {
    /// Takes dirty inodes, oldest first; None when nothing fits.
    pub fn flush_take(self: &Arc<Self>, how: &TakeHow) -> Result<Option<Batch>> {
        self.journal()?;
        let mut batch = Batch::new(self.clone(), false);
        match &how.inodes {
            Some(inodes) => {
                for inode in inodes {
                    if !batch.take_inode(*inode, how) {
                        break;
                    }
                }
            }
            None => self.take_oldest(&mut batch, how),
        }
        failpoint::hit("flush.after_take")?;
        Ok((!batch.inodes.is_empty()).then_some(batch))
    }

    fn take_oldest(&self, batch: &mut Batch, how: &TakeHow) {
        let mut after = (0, 0);
        loop {
            let inodes = self.index.oldest_inodes(after, 256);
            for (lsn, inode, since_ns) in &inodes {
                after = (*lsn, *inode);
                // In the order of LSNs the times rise too, but for what an overtaken flush left: that waits for its neighbours.
                let young = how.dirty_before_ns.is_some_and(|before| *since_ns > before);
                let newer = how.upto_lsn.is_some_and(|upto| *lsn > upto);
                if young || newer || !batch.take_inode(*inode, how) {
                    return;
                }
            }
            if inodes.is_empty() {
                return;
            }
        }
    }
}

impl Batch {
    /// Takes an inode if it fits the conditions; false when the batch is full.
    fn take_inode(&mut self, inode: u64, how: &TakeHow) -> bool {
        let full = self.taken_bytes >= how.max_bytes || self.taken_pieces >= MAX_PIECES;
        if (full && !self.inodes.is_empty()) || self.inodes.len() >= MAX_INODES {
            return false;
        }
        let engine = self.engine.clone();
        if let Some(live) = engine.table.get(inode) {
            let left = how.max_bytes.saturating_sub(self.taken_bytes);
            if let Some((taken, since_lsn)) = engine.take_one(&live, how, left) {
                self.first_lsn = self.first_lsn.min(since_lsn);
                self.taken_bytes += taken.bytes;
                self.taken_pieces += taken.pieces.len();
                self.inodes.push(BatchInode {
                    live,
                    taken,
                    splices: Vec::new(),
                });
            }
        }
        true
    }
}

impl Engine {
    /// What is dirty of one inode, and the LSN it is dirty since; marks it as held.
    fn take_one(&self, live: &Live, how: &TakeHow, max_bytes: u64) -> Option<(Taken, u64)> {
        let mut state = live.state.write();
        if state.gone || state.flushing {
            return None;
        }
        let since = state.since?;
        if state.is_clean() {
            self.unmark_if_clean(live.inode, &mut state);
            return None;
        }
        let fits = how
            .dirty_before_ns
            .is_none_or(|before| since.monotonic_ns <= before)
            && how.upto_lsn.is_none_or(|upto| since.lsn <= upto);
        if !fits {
            return None;
        }
        state.flushing = true;
        Some((
            state.take(max_bytes, MAX_PIECES, self.clock.monotonic_ns()),
            since.lsn,
        ))
    }
}
