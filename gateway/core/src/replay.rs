//! Recovery: the journal's records, in their order, over the rows that the caller loads.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use caudal_journal::{Record, ReplayError, replay_with};

use crate::attributes::Attributes;
use crate::engine::{Engine, PendingFlush};
use crate::errors::CoreError;
use crate::inode::MAX_SIZE;
use crate::inode::dirty::{Origin, Written};
use crate::inode::extents::Extent;
use crate::inode::index::Since;
use crate::inode::live::Live;
use crate::inode::payload::{AttrChange, DataHead, HoleChange, KIND_ATTR, KIND_DATA, KIND_HOLE, KIND_ROWS};
use crate::inode::state::State;

/// A flushed inode in a row transaction.
#[derive(Clone, Debug)]
pub struct Flushed {
    pub inode: u64,
    pub taken_lsn: u64,
    pub splices: Vec<Extent>,
}

/// The owner of the rows, to which recovery turns.
pub trait Rows {
    type Error;
    /// Applies a row transaction; returns the flushed inodes in it.
    fn apply(&mut self, lsn: u64, payload: &[u8]) -> std::result::Result<Vec<Flushed>, Self::Error>;
    /// Attributes and extents of an inode; None: it is gone.
    fn load(&mut self, inode: u64) -> std::result::Result<Option<(Attributes, Vec<Extent>)>, Self::Error>;
}

/// What the journal held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub first_lsn: u64,
    pub last_lsn: u64,
    pub records: u64,
    pub bytes: u64,
    pub rows: u64,
    pub skipped: u64,
    pub torn_tail: bool,
    /// Everything up to here was trimmed: a row store that has not come as far lacks something.
    pub preceding_lsn: u64,
    /// What was acknowledged and is gone, where that was accepted.
    pub lost: Option<String>,
}

/// Why a replay stopped: the rows' owner, or the journal.
#[derive(Debug)]
pub enum Failure<E> {
    Rows(E),
    Core(CoreError),
}

impl<E> From<CoreError> for Failure<E> {
    fn from(error: CoreError) -> Self {
        Self::Core(error)
    }
}

struct Replay<'a, R: Rows> {
    engine: &'a Engine,
    rows: &'a mut R,
    /// Inodes without a row: a number is never used again, so they stay gone. And those whose row is ahead of the journal.
    gone: HashSet<u64>,
    /// The journal ends here, though more was acknowledged. A row with a later change has what a flush brought to it that the
    /// journal does not tell of: records from before would put old bytes over new ones.
    ends_lsn: u64,
    report: Report,
}

impl<R: Rows> Replay<'_, R> {
    fn record(&mut self, record: &Record<'_>) -> std::result::Result<(), Failure<R::Error>> {
        let lsn = record.lsn;
        match record.kind {
            KIND_ROWS => self.rows(lsn, record.payload)?,
            KIND_DATA => {
                let (head, data) = DataHead::decode(record.payload).map_err(corrupt)?;
                let origin = Origin {
                    place: record.place,
                    len: data.len() as u32,
                    crc: crc32c::crc32c(data),
                };
                self.change(lsn, head.inode, |state| {
                    state.write(lsn, &head, Written::new(None, origin))
                })?;
            }
            KIND_ATTR => {
                let change = AttrChange::decode(record.payload).map_err(corrupt)?;
                self.change(lsn, change.inode, |state| {
                    state.set_attributes(lsn, &change, true)
                })?;
            }
            KIND_HOLE => {
                let change = HoleChange::decode(record.payload).map_err(corrupt)?;
                self.change(lsn, change.inode, |state| state.punch(lsn, &change))?;
            }
            kind => {
                return Err(Failure::Core(CoreError::Corrupt(format!(
                    "journal record of unknown kind {kind}"
                ))));
            }
        }
        Ok(())
    }

    fn rows(&mut self, lsn: u64, payload: &[u8]) -> std::result::Result<(), Failure<R::Error>> {
        self.report.rows += 1;
        let mut first_lsn = u64::MAX;
        for flushed in self.rows.apply(lsn, payload).map_err(Failure::Rows)? {
            let Some(live) = self.engine.table.get(flushed.inode) else {
                continue;
            };
            check_splices(lsn, &flushed.splices)?;
            let mut state = live.state.write();
            first_lsn = state.since.map_or(first_lsn, |since| first_lsn.min(since.lsn));
            self.engine.change(&mut state, |state| {
                state.replay_flushed(flushed.taken_lsn, flushed.splices)
            });
            state.last_lsn = state.last_lsn.max(lsn);
        }
        if first_lsn != u64::MAX {
            // As after the flush itself: should the next recovery find these rows in the journal and not in the database, it
            // needs all the changes that they stand for, or an inode would get the attributes of some of them.
            let pending = PendingFlush {
                commit_lsn: lsn,
                first_lsn,
            };
            self.engine.pending_flushes.lock().push(pending);
        }
        Ok(())
    }

    /// Applies a change to an inode, which becomes resident first if it has a row.
    fn change(
        &mut self,
        lsn: u64,
        inode: u64,
        f: impl FnOnce(&mut State),
    ) -> std::result::Result<(), Failure<R::Error>> {
        let Some(live) = self.resident(inode)? else {
            self.report.skipped += 1;
            return Ok(());
        };
        let mut state = live.state.write();
        self.engine.mark_dirty(inode, &mut state, lsn);
        self.engine.change(&mut state, f);
        Ok(())
    }

    fn resident(&mut self, inode: u64) -> std::result::Result<Option<Arc<Live>>, Failure<R::Error>> {
        if let Some(live) = self.engine.table.get(inode) {
            return Ok(Some(live));
        }
        if self.gone.contains(&inode) {
            return Ok(None);
        }
        match self.rows.load(inode).map_err(Failure::Rows)? {
            Some((attributes, _)) if attributes.change > self.ends_lsn => {
                self.gone.insert(inode);
                Ok(None)
            }
            Some((attributes, extents)) => {
                self.engine.activate(attributes, extents)?;
                Ok(self.engine.table.get(inode))
            }
            None => {
                self.gone.insert(inode);
                Ok(None)
            }
        }
    }
}

