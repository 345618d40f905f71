//! One narrow interface to object stores. Objects are immutable: they are created, read and deleted.

mod answer;
mod azure;
mod file;
mod gate;
mod health;
mod object;
pub mod open;
mod retry;
mod simulated;
mod stats;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use file::FileStore;
pub use gate::{Change, Gate, Gated};
pub use health::{HealthReport, StoreState};
pub use object::ObjectBackend;
pub use retry::{RetryPolicy, Retrying};
pub use simulated::{SimStore, Troubles};
pub use stats::{Measured, StoreStats};

use crate::error::StoreError;
use crate::seal::KeyRing;

pub type StoreResult<T> = std::result::Result<T, StoreError>;

#[derive(Clone, Debug, PartialEq)]
pub struct ObjectInfo {
    /// Below the store's prefix.
    pub key: String,
    pub bytes: u64,
    /// Seconds since 1970.
    pub modified_s: f64,
}

/// An object store below a prefix. Keys are relative paths of letters, digits and `/`.
pub trait Store: Send + Sync + 'static {
    /// Creates an object; it is durable when this returns. `AlreadyExists` where there is one with this key: it is
    /// never replaced. Readers see all of an object or nothing.
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>>;

    /// Reads a range clipped to the object, cut every `piece` bytes; each piece is an allocation of its own, so that one
    /// that is kept holds no other in memory. `Range` where it begins at the end of the object or after it.
    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>>;

    /// Size and time of an object.
    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>>;

    /// Deletes an object; none is no error.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>>;

    /// All objects in the directory `prefix` and below it; an empty one stands for the whole store.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>>;

    /// Figures, where someone counts.
    fn stats(&self) -> Option<Arc<StoreStats>> {
        None
    }

    /// What it has room for, where that is known: a directory's disk has an end.
    fn available_bytes(&self) -> Option<u64> {
        None
    }

    /// Keys of the sealed packs in it.
    fn keys(&self) -> Option<&KeyRing> {
        None
    }

    /// Reads a range clipped to the object.
    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Bytes>> {
        Box::pin(async move {
            let piece = usize::try_from(range.end.saturating_sub(range.start))
                .unwrap_or(usize::MAX)
                .max(1);
            Ok(self
                .get_pieces(key, range, piece)
                .await?
                .into_iter()
                .next()
                .unwrap_or_default())
        })
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        (**self).put(key, chunks)
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        (**self).get_pieces(key, range, piece)
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        (**self).head(key)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        (**self).delete(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        (**self).list(prefix)
    }

    fn stats(&self) -> Option<Arc<StoreStats>> {
        (**self).stats()
    }

    fn available_bytes(&self) -> Option<u64> {
        (**self).available_bytes()
    }

    fn keys(&self) -> Option<&KeyRing> {
        (**self).keys()
    }
}
