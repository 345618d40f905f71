//! The journal as its callers see it: appending, waiting, reading back, trimming.

mod roster;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use caudal_base::failpoint;
use parking_lot::Mutex;

use crate::batch::{INLINE_BODY, INLINE_HEAD, Payload, copy_from_parts};
use crate::committer::{self, Committer};
use crate::disk::DiskFile;
use crate::durable::{OnDurable, Slots, WaitSlot};
use crate::error::{Full, Result};
use crate::member::{Member, Roster};
use crate::members::{Entry, Members};
use crate::membership::Membership;
use crate::room::Permit;
use crate::segment::file_name;
use crate::{Appended, JournalConfig, JournalStats, Options, Place, keeper, open};

/// A keeper that hangs in its disk is waited for so often, at the end, and so long each time.
const KEEPER_POLLS: u32 = 100;
const KEEPER_POLL: Duration = Duration::from_millis(10);

/// An open journal: one writer, any number of threads.
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) running: Mutex<Running>,
    /// Files that payloads were read back from, by mirror and segment.
    pub(crate) files: Mutex<HashMap<(u64, u64), Arc<dyn DiskFile>>>,
    /// One change of the roster at a time.
    pub(crate) roster_change: Mutex<()>,
}

/// What the journal shares with the keepers of its mirrors.
pub struct Shared {
    pub committer: Arc<Committer>,
    pub roster: Roster,
    pub membership: Arc<Membership>,
    pub options: Options,
    pub fs_id: [u8; 16],
    pub segment_bytes: u64,
    /// Mirrors of the list that the start found.
    pub known: Vec<Entry>,
    pub mended: Vec<(PathBuf, Vec<u64>)>,
    pub stopping: AtomicBool,
    pub trimming: Mutex<()>,
    pub keys: AtomicU64,
}

impl Shared {
    /// The mirror that was at this path when the journal was written last.
    #[must_use]
    pub fn known_at(&self, dir: &Path) -> Option<Entry> {
        self.known.iter().find(|entry| entry.path == dir).cloned()
    }
}

/// Who does what nobody waits for.
pub(crate) enum Running {
    Threads(Threads),
    ByHand,
    Closed,
}

pub(crate) struct Threads {
    pub committer: JoinHandle<()>,
    pub callbacks: JoinHandle<()>,
    pub keepers: Vec<(Arc<Member>, JoinHandle<()>)>,
}

impl Journal {
    /// Begins a new epoch after what [`crate::replay`] showed: `last_lsn_replayed` is its `last_lsn` (for an empty journal,
    /// the last LSN that the rest of the state has seen). Old segments stay until they are trimmed.
    pub fn open(config: JournalConfig, last_lsn_replayed: u64) -> Result<Arc<Self>> {
        Self::open_with(config, Options::default(), last_lsn_replayed)
    }

    /// As [`Self::open`], with another disk, other times and a report of lost mirrors.
    pub fn open_with(config: JournalConfig, options: Options, last_lsn_replayed: u64) -> Result<Arc<Self>> {
        open::open(&config, options, last_lsn_replayed).map(Arc::new)
    }

    /// Promises room for payloads of so many bytes together, or says that there is none, or no mirror; nothing has changed then.
    /// Keep the permit until the records are appended. Appending itself never refuses for want of room.
    pub fn reserve(&self, bytes: u64) -> std::result::Result<Permit, Full> {
        let permit = self.committer().room.reserve(bytes)?;
        if self.committer().returns.is_halted() {
            return Err(Full);
        }
        match self.shared.roster.starved() {
            Some(ready_bytes) if !self.committer().fits(ready_bytes) => Err(Full),
            _ => Ok(permit),
        }
    }

    /// Appends a record whose payload is `head` and then `body`. `head` is copied, `body` shared. Does not wait for a disk,
    /// unless very much is unwritten. The record is durable once [`Self::wait_durable`] of its LSN returns.
    pub fn append(&self, kind: u8, head: &[u8], body: Bytes) -> Result<Appended> {
        let crc = crc32c::crc32c_append(crc32c::crc32c(head), &body);
        self.append_summed(kind, head, body, crc)
    }

