//! Dirty data leave memory when there are too many: the journal has them, and reads and flush find them there.

use crate::engine::Engine;

/// Lets go of the oldest dirty data until an eighth of the limit is free again.
pub fn run(engine: &Engine) {
    let goal = engine.config.dirty_memory_bytes - engine.config.dirty_memory_bytes / 8;
    let mut after = (0, 0);
    loop {
        let inodes = engine.index.oldest_inodes(after, 64);
        for (lsn, inode, _) in &inodes {
            if engine.index.memory_bytes() <= goal {
                return;
            }
            after = (*lsn, *inode);
            if let Some(live) = engine.table.get(*inode) {
                let mut state = live.state.write();
                engine.change(&mut state, |state| state.dirty.spill());
            }
        }
        if inodes.is_empty() {
            return;
        }
    }
}
