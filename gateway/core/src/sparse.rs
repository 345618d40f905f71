//! Sparse files: where data are, ranges that become holes, space that is asked for in advance, and advice on what will be read.
//!
//! ALLOCATE and DEALLOCATE are followed by no COMMIT, so they are durable when they return.

use bytes::Bytes;
use caudal_base::failpoint;
use caudal_journal::Journal;
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};

use crate::attributes::without_privilege;
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::inode::payload::{AttrChange, HoleChange, KIND_ATTR, KIND_HOLE};
use crate::inode::seek::{Sought, Wanted};
use crate::inode::state::State;
use crate::inode::{MAX_SIZE, end_of};

/// Pieces and extents that a seek looks at before writers of the inode get a turn.
const STEPS_PER_TURN: usize = 4096;
/// What either record takes in the journal.
const RECORD_BYTES: u64 = 128;

/// What a seek found. `eof`: nothing of what it looked for lies before the end of the file, which is the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub eof: bool,
}

impl Engine {
    /// The first data or hole at or after `offset`; the end of the file is a hole. `BeyondEnd` where `offset` is not before it.
    pub fn seek(&self, inode: u64, generation: Option<u64>, offset: u64, wanted: Wanted) -> Result<Place> {
        self.check_open()?;
        self.pass_fence()?;
        let live = self.live(inode, generation)?;
        let mut state = live.state.read();
        let mut at = offset;
        loop {
            if state.gone {
                return Err(CoreError::NotResident(inode));
            }
            let size = state.attributes.size;
            if offset >= size {
                return Err(CoreError::BeyondEnd);
            }
            match state.seek(at, wanted, STEPS_PER_TURN) {
                Sought::Found(offset) => return Ok(Place { offset, eof: false }),
                Sought::End => {
                    return Ok(Place {
                        offset: size,
                        eof: true,
                    });
                }
                Sought::More(next) => at = next,
            }
            RwLockReadGuard::bump(&mut state);
        }
    }

    /// Makes what of the range lies below the size a hole. The size stays. Durable when it returns.
    pub fn deallocate(
        &self,
        inode: u64,
        generation: Option<u64>,
        offset: u64,
        len: u64,
        uid: u32,
    ) -> Result<u64> {
        if len == 0 {
            return self.unchanged(inode, generation);
        }
        self.change_durably(inode, generation, |engine, journal, state| {
            let end = end_of(offset, len).min(state.attributes.size);
            let change = HoleChange {
                inode,
                offset,
                len: end.saturating_sub(offset),
                time_ns: engine.clock.now_ns(),
                clear_privilege: clears_privilege(state, uid),
            };
            let appended = journal.append(KIND_HOLE, &change.encode(), Bytes::new())?;
            engine.change(state, |state| state.punch(appended.lsn, &change));
            Ok(appended.lsn)
        })
    }

    /// Makes the file as large as the range needs, if the store has room for what it would hold; what was not written reads as
    /// zeros. Durable when it returns. See docs/decisions/allocate-reserves-nothing.md.
    pub fn allocate(
        &self,
        inode: u64,
        generation: Option<u64>,
        offset: u64,
        len: u64,
        uid: u32,
    ) -> Result<u64> {
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= MAX_SIZE)
            .ok_or(CoreError::TooLarge)?;
        if len == 0 {
            return self.unchanged(inode, generation);
        }
        // What is dirty takes its room when it is flushed.
        let available = self.store.available_bytes();
        let available = available.map(|bytes| bytes.saturating_sub(self.index.bytes()));
        self.change_durably(inode, generation, |engine, journal, state| {
            if available.is_some_and(|available| len - state.allocated(offset, end) > available) {
                return Err(CoreError::NoSpace);
            }
            if state.charge.account.as_ref().is_some_and(|account| {
                let missing = len - state.allocated(offset, end);
                i64::try_from(missing)
                    .map_or(true, |missing| missing > account.available(engine.clock.now_ns()))
            }) {
                return Err(CoreError::QuotaExceeded);
            }
            let now_ns = engine.clock.now_ns();
            let change = AttrChange {
                inode,
                // Decided under the lock: whatever a replay starts from, the file was this large at this record.
                size: (end > state.attributes.size).then_some(end),
                mtime_ns: Some(now_ns),
                ctime_ns: Some(now_ns),
                clear_privilege: clears_privilege(state, uid),
                ..Default::default()
            };
            let appended = journal.append(KIND_ATTR, &change.encode(), Bytes::new())?;
            engine.change(state, |state| state.set_attributes(appended.lsn, &change, false));
            Ok(appended.lsn)
        })
    }

    /// The range (`len` 0: to the end of the file) will be read: what of it fits half of the cache is fetched, nobody waits.
    pub fn will_need(&self, inode: u64, generation: Option<u64>, offset: u64, len: u64) -> Result<()> {
        self.check_open()?;
        let live = self.live(inode, generation)?;
        let size = {
            let state = live.state.read();
            if state.gone {
                return Err(CoreError::NotResident(inode));
            }
            state.attributes.size
        };
        let most = (self.config.l1_bytes / 2).min(self.blocks.max_prefetch_bytes());
        let len = if len == 0 { most } else { len.min(most) };
        self.prefetch(&live, offset, offset.saturating_add(len).min(size));
        Ok(())
    }

    fn unchanged(&self, inode: u64, generation: Option<u64>) -> Result<u64> {
        Ok(self.live(inode, generation)?.state.read().last_lsn)
    }

    /// Runs a change of a live inode and waits for its record. Whoever is told to come again has changed nothing: a place among
    /// those who wait, and room in the journal, come first.
    fn change_durably(
        &self,
        inode: u64,
        generation: Option<u64>,
        f: impl FnOnce(&Self, &Journal, &mut RwLockWriteGuard<'_, State>) -> Result<u64>,
    ) -> Result<u64> {
        let journal = self.journal()?;
        let live = self.live(inode, generation)?;
        let slot = journal
            .try_wait_slot()
            .ok_or(CoreError::Busy("too many callers wait for the journal"))?;
        let room = self.room(journal, RECORD_BYTES)?;
        failpoint::hit("core.before_data_append")?;
        let lsn = self.changing(journal, &live, |engine, state| f(engine, journal, state))?;
        drop(room);
        failpoint::hit("core.after_data_append")?;
        journal.wait_durable(lsn)?;
        self.fence.wait()?;
        drop(slot);
        Ok(lsn)
    }
}

/// Whether a change by this user takes bits of the mode away.
const fn clears_privilege(state: &State, uid: u32) -> bool {
    let mode = state.attributes.mode;
    uid != 0 && without_privilege(mode) != mode
}
