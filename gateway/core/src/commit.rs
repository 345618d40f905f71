//! COMMIT: returns when everything that was written to an inode before is durable, and the lease lets the reply pass.

use std::time::Instant;

use crate::engine::Engine;
use crate::errors::{CoreError, Result};

impl Engine {
    /// Waits for the group commit that covers the inode's last change. Busy when too many callers wait already: they hold the
    /// server's workers, and cached reads need some too.
    pub fn commit(&self, inode: u64, generation: Option<u64>) -> Result<()> {
        let began = Instant::now();
        let journal = self.journal()?;
        let live = self.live(inode, generation)?;
        let lsn = {
            let state = live.state.read();
            if state.gone {
                return Err(CoreError::NotResident(inode));
            }
            state.last_lsn
        };
        if journal.durable_lsn() < lsn || !self.fence.passes()? {
            let slot = journal
                .try_wait_slot()
                .ok_or(CoreError::Busy("too many callers wait for the journal"))?;
            journal.wait_durable(lsn)?;
            self.fence.wait()?;
            drop(slot);
        }
        self.io.commit.record(began.elapsed());
        Ok(())
    }
}
