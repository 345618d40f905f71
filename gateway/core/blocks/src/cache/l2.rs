//! Blocks in a directory, which survive restarts.
//!
//! A block that is offered waits in memory, where it can be read, until a task of this tier has written it. A device that
//! fails or is full costs hits, never reads: it is left alone for a while after repeated errors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foyer::Load;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::disk::{self, BATCH_BYTES, Disk, Stored, cache_error};
use super::pending::Pending;
use super::{BlockKey, TierStats};
use crate::error::{BlockError, Result};

/// Reads, or written batches, that fail one after the other before the device is left alone, and for how long.
const FAILURES: u32 = 8;
const PAUSE: Duration = Duration::from_secs(30);
/// What waits to be written is given up when closing or emptying takes longer.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct L2 {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    disk: Disk,
    pending: Pending,
    /// Held while a batch is written: emptying goes between batches.
    writing: tokio::sync::Mutex<()>,
    /// Of its reads and of its writes: a full device is still read.
    reads: Health,
    writes: Health,
    capacity_bytes: u64,
    /// Written since the directory was opened or emptied.
    stored_bytes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Whether the device answers.
#[derive(Default)]
struct Health {
    errors: AtomicU64,
    failures: AtomicU32,
    paused_until: Mutex<Option<Instant>>,
}

impl Health {
    /// Takes note of an answer, and leaves the device alone when it failed too often.
    fn judge(&self, answered: bool) {
        if answered {
            self.failures.store(0, Relaxed);
            return;
        }
        self.errors.fetch_add(1, Relaxed);
        if self.failures.fetch_add(1, Relaxed) + 1 >= FAILURES {
            self.failures.store(0, Relaxed);
            *self.paused_until.lock() = Some(Instant::now() + PAUSE);
        }
    }

    fn is_paused(&self) -> bool {
        let mut until = self.paused_until.lock();
        if until.is_some_and(|until| Instant::now() >= until) {
            *until = None;
        }
        until.is_some()
    }
}

impl Shared {
    async fn load(&self, key: BlockKey) -> Option<Bytes> {
        if let Some(payload) = self.pending.get(key) {
            return Some(payload);
        }
        if self.reads.is_paused() {
            return None;
        }
        let loaded = self.disk.storage().load(&key).await;
        self.reads.judge(loaded.is_ok());
        match loaded {
            Ok(Load::Entry { value, .. }) if value.key == key => Some(value.payload),
            Ok(Load::Piece { piece, .. }) if piece.value().key == key => Some(piece.value().payload.clone()),
            _ => None,
        }
    }

    /// Writes what waits, batch by batch, until the queue is closed and empty. The next batch waits for the one before: the
    /// disk's own buffer drops what does not fit.
    async fn write(self: Arc<Self>) {
        while let Some(batch) = self.pending.take(BATCH_BYTES).await {
            let writing = self.writing.lock().await;
            let keys: Vec<BlockKey> = batch.iter().map(|(key, _)| *key).collect();
            let bytes: usize = batch.iter().map(|(_, payload)| payload.len()).sum();
            for (key, payload) in batch {
                // Emptied since it was taken: not wanted any more.
                if self.pending.contains(key) {
                    drop(self.disk.storage_writer(key).insert(Stored { key, payload }));
                }
            }
            self.disk.storage().wait().await;
            self.judge_batch(&keys, bytes as u64);
            self.pending.done(keys.into_iter());
            drop(writing);
        }
    }
}

impl Shared {
    /// The disk's own engine tells nobody that a write failed; what it could not write is not in its index.
    fn judge_batch(&self, keys: &[BlockKey], bytes: u64) {
        let wanted = || keys.iter().filter(|key| self.pending.contains(**key));
        if wanted().next().is_none() {
            return;
        }
        let stored = wanted().any(|key| self.disk.storage().may_contains(key));
        self.writes.judge(stored);
        if stored {
            self.stored_bytes.fetch_add(bytes, Relaxed);
        }
    }
}

