//! A disk in memory. What was not synced is lost when power fails: any sector of a write, any name in a directory.

mod content;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caudal_base::fate::Fate;
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Site};
use content::Content;

type Node = Arc<Mutex<Content>>;

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

#[derive(Default)]
struct Names {
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<NameChange>,
}

/// How a directory behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every access fails.
    Error,
    /// Every access fails after so many more.
    ErrorAfter(u64),
    /// Syncs do nothing, and say that they did.
    Forgetful,
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
    /// What befalls the machine that the disk is in.
    fate: Option<Arc<Fate>>,
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
    path.parent().unwrap_or(Path::new("")).into()
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
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
    /// For every access: an error of a broken disk, or of a dead machine.
    fn check(&self, dir: &Path) -> io::Result<()> {
        if let Some(fate) = &self.fate {
            fate.check()?;
        }
        let mut faults = self.faults.lock();
        match faults.get_mut(dir) {
            Some(Fault::ErrorAfter(left)) if *left > 0 => *left -= 1,
            Some(Fault::Error | Fault::ErrorAfter(_)) => return Err(io::Error::other("the disk is broken")),
            _ => {}
        }
        Ok(())
    }

    fn is_powered(&self) -> bool {
        self.fate.as_ref().is_none_or(|fate| fate.alive())
    }

    /// A change of the disk: a step of the machine.
    fn act<T>(&self, what: fmt::Arguments<'_>, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match &self.fate {
            Some(fate) => fate.act(what, f),
            None => f(),
        }
    }

    fn fault(&self, dir: &Path) -> Option<Fault> {
        self.faults.lock().get(dir).copied()
    }

    fn change(&self, change: NameChange) {
        let mut names = self.names.lock();
        change.apply(&mut names.now);
        names.pending.push(change);
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        self.names
            .lock()
            .now
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SimDisk {
    /// An empty disk of a machine.
    #[must_use]
    pub fn of(fate: Arc<Fate>) -> Self {
        Self(Arc::new(Shared {
            fate: Some(fate),
            ..Shared::default()
        }))
    }

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

    /// Another, empty disk takes the place of the one that the directory was on.
    pub fn replace(&self, dir: &Path) {
        let mut names = self.0.names.lock();
        names.now.retain(|path, _| parent(path) != dir);
        names.durable.retain(|path, _| parent(path) != dir);
        names.pending.retain(|change| change.dir() != dir);
    }

    pub fn heal_all(&self) {
        self.0.faults.lock().clear();
    }
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::SeqCst)
    }

    fn file(&self, node: Node, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            node,
            dir: parent(path),
            shared: self.0.clone(),
        })
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
        let mut found = BTreeMap::new();
        for (path, node) in kept {
            let copy = copies
                .entry(Arc::as_ptr(&node))
                .or_insert_with(|| Arc::new(Mutex::new(node.lock().after_power_loss(&mut survives))));
            found.insert(path, copy.clone());
        }
        Self(Arc::new(Shared {
            names: Mutex::new(Names {
                now: found.clone(),
                durable: found,
                pending: Vec::new(),
            }),
            fate: self.0.fate.clone(),
            ..Shared::default()
        }))
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
        self.0.act(format_args!("create {}", path.display()), || {
            self.0.change(NameChange::Link(path.to_owned(), node.clone()));
            Ok(())
        })?;
        Ok(self.file(node, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.check(&parent(path))?;
        Ok(self.file(self.0.node(path)?, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.check(&parent(from))?;
        let node = self.0.node(from)?;
        let what = format_args!("rename {} {}", from.display(), to.display());
        self.0.act(what, || {
            self.0
                .change(NameChange::Rename(from.to_owned(), to.to_owned(), node));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.check(&parent(path))?;
        self.0.node(path)?;
        self.0.act(format_args!("remove {}", path.display()), || {
            self.0.change(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.check(dir)?;
        self.0.act(format_args!("sync {}", dir.display()), || {
            if self.0.fault(dir) != Some(Fault::Forgetful) {
                self.0.sync_names(dir);
            }
            Ok(())
        })
    }

    fn site(&self, dir: &Path) -> io::Result<Site> {
        self.0.check(dir)?;
        Ok(self.0.sites.lock().get(dir).copied().unwrap_or_default())
    }
}

impl Shared {
    fn sync_names(&self, dir: &Path) {
        let mut names = self.names.lock();
        let (synced, left) = std::mem::take(&mut names.pending)
            .into_iter()
            .partition(|change: &NameChange| change.dir() == dir);
        names.pending = left;
        for change in synced {
            change.apply(&mut names.durable);
        }
    }
}

impl SimFile {
    fn grows(&self, end: u64) -> io::Result<()> {
        if self.shared.fault(&self.dir) == Some(Fault::Full) && end > self.node.lock().len() {
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
        let sum = self.shared.fate.as_ref().map_or(0, |_| crc32c::crc32c(&data));
        let what = format_args!("write {} {offset}+{} {sum:08x}", self.dir.display(), data.len());
        self.shared.act(what, || {
            self.node.lock().write(offset as usize, data);
            Ok(())
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.shared.check(&self.dir)?;
        Ok(self.node.lock().read(offset as usize, buffer))
    }

    fn sync(&self) -> io::Result<()> {
        let checked = self.shared.check(&self.dir);
        if checked.is_err() && self.shared.is_powered() {
            // As Linux does: what could not be written counts as written.
            let mut content = self.node.lock();
            let upto = content.writes();
            content.give_up(upto);
        }
        checked?;
        // Only what was written before counts.
        let upto = self.node.lock().writes();
        let fault = self.shared.fault(&self.dir);
        if let Some(Fault::Slow(ms)) = fault {
            std::thread::sleep(Duration::from_millis(ms));
        }
        self.shared.check(&self.dir)?;
        self.shared.syncs.fetch_add(1, Ordering::SeqCst);
        self.shared
            .act(format_args!("sync file of {}", self.dir.display()), || {
                if fault != Some(Fault::Forgetful) {
                    self.node.lock().sync(upto);
                }
                Ok(())
            })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.shared.check(&self.dir)?;
        self.grows(bytes)?;
        self.shared
            .act(format_args!("allocate {bytes} in {}", self.dir.display()), || {
                self.node.lock().resize(bytes as usize);
                Ok(())
            })
    }

    fn size(&self) -> io::Result<u64> {
        self.shared.check(&self.dir)?;
        Ok(self.node.lock().len())
    }

    fn start_writing(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.shared.check(&self.dir)
    }
}
