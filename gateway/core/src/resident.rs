//! Inodes that come and go: what the rows' owner tells the engine of them, and asks.

use std::sync::Arc;

use caudal_blocks::Readahead;

use crate::attributes::{Attributes, Names};
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::inode::extents::{Extent, ExtentMap};
use crate::inode::live::Live;
use crate::inode::state::State;
use crate::quota::Account;

impl Engine {
    /// Makes an inode resident unless it is, and makes room in the table.
    pub fn activate(&self, attributes: Attributes, extents: impl IntoIterator<Item = Extent>) -> Result<()> {
        self.activate_in(attributes, extents, None)
    }

    /// As `activate`; the inode lies in the tree of `account`, which counts what its row says.
    pub fn activate_in(
        &self,
        attributes: Attributes,
        extents: impl IntoIterator<Item = Extent>,
        account: Option<Arc<Account>>,
    ) -> Result<()> {
        let inode = attributes.inode;
        if self.table.get(inode).is_some() {
            return Ok(());
        }
        let extents = ExtentMap::from_rows(extents).map_err(|e| CoreError::Invalid(e.to_string()))?;
        let last_lsn = self.opened_journal().map_or(0, |journal| journal.last_lsn());
        let readahead = Readahead::new(self.config.readahead_bytes);
        let live = || {
            let mut state = State::new(attributes, extents, last_lsn);
            state.charge.account = account;
            Live::new(state, readahead)
        };
        self.table.add(live, inode);
        self.table.evict(self.config.max_inodes);
        Ok(())
    }

    pub fn attributes(&self, inode: u64) -> Option<Attributes> {
        let live = self.table.get(inode)?;
        let state = live.state.read();
        (!state.gone).then_some(state.attributes)
    }

    /// False: the inode is not resident.
    pub fn update_names(&self, inode: u64, names: &Names) -> bool {
        let Some(live) = self.table.get(inode) else {
            return false;
        };
        let mut state = live.state.write();
        if !state.gone {
            state.set_names(names);
        }
        !state.gone
    }

    /// Drops a deleted inode with everything that is not flushed, and what its tree was charged. False: it is not resident.
    pub fn forget(&self, inode: u64) -> bool {
        let Some(live) = self.table.remove(inode) else {
            return false;
        };
        let mut state = live.state.write();
        if state.gone {
            return false;
        }
        state.gone = true;
        let used = state.attributes.space_used;
        state.charge.moved(used, 0, self.clock.now_ns());
        state.charge.account = None;
        self.index.move_inode(inode, state.since.take(), None);
        self.index.resized(state.sizes(), (0, 0));
        state.dirty = Default::default();
        state.extents = Default::default();
        true
    }

    pub fn extents(&self, inode: u64) -> Option<Vec<Extent>> {
        let live = self.table.get(inode)?;
        let state = live.state.read();
        (!state.gone).then(|| state.extents.iter().collect())
    }
}
