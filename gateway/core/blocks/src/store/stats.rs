//! Counts what a store does: one attempt at a time, so retries count too.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;
use caudal_base::Histogram;
use futures::future::BoxFuture;

use super::health::{Direction, Health, StoreState};
use super::{ObjectInfo, Store, StoreResult};
use crate::error::StoreError;

/// Figures since the store was opened. Latencies are of successful attempts.
#[derive(Default)]
pub struct StoreStats {
    pub gets: AtomicU64,
    pub puts: AtomicU64,
    pub deletes: AtomicU64,
    pub heads: AtomicU64,
    pub lists: AtomicU64,
    pub get_bytes: AtomicU64,
    pub put_bytes: AtomicU64,
    /// Failed attempts. That there is no such object, or one already, is an answer and no failure.
    pub errors: AtomicU64,
    /// Attempts after the first one of an operation.
    pub retries: AtomicU64,
    pub get: Histogram,
    pub put: Histogram,
    pub health: Health,
}

impl StoreStats {
    /// Takes note of an attempt.
    fn note<T>(&self, count: &AtomicU64, direction: Direction, result: &StoreResult<T>) {
        count.fetch_add(1, Relaxed);
        self.judge(direction, result.as_ref().err());
    }

    /// Takes note of how an attempt ended. Of one that was given up only its caller can tell.
    pub(super) fn judge(&self, direction: Direction, error: Option<&StoreError>) {
        if error.is_some_and(|error| StoreState::of(error) != StoreState::Ok) {
            self.errors.fetch_add(1, Relaxed);
        }
        self.health.note(direction, error);
    }
}

/// A store with figures.
pub struct Measured<S> {
    inner: S,
    stats: Arc<StoreStats>,
}

impl<S: Store> Measured<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            stats: Arc::default(),
        }
    }
}

impl<S: Store> Store for Measured<S> {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let began = Instant::now();
            let result = self.inner.put(key, chunks).await;
            self.stats.note(&self.stats.puts, Direction::Write, &result);
            if result.is_ok() {
                self.stats.put.record(began.elapsed());
                let bytes: usize = chunks.iter().map(Bytes::len).sum();
                self.stats.put_bytes.fetch_add(bytes as u64, Relaxed);
            }
            result
        })
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        Box::pin(async move {
            let began = Instant::now();
            let result = self.inner.get_pieces(key, range, piece).await;
            self.stats.note(&self.stats.gets, Direction::Read, &result);
            if let Ok(pieces) = &result {
                self.stats.get.record(began.elapsed());
                let bytes: usize = pieces.iter().map(Bytes::len).sum();
                self.stats.get_bytes.fetch_add(bytes as u64, Relaxed);
            }
            result
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        Box::pin(async move {
            let result = self.inner.head(key).await;
            self.stats.note(&self.stats.heads, Direction::Read, &result);
            result
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let result = self.inner.delete(key).await;
            self.stats.note(&self.stats.deletes, Direction::Write, &result);
            result
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        Box::pin(async move {
            let result = self.inner.list(prefix).await;
            self.stats.note(&self.stats.lists, Direction::Read, &result);
            result
        })
    }

    fn stats(&self) -> Option<Arc<StoreStats>> {
        Some(self.stats.clone())
    }

    fn available_bytes(&self) -> Option<u64> {
        self.inner.available_bytes()
    }
}
