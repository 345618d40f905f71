//! The order of everything: records enter the batch under one short lock; rounds take the batch to the disks.
//!
//! Whoever does a round is `busy`; there is never more than one, and no lock is held while it writes. A thread that waits while
//! nobody is busy does the round itself, which saves two changes of thread; all others share the next one. The committer's
//! thread does what nobody waits for, and the rounds that fell due while another thread was busy.

mod changes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caudal_base::{Histogram, failpoint};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::batch::{Batch, Payload};
use crate::durable::{Callbacks, Durable};
use crate::error::{JournalError, Result};
use crate::format::{SEGMENT_HEADER, span};
use crate::mirrors::{Asked, Mirrors, Round};
use crate::returns::Returns;
use crate::room::Room;
use crate::state::{Start, State};
use crate::{Appended, Options, Timing};

/// Written out although nobody waits, once the batch is so large.
const WRITE_BYTES: u64 = 4 << 20;
/// The committer looks by itself for so long after the last record; then the next record has to wake it.
const IDLE_LOOKS: u32 = 20;

pub struct Committer {
    pub state: Mutex<State>,
    pub durable: Durable,
    pub callbacks: Callbacks,
    pub room: Arc<Room>,
    pub commit_time: Histogram,
    last_lsn: AtomicU64,
    mirrors: Mutex<Option<Mirrors>>,
    /// Changes among the mirrors that the next round makes.
    asked: Mutex<Vec<Asked>>,
    is_asked: AtomicBool,
    pub returns: Arc<Returns>,
    idle_batch: Mutex<Option<Batch>>,
    work: Condvar,
    space: Condvar,
    segment_bytes: u64,
    timing: Timing,
    by_hand: bool,
}

impl Committer {
    #[must_use]
    pub fn new(
        start: Start,
        room: Arc<Room>,
        mirrors: Mirrors,
        returns: Arc<Returns>,
        options: &Options,
    ) -> Self {
        Self {
            durable: Durable::new(start.previous_lsn),
            callbacks: Callbacks::default(),
            room,
            commit_time: Histogram::default(),
            last_lsn: AtomicU64::new(start.previous_lsn),
            mirrors: Mutex::new(Some(mirrors)),
            asked: Mutex::default(),
            is_asked: AtomicBool::new(false),
            returns,
            idle_batch: Mutex::new(None),
            work: Condvar::new(),
            space: Condvar::new(),
            segment_bytes: start.segment_bytes,
            timing: options.timing,
            by_hand: options.by_hand,
            state: Mutex::new(State::new(start)),
        }
    }

    /// Gives the record its LSN and place and puts it into the batch.
    pub fn append(&self, kind: u8, payload: Payload<'_>) -> Result<Appended> {
        let span = span(payload.len);
        if span > self.segment_bytes - SEGMENT_HEADER || payload.len > u64::from(u32::MAX) {
            return Err(JournalError::TooLarge { bytes: payload.len });
        }
        failpoint::hit("journal.before_append").map_err(|error| JournalError::Failed(error.to_string()))?;
        let mut state = self.state.lock();
        while state.end.is_none()
            && !state.closing
            && state.unwritten_bytes() > self.timing.max_unwritten_bytes
        {
            state.blocked += 1;
            self.work.notify_one();
            self.space.wait(&mut state);
            state.blocked -= 1;
        }
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        if state.closing {
            return Err(JournalError::Closed);
        }
        let was_small = state.batch.bytes() < WRITE_BYTES;
        let appended = state.push(&self.room, kind, payload, self.durable.lsn());
        self.last_lsn.store(appended.lsn, Ordering::Release);
        if state.asleep || (was_small && state.batch.bytes() >= WRITE_BYTES && !state.busy) {
            self.work.notify_one();
        }
        Ok(appended)
    }