    /// As [`Self::append`], for a caller that has the CRC32C of the body already.
    pub fn append_prepared(&self, kind: u8, head: &[u8], body: Bytes, body_crc: u32) -> Result<Appended> {
        let crc = caudal_base::crc::combine(crc32c::crc32c(head), body_crc, body.len() as u64);
        self.append_summed(kind, head, body, crc)
    }

    fn append_summed(&self, kind: u8, head: &[u8], body: Bytes, crc: u32) -> Result<Appended> {
        let len = (head.len() + body.len()) as u64;
        // Whatever is large is copied here, outside of the lock, or not at all.
        let (copied, shared) = if head.len() > INLINE_HEAD {
            ([&[][..], &[]], [Bytes::copy_from_slice(head), body])
        } else if body.len() > INLINE_BODY {
            ([head, &[]], [body, Bytes::new()])
        } else {
            ([head, &body[..]], [Bytes::new(), Bytes::new()])
        };
        self.committer().append(
            kind,
            Payload {
                copied,
                shared,
                len,
                crc,
            },
        )
    }

    /// Blocks until the record and all before it are durable in every healthy mirror. An error means that it may be lost.
    pub fn wait_durable(&self, lsn: u64) -> Result<()> {
        self.committer().wait(lsn)
    }

    /// Calls `done` from a thread of the journal's when the record is durable, or will never be. It must not block for long.
    pub fn on_durable(&self, lsn: u64, done: OnDurable) {
        let committer = self.committer();
        if lsn > committer.last_lsn() {
            done(Err(committer::not_given_out(lsn)));
            return;
        }
        if let Err(done) = committer.callbacks.add(lsn, done) {
            done(self.wait_durable(lsn));
            return;
        }
        // It may have become durable, or the journal may have failed, just before the callback was added.
        if committer.durable.lsn() >= lsn || !committer.want(lsn) {
            committer.callbacks.poke();
        }
    }

    /// One of the `wait_slots`; None while all are taken.
    #[must_use]
    pub fn try_wait_slot(&self) -> Option<WaitSlot> {
        self.slots.try_take()
    }

    /// Everything up to this LSN is durable.
    #[must_use]
    pub fn durable_lsn(&self) -> u64 {
        self.committer().durable.lsn()
    }

    /// The newest LSN that was given out; of an older epoch where none was in this one.
    #[must_use]
    pub fn last_lsn(&self) -> u64 {
        self.committer().last_lsn()
    }

