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
