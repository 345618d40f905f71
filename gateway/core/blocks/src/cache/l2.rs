//! Blocks in a directory, which survive restarts.
//!
//! A block that is offered waits in memory, where it can be read, until a task of this tier has written it. A device that
//! fails or is full costs hits, never reads: it is left alone for a while after repeated errors.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use foyer::Load;
use futures::FutureExt;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::device::Health;
use super::disk::{self, BATCH_BYTES, Disk, Stored, cache_error};
use super::pending::Pending;
use super::{BlockKey, TierStats};
use crate::error::{BlockError, Result};

/// A batch that is not written in this time never will be.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// What waits to be written is given up when closing or emptying takes longer.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct L2 {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    rt: Handle,
    dir: PathBuf,
    fs_id: [u8; 16],
    disk: RwLock<Disk>,
    pending: Pending,
    /// Held while a batch is written: emptying goes between batches.
    writing: tokio::sync::Mutex<()>,
    /// Of its reads and of its writes: a full device is still read.
    reads: Health,
    writes: Health,
    /// What was not written has left the disk's engine without regions that it never gives back: it is of no use for writing.
    worn: AtomicBool,
    capacity_bytes: u64,
    /// Written since the directory was opened or emptied.
    stored_bytes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Shared {
    async fn load(&self, key: BlockKey) -> Option<Bytes> {
        if let Some(payload) = self.pending.get(key) {
            return Some(payload);
        }
        if self.reads.is_paused() {
            return None;
        }
        let disk = self.disk();
        let loaded = self.unbroken(async { disk.storage().load(&key).await }).await;
        self.reads.judge(matches!(loaded, Ok(Ok(_))));
        match loaded.ok()? {
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
            match self.write_batch(batch).await {
                // Emptied since they were taken: there was nothing to write.
                None => {}
                Some(written) if self.writes.judge(written) => self.worn.store(true, Relaxed),
                Some(_) => {}
            }
            self.pending.done(keys.into_iter());
            drop(writing);
        }
    }
}

impl Shared {
    fn disk(&self) -> Disk {
        self.disk.read().clone()
    }