    /// Blocks until the record is durable.
    pub fn wait(&self, lsn: u64) -> Result<()> {
        if self.durable.lsn() >= lsn {
            return Ok(());
        }
        let mut state = self.state.lock();
        loop {
            if self.durable.lsn() >= lsn {
                return Ok(());
            }
            if let Some(end) = &state.end {
                return Err(end.clone());
            }
            if lsn >= state.next_lsn {
                return Err(not_given_out(lsn));
            }
            let covered = lsn <= state.syncing_upto;
            if !covered {
                state.wanted = state.wanted.max(lsn);
                if !state.busy {
                    state = self.round(state, true);
                    if !state.busy && self.is_due(&state) {
                        self.work.notify_one();
                    }
                    continue;
                }
            }
            let round = if covered { state.round } else { state.round + 1 };
            let ticket = self.durable.ticket(round);
            drop(state);
            self.durable.sleep(round, ticket);
            if self.durable.lsn() >= lsn {
                return Ok(());
            }
            state = self.state.lock();
        }
    }

    /// Has the record made durable soon; for those who do not block. False: it never will be, or is already.
    #[must_use]
    pub fn want(&self, lsn: u64) -> bool {
        let mut state = self.state.lock();
        if state.end.is_some() || self.durable.lsn() >= lsn {
            return false;
        }
        if lsn > state.syncing_upto {
            state.wanted = state.wanted.max(lsn);
            if !state.busy {
                self.work.notify_one();
            }
        }
        true
    }

    /// The newest LSN that was given out.
    #[must_use]
    pub fn last_lsn(&self) -> u64 {
        self.last_lsn.load(Ordering::Acquire)
    }

    /// Whether everything promised still fits where the disk has no space but for so many bytes of spares. Half of
    /// it counts only, since records do not span segments.
    #[must_use]
    pub fn fits(&self, spare_bytes: u64) -> bool {
        self.room.promised() <= self.state.lock().left_on_disk().max(spare_bytes / 2)
    }

    /// Somebody waits, or the batch is large.
    fn is_due(&self, state: &State) -> bool {
        state.end.is_none()
            && (state.wanted > self.durable.lsn() || state.batch.bytes() >= WRITE_BYTES || state.blocked > 0)
    }

    /// One round: takes the batch to the disks, and with `sync` makes it durable. The caller saw that nobody is busy.
    fn round<'a>(&'a self, mut state: MutexGuard<'a, State>, sync: bool) -> MutexGuard<'a, State> {
        state.busy = true;
        let fresh = self.idle_batch.lock().take().unwrap_or_default();
        let batch = Arc::new(std::mem::replace(&mut state.batch, fresh));
        state.in_flight = Some(batch.clone());
        state.batch_since = None;
        let upto = self.last_lsn();
        let changes = self.take_asked(&mut state);
        let segment = state.open_segment();
        if sync {
            state.round += 1;
            state.syncing_upto = upto;
        }
        let round = state.round;
        drop(state);

        let began = Instant::now();
        let result = match self.mirrors.lock().as_mut() {
            Some(mirrors) => {
                let round = Round {
                    batch: batch.clone(),
                    sync,
                    segment,
                };
                mirrors.run(&round, changes)
            }
            None => Err(JournalError::Closed),
        };
        if sync && result.is_ok() {
            self.commit_time.record(began.elapsed());
            self.durable.advance(upto);
        }

        let mut state = self.state.lock();
        state.busy = false;
        state.in_flight = None;
        state.syncing_upto = 0;
        match &result {
            Ok(()) => {
                state.written_upto = upto;
                state.disk_segment = segment;
                if sync {
                    state.last_sync = Instant::now();
                }
            }
            Err(error) => state.end = Some(error.clone()),
        }
        if state.blocked > 0 {
            self.space.notify_all();
        }
        if state.closing {
            // Its thread found a round under way when it was told to end.
            self.work.notify_one();
        }
        drop(state);
        self.announce(round, sync, result.is_err());
        // Payloads are freed here, outside of the lock; a mirror that hangs keeps its own.
        if let Ok(mut batch) = Arc::try_unwrap(batch) {
            batch.clear();
            *self.idle_batch.lock() = Some(batch);
        }
        self.state.lock()
    }

