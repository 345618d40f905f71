//! Writes and the other changes of data: each is appended to the journal's buffer and applied to the live inode under the
//! inode's lock, so that the order of an inode's records is the order of its changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use caudal_base::failpoint;
use caudal_journal::{Journal, Permit};
use parking_lot::RwLockWriteGuard;
use smallvec::SmallVec;

use crate::attributes::without_privilege;
use crate::buffers::Buffers;
use crate::completion::{Completion, Outcome};
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::inode::MAX_SIZE;
use crate::inode::dirty::{Origin, Written};
use crate::inode::live::Live;
use crate::inode::payload::{AttrChange, DataHead, KIND_ATTR, KIND_DATA};
use crate::inode::state::State;

/// Data of one journal record at most, and its share of a segment; longer writes are several records.
const MAX_RECORD: u64 = 4 << 20;
const RECORDS_PER_SEGMENT: u64 = 4;
/// What a record takes in the journal beside its data: header, fixed part, padding.
const RECORD_OVERHEAD: u64 = 128;
/// More files than this, times those that memory is meant for, do not become dirty.
const DIRTY_FACTOR: usize = 2;
/// How long a write waits for room in the journal at most before its client is told to come again.
const ROOM_WAIT: Duration = Duration::from_secs(10);
const ROOM_POLL: Duration = Duration::from_millis(20);

/// Who writes, and what the answer waits for.
#[derive(Clone, Copy, Debug)]
pub struct WriteHow {
    pub stable: bool,
    pub uid: u32,
}

