//! A store in memory that misbehaves as a real one may: it fails, loses replies, answers late, does what was given up long ago,
//! sends too little or something else. What it does follows from its machine's fate alone.
//!
//! Objects outlive the machine that put them. Waiting is on the runtime's clock, which in a simulation does not take time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use caudal_base::fate::{Fate, Step};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{ObjectInfo, Store, StoreResult};
use crate::error::StoreError;

/// How likely each trouble is, from 0 to 1, at each request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Troubles {
    /// It fails without an effect.
    pub fails: f64,
    /// It is done, and the reply is lost.
    pub lost_reply: f64,
    /// A put is done after everyone has given it up, if ever.
    pub late: f64,
    /// The answer takes longer than anyone waits, or just a while.
    pub slow: f64,
    /// A body lacks its end.
    pub short: f64,
    /// A body has a byte that was never written.
    pub corrupt: f64,
    /// It asks to be left alone for a while.
    pub throttled: f64,
    /// Nothing is done at all.
    pub away: bool,
}

struct Object {
    bytes: Bytes,
    modified_ns: i64,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// Puts that were given up and still may happen.
    late: Vec<(String, Bytes)>,
    troubles: Troubles,
    forgetful: f64,
}

/// The store; it has no retries of its own.
pub struct SimStore {
    fate: Arc<Fate>,
    now_ns: Arc<AtomicI64>,
    state: Mutex<State>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Done,
    Fails,
    LostReply,
    Late,
    Slow(Duration),
    Throttled,
}

/// Longer than any attempt.
const NEVER: Duration = Duration::from_secs(1 << 30);
const SLOWEST_S: f64 = 100.0;
const LEFT_ALONE: Duration = Duration::from_secs(3);

impl SimStore {
    /// `now_ns` is what the store takes for the time, in nanoseconds since 1970.
    #[must_use]
    pub fn new(fate: Arc<Fate>, now_ns: Arc<AtomicI64>) -> Self {
        Self {
            fate,
            now_ns,
            state: Mutex::default(),
        }
    }

    pub fn set_troubles(&self, troubles: Troubles) {
        self.state.lock().troubles = troubles;
    }

    /// A put says that it is done and is not, with this probability: no store does that, so whoever checks has to notice.
    pub fn lose_puts(&self, probability: f64) {
        self.state.lock().forgetful = probability;
    }

    /// Keys of all objects.
    #[must_use]
    pub fn keys_of_all(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }

    /// Puts that were given up happen now, or never, as chance has it.
    pub fn settle_late(&self) {
        let late = std::mem::take(&mut self.state.lock().late);
        for (key, bytes) in late {
            if self.fate.chance(0.5) {
                self.fate.note(format_args!("late put of {key}"));
                self.insert(&key, &bytes);
            }
        }
    }

    /// False: there is one.
    fn insert(&self, key: &str, bytes: &Bytes) -> bool {
        let mut state = self.state.lock();
        if state.objects.contains_key(key) {
            return false;
        }
        let object = Object {
            bytes: bytes.clone(),
            modified_ns: self.now_ns.load(SeqCst),
        };
        state.objects.insert(key.to_owned(), object);
        true
    }

    /// What happens to a request, which may be one that changes something.
    async fn begin(&self, what: &str, key: &str) -> StoreResult<Outcome> {
        let dead = |error: std::io::Error| StoreError::Permanent {
            key: key.to_owned(),
            message: error.to_string(),
        };
        let outcome = match self.fate.step(format_args!("{what} {key}")).map_err(dead)? {
            Step::Last => Outcome::LostReply,
            Step::Done => self.outcome(),
        };
        if outcome != Outcome::Done {
            self.fate.note(format_args!("{outcome:?}"));
        }
        match outcome {
            Outcome::Fails => Err(temporary(key, "the request failed")),
            Outcome::Slow(wait) => {
                tokio::time::sleep(wait).await;
                // Nobody may be there any more to hear the answer.
                self.fate.check().map_err(dead)?;
                Ok(Outcome::Done)
            }
            Outcome::Throttled => Err(StoreError::Throttled {
                key: key.to_owned(),
                message: "too many requests".to_owned(),
                retry_after: Some(LEFT_ALONE),
            }),
            other => Ok(other),
        }
    }