    /// What the disk's engine does. It panics now and then when its disk fails, and breaks its locks with it: that is an error
    /// of this tier, and the engine has to be replaced.
    async fn unbroken<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
            self.worn.store(true, Relaxed);
            BlockError::Cache("the engine of the disk cache broke off".to_owned())
        })
    }

    /// Whether the blocks of the batch that are still wanted are on the disk; None: none is wanted.
    ///
    /// The disk's own engine tells nobody that a write failed; what it could not write is not in its index.
    async fn write_batch(&self, batch: Vec<(BlockKey, Bytes)>) -> Option<bool> {
        if self.worn.load(Relaxed) && self.reopen().await.is_err() {
            self.writes.give_up();
            return Some(false);
        }
        let disk = self.disk();
        let mut wanted = Vec::new();
        let mut bytes = 0;
        for (key, payload) in batch {
            if self.pending.contains(key) {
                bytes += payload.len() as u64;
                wanted.push((key, payload));
            }
        }
        if wanted.is_empty() {
            return None;
        }
        let write = self.unbroken(async {
            let keys: Vec<BlockKey> = wanted.iter().map(|(key, _)| *key).collect();
            for (key, payload) in wanted {
                drop(disk.storage_writer(key).insert(Stored { key, payload }));
            }
            disk.storage().wait().await;
            keys.iter().any(|key| disk.storage().may_contains(key))
        });
        let Ok(Ok(written)) = tokio::time::timeout(WRITE_LIMIT, write).await else {
            self.worn.store(true, Relaxed);
            self.writes.give_up();
            return Some(false);
        };
        if written {
            self.stored_bytes.fetch_add(bytes, Relaxed);
        }
        Some(written)
    }

    /// Empties the directory and opens it with a new engine, if its disk takes data.
    async fn reopen(&self) -> Result<()> {
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || disk::empty(&dir))
            .await
            .map_err(|error| BlockError::Cache(error.to_string()))??;
        let fresh = disk::open(&self.rt, &self.dir, self.capacity_bytes, self.fs_id).await?;
        let old = std::mem::replace(&mut *self.disk.write(), fresh);
        self.stored_bytes.store(0, Relaxed);
        self.worn.store(false, Relaxed);
        // It may never end: something in it waits for a region.
        self.rt
            .spawn(async move { drop(tokio::time::timeout(PATIENCE, old.close()).await) });
        Ok(())
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
            disk: RwLock::new(disk::open(rt, dir, capacity_bytes, fs_id).await?),
            rt: rt.clone(),
            dir: dir.to_owned(),
            fs_id,
            pending: Pending::new(queue_bytes),
            writing: tokio::sync::Mutex::default(),
            reads: Health::default(),
            writes: Health::default(),
            worn: AtomicBool::new(false),
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
        self.shared.pending.contains(key) || self.shared.disk().storage().may_contains(&key)
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
            if shared.worn.load(Relaxed) {
                return shared.reopen().await;
            }
            let disk = shared.disk();
            shared
                .unbroken(async { disk.storage().destroy().await })
                .await?
                .map_err(cache_error)
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
            let disk = self.shared.disk();
            self.shared
                .unbroken(async { disk.close().await })
                .await?
                .map_err(cache_error)
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

    fn key(block: u32) -> BlockKey {
        BlockKey { pack: 1, block }
    }

    /// Offers a block and waits until it is written, or was not.
    async fn offered(l2: &L2, block: u32) -> bool {
        let payload = Bytes::from(vec![block as u8; 1000]);
        l2.insert(key(block), payload);
        while l2.shared.pending.contains(key(block)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        l2.get(key(block)).await.is_some()
    }

    #[test]
    fn an_engine_that_panics_is_an_error_and_is_replaced() {
        let rt = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        rt.block_on(async {
            let l2 = L2::open(rt.handle(), dir.path(), 16 << 20, 1 << 20, [7; 16])
                .await
                .unwrap();
            assert!(offered(&l2, 1).await);
            let broke = l2.shared.unbroken(async { panic!("as its locks do") }).await;
            assert!(matches!(broke, Err::<(), _>(BlockError::Cache(_))));
            assert!(l2.shared.worn.load(Relaxed));
            l2.clear().await.unwrap();
            assert!(!l2.shared.worn.load(Relaxed));
            assert!(l2.get(key(1)).await.is_none());
            assert!(offered(&l2, 2).await);
            l2.close().await.unwrap();
        });
    }

    #[test]
    fn a_worn_engine_is_replaced_as_soon_as_the_disk_takes_data() {
        let rt = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        rt.block_on(async {
            let l2 = L2::open(rt.handle(), dir.path(), 16 << 20, 1 << 20, [7; 16])
                .await
                .unwrap();
            assert!(offered(&l2, 1).await);
            l2.shared.worn.store(true, Relaxed);
            // A directory in the probe's place stands for a disk that takes nothing.
            let probe = dir.path().join("probe");
            std::fs::create_dir(&probe).unwrap();
            assert!(l2.clear().await.is_err());
            assert!(!offered(&l2, 2).await);
            assert!(l2.stats().off.unwrap().contains("takes no blocks"));
            assert_eq!(l2.stats().errors, 1);
            std::fs::remove_dir(&probe).unwrap();
            l2.shared.writes.end_pause();
            assert!(offered(&l2, 3).await);
            assert!(!l2.shared.worn.load(Relaxed));
            assert_eq!((l2.stats().off, l2.stats().bytes), (None, 1000));
            // The directory was emptied: nothing of the old engine is taken for a block.
            assert!(l2.get(key(1)).await.is_none());
            l2.close().await.unwrap();
        });
    }
}
