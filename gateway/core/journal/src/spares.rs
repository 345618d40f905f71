//! Files that are to become segments: zeroed ahead of time, or recycled from trimmed segments.
//!
//! Writing into blocks that were written before costs an fdatasync no change of the file's metadata; the figures are in
//! docs/decisions/journal-sync.md. A spare is no part of the journal until it is renamed to a segment's name.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::disk::{Disk, DiskFile};
use crate::level::COPY_SUFFIX;
use crate::segment::SPARE_SUFFIX;

/// Spares that are made ahead of need.
const READY: usize = 2;
/// Spares kept when segments are trimmed; more are removed.
const KEPT: usize = 16;
/// Zeros written between two pauses, so that commits do not wait behind them: at most 50 MB/s of the disk.
const ZERO_CHUNK: usize = 256 << 10;
const ZERO_PAUSE: Duration = Duration::from_millis(5);
/// How long a new segment waits for space on a full disk, which a trim may give, before the mirror is lost.
const FULL_WAIT: Duration = Duration::from_secs(30);
const FULL_LOOK: Duration = Duration::from_millis(20);

/// The spares of one mirror.
pub struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    ready: Mutex<Vec<PathBuf>>,
    names: AtomicU64,
    /// The disk had no space for another one.
    starved: AtomicBool,
}

impl Spares {
    /// Takes over the spares that an earlier process left; those of another size are removed.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> io::Result<Self> {
        // One that was a segment a moment ago may still be that on the disk, if the process that renamed it died before it
        // had synced the directory: what is written to it now would be found under the segment's name.
        disk.sync_dir(dir)?;
        let mut ready = Vec::new();
        let mut last_name = 0;
        for name in disk.list(dir)? {
            if name.ends_with(COPY_SUFFIX) {
                disk.remove(&dir.join(&name))?;
            }
            let Some(digits) = name.strip_suffix(SPARE_SUFFIX) else {
                continue;
            };
            last_name = last_name.max(u64::from_str_radix(digits, 16).unwrap_or(0));
            let path = dir.join(&name);
            // One that was being made may lack its zeros: it serves all the same, if more slowly.
            if ready.len() < KEPT && disk.open(&path)?.size()? == segment_bytes {
                ready.push(path);
            } else {
                disk.remove(&path)?;
            }
        }
        let names = AtomicU64::new(last_name + 1);
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            segment_bytes,
            ready: Mutex::new(ready),
            names,
            starved: AtomicBool::new(false),
        })
    }

    fn new_path(&self) -> PathBuf {
        self.dir.join(format!(
            "{:08x}{SPARE_SUFFIX}",
            self.names.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// A file of a segment's size with any content. Where none is ready it has disk space but no zeros: the first commits
    /// into it are slower, but nobody waits for the zeros. On a full disk it waits for a while.
    pub fn take(&self) -> io::Result<(PathBuf, Arc<dyn DiskFile>)> {
        let began = Instant::now();
        loop {
            let ready = self.ready.lock().pop();
            if let Some(path) = ready {
                return self.disk.open(&path).map(|file| (path, file));
            }
            match self.allocate() {
                Err(error) if is_full(&error) && began.elapsed() < FULL_WAIT => std::thread::sleep(FULL_LOOK),
                other => return other,
            }
        }
    }

    /// A new file with disk space; what it holds is unwritten.
    fn allocate(&self) -> io::Result<(PathBuf, Arc<dyn DiskFile>)> {
        let path = self.new_path();
        let file = self.disk.create(&path)?;
        if let Err(error) = file.allocate(self.segment_bytes) {
            self.starved.store(is_full(&error), Ordering::Relaxed);
            self.disk.remove(&path)?;
            return Err(error);
        }
        self.starved.store(false, Ordering::Relaxed);
        Ok((path, file))
    }

    /// Bytes of the spares that are ready where the disk has no space for more; None: it has.
    #[must_use]
    pub fn starved(&self) -> Option<u64> {
        self.starved
            .load(Ordering::Relaxed)
            .then(|| self.ready.lock().len() as u64 * self.segment_bytes)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.lock().is_empty()
    }

    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.ready.lock().len() < READY
    }

    /// Makes one spare full of zeros, durably. `gently` leaves the disk to commits meanwhile.
    pub fn make(&self, stop: &AtomicBool, gently: bool) -> io::Result<()> {
        let (path, file) = self.allocate()?;
        match self.fill(&*file, stop, gently) {
            Ok(true) => {
                self.ready.lock().push(path);
                Ok(())
            }
            Ok(false) => self.disk.remove(&path),
            Err(error) => {
                self.starved.store(is_full(&error), Ordering::Relaxed);
                self.disk.remove(&path)?;
                Err(error)
            }
        }
    }

    /// Fills a file with zeros; false where it was stopped before the end.
    fn fill(&self, file: &dyn DiskFile, stop: &AtomicBool, gently: bool) -> io::Result<bool> {
        let zeros = vec![0; ZERO_CHUNK.min(self.segment_bytes as usize)];
        let mut offset = 0;
        while offset < self.segment_bytes {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let len = zeros.len().min((self.segment_bytes - offset) as usize);
            file.write_at(&mut [IoSlice::new(&zeros[..len])], offset)?;
            if gently {
                file.sync()?;
                std::thread::sleep(ZERO_PAUSE);
            }
            offset += len as u64;
        }
        file.sync()?;
        Ok(true)
    }

    /// Takes a segment out of the journal: it becomes a spare, or goes where there are enough. Durable on return, so that
    /// segments vanish oldest first whatever happens.
    pub fn recycle(&self, segment: &Path) -> io::Result<()> {
        let reusable =
            self.ready.lock().len() < KEPT && self.disk.open(segment)?.size()? == self.segment_bytes;
        if reusable {
            let path = self.new_path();
            self.disk.rename(segment, &path)?;
            self.disk.sync_dir(&self.dir)?;
            self.ready.lock().push(path);
            return Ok(());
        }
        self.disk.remove(segment)?;
        self.disk.sync_dir(&self.dir)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Wakes the keeper of a mirror.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until it was rung, no longer than `most`.
    pub fn wait(&self, most: Option<Duration>) {
        let deadline = most.map(|most| Instant::now() + most);
        let mut rung = self.rung.lock();
        while !*rung {
            match deadline {
                None => self.changed.wait(&mut rung),
                Some(deadline) if self.changed.wait_until(&mut rung, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        *rung = false;
    }
}
