//! Tries again what may succeed, and recognises the success of a put whose reply was lost.
//!
//! Two budgets keep this from making an outage worse: the time that one operation may take, and tokens that all operations
//! share. A retry takes a token and ten successes give one back, so a store that is down sees little but first attempts.
//! A store that says when to come again is left alone until then, by all operations.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::Instant;

use super::health::Direction;
use super::{ObjectInfo, Store, StoreResult, StoreStats};
use crate::error::StoreError;

/// Bytes at the end of an object that are compared to recognise it. A pack's end holds checksums of all of it.
const COMPARED_BYTES: u64 = 4096;

/// Parts of a token: a retry takes all of them, a success gives one back.
const TOKEN_PARTS: i64 = 10;

/// How long and how often.
#[derive(Clone)]
pub struct RetryPolicy {
    /// Upper bound of the first pause; it doubles from one attempt to the next.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// No attempt is begun later than this after the first one.
    pub deadline: Duration,
    /// An attempt that takes longer is given up; whether it had an effect is not known.
    pub attempt_limit: Duration,
    /// Retries of all operations together that may be saved up.
    pub tokens: u32,
    /// A number from 0 to 1 that each pause is multiplied by, so that clients do not come back all at once.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            attempt_limit: Duration::from_secs(60),
            tokens: 200,
            jitter: Arc::new(|| rand::rng().random::<f64>()),
        }
    }
}

/// A store that tries again.
pub struct Retrying<S> {
    inner: S,
    policy: RetryPolicy,
    tokens: AtomicI64,
    /// The store asked for no request before this.
    closed_until: Mutex<Option<Instant>>,
}

/// The attempts of one operation.
struct Attempts<'a> {
    policy: &'a RetryPolicy,
    tokens: &'a AtomicI64,
    closed_until: &'a Mutex<Option<Instant>>,
    stats: Option<Arc<StoreStats>>,
    direction: Direction,
    began: Instant,
    pause: Duration,
}

impl Attempts<'_> {
    /// Makes one attempt, for as long as one may take.
    async fn attempt<T>(&self, key: &str, work: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        self.wait_open(key).await?;
        let limit = self.policy.attempt_limit;
        let result = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let error = StoreError::Temporary {
                key: key.to_owned(),
                message: format!("no answer within {limit:?}"),
            };
            if let Some(stats) = &self.stats {
                stats.judge(self.direction, Some(&error));
            }
            Err(error)
        });
        if result.is_ok() && self.tokens.load(Relaxed) < i64::from(self.policy.tokens) * TOKEN_PARTS {
            self.tokens.fetch_add(1, Relaxed);
        }
        if let Err(StoreError::Throttled {
            retry_after: Some(after),
            ..
        }) = &result
        {
            let until = Instant::now() + *after;
            let mut closed = self.closed_until.lock();
            *closed = closed.max(Some(until));
        }
        result
    }

    /// Waits until the store may be asked; an error where that is after the deadline.
    async fn wait_open(&self, key: &str) -> StoreResult<()> {
        loop {
            let until = *self.closed_until.lock();
            let Some(until) = until else {
                return Ok(());
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.closed_until.lock().take_if(|latest| *latest <= until);
                return Ok(());
            }
            // Spread over a tenth more, so that not all come at the same moment.
            let wait = left + self.jittered(left / 10);
            if self.began.elapsed() + wait > self.policy.deadline {
                return Err(StoreError::Throttled {
                    key: key.to_owned(),
                    message: format!(
                        "the store asked to be left alone for {:.0} s more",
                        left.as_secs_f64()
                    ),
                    retry_after: None,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn jittered(&self, longest: Duration) -> Duration {
        longest.mul_f64((self.policy.jitter)().clamp(0.0, 1.0))
    }

    /// Waits before the next attempt; gives the error back where there is to be none.
    async fn after(&mut self, error: StoreError) -> StoreResult<()> {
        let pause = self.jittered(self.pause);
        if !error.is_temporary() || self.began.elapsed() + pause > self.policy.deadline || !self.take_token()
        {
            return Err(error);
        }
        self.pause = (self.pause * 2).min(self.policy.longest_pause);
        tokio::time::sleep(pause).await;
        if let Some(stats) = &self.stats {
            stats.retries.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn take_token(&self) -> bool {
        let taken = self.tokens.fetch_sub(TOKEN_PARTS, Relaxed) >= TOKEN_PARTS;
        if !taken {
            self.tokens.fetch_add(TOKEN_PARTS, Relaxed);
        }
        taken
    }
}

impl<S: Store> Retrying<S> {
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        let tokens = AtomicI64::new(i64::from(policy.tokens) * TOKEN_PARTS);
        Self {
            inner,
            policy,
            tokens,
            closed_until: Mutex::default(),
        }
    }

    fn attempts(&self, direction: Direction) -> Attempts<'_> {
        Attempts {
            policy: &self.policy,
            tokens: &self.tokens,
            closed_until: &self.closed_until,
            stats: self.inner.stats(),
            direction,
            began: Instant::now(),
            pause: self.policy.first_pause,
        }
    }

    async fn retried<'a, T>(
        &'a self,
        direction: Direction,
        key: &'a str,
        op: impl Fn(&'a S) -> BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let mut attempts = self.attempts(direction);
        loop {
            match attempts.attempt(key, op(&self.inner)).await {
                Ok(value) => return Ok(value),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Whether the object that is there is the one that an earlier attempt wrote: same size, same end.
    async fn is_ours(&self, key: &str, chunks: &[Bytes]) -> StoreResult<bool> {
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if self.head(key).await?.bytes != bytes {
            return Ok(false);
        }
        if bytes == 0 {
            return Ok(true);
        }
        let wanted = bytes.min(COMPARED_BYTES);
        let found = self.get_range(key, bytes - wanted..bytes).await?;
        Ok(found == end_of(chunks, wanted as usize))
    }
}

fn end_of(chunks: &[Bytes], len: usize) -> Vec<u8> {
    let mut left = len;
    let mut parts = Vec::new();
    for chunk in chunks.iter().rev() {
        let part = &chunk[chunk.len() - chunk.len().min(left)..];
        left -= part.len();
        parts.push(part);
        if left == 0 {
            break;
        }
    }
    parts.iter().rev().flat_map(|part| part.iter().copied()).collect()
}

impl<S: Store> Store for Retrying<S> {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let mut attempts = self.attempts(Direction::Write);
            let mut first = true;
            loop {
                match attempts.attempt(key, self.inner.put(key, chunks)).await {
                    Ok(()) => return Ok(()),
                    Err(StoreError::AlreadyExists(_)) if !first && self.is_ours(key, chunks).await? => {
                        return Ok(());
                    }
                    Err(error) => attempts.after(error).await?,
                }
                first = false;
            }
        })
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        Box::pin(self.retried(Direction::Read, key, move |inner| {
            inner.get_pieces(key, range.clone(), piece)
        }))
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        Box::pin(self.retried(Direction::Read, key, move |inner| inner.head(key)))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(self.retried(Direction::Write, key, move |inner| inner.delete(key)))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        Box::pin(self.retried(Direction::Read, prefix, move |inner| inner.list(prefix)))
    }

    fn stats(&self) -> Option<Arc<StoreStats>> {
        self.inner.stats()
    }

    fn available_bytes(&self) -> Option<u64> {
        self.inner.available_bytes()
    }
}