fn check_splices(lsn: u64, splices: &[Extent]) -> Result<(), CoreError> {
    let fits = |splice: &Extent| {
        let end = splice.offset.checked_add(splice.len);
        end.is_some_and(|end| end <= MAX_SIZE)
    };
    if splices.iter().all(fits) {
        return Ok(());
    }
    let what = format!("the rows at LSN {lsn:#x} have a splice past the largest offset");
    Err(CoreError::Corrupt(what))
}

fn corrupt(error: crate::inode::payload::BadPayload) -> CoreError {
    CoreError::Corrupt(error.to_string())
}

impl Engine {
    /// Reads the journal from `from_lsn` on. Afterwards inodes with changes are resident and as they were before the end of
    /// the last process, but for records that were never durable.
    pub fn replay<R: Rows>(
        &self,
        from_lsn: u64,
        rows: &mut R,
    ) -> std::result::Result<Report, Failure<R::Error>> {
        let assembly = self.assemble()?;
        let dirs = assembly.dirs();
        let accept_loss = self.config.mirrors.accept_loss;
        let mut replay = Replay {
            engine: self,
            rows,
            gone: HashSet::new(),
            ends_lsn: if accept_loss {
                self.end_of(&dirs)?
            } else {
                u64::MAX
            },
            report: Report::default(),
        };
        let mut show = |record: &Record<'_>| replay.record(record);
        let fs_id = self.config.fs_id;
        let replayed =
            replay_with(&*self.disk, &dirs, fs_id, from_lsn, accept_loss, &mut show).map_err(|error| {
                match error {
                    ReplayError::Callback(failure) => failure,
                    ReplayError::Journal(error) => Failure::Core(error.into()),
                }
            })?;
        let mut report = replay.report;
        report.preceding_lsn = replayed.preceding_lsn;
        report.first_lsn = replayed.first_lsn;
        report.last_lsn = replayed.last_lsn;
        report.records = replayed.records;
        report.bytes = replayed.bytes;
        report.torn_tail = replayed.torn_tail;
        let accepted = assembly.accepted.as_ref().map(ToString::to_string);
        report.lost = replayed.lost.map(|lost| lost.to_string()).or(accepted);
        *self.assembly.lock() = Some(assembly);
        self.settle_replayed();
        Ok(report)
    }

    /// The last LSN of what is intact in these mirrors.
    fn end_of(&self, dirs: &[PathBuf]) -> Result<u64, CoreError> {
        let mut pass_over = |_: &Record<'_>| Ok::<(), CoreError>(());
        replay_with(&*self.disk, dirs, self.config.fs_id, 0, true, &mut pass_over)
            .map(|replayed| replayed.last_lsn)
            .map_err(|error| match error {
                ReplayError::Callback(error) => error,
                ReplayError::Journal(error) => error.into(),
            })
    }

    /// Takes inodes out of the dirty index whose flush was replayed too, and moves on those of which it left something.
    fn settle_replayed(&self) {
        for (_, inode, monotonic_ns) in self.index.oldest_inodes((0, 0), usize::MAX) {
            let Some(live) = self.table.get(inode) else {
                continue;
            };
            let mut state = live.state.write();
            let after = state.dirty_since_lsn().map(|lsn| Since { lsn, monotonic_ns });
            let before = std::mem::replace(&mut state.since, after);
            self.index.move_inode(inode, before, after);
        }
    }
}
