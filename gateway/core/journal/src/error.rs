//! Errors of the journal. They are cloned to every waiter, so they hold text, not the original error.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub type Result<T> = std::result::Result<T, JournalError>;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JournalError {
    /// Acknowledged records are lost: something valid follows what cannot be read in any mirror.
    #[error(
        "{}: bad record at offset {offset}; LSN {first_lost:#x} to {last_lost:#x} were acknowledged and are lost",
        path.display()
    )]
    Corrupt {
        path: PathBuf,
        offset: u64,
        first_lost: u64,
        last_lost: u64,
    },
    /// A file that is in the journal's place is not of this journal.
    #[error("{}: {why}", path.display())]
    Foreign { path: PathBuf, why: String },
    /// Written by a newer version of this software.
    #[error("{}: format version {version} is newer than this software knows", path.display())]
    Version { path: PathBuf, version: u32 },
    /// The mirrors that are there were left behind: others went on without them.
    #[error("{0}")]
    Stale(Box<Stale>),
    #[error("{}: {message}", path.display())]
    Io {
        path: PathBuf,
        kind: io::ErrorKind,
        message: String,
    },
    /// No mirror is left; nothing is acknowledged any more.
    #[error("no journal mirror is left: {0}")]
    Failed(String),
    /// The record does not fit into a segment.
    #[error("a record of {bytes} bytes is larger than a segment holds")]
    TooLarge { bytes: u64 },
    #[error("the journal is closed")]
    Closed,
    /// The caller's mistake.
    #[error("{0}")]
    Misuse(String),
}

/// What is known of a journal whose newest state is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The mirrors that are there and lack something; none: there is no journal at all.
    pub found: Vec<PathBuf>,
    /// Membership epoch of the newest of them; 0: unknown.
    pub found_epoch: u64,
    /// When that began, in seconds since 1970; 0: unknown.
    pub found_at_s: u64,
    /// The last LSN that they have; 0: none, or it cannot be told.
    pub end_lsn: u64,
    /// The newest membership epoch that is known of.
    pub newest_epoch: u64,
    /// When that began; 0: unknown.
    pub newest_at_s: u64,
    /// Mirrors that have what is missing, as far as is known.
    pub holders: Vec<PathBuf>,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |paths: &[PathBuf]| {
            let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            names.join(", ")
        };
        if self.found.is_empty() {
            write!(f, "the journal is empty, but this file system has one")?;
        } else {
            write!(
                f,
                "the journal in {} was left behind: others went on without it",
                names(&self.found)
            )?;
        }
        match (self.found.is_empty(), self.end_lsn) {
            (true, _) | (false, 0) => {
                write!(f, "; all that was acknowledged and not flushed would be missing")?
            }
            (false, end) => write!(f, "; what was acknowledged after LSN {end:#x} would be missing")?,
        }
        if self.newest_at_s > 0 {
            write!(f, ", up to some time after {}", utc(self.newest_at_s))?;
        }
        if self.found_at_s > 0 {
            write!(f, " (it was complete at {})", utc(self.found_at_s))?;
        }
        write!(
            f,
            "; membership {:#x} was found, {:#x} is the newest",
            self.found_epoch, self.newest_epoch
        )?;
        if self.holders.is_empty() {
            Ok(())
        } else {
            write!(f, "; what is missing is in {}", names(&self.holders))
        }
    }
}

/// A time of the Gregorian calendar, as "2026-11-28 23:05:00 UTC".
fn utc(seconds: u64) -> String {
    // Days from the first of March of the year 0, in which leap days come last.
    let days = seconds / 86400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let clock = seconds % 86400;
    format!(
        "{:04}-{month:02}-{date:02} {:02}:{:02}:{:02} UTC",
        era * 400 + year + carry,
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

impl JournalError {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

impl From<JournalError> for io::Error {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { kind, .. } => Self::new(kind, error),
            _ => Self::other(error),
        }
    }
}

/// There is no room in the journal now: flush and checkpoint must let it be trimmed first.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the journal is full")]
pub struct Full;

/// Why a replay stopped early.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReplayError<E> {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The callback's own error.
    #[error("a record could not be applied")]
    Callback(E),
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_868_800), "2000-03-01 00:00:00 UTC");
        assert_eq!(utc(1_795_906_800), "2026-11-28 23:00:00 UTC");
    }
}
