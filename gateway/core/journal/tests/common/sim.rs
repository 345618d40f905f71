//! A disk in memory. What was not synced is lost when power fails: any sector of a write, any name in a directory.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caudal_journal::disk::{Disk, DiskFile, Site};
use parking_lot::Mutex;

const SECTOR: usize = 512;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync, by the number of the write.
    pending: BTreeMap<u64, (usize, Vec<u8>)>,
    writes: u64,
}

type Node = Arc<Mutex<Content>>;

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

#[derive(Default)]
struct Names {
    now: HashMap<PathBuf, Node>,
    durable: HashMap<PathBuf, Node>,
    pending: Vec<NameChange>,
}

/// How a directory behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every access fails.
    Error,
    /// Syncs take so many milliseconds.
    Slow(u64),
    /// Space ran out: files cannot grow.
    Full,
}

#[derive(Default)]
struct Shared {
    names: Mutex<Names>,
    faults: Mutex<HashMap<PathBuf, Fault>>,
    sites: Mutex<HashMap<PathBuf, Site>>,
    syncs: AtomicU64,
    writes: AtomicU64,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Shared>);

struct SimFile {
    node: Node,
    dir: PathBuf,
    shared: Arc<Shared>,
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl NameChange {
    fn apply(&self, names: &mut HashMap<PathBuf, Node>) {
        match self {
            Self::Link(path, node) => {
                names.insert(path.clone(), node.clone());
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), node.clone());
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn dir(&self) -> PathBuf {
        match self {
            Self::Link(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => parent(path),
        }
    }
}

impl Shared {
    fn check(&self, dir: &Path) -> io::Result<()> {
        let fault = self.faults.lock().get(dir).copied();
        if fault == Some(Fault::Error) {
            Err(io::Error::other("the disk is broken"))
        } else {
            Ok(())
        }
    }

    fn change(&self, change: NameChange) {
        let mut names = self.names.lock();
        change.apply(&mut names.now);
        names.pending.push(change);
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.lock().now.get(path).cloned().ok_or_else(not_found)
    }
}

impl SimDisk {
    /// Lets a directory fail from now on.
    pub fn fail(&self, dir: &Path, fault: Fault) {
        self.0.faults.lock().insert(dir.to_owned(), fault);
    }

    pub fn heal(&self, dir: &Path) {
        self.0.faults.lock().remove(dir);
    }

    /// Another disk lies under a directory, or none: what was there is gone until it is mounted again.
    pub fn mount(&self, dir: &Path, site: Site) {
        self.0.sites.lock().insert(dir.to_owned(), site);
    }

    /// Everything in a directory is gone.
    pub fn empty(&self, dir: &Path) {
        let mut names = self.0.names.lock();
        names.now.retain(|path, _| path.parent() != Some(dir));
        names.durable.retain(|path, _| path.parent() != Some(dir));
        names.pending.retain(|change| change.dir() != dir);
    }

    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// The disk as it is found when power fails now. `survives` decides for each unsynced sector and name. Whoever still
    /// uses this disk does not notice.
    #[must_use]
    pub fn after_power_loss(&self, mut survives: impl FnMut() -> bool) -> Self {
        let names = self.0.names.lock();
        let mut kept = names.durable.clone();
        for change in &names.pending {
            if survives() {
                change.apply(&mut kept);
            }
        }
        let mut copies: HashMap<*const Mutex<Content>, Node> = HashMap::new();
        let mut found = HashMap::new();
        for (path, node) in kept {
            let copy = copies.entry(Arc::as_ptr(&node)).or_insert_with(|| {
                let content = node.lock();
                let mut bytes = content.durable.clone();
                for (at, data) in content.pending.values() {
                    let mut start = 0;
                    while start < data.len() {
                        let end = (start + SECTOR - (at + start) % SECTOR).min(data.len());
                        if survives() {
                            put(&mut bytes, at + start, &data[start..end]);
                        }
                        start = end;
                    }
                }
                Arc::new(Mutex::new(Content {
                    now: bytes.clone(),
                    durable: bytes,
                    ..Content::default()
                }))
            });
            found.insert(path, copy.clone());
        }
        let disk = Self::default();
        *disk.0.names.lock() = Names {
            now: found.clone(),
            durable: found,
            pending: Vec::new(),
        };
        disk
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.check(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.check(dir)?;
        let names = self.0.names.lock();
        let inside = names.now.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.check(&parent(path))?;
        let node = Node::default();
        self.0.change(NameChange::Link(path.to_owned(), node.clone()));
        Ok(Arc::new(SimFile {
            node,
            dir: parent(path),
            shared: self.0.clone(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.check(&parent(path))?;
        let node = self.0.node(path)?;
        Ok(Arc::new(SimFile {
            node,
            dir: parent(path),
            shared: self.0.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.check(&parent(from))?;
        let node = self.0.node(from)?;
        self.0
            .change(NameChange::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.check(&parent(path))?;
        self.0.node(path)?;
        self.0.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.check(dir)?;
        let mut names = self.0.names.lock();
        let (synced, left) = std::mem::take(&mut names.pending)
            .into_iter()
            .partition(|change: &NameChange| change.dir() == dir);
        names.pending = left;
        for change in synced {
            change.apply(&mut names.durable);
        }
        Ok(())
    }

    fn site(&self, dir: &Path) -> io::Result<Site> {
        self.0.check(dir)?;
        Ok(self.0.sites.lock().get(dir).copied().unwrap_or_default())
    }
}

impl SimFile {
    fn grows(&self, end: u64) -> io::Result<()> {
        let full = self.shared.faults.lock().get(&self.dir) == Some(&Fault::Full);
        if full && end > self.node.lock().now.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.shared.check(&self.dir)?;
        let data: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        self.grows(offset + data.len() as u64)?;
        self.shared.writes.fetch_add(1, Ordering::SeqCst);
        let mut content = self.node.lock();
        put(&mut content.now, offset as usize, &data);
        content.writes += 1;
        let number = content.writes;
        content.pending.insert(number, (offset as usize, data));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.shared.check(&self.dir)?;
        let content = self.node.lock();
        let start = (offset as usize).min(content.now.len());
        let count = buffer.len().min(content.now.len() - start);
        buffer[..count].copy_from_slice(&content.now[start..start + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.check(&self.dir)?;
        // Only what was written before counts.
        let upto = self.node.lock().writes;
        let fault = self.shared.faults.lock().get(&self.dir).copied();
        if let Some(Fault::Slow(ms)) = fault {
            std::thread::sleep(Duration::from_millis(ms));
        }
        self.shared.check(&self.dir)?;
        self.shared.syncs.fetch_add(1, Ordering::SeqCst);
        let mut content = self.node.lock();
        let size = content.now.len();
        content.durable.resize(size, 0);
        let later = content.pending.split_off(&(upto + 1));
        let synced = std::mem::replace(&mut content.pending, later);
        for (at, data) in synced.into_values() {
            put(&mut content.durable, at, &data);
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.shared.check(&self.dir)?;
        self.grows(bytes)?;
        self.node.lock().now.resize(bytes as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.shared.check(&self.dir)?;
        Ok(self.node.lock().now.len() as u64)
    }

    fn start_writing(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.shared.check(&self.dir)
    }
}
