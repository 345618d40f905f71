//! Single flight: however many readers wait for a block, it is fetched once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cache::BlockKey;
use crate::error::{BlockError, Result};

/// Where a block came from, the farthest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Memory,
    Disk,
    Store,
}

type Answer = Option<Result<(Bytes, Tier)>>;

/// The fetches that are under way.
#[derive(Default)]
pub struct Flights {
    map: Mutex<HashMap<BlockKey, watch::Receiver<Answer>>>,
}

/// A reader's place: the block itself, or the wait for a fetch.
pub enum Ticket {
    Ready(Bytes),
    Waiting(watch::Receiver<Answer>),
}

impl Ticket {
    pub async fn wait(self) -> Result<(Bytes, Tier)> {
        match self {
            Self::Ready(bytes) => Ok((bytes, Tier::Memory)),
            Self::Waiting(mut answer) => {
                let answer = answer
                    .wait_for(Option::is_some)
                    .await
                    .map_err(|_| BlockError::Abandoned)?;
                answer.clone().unwrap_or(Err(BlockError::Abandoned))
            }
        }
    }
}

/// The duty to fetch a block. Dropped without an answer it wakes the waiters with `Abandoned`.
pub struct Claim {
    pub key: BlockKey,
    flights: Arc<Flights>,
    answer: watch::Sender<Answer>,
    landed: bool,
}

impl Claim {
    /// Answers all waiters. A sound block is in L1 before: who comes later finds it there, or fetches again.
    pub fn finish(mut self, result: Result<Bytes>, source: Tier) {
        // Out of the map first: who comes after the answer must not meet it again, least of all an error.
        self.land();
        self.answer
            .send_replace(Some(result.map(|bytes| (bytes, source))));
    }
}

impl Claim {
    /// Takes the flight out of the map, once: another one may be there by now.
    fn land(&mut self) {
        if !std::mem::replace(&mut self.landed, true) {
            self.flights.map.lock().remove(&self.key);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.land();
    }
}

impl Flights {
    /// Joins or begins a fetch of each block. `ready` looks where a finished fetch leaves its block, and is asked under the
    /// lock: between it and the map no fetch can end unseen.
    pub fn board(
        self: &Arc<Self>,
        keys: impl Iterator<Item = BlockKey>,
        ready: impl Fn(BlockKey) -> Option<Bytes>,
    ) -> (Vec<Ticket>, Vec<Claim>) {
        let mut map = self.map.lock();
        let mut tickets = Vec::new();
        let mut claims = Vec::new();
        for key in keys {
            if let Some(bytes) = ready(key) {
                tickets.push(Ticket::Ready(bytes));
            } else if let Some(answer) = map.get(&key) {
                tickets.push(Ticket::Waiting(answer.clone()));
            } else {
                let (sender, receiver) = watch::channel(None);
                map.insert(key, receiver.clone());
                tickets.push(Ticket::Waiting(receiver));
                claims.push(Claim {
                    key,
                    flights: self.clone(),
                    answer: sender,
                    landed: false,
                });
            }
        }
        (tickets, claims)
    }

    /// Fetches under way.
    pub fn len(&self) -> usize {
        self.map.lock().len()
    }
}
