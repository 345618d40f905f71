//! The end of a batch.

use caudal_base::failpoint;
use caudal_blocks::BlockKey;
use parking_lot::RwLockWriteGuard;

use super::{Batch, BatchInode, Stage};
use crate::engine::{Engine, PendingFlush};
use crate::errors::{CoreError, Result};

/// Splices applied before readers and writers of the inode get a turn.
const SPLICES_PER_TURN: usize = 512;

impl Batch {
    /// Swaps what was taken for extents. The row transaction `lsn` that names the packs was appended; after a crash from here on
    /// recovery sees the batch if that record was durable, and else the data as they were, from the journal.
    pub fn commit(&mut self, lsn: u64) -> Result<()> {
        if self.stage != Stage::Written {
            return Err(CoreError::Misuse("the batch was not written, or has ended"));
        }
        failpoint::hit("flush.before_commit")?;
        self.stage = Stage::Ended;
        for pack in &mut self.packs {
            for (block, bytes) in (0..).zip(pack.blocks.drain(..)) {
                self.engine
                    .blocks
                    .insert_written(BlockKey { pack: pack.id, block }, &bytes);
            }
        }
        if self.first_lsn != u64::MAX {
            // Before any inode leaves the dirty index: see Engine::trim_floor.
            let pending = PendingFlush {
                commit_lsn: lsn,
                first_lsn: self.first_lsn,
            };
            self.engine.pending_flushes.lock().push(pending);
        }
        for inode in &self.inodes {
            commit_inode(&self.engine, inode, self.relocation, lsn);
        }
        failpoint::hit("flush.after_commit")?;
        Ok(())
    }

    /// Gives everything back.
    pub fn abort(&mut self) {
        if self.stage == Stage::Ended {
            return;
        }
        self.stage = Stage::Ended;
        for inode in &self.inodes {
            inode.live.state.write().flushing = false;
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.abort();
    }
}

fn commit_inode(engine: &Engine, inode: &BatchInode, relocation: bool, lsn: u64) {
    let mut state = inode.live.state.write();
    for splices in inode.splices.chunks(SPLICES_PER_TURN) {
        if state.gone {
            return;
        }
        // A relocation covers no change: whatever is dirty stays.
        let upto_lsn = if relocation { 0 } else { inode.taken.lsn };
        engine.change(&mut state, |state| state.splice_flushed(upto_lsn, splices));
        RwLockWriteGuard::bump(&mut state);
    }
    if state.gone {
        return;
    }
    // A COMMIT of what this flush took out of the dirty map waits for the rows that now stand for it.
    state.last_lsn = state.last_lsn.max(lsn);
    if relocation {
        state.flushing = false;
        return;
    }
    engine.change(&mut state, |state| state.end_flush(&inode.taken));
    let after = state.since_after(&inode.taken);
    let before = std::mem::replace(&mut state.since, after);
    engine.index.move_inode(inode.live.inode, before, after);
}