    /// Fills `buf` from `offset_in_payload` of the payload at `place`, from memory while it is not written yet. The bytes are
    /// not checked against the record's checksum: that covers all of it. NotFound: it was trimmed.
    pub fn read_at(&self, place: Place, offset_in_payload: u64, buf: &mut [u8]) -> io::Result<()> {
        if let Some(parts) = self.unwritten(place) {
            return if copy_from_parts(&parts, offset_in_payload, buf) {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for member in self.shared.roster.healthy() {
            let got = self
                .file(&member, place.segment)
                .and_then(|file| file.read_at(buf, place.offset + offset_in_payload));
            match got {
                Ok(got) if got == buf.len() => return Ok(()),
                Ok(_) => failure = io::ErrorKind::UnexpectedEof.into(),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn unwritten(&self, place: Place) -> Option<Vec<Bytes>> {
        self.committer()
            .state
            .lock()
            .unwritten(place.segment, place.offset)
    }

    fn committer(&self) -> &Committer {
        &self.shared.committer
    }

    fn file(&self, member: &Member, segment: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.lock().get(&(member.key, segment)) {
            return Ok(file.clone());
        }
        let disk = &self.shared.options.disk;
        let file = disk.open(&member.dir.join(file_name(segment)))?;
        self.files.lock().insert((member.key, segment), file.clone());
        Ok(file)
    }

    /// Drops segments all of whose records are durable and below `below_lsn`, oldest first; returns the bytes that gives.
    pub fn trim(&self, below_lsn: u64) -> io::Result<u64> {
        let _one = self.shared.trimming.lock();
        let victims: Vec<_> = {
            let durable = self.committer().durable.lsn();
            let state = self.committer().state.lock();
            let gone = |last_lsn: u64| last_lsn < below_lsn && last_lsn <= durable;
            // A mirror may still have to seal the one that it has open.
            let kept = state.kept.iter();
            kept.take_while(|kept| gone(kept.last_lsn) && kept.first_lsn < state.disk_segment)
                .copied()
                .collect()
        };
        if victims.is_empty() {
            return Ok(0);
        }
        // Nothing is lost by a crash here: recovery shows records again that were applied already.
        failpoint::hit("journal.before_trim")?;
        let mut freed = 0;
        for kept in victims {
            self.drop_segment(kept.first_lsn)?;
            self.files
                .lock()
                .retain(|(_, segment), _| *segment != kept.first_lsn);
            self.committer().state.lock().kept.pop_front();
            self.committer().room.give_back(kept.bytes);
            freed += kept.bytes;
        }
        failpoint::hit("journal.after_trim")?;
        self.shared.roster.ring();
        Ok(freed)
    }

    /// A single mirror has the room when this returns; of several each is left to its keeper, lest one that hangs is waited for.
    fn drop_segment(&self, first_lsn: u64) -> io::Result<()> {
        let healthy = self.shared.roster.healthy();
        healthy.iter().for_each(|member| member.doom(first_lsn));
        match &healthy[..] {
            [only] => keeper::drop_doomed(only),
            _ => Ok(()),
        }
    }

    /// Directories of the mirrors that hold everything.
    #[must_use]
    pub fn healthy_dirs(&self) -> Vec<PathBuf> {
        let healthy = self.shared.roster.healthy();
        healthy.iter().map(|member| member.dir.clone()).collect()
    }

    /// The newest list of mirrors that hold everything.
    #[must_use]
    pub fn members(&self) -> Members {
        self.shared.membership.list()
    }

    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let (segments, oldest_lsn) = {
            let state = self.committer().state.lock();
            (
                state.kept.len() as u64,
                state.kept.front().map_or(state.next_lsn, |kept| kept.first_lsn),
            )
        };
        let shared = &self.shared;
        let time = &shared.committer.commit_time;
        JournalStats {
            mirrors: shared.roster.all().iter().map(|member| member.stats()).collect(),
            membership_epoch: shared.membership.list().epoch,
            halted: shared.committer.returns.is_halted(),
            mended: shared.mended.clone(),
            bytes: self.committer().room.used(),
            segments,
            segment_bytes: shared.segment_bytes,
            commits: time.count(),
            commit_p50_ns: time.quantile_ns(0.5),
            commit_p99_ns: time.quantile_ns(0.99),
            oldest_lsn,
        }
    }

    /// Writes out what was appended, as the committer's thread does after a while; with `sync`, durably.
    pub fn write_out(&self, sync: bool) {
        self.committer().write_out(sync);
    }

    /// One turn of what the keepers of mirrors do: makes spares, drops what was trimmed, brings back what was lost.
    pub fn tend_mirrors(&self) {
        for member in self.shared.roster.all() {
            keeper::see_to(&self.shared, &member);
        }
    }

    /// Makes durable what is pending, answers all who wait, and ends the threads. From a callback, the thread that runs
    /// callbacks ends by itself afterwards.
    pub fn close(&self) {
        let running = std::mem::replace(&mut *self.running.lock(), Running::Closed);
        if matches!(running, Running::Closed) {
            return;
        }
        self.committer().close();
        let Running::Threads(threads) = running else {
            self.committer().run();
            self.committer().stop();
            return;
        };
        let committed = threads.committer.join();
        self.committer().stop();
        self.committer().callbacks.stop();
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.roster.ring();
        let in_callback = threads.callbacks.thread().id() == std::thread::current().id();
        let answered = if in_callback {
            Ok(())
        } else {
            threads.callbacks.join()
        };
        let mut ended = vec![committed, answered];
        for (member, keeper) in threads.keepers {
            // One that hangs in its disk is left alone.
            if member.is_healthy() || wait_ended(&keeper) {
                ended.push(keeper.join());
            }
        }
        // A panic there is a fault of this crate; it must not pass unseen.
        if ended.iter().any(std::result::Result::is_err) && !std::thread::panicking() {
            panic!("a thread of the journal panicked");
        }
    }
}

/// Whether a thread ends within a decent time.
fn wait_ended(thread: &JoinHandle<()>) -> bool {
    for _ in 0..KEEPER_POLLS {
        if thread.is_finished() {
            return true;
        }
        std::thread::sleep(KEEPER_POLL);
    }
    false
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}
