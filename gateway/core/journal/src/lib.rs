//! The journal: the write-ahead log that every acknowledged change is in before its reply.
//!
//! One sequence of records, each with an LSN, in segment files that are the same in every mirror. Appending copies or
//! shares the payload into a buffer and never waits for a disk; [`Journal::wait_durable`] waits until one fdatasync has
//! covered the record and every other that was waited for meanwhile. The format is in docs/formats/journal.md.

mod assemble;
mod batch;
mod committer;
pub mod disk;
mod durable;
mod error;
pub mod format;
mod history;
mod journal;
mod keeper;
mod level;
mod member;
pub mod members;
mod membership;
mod mirror;
mod mirrors;
mod open;
mod rebuild;
mod replay;
mod returns;
mod room;
mod segment;
pub mod simulated;
mod spares;
mod state;
mod tail;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use assemble::{Assembled, Assembly, Published, Standing, assemble};
pub use durable::{OnDurable, WaitSlot};
pub use error::{Full, JournalError, ReplayError, Result, Stale};
pub use journal::Journal;
pub use member::OnLost;
pub use membership::{Now, OnMembers};
pub use replay::{Replayed, replay, replay_on, replay_with};
pub use room::Permit;
pub use tail::{OwnedRecord, Tail};

/// What a journal is opened with.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// One directory a mirror; at least one.
    pub mirrors: Vec<PathBuf>,
    pub fs_id: [u8; 16],
    /// Newer than the epoch of every record that was replayed.
    pub epoch: u64,
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Bytes that all segments together may take before [`Journal::reserve`] refuses.
    pub limit_bytes: u64,
    /// Threads that may wait for disks at once; see [`Journal::try_wait_slot`].
    pub wait_slots: usize,
}

/// Gives ids of new mirrors.
pub type NewId = Arc<dyn Fn() -> members::MirrorId + Send + Sync>;

/// What a journal may be opened with beside its configuration: another disk, a report, other times.
#[derive(Clone)]
pub struct Options {
    pub disk: Arc<dyn disk::Disk>,
    /// Called each time that a mirror is lost; may be called under load, so it must be quick.
    pub on_mirror_lost: OnLost,
    /// Called with each new list of members before anything is acknowledged on its account.
    pub on_members: OnMembers,
    pub now_s: Now,
    /// Gives ids of new mirrors.
    pub new_id: NewId,
    /// What the start found, where the caller has replayed it; None: it is looked for.
    pub assembly: Option<Assembly>,
    /// Go on from what was replayed, though more was acknowledged.
    pub accept_loss: bool,
    pub timing: Timing,
    /// No threads: rounds are done by who waits, or by [`Journal::write_out`], one mirror after the other; spares are made by
    /// [`Journal::tend_mirrors`]. So what the journal does to its disks follows from the calls alone.
    pub by_hand: bool,
}

/// Times and sizes that are the same for every journal but in tests.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Records that nobody waits for are written after this.
    pub write_after: Duration,
    /// And synced after this.
    pub sync_after: Duration,
    /// A mirror that takes longer for a round is lost, where another is left.
    pub mirror_limit: Duration,
    /// A lost mirror is looked at so often.
    pub look: Duration,
    /// Appending waits while more than this is unwritten.
    pub max_unwritten_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            disk: Arc::new(disk::SystemDisk),
            on_mirror_lost: Arc::new(|dir, why| eprintln!("journal mirror {} is lost: {why}", dir.display())),
            on_members: Arc::new(|_| {}),
            now_s: membership::system_now(),
            new_id: Arc::new(random_id),
            assembly: None,
            accept_loss: false,
            timing: Timing::default(),
            by_hand: false,
        }
    }
}

/// From the system's random numbers.
#[must_use]
pub fn random_id() -> members::MirrorId {
    let mut id = [0; 16];
    // SAFETY: the buffer has as many bytes. So few are given at once.
    let got = unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    assert_eq!(got, 16, "the system has random numbers");
    id
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            write_after: Duration::from_millis(50),
            sync_after: Duration::from_secs(1),
            mirror_limit: Duration::from_secs(10),
            look: Duration::from_secs(1),
            max_unwritten_bytes: 256 << 20,
        }
    }
}

/// Where a record's payload lies: the same in every mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// First LSN of the segment, which names its file.
    pub segment: u64,
    /// Offset of the payload in the file.
    pub offset: u64,
}

/// A record as replay shows it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub lsn: u64,
    pub kind: u8,
    pub payload: &'a [u8],
    pub place: Place,
}

/// What [`Journal::append`] gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub lsn: u64,
    pub place: Place,
}

/// State of a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It holds everything; writes wait for it.
    Healthy,
    /// It gets what it lacks; writes do not count on it.
    Rebuilding,
    /// It takes no part.
    Lost,
}

impl MirrorState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Rebuilding => "rebuilding",
            Self::Lost => "lost",
        }
    }
}

#[derive(Clone, Debug)]
pub struct MirrorStats {
    pub path: PathBuf,
    pub state: MirrorState,
    /// Why it is not healthy.
    pub why: String,
    /// How long it has been in its state.
    pub since: Duration,
    /// Bytes that a rebuild has copied, of those that it has found to copy so far.
    pub copied_bytes: u64,
    pub to_copy_bytes: u64,
    /// How often it was lost, and why the last time.
    pub losses: u64,
    pub last_loss: String,
}

#[derive(Clone, Debug)]
pub struct JournalStats {
    pub mirrors: Vec<MirrorStats>,
    /// Newest list of mirrors that hold everything.
    pub membership_epoch: u64,
    /// No mirror is left: writes wait for one.
    pub halted: bool,
    /// What the start mended in mirrors: the directory, and the segments that it lacked or had damaged.
    pub mended: Vec<(PathBuf, Vec<u64>)>,
    /// Bytes of the segments that are kept, one mirror's.
    pub bytes: u64,
    pub segments: u64,
    pub segment_bytes: u64,
    /// Group commits: rounds that ended in an fdatasync of every healthy mirror.
    pub commits: u64,
    pub commit_p50_ns: u64,
    pub commit_p99_ns: u64,
    /// Oldest LSN that is kept; the next to be given out where the journal is empty.
    pub oldest_lsn: u64,
}