impl Engine {
    /// Writes all of the buffers at `offset`. `done` is called for a pending write only; the LSN makes it durable.
    pub fn write<D>(
        self: &Arc<Self>,
        inode: u64,
        generation: Option<u64>,
        offset: u64,
        source: &Buffers,
        how: WriteHow,
        done: D,
    ) -> Result<Outcome<u64>>
    where
        D: FnOnce(Result<u64>) + Send + 'static,
    {
        let began = Instant::now();
        let journal = self.journal()?;
        let live = self.live(inode, generation)?;
        let len = source.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > MAX_SIZE) {
            return Err(CoreError::TooLarge);
        }
        if len == 0 {
            return Ok(Outcome::Done(live.state.read().last_lsn));
        }
        let data = Prepared {
            offset,
            data: source.gather(),
            how,
            began,
        };
        match self.room_to_write(journal, &live, self.bytes_in_journal(len)) {
            Ok(room) => {
                let lsn = self.write_now(journal, &live, &data)?;
                drop(room);
                match self.end_write(journal, lsn, how, began, self.later(done)) {
                    Some(completion) => {
                        completion.cancel();
                        Ok(Outcome::Done(lsn))
                    }
                    None => Ok(Outcome::Pending),
                }
            }
            Err(CoreError::Busy(_)) => {
                self.write_later(journal.clone(), live, data, done);
                Ok(Outcome::Pending)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a write: at once if it is unstable or durable already, else when its record is durable. A stable one passes the
    /// fence before its answer.
    fn end_write<D>(
        self: &Arc<Self>,
        journal: &Journal,
        lsn: u64,
        how: WriteHow,
        began: Instant,
        completion: Completion<u64, D>,
    ) -> Option<Completion<u64, D>>
    where
        D: FnOnce(Result<u64>) + Send + 'static,
    {
        let passes = self.fence.passes().unwrap_or(false);
        if !how.stable || (journal.durable_lsn() >= lsn && passes) {
            self.io.write.record(began.elapsed());
            return Some(completion);
        }
        let engine = self.clone();
        journal.on_durable(
            lsn,
            Box::new(move |result| {
                engine.io.write.record(began.elapsed());
                let result = result.map(|()| lsn).map_err(CoreError::from);
                match engine.fence.passes() {
                    Err(error) => completion.finish(Err(error)),
                    Ok(true) => completion.finish(result),
                    // Not in this thread, on which all who wait for the journal depend.
                    Ok(false) => drop(engine.handle().clone().spawn(async move {
                        let passed = engine.fence.pass().await;
                        completion.finish(passed.and(result));
                    })),
                }
            }),
        );
        None
    }

    /// Waits for room in the journal without holding a thread, then writes; flush and trim make room meanwhile.
    fn write_later<D>(self: &Arc<Self>, journal: Arc<Journal>, live: Arc<Live>, data: Prepared, done: D)
    where
        D: FnOnce(Result<u64>) + Send + 'static,
    {
        let engine = self.clone();
        let completion = self.later(done);
        let need = self.bytes_in_journal(data.data.len());
        let patience = ROOM_WAIT.min(self.config.store_wait);
        self.handle().spawn(async move {
            let began = tokio::time::Instant::now();
            let room = loop {
                match engine.room_to_write(&journal, &live, need) {
                    Err(CoreError::Busy(_)) if began.elapsed() < patience => {
                        tokio::time::sleep(ROOM_POLL).await;
                    }
                    other => break other,
                }
            };
            let written = room.and_then(|room| {
                let lsn = engine.write_now(&journal, &live, &data)?;
                drop(room);
                Ok(lsn)
            });
            match written {
                Ok(lsn) => {
                    if let Some(completion) =
                        engine.end_write(&journal, lsn, data.how, data.began, completion)
                    {
                        completion.finish(Ok(lsn));
                    }
                }
                Err(error) => completion.finish(Err(error)),
            }
        });
    }

    /// Room for so many bytes in the journal, or Busy.
    pub fn room(&self, journal: &Journal, bytes: u64) -> Result<Permit> {
        journal
            .reserve(bytes)
            .map_err(|_| CoreError::Busy("the journal is full"))
    }

    /// Room for a change of an inode: in the journal, and among those that wait for the flush, or Busy.
    ///
    /// Dirty inodes stay in memory, however little was written to each: while the object store is away, this bounds them.
    fn room_to_write(&self, journal: &Journal, live: &Live, bytes: u64) -> Result<Permit> {
        self.room_among_dirty(live)?;
        self.room(journal, bytes)
    }

    pub fn room_among_dirty(&self, live: &Live) -> Result<()> {
        let most = self.config.max_inodes.saturating_mul(DIRTY_FACTOR);
        if self.index.len() >= most && live.state.read().since.is_none() {
            return Err(CoreError::Busy("too many files wait for the flush"));
        }
        Ok(())
    }

    fn record_bytes(&self) -> usize {
        MAX_RECORD
            .min(self.config.segment_bytes / RECORDS_PER_SEGMENT)
            .max(1) as usize
    }

    /// What a write of so many bytes takes in the journal.
    fn bytes_in_journal(&self, len: usize) -> u64 {
        len as u64 + len.div_ceil(self.record_bytes()) as u64 * RECORD_OVERHEAD
    }

    /// Appends the records of a write and shows it to readers.
    fn write_now(self: &Arc<Self>, journal: &Journal, live: &Live, data: &Prepared) -> Result<u64> {
        let record_bytes = self.record_bytes();
        let checked: SmallVec<[(u64, Bytes, u32); 1]> = (0..data.data.len())
            .step_by(record_bytes)
            .map(|start| {
                let chunk = data.data.slice(start..data.data.len().min(start + record_bytes));
                let crc = crc32c::crc32c(&chunk);
                (data.offset + start as u64, chunk, crc)
            })
            .collect();
        failpoint::hit("core.before_data_append")?;
        let lsn = self.changing(journal, live, |engine, state| {
            let mode = state.attributes.mode;
            let clear_privilege = data.how.uid != 0 && without_privilege(mode) != mode;
            let time_ns = engine.clock.now_ns();
            if state.charge.account.is_some() {
                let len = data.data.len() as u64;
                let growth = len - state.allocated(data.offset, data.offset + len);
                state.charge.prepay(growth, time_ns)?;
            }
            let mut lsn = 0;
            for (offset, chunk, crc) in checked {
                let head = DataHead {
                    inode: live.inode,
                    offset,
                    time_ns,
                    clear_privilege,
                };
                let len = chunk.len() as u32;
                let appended = journal.append_prepared(KIND_DATA, &head.encode(), chunk.clone(), crc)?;
                let origin = Origin {
                    place: appended.place,
                    len,
                    crc,
                };
                engine.change(state, |state| {
                    state.write(appended.lsn, &head, Written::new(Some(chunk), origin))
                });
                lsn = appended.lsn;
            }
            Ok(lsn)
        })?;
        failpoint::hit("core.after_data_append")?;
        self.relieve_memory();
        Ok(lsn)
    }

    /// Sets attributes that the core owns; the LSN makes it durable. The caller has reserved room.
    pub fn append_attributes(&self, live: &Live, change: &AttrChange) -> Result<u64> {
        if change.size.is_some_and(|size| size > MAX_SIZE) {
            return Err(CoreError::TooLarge);
        }
        let journal = self.journal()?;
        self.changing(journal, live, |engine, state| {
            let appended = journal.append(KIND_ATTR, &change.encode(), Bytes::new())?;
            engine.change(state, |state| state.set_attributes(appended.lsn, change, false));
            Ok(appended.lsn)
        })
    }

    /// Runs a change of a live inode under its lock, entered into the dirty index before anything is appended.
    pub fn changing(
        &self,
        journal: &Journal,
        live: &Live,
        f: impl FnOnce(&Self, &mut RwLockWriteGuard<'_, State>) -> Result<u64>,
    ) -> Result<u64> {
        let mut state = live.state.write();
        if state.gone {
            return Err(CoreError::NotResident(live.inode));
        }
        self.mark_dirty(live.inode, &mut state, journal.last_lsn() + 1);
        let result = f(self, &mut state);
        state.charge.refund(self.clock.now_ns());
        if result.is_err() {
            self.unmark_if_clean(live.inode, &mut state);
        }
        result
    }
}

/// A write whose bytes were copied out of the caller's buffers.
struct Prepared {
    offset: u64,
    data: Bytes,
    how: WriteHow,
    began: Instant,
}