impl L2 {
    /// Opens the directory and reads its index back. At most `queue_bytes` wait to be written; more is not cached.
    pub async fn open(
        rt: &Handle,
        dir: &Path,
        bytes: u64,
        queue_bytes: u64,
        fs_id: [u8; 16],
    ) -> Result<Self> {
        let capacity_bytes = disk::capacity_bytes(bytes);
        let shared = Arc::new(Shared {
            disk: disk::open(rt, dir, capacity_bytes, fs_id).await?,
            pending: Pending::new(queue_bytes),
            writing: tokio::sync::Mutex::default(),
            reads: Health::default(),
            writes: Health::default(),
            capacity_bytes,
            stored_bytes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        });
        let writer = rt.spawn(shared.clone().write());
        Ok(Self {
            shared,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Reads a block. A failing device is a miss.
    pub async fn get(&self, key: BlockKey) -> Option<Bytes> {
        let found = self.shared.load(key).await;
        let counter = if found.is_some() {
            &self.shared.hits
        } else {
            &self.shared.misses
        };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Whether the block is there, or on its way there.
    pub fn contains(&self, key: BlockKey) -> bool {
        self.shared.pending.contains(key) || self.shared.disk.storage().may_contains(&key)
    }

    /// Offers a block. It is written in the background, or not where too much waits already.
    pub fn insert(&self, key: BlockKey, payload: Bytes) {
        if !self.shared.writes.is_paused() {
            self.shared.pending.push(key, payload);
        }
    }

    pub async fn clear(&self) -> Result<()> {
        let shared = &self.shared;
        shared.pending.clear();
        shared.stored_bytes.store(0, Relaxed);
        let emptied = tokio::time::timeout(PATIENCE, async {
            let _writing = shared.writing.lock().await;
            shared.disk.storage().destroy().await.map_err(cache_error)
        });
        emptied
            .await
            .unwrap_or_else(|_| Err(BlockError::Cache("the device does not answer".to_owned())))
    }

    /// Waits until what was offered is written, as long as that may take.
    pub async fn close(&self) -> Result<()> {
        self.shared.pending.close();
        let writer = self.writer.lock().take();
        let closed = tokio::time::timeout(PATIENCE, async {
            if let Some(writer) = writer {
                writer
                    .await
                    .map_err(|error| BlockError::Cache(error.to_string()))?;
            }
            self.shared.disk.close().await.map_err(cache_error)
        });
        closed.await.unwrap_or_else(|_| {
            Err(BlockError::Cache(
                "not all blocks were written in time".to_owned(),
            ))
        })
    }

    pub fn stats(&self) -> TierStats {
        let shared = &self.shared;
        let off = match (shared.reads.is_paused(), shared.writes.is_paused()) {
            (true, _) => Some("the device failed and is tried again soon"),
            (_, true) => Some("the device takes no blocks (full?) and is tried again soon"),
            _ => None,
        };
        TierStats {
            hits: shared.hits.load(Relaxed),
            misses: shared.misses.load(Relaxed),
            bytes: shared.stored_bytes.load(Relaxed).min(shared.capacity_bytes),
            capacity_bytes: shared.capacity_bytes,
            errors: shared.reads.errors.load(Relaxed) + shared.writes.errors.load(Relaxed),
            off: off.map(str::to_owned),
        }
    }
}

impl Drop for L2 {
    fn drop(&mut self) {
        // The writer holds the directory; it writes what waits and ends.
        self.shared.pending.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_device_is_left_alone() {
        let health = Health::default();
        for _ in 1..FAILURES {
            health.judge(false);
        }
        health.judge(true);
        for _ in 1..FAILURES {
            health.judge(false);
        }
        assert!(!health.is_paused());
        health.judge(false);
        assert!(health.is_paused());
        *health.paused_until.lock() = Some(Instant::now());
        assert!(!health.is_paused());
    }
}
