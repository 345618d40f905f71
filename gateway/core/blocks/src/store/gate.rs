//! A gate before everything that changes a store: whoever may not change it any more is stopped before each attempt.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{ObjectInfo, Store, StoreResult, StoreStats};
use crate::seal::KeyRing;

/// What is about to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Put,
    Delete,
}

/// Says whether a change may be sent, now; it may take its time.
pub trait Gate: Send + Sync + 'static {
    fn pass<'a>(&'a self, key: &'a str, change: Change) -> BoxFuture<'a, StoreResult<()>>;
}

/// A store behind a gate. It stands below the retries, so that each attempt passes it.
pub struct Gated<S> {
    inner: S,
    gate: Option<Arc<dyn Gate>>,
}

impl<S: Store> Gated<S> {
    /// None lets everything pass.
    pub fn new(inner: S, gate: Option<Arc<dyn Gate>>) -> Self {
        Self { inner, gate }
    }

    async fn pass(&self, key: &str, change: Change) -> StoreResult<()> {
        match &self.gate {
            Some(gate) => gate.pass(key, change).await,
            None => Ok(()),
        }
    }
}

impl<S: Store> Store for Gated<S> {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            self.pass(key, Change::Put).await?;
            self.inner.put(key, chunks).await
        })
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        self.inner.get_pieces(key, range, piece)
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        self.inner.head(key)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            self.pass(key, Change::Delete).await?;
            self.inner.delete(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        self.inner.list(prefix)
    }

    fn stats(&self) -> Option<Arc<StoreStats>> {
        self.inner.stats()
    }

    fn available_bytes(&self) -> Option<u64> {
        self.inner.available_bytes()
    }

    fn keys(&self) -> Option<&KeyRing> {
        self.inner.keys()
    }
}
