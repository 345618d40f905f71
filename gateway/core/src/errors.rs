//! What can go wrong, named by what the caller must do, and its one mapping to errno and one to Python.

use std::io;

use caudal_blocks::{BlockError, StoreError};
use caudal_journal::JournalError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum CoreError {
    /// Activate the inode and try again.
    #[error("inode {0} is not resident")]
    NotResident(u64),
    /// The handle is of an older inode.
    #[error("inode {0} has another generation")]
    Stale(u64),
    #[error("the file would pass the largest size")]
    TooLarge,
    /// What a seek looks for begins before the end of the file.
    #[error("the offset is not before the end of the file")]
    BeyondEnd,
    #[error("the store has no room for it")]
    NoSpace,
    /// A tree that the file is in may not take more; nothing was changed.
    #[error("the quota of its directory is exceeded")]
    QuotaExceeded,
    /// Nothing was changed; try again.
    #[error("{0}")]
    Busy(&'static str),
    #[error("object store: {0}")]
    Store(String),
    /// A pack that was there is not there. What lived in it may live elsewhere by now.
    #[error("object store: {0}")]
    PackGone(String),
    /// The store does not answer, or not to us; nothing is lost, and the same may succeed later.
    #[error("object store: {0}")]
    StoreAway(String),
    /// The disk cache did not do it; reads go on without it.
    #[error("{0}")]
    Cache(String),
    #[error("journal: {0}")]
    Journal(String),
    /// The journal's mirrors that are there lack what was acknowledged without them.
    #[error("{0}")]
    StaleJournal(String),
    /// Written by a later version of this software.
    #[error("journal: {0}")]
    NewerFormat(String),
    #[error("{0}")]
    Corrupt(String),
    /// The server stops; the next one answers.
    #[error("the core is closed")]
    Closed,
    /// Another server owns the file system now; that one answers.
    #[error("this server no longer owns the file system")]
    Fenced,
    /// The caller's mistake: before start, twice.
    #[error("{0}")]
    Misuse(&'static str),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub type Result<T> = std::result::Result<T, CoreError>;

impl CoreError {
    /// Whether data were not where they had been: a file of the journal, or a pack.
    #[must_use]
    pub fn is_vanished(&self) -> bool {
        match self {
            Self::PackGone(_) => true,
            Self::Io(error) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The errno that a C caller sees, positive.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NewerFormat(_) | Self::StaleJournal(_) => libc::EIO,
            Self::Stale(_) => libc::ESTALE,
            Self::TooLarge => libc::EFBIG,
            Self::BeyondEnd => libc::ENXIO,
            Self::NoSpace => libc::ENOSPC,
            Self::QuotaExceeded => libc::EDQUOT,
            Self::NotResident(_) | Self::Busy(_) | Self::StoreAway(_) | Self::Closed | Self::Fenced => {
                libc::EAGAIN
            }
            Self::Invalid(_) => libc::EINVAL,
            // A file of ours that is missing: to a client ENOENT would say that its own is.
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => libc::EIO,
            Self::Io(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Self::PackGone(_)
            | Self::Store(_)
            | Self::Cache(_)
            | Self::Journal(_)
            | Self::Corrupt(_)
            | Self::Misuse(_) => libc::EIO,
        }
    }
}

impl From<JournalError> for CoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            JournalError::Stale(_) => Self::StaleJournal(error.to_string()),
            JournalError::Version { .. } => Self::NewerFormat(error.to_string()),
            JournalError::Closed => Self::Closed,
            JournalError::TooLarge { .. } => Self::Invalid(error.to_string()),
            _ => Self::Journal(error.to_string()),
        }
    }
}

impl From<BlockError> for CoreError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            BlockError::Cache(_) => Self::Cache(error.to_string()),
            BlockError::Store(StoreError::NotFound(_)) => Self::PackGone(error.to_string()),
            _ if error.is_away() => Self::StoreAway(error.to_string()),
            _ => Self::Store(error.to_string()),
        }
    }
}
