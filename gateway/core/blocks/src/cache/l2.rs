//! Blocks in a directory or on a device, which survive restarts.
//!
//! A block that is offered waits in memory, where it can be read, until a task of this tier has written it. A device that
//! fails or is full costs hits, never reads: it is left alone for a while after repeated errors.

use std::fs::File;
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
use super::disk::{self, BATCH_BYTES, Disk, cache_error};
use super::pending::Pending;
use super::pins::Pins;
use super::stored::Stored;
use super::{BlockKey, TierStats};
use crate::error::{BlockError, Result};

/// A batch that is not written in this time never will be.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// A device that does not answer a read in this time has failed it: the store is asked.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// One in so many bytes is for blocks that are known to come again; the engine keeps some of them free, too.
const FREE_SHARE: u64 = 4;
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
    /// Of what is stored, see [`Stored`].
    salt: u32,
    /// Keeps others from the device until this is closed.
    lock: Mutex<Option<Arc<File>>>,
    pending: Pending,
    /// Held while a batch is written: emptying goes between batches.
    writing: tokio::sync::Mutex<()>,
    /// Of its reads and of its writes: a full device is still read.
    reads: Health,
    writes: Health,
    /// What was not written has left the disk's engine without regions that it never gives back: it is of no use for writing.
    worn: AtomicBool,
    capacity_bytes: u64,
    /// What the directory held when it was opened, and what was written since.
    stored_bytes: AtomicU64,
    damaged: AtomicU64,
    pins: Arc<Pins>,
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
        let indexed = disk.storage().may_contains(&key);
        let load = self.unbroken(async { disk.storage().load(&key).await });
        let loaded = tokio::time::timeout(READ_LIMIT, load).await;
        self.reads.judge(matches!(loaded, Ok(Ok(Ok(_)))));
        let found = match loaded.ok()?.ok()?.ok()? {
            Load::Entry { value, .. } => Some(value),
            Load::Piece { piece, .. } => Some(piece.value().clone()),
            _ => None,
        };
        let found = found.filter(|stored| {
            let wanted = stored.key == key && stored.salt == self.salt;
            if !wanted {
                // Somebody else's, from before the device was this shelf.
                disk.storage().delete(&key);
            }
            wanted
        });
        // The engine forgets what does not fit its checksum. Once in a while it reclaimed the block just now: that is counted too.
        if found.is_none() && indexed && !disk.storage().may_contains(&key) {
            self.damaged.fetch_add(1, Relaxed);
        }
        Some(found?.payload)
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
                let salt = self.salt;
                drop(disk.storage_writer(key).insert(Stored { key, payload, salt }));
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
        let (dir, fs_id, capacity_bytes) = (self.dir.clone(), self.fs_id, self.capacity_bytes);
        tokio::task::spawn_blocking(move || disk::empty(&dir, fs_id, capacity_bytes))
            .await
            .map_err(|error| BlockError::Cache(error.to_string()))??;
        let lock = self.lock.lock().clone();
        let fresh = disk::open(&self.rt, &self.dir, capacity_bytes, fs_id, &self.pins, lock).await?;
        let old = std::mem::replace(&mut *self.disk.write(), fresh.disk);
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
        pins: Arc<Pins>,
    ) -> Result<Self> {
        let capacity_bytes = disk::capacity_bytes(bytes);
        let opened = disk::open(rt, dir, capacity_bytes, fs_id, &pins, None).await?;
        let (at, taken) = (dir.to_owned(), move |at: PathBuf| {
            disk::taken_bytes(&at, fs_id, capacity_bytes)
        });
        let taken_bytes = rt.spawn_blocking(move || taken(at)).await.unwrap_or(0);
        let shared = Arc::new(Shared {
            disk: RwLock::new(opened.disk),
            salt: opened.salt,
            lock: Mutex::new(opened.lock),
            rt: rt.clone(),
            dir: dir.to_owned(),
            fs_id,
            pending: Pending::new(queue_bytes),
            writing: tokio::sync::Mutex::default(),
            reads: Health::default(),
            writes: Health::default(),
            worn: AtomicBool::new(false),
            capacity_bytes,
            stored_bytes: AtomicU64::new(taken_bytes),
            damaged: AtomicU64::new(0),
            pins,
        });
        let writer = rt.spawn(shared.clone().write());
        Ok(Self {
            shared,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Reads a block. A failing device is a miss.
    pub async fn get(&self, key: BlockKey) -> Option<Bytes> {
        self.shared.load(key).await
    }

    /// Whether the block is there, or on its way there.
    pub fn contains(&self, key: BlockKey) -> bool {
        self.shared.pending.contains(key) || self.shared.disk().storage().may_contains(&key)
    }

    /// Whether what is offered is taken.
    pub fn takes_blocks(&self) -> bool {
        !self.shared.writes.is_paused()
    }

    /// Whether so much was written that others may have to go for what comes.
    pub fn is_full(&self) -> bool {
        let capacity_bytes = self.shared.capacity_bytes;
        self.shared.stored_bytes.load(Relaxed) >= capacity_bytes - capacity_bytes / FREE_SHARE
    }

    pub fn is_busy(&self) -> bool {
        self.takes_blocks() && self.shared.pending.is_half_full()
    }

    pub fn is_writing(&self) -> bool {
        self.shared.pending.holds_any()
    }

    pub fn set_queue(&self, bytes: u64) {
        self.shared.pending.set_limit(bytes);
    }

    /// Blocks that did not fit their checksums any more.
    pub fn damaged_blocks(&self) -> u64 {
        self.shared.damaged.load(Relaxed)
    }

    /// Why this is not the directory any more that was opened, or its device fails to be read; None: all is well.
    pub async fn lost(&self) -> Option<String> {
        if self.shared.reads.is_paused() {
            return Some(format!("{}: the device failed", self.shared.dir.display()));
        }
        let (dir, fs_id) = (self.shared.dir.clone(), self.shared.fs_id);
        let looked = self.shared.rt.spawn_blocking(move || disk::is_ours(&dir, fs_id));
        match tokio::time::timeout(READ_LIMIT, looked).await {
            Ok(Ok(found)) => found.err().map(|error| error.to_string()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "{}: the device does not answer",
                self.shared.dir.display()
            )),
        }
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
        let closed = closed.await;
        drop(self.shared.lock.lock().take());
        closed.unwrap_or_else(|_| {
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
            bytes: shared.stored_bytes.load(Relaxed).min(shared.capacity_bytes),
            capacity_bytes: shared.capacity_bytes,
            errors: shared.reads.errors.load(Relaxed) + shared.writes.errors.load(Relaxed),
            off: off.map(str::to_owned),
            ..TierStats::default()
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
#[path = "l2_test.rs"]
mod tests;
