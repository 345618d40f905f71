//! What can go wrong, named by what the caller must do. Errors are cloned to every waiter, so they hold text.

use std::time::Duration;

use thiserror::Error;

pub type Result<T> = std::result::Result<T, BlockError>;

/// The answer of an object store.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    #[error("{0}: no such object")]
    NotFound(String),
    /// A create-only put met an object that it did not write.
    #[error("{0}: exists already")]
    AlreadyExists(String),
    /// The range begins at or after the object's end.
    #[error("{0}: range beyond the end of the object")]
    Range(String),
    /// Credentials or permissions: trying again helps only when somebody has changed them.
    #[error("{key}: refused: {message}")]
    Denied { key: String, message: String },
    /// The next attempt may succeed. Whether this one had an effect is not known.
    #[error("{key}: {message}")]
    Temporary { key: String, message: String },
    /// The store wants to be left alone, for so long where it says so.
    #[error("{key}: {message}")]
    Throttled {
        key: String,
        message: String,
        retry_after: Option<Duration>,
    },
    /// Trying again does not help: a full or read-only disk, an answer that makes no sense.
    #[error("{key}: {message}")]
    Permanent { key: String, message: String },
}

impl StoreError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary { .. } | Self::Throttled { .. })
    }

    /// Whether the object may be as it should be, for all that this answer says: it was the way there that failed.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        self.is_temporary() || matches!(self, Self::Denied { .. })
    }
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BlockError {
    /// What the store holds is not what was written. `block` is None where it concerns the footer or the whole pack.
    #[error("pack {pack:016x}{}: {why}", Place(*block))]
    Corrupt {
        pack: u64,
        block: Option<u32>,
        why: String,
    },
    /// The pack may be sound, but the key ring does not have what it takes.
    #[error("pack {pack:016x}: {why}")]
    Key { pack: u64, why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The block cache's directory or size does not do.
    #[error("block cache: {0}")]
    Cache(String),
    /// The URL or the options of a store do not do.
    #[error("object store: {0}")]
    Config(String),
    /// The fetch ended without an answer, because the runtime shuts down.
    #[error("the fetch was abandoned")]
    Abandoned,
}

impl BlockError {
    /// Whether the same read may succeed later, with nothing lost meanwhile.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        match self {
            Self::Store(error) => error.is_away(),
            Self::Abandoned => true,
            _ => false,
        }
    }
}

struct Place(Option<u32>);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |block| write!(f, " block {block}"))
    }
}
