//! Single flight: who asks for a block that is on its way waits for it instead of fetching it too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use parking_lot::Mutex;

use crate::cache::BlockKey;
use crate::errors::BlockError;

type Outcome = Result<Bytes, BlockError>;

/// A block that is on its way; as many as like may wait for it.
pub type Flight = Shared<oneshot::Receiver<Outcome>>;

#[derive(Default)]
pub struct Flights {
    map: Mutex<HashMap<BlockKey, Flight>>,
}

/// What to do for a block.
pub enum Boarding {
    /// It arrived in the meantime.
    Here(Bytes),
    /// Another one fetches it.
    Join(Flight),
    /// It is the caller's to fetch; its own wait is the flight.
    Lead(Flight, Lead),
}

/// The duty to bring a block. Dropped without an outcome, all who wait get `Closed`.
pub struct Lead {
    key: BlockKey,
    sender: oneshot::Sender<Outcome>,
}

impl Lead {
    pub const fn key(&self) -> BlockKey {
        self.key
    }
}

impl Flights {
    /// Boards for a block. `look` is asked under the lock: a flight leaves the map after its block is in the cache, so a block
    /// is either found or on its way, and never fetched twice.
    pub fn board(&self, key: BlockKey, look: impl FnOnce() -> Option<Bytes>) -> Boarding {
        match self.map.lock().entry(key) {
            Entry::Occupied(entry) => Boarding::Join(entry.get().clone()),
            Entry::Vacant(entry) => {
                if let Some(bytes) = look() {
                    return Boarding::Here(bytes);
                }
                let (sender, receiver) = oneshot::channel();
                let flight = receiver.shared();
                entry.insert(flight.clone());
                Boarding::Lead(flight, Lead { key, sender })
            }
        }
    }

    /// Ends a flight. A block that arrived must be in the cache before this.
    pub fn land(&self, lead: Lead, outcome: Outcome) {
        self.map.lock().remove(&lead.key);
        // Nobody may be waiting any more.
        drop(lead.sender.send(outcome));
    }

    /// Ends flights that were given up, so that the next reader begins anew.
    pub fn abandon(&self, leads: Vec<Lead>) {
        let mut map = self.map.lock();
        for lead in &leads {
            map.remove(&lead.key);
        }
    }
}