    fn outcome(&self) -> Outcome {
        let troubles = self.state.lock().troubles;
        if troubles.away {
            return Outcome::Fails;
        }
        let mut at = self.fate.unit();
        for (probability, outcome) in [
            (troubles.fails, Outcome::Fails),
            (troubles.lost_reply, Outcome::LostReply),
            (troubles.late, Outcome::Late),
            (troubles.throttled, Outcome::Throttled),
        ] {
            if at < probability {
                return outcome;
            }
            at -= probability;
        }
        if at < troubles.slow {
            return Outcome::Slow(Duration::from_secs_f64(self.fate.unit() * SLOWEST_S));
        }
        Outcome::Done
    }

    /// What a body looks like when it arrives.
    fn received(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let troubles = self.state.lock().troubles;
        if bytes.is_empty() {
            return bytes;
        }
        let at = (self.fate.unit() * bytes.len() as f64) as usize;
        if self.fate.chance(troubles.short) {
            bytes.truncate(at);
        } else if self.fate.chance(troubles.corrupt) {
            bytes[at] ^= 1 + (self.fate.random() % 255) as u8;
        }
        bytes
    }

    fn info(key: &str, object: &Object) -> ObjectInfo {
        ObjectInfo {
            key: key.to_owned(),
            bytes: object.bytes.len() as u64,
            modified_s: object.modified_ns as f64 / 1e9,
        }
    }
}

fn temporary(key: &str, message: &str) -> StoreError {
    StoreError::Temporary {
        key: key.to_owned(),
        message: message.to_owned(),
    }
}

fn lost<T>(key: &str) -> StoreResult<T> {
    Err(temporary(key, "the connection was reset"))
}

impl Store for SimStore {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let outcome = self.begin("put", key).await?;
            let bytes = Bytes::from(chunks.concat());
            if outcome == Outcome::Late {
                self.state.lock().late.push((key.to_owned(), bytes));
                tokio::time::sleep(NEVER).await;
                return lost(key);
            }
            let forgets = self.state.lock().forgetful;
            let new = self.fate.chance(forgets) || self.insert(key, &bytes);
            match (outcome, new) {
                (Outcome::LostReply, _) => lost(key),
                (_, true) => Ok(()),
                (_, false) => Err(StoreError::AlreadyExists(key.to_owned())),
            }
        })
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        Box::pin(async move {
            if self.begin("get", key).await? != Outcome::Done {
                return lost(key);
            }
            let body = {
                let state = self.state.lock();
                let object = state.objects.get(key);
                let object = object.ok_or_else(|| StoreError::NotFound(key.to_owned()))?;
                let end = range.end.min(object.bytes.len() as u64);
                if range.start >= end {
                    return Err(StoreError::Range(key.to_owned()));
                }
                object.bytes[range.start as usize..end as usize].to_vec()
            };
            let body = self.received(body);
            Ok(body.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect())
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        Box::pin(async move {
            if self.begin("head", key).await? != Outcome::Done {
                return lost(key);
            }
            let state = self.state.lock();
            let object = state.objects.get(key);
            object
                .map(|object| Self::info(key, object))
                .ok_or_else(|| StoreError::NotFound(key.to_owned()))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let outcome = self.begin("delete", key).await?;
            self.state.lock().objects.remove(key);
            if outcome == Outcome::Done {
                Ok(())
            } else {
                lost(key)
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        Box::pin(async move {
            if self.begin("list", prefix).await? != Outcome::Done {
                return lost(prefix);
            }
            let below = if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            };
            let state = self.state.lock();
            let found = state.objects.iter().filter(|(key, _)| key.starts_with(&below));
            Ok(found.map(|(key, object)| Self::info(key, object)).collect())
        })
    }
}
