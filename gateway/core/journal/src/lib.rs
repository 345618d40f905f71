//! The journal: the write-ahead log that every acknowledged change is in before its reply.
//!
//! One sequence of records, each with an LSN, in segment files that are the same in every mirror. Appending copies or
//! shares the payload into a buffer and never waits for a disk; [`Journal::wait_durable`] waits until one fdatasync has
//! covered the record and every other that was waited for meanwhile. The format is in docs/formats/journal.md.

mod batch;
mod committer;
pub mod disk;
mod durable;
mod error;
pub mod format;
mod history;
mod journal;
mod level;
mod mirror;
mod mirrors;
mod open;
mod replay;
mod room;
mod segment;
pub mod simulated;
mod spares;
mod state;
mod tail;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use durable::{OnDurable, WaitSlot};
pub use error::{Full, JournalError, ReplayError, Result};
pub use journal::Journal;
pub use mirrors::OnLost;
pub use replay::{Replayed, replay, replay_on};
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

/// What a journal may be opened with beside its configuration: another disk, a report, other times.
#[derive(Clone)]
pub struct Options {
    pub disk: Arc<dyn disk::Disk>,
    /// Called once for each mirror that is lost; may be called under load, so it must be quick.
    pub on_mirror_lost: OnLost,
    pub timing: Timing,
    /// No threads: rounds are done by who waits, or by [`Journal::write_out`], one mirror after the other; spares are made by
    /// [`Journal::make_spares`]. So what the journal does to its disks follows from the calls alone.
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
    /// Appending waits while more than this is unwritten.
    pub max_unwritten_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            disk: Arc::new(disk::SystemDisk),
            on_mirror_lost: Arc::new(|dir, why| eprintln!("journal mirror {} is lost: {why}", dir.display())),
            timing: Timing::default(),
            by_hand: false,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            write_after: Duration::from_millis(50),
            sync_after: Duration::from_secs(1),
            mirror_limit: Duration::from_secs(10),
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
    Healthy,
    /// It failed and takes no part any more.
    Lost,
}

impl MirrorState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Lost => "lost",
        }
    }
}

#[derive(Clone, Debug)]
pub struct MirrorStats {
    pub path: PathBuf,
    pub state: MirrorState,
}

#[derive(Clone, Debug)]
pub struct JournalStats {
    pub mirrors: Vec<MirrorStats>,
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