    /// A round that nobody waits for, if there is anything to do.
    pub fn write_out(&self, sync: bool) {
        let state = self.state.lock();
        let unsynced = state.written_upto > self.durable.lsn();
        if !state.busy && state.end.is_none() && (!state.batch.is_empty() || (sync && unsynced)) {
            drop(self.round(state, sync));
        }
    }

    fn announce(&self, round: u64, sync: bool, failed: bool) {
        if failed {
            self.durable.wake(round + 1);
        }
        if sync || failed {
            self.durable.wake(round);
            self.callbacks.poke();
        }
    }

    /// Body of the committer's thread; ends after [`Self::close`] with everything durable that can be.
    pub fn run(&self) {
        let mut state = self.state.lock();
        let mut idle_looks = 0;
        loop {
            if state.busy || (state.end.is_some() && !state.closing) {
                self.work.wait_for(&mut state, self.timing.write_after);
                continue;
            }
            let durable = self.durable.lsn();
            if state.closing {
                if state.end.is_none() && durable < self.last_lsn() {
                    state = self.round(state, true);
                    continue;
                }
                state.end.get_or_insert(JournalError::Closed);
                return;
            }
            match self.due(&state) {
                Due::Now { sync } => {
                    state = self.round(state, sync);
                    idle_looks = 0;
                }
                Due::In(wait) => {
                    // No longer than a record that comes meanwhile may stay unwritten.
                    self.work.wait_for(&mut state, wait.min(self.timing.write_after));
                    idle_looks = 0;
                }
                Due::Nothing if idle_looks < IDLE_LOOKS => {
                    self.work.wait_for(&mut state, self.timing.write_after);
                    idle_looks += 1;
                }
                Due::Nothing => {
                    state.asleep = true;
                    self.work.wait(&mut state);
                    state.asleep = false;
                    idle_looks = 0;
                }
            }
        }
    }

    fn due(&self, state: &State) -> Due {
        let durable = self.durable.lsn();
        if state.wanted > durable || self.is_asked.load(Ordering::Acquire) {
            return Due::Now { sync: true };
        }
        let now = Instant::now();
        let unsynced = state.written_upto > durable || !state.batch.is_empty();
        let sync_in = self
            .timing
            .sync_after
            .saturating_sub(now.duration_since(state.last_sync));
        let sync = unsynced && sync_in.is_zero();
        if state.batch.bytes() >= WRITE_BYTES || state.blocked > 0 {
            return Due::Now { sync };
        }
        if let Some(since) = state.batch_since {
            let write_in = self.timing.write_after.saturating_sub(now.duration_since(since));
            return if write_in.is_zero() {
                Due::Now { sync }
            } else {
                Due::In(write_in)
            };
        }
        match (unsynced, sync_in) {
            (false, _) => Due::Nothing,
            (true, Duration::ZERO) => Due::Now { sync: true },
            (true, wait) => Due::In(wait),
        }
    }

    /// Takes no more records and lets the committer's thread end.
    pub fn close(&self) {
        self.state.lock().closing = true;
        self.returns.close();
        self.work.notify_one();
        self.space.notify_all();
    }

    /// After the committer's thread ended: lets go of everyone who still waits, and of the mirrors.
    pub fn stop(&self) {
        self.durable.wake(0);
        self.durable.wake(1);
        self.callbacks.poke();
        self.asked.lock().clear();
        let mirrors = self.mirrors.lock().take();
        if let Some(mirrors) = mirrors {
            mirrors.stop();
        }
    }
}

/// The caller waits for a record that there is not.
pub fn not_given_out(lsn: u64) -> JournalError {
    JournalError::Misuse(format!("LSN {lsn:#x} was not given out yet"))
}

/// What the committer's thread has to do.
enum Due {
    Now { sync: bool },
    In(Duration),
    Nothing,
}
