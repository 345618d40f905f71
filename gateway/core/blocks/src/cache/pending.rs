//! Blocks that wait to be written to L2. A burst of reads or flushes is faster than the disk and must not be lost for it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::BlockKey;

/// A bounded queue whose blocks can be read until they are written.
pub struct Pending {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Notify,
    limit_bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    blocks: HashMap<BlockKey, Bytes>,
    /// Those that no writer has taken yet, oldest first.
    order: VecDeque<BlockKey>,
    bytes: u64,
    closed: bool,
}

impl Pending {
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            state: Mutex::default(),
            work: Notify::new(),
            limit_bytes: AtomicU64::new(limit_bytes),
        }
    }

    /// From now on; what waits already stays.
    pub fn set_limit(&self, bytes: u64) {
        self.limit_bytes.store(bytes, Relaxed);
    }

    /// Whether more than half of what may wait does.
    pub fn is_half_full(&self) -> bool {
        self.state.lock().bytes > self.limit_bytes.load(Relaxed) / 2
    }

    pub fn holds_any(&self) -> bool {
        !self.state.lock().blocks.is_empty()
    }

    /// Adds a block; nothing happens where the queue is full or closed, or has it.
    pub fn push(&self, key: BlockKey, payload: Bytes) {
        let mut state = self.state.lock();
        let bytes = state.bytes + payload.len() as u64;
        if state.closed || bytes > self.limit_bytes.load(Relaxed) || state.blocks.contains_key(&key) {
            return;
        }
        state.bytes = bytes;
        state.blocks.insert(key, payload);
        state.order.push_back(key);
        drop(state);
        self.work.notify_one();
    }

    pub fn get(&self, key: BlockKey) -> Option<Bytes> {
        self.state.lock().blocks.get(&key).cloned()
    }

    pub fn contains(&self, key: BlockKey) -> bool {
        self.state.lock().blocks.contains_key(&key)
    }

    /// Waits for work and takes up to so many bytes of it, at least one block; None: closed and empty. What is taken
    /// stays readable until it is [`Self::done`].
    pub async fn take(&self, most_bytes: u64) -> Option<Vec<(BlockKey, Bytes)>> {
        loop {
            let batch = self.try_take(most_bytes)?;
            if !batch.is_empty() {
                return Some(batch);
            }
            self.work.notified().await;
        }
    }

    fn try_take(&self, most_bytes: u64) -> Option<Vec<(BlockKey, Bytes)>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(key) = state.order.front() {
            let Some(payload) = state.blocks.get(key) else {
                state.order.pop_front();
                continue;
            };
            bytes += payload.len() as u64;
            if bytes > most_bytes && !batch.is_empty() {
                break;
            }
            batch.push((*key, payload.clone()));
            state.order.pop_front();
        }
        (!batch.is_empty() || !state.closed).then_some(batch)
    }

    /// Lets go of what was written.
    pub fn done(&self, keys: impl Iterator<Item = BlockKey>) {
        let mut state = self.state.lock();
        for key in keys {
            if let Some(payload) = state.blocks.remove(&key) {
                state.bytes -= payload.len() as u64;
            }
        }
    }

    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.blocks.clear();
        state.order.clear();
        state.bytes = 0;
    }

    /// Takes nothing more; the writer ends when all is written.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(block: u32) -> BlockKey {
        BlockKey { pack: 1, block }
    }

    fn block(len: usize) -> Bytes {
        Bytes::from(vec![1; len])
    }

    #[test]
    fn it_is_bounded_and_keeps_order() {
        let pending = Pending::new(100);
        for n in 0..10 {
            pending.push(key(n), block(30));
        }
        assert!(pending.contains(key(2)) && !pending.contains(key(3)));
        let batch = pending.try_take(60).unwrap();
        assert_eq!(batch.iter().map(|(key, _)| key.block).collect::<Vec<_>>(), [0, 1]);
        assert!(pending.get(key(0)).is_some(), "readable until it is written");
        pending.push(key(4), block(30));
        assert!(!pending.contains(key(4)), "and counted until then");
        pending.done(batch.iter().map(|(key, _)| *key));
        assert!(pending.get(key(0)).is_none());
        pending.push(key(4), block(30));
        assert_eq!(pending.try_take(1).unwrap().len(), 1, "at least one");
        assert_eq!(pending.try_take(1000).unwrap()[0].0, key(4));
    }

    #[test]
    fn closing_ends_the_writer_after_the_last_block() {
        let pending = Pending::new(100);
        pending.push(key(1), block(10));
        pending.close();
        pending.push(key(2), block(10));
        assert_eq!(pending.try_take(1000).unwrap().len(), 1);
        assert!(pending.try_take(1000).is_none());
    }

    #[test]
    fn what_is_cleared_is_not_written() {
        let pending = Pending::new(100);
        pending.push(key(1), block(10));
        pending.clear();
        assert!(pending.try_take(1000).unwrap().is_empty());
        pending.push(key(1), block(10));
        assert_eq!(pending.try_take(1000).unwrap().len(), 1);
    }
}
