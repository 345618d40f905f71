//! A store that does what networks do: it is late, loses requests and replies, and hands out damaged bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use caudal_blocks::store::StoreResult;
use caudal_blocks::{ObjectInfo, Store, StoreError};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::support::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All goes well.
    None,
    /// The request is lost: nothing happens.
    Lost,
    /// The request is carried out, and the reply is lost.
    ReplyLost,
    /// An answer that trying again does not change.
    Fatal,
    /// The store wants to be left alone for so long.
    Throttled(Duration),
    /// The credential does not do.
    Denied,
    /// One bit of the answer is flipped.
    Flipped,
    /// The answer lacks its last bytes.
    Short,
}

pub struct Faulty {
    inner: Arc<dyn Store>,
    /// What happens to the next requests; afterwards chance decides.
    pub script: Mutex<VecDeque<Fault>>,
    random: Mutex<Random>,
    /// Of a hundred requests so many are lost, and so many of the replies.
    percent: u64,
    pub latency: Mutex<Duration>,
    pub gets: AtomicU64,
    pub get_ranges: Mutex<Vec<Range<u64>>>,
    pub requests: AtomicU64,
}

impl Faulty {
    /// Fails only as the script says.
    pub fn scripted(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::by_chance(inner, 0, 0))
    }

    pub fn by_chance(inner: Arc<dyn Store>, percent: u64, seed: u64) -> Self {
        Self {
            inner,
            script: Mutex::default(),
            random: Mutex::new(Random(seed)),
            percent,
            latency: Mutex::default(),
            gets: AtomicU64::new(0),
            get_ranges: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    pub fn next(&self, faults: &[Fault]) {
        self.script.lock().extend(faults);
    }

    fn draw(&self) -> Fault {
        if let Some(fault) = self.script.lock().pop_front() {
            return fault;
        }
        match self.random.lock().below(100) {
            n if n < self.percent => Fault::Lost,
            n if n < 2 * self.percent => Fault::ReplyLost,
            _ => Fault::None,
        }
    }

    async fn pass<T>(
        &self,
        key: &str,
        work: impl Future<Output = StoreResult<T>>,
        damage: impl FnOnce(T, Fault) -> T,
    ) -> StoreResult<T> {
        self.requests.fetch_add(1, Relaxed);
        let latency = *self.latency.lock();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let lost = |what: &str| StoreError::Temporary {
            key: key.to_owned(),
            message: what.to_owned(),
        };
        match self.draw() {
            Fault::Lost => Err(lost("the request was lost")),
            Fault::Fatal => Err(StoreError::Permanent {
                key: key.to_owned(),
                message: "no".to_owned(),
            }),
            Fault::Throttled(after) => Err(StoreError::Throttled {
                key: key.to_owned(),
                message: "busy".to_owned(),
                retry_after: Some(after),
            }),
            Fault::Denied => Err(StoreError::Denied {
                key: key.to_owned(),
                message: "not you".to_owned(),
            }),
            Fault::ReplyLost => {
                drop(work.await);
                Err(lost("the reply was lost"))
            }
            fault => Ok(damage(work.await?, fault)),
        }
    }
}

fn damage(mut pieces: Vec<Bytes>, fault: Fault) -> Vec<Bytes> {
    let Some(last) = pieces.last_mut() else {
        return pieces;
    };
    let mut bytes = last.to_vec();
    match fault {
        Fault::Flipped => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        Fault::Short => bytes.truncate(bytes.len() / 2),
        _ => {}
    }
    *last = bytes.into();
    pieces
}

impl Store for Faulty {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(self.pass(key, self.inner.put(key, chunks), |done, _| done))
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        self.gets.fetch_add(1, Relaxed);
        self.get_ranges.lock().push(range.clone());
        Box::pin(self.pass(key, self.inner.get_pieces(key, range, piece), damage))
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        Box::pin(self.pass(key, self.inner.head(key), |done, _| done))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(self.pass(key, self.inner.delete(key), |done, _| done))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        Box::pin(self.pass(prefix, self.inner.list(prefix), |done, _| done))
    }
}
