//! What threads see of a mirror, whatever it is doing: its state, why, and what its keeper is to do.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::members::{Entry, MirrorId};
use crate::spares::{Bell, Spares};
use crate::{MirrorState, MirrorStats};

/// Told each time that a mirror is lost, with the reason.
pub type OnLost = Arc<dyn Fn(&Path, &str) + Send + Sync>;

/// A mirror of the roster.
pub struct Member {
    /// Never used again within the process.
    pub key: u64,
    pub dir: PathBuf,
    /// Wakes its keeper.
    pub bell: Bell,
    state: AtomicU8,
    /// Its keeper ends; the roster does not have it any more.
    pub removed: AtomicBool,
    /// An operator named it: whatever disk it lies on is meant.
    pub wanted: AtomicBool,
    /// A thread may be in the middle of a write to it still, and end that at any time.
    pub occupied: AtomicBool,
    /// Bytes copied of those that a rebuild has to copy.
    pub copied_bytes: AtomicU64,
    pub to_copy_bytes: AtomicU64,
    inner: Mutex<Inner>,
    /// Held by who drops segments.
    dropping: Mutex<()>,
    on_lost: OnLost,
}

struct Inner {
    why: String,
    since: Instant,
    entry: Option<Entry>,
    spares: Option<Arc<Spares>>,
    losses: u64,
    last_loss: String,
    /// Segments to be dropped, oldest first.
    doomed: VecDeque<u64>,
}

const HEALTHY: u8 = 0;
const REBUILDING: u8 = 1;
const LOST: u8 = 2;

impl Member {
    /// A mirror that takes no part yet.
    #[must_use]
    pub fn new(key: u64, dir: PathBuf, why: &str, on_lost: OnLost) -> Arc<Self> {
        Arc::new(Self {
            key,
            dir,
            bell: Bell::default(),
            state: AtomicU8::new(LOST),
            removed: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            occupied: AtomicBool::new(false),
            copied_bytes: AtomicU64::new(0),
            to_copy_bytes: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                why: why.to_owned(),
                since: Instant::now(),
                entry: None,
                spares: None,
                losses: 0,
                last_loss: String::new(),
                doomed: VecDeque::new(),
            }),
            dropping: Mutex::new(()),
            on_lost,
        })
    }

    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.state.load(Ordering::Acquire) == HEALTHY
    }

    #[must_use]
    pub fn state(&self) -> MirrorState {
        match self.state.load(Ordering::Acquire) {
            HEALTHY => MirrorState::Healthy,
            REBUILDING => MirrorState::Rebuilding,
            _ => MirrorState::Lost,
        }
    }

    /// It holds everything, and rounds wait for it.
    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.why.clear();
        inner.since = Instant::now();
        self.state.store(HEALTHY, Ordering::Release);
    }

    pub fn rebuild(&self, why: &str) {
        let mut inner = self.inner.lock();
        inner.since = Instant::now();
        why.clone_into(&mut inner.why);
        self.state.store(REBUILDING, Ordering::Release);
    }

    /// It takes no part any more. Told once for each time that it was healthy before.
    pub fn lose(&self, why: &str) {
        if self.leave(why) == HEALTHY {
            (self.on_lost)(&self.dir, why);
        }
        self.bell.ring();
    }

    /// A rebuild failed.
    pub fn give_up(&self, why: &str) {
        self.leave(why);
    }

    /// It is lost at the start.
    pub fn report(&self) {
        let why = self.inner.lock().why.clone();
        (self.on_lost)(&self.dir, &why);
    }

    fn leave(&self, why: &str) -> u8 {
        let mut inner = self.inner.lock();
        let before = self.state.swap(LOST, Ordering::AcqRel);
        inner.doomed.clear();
        if before == HEALTHY {
            inner.since = Instant::now();
            inner.losses += 1;
            why.clone_into(&mut inner.last_loss);
        }
        if before != LOST {
            why.clone_into(&mut inner.why);
        }
        before
    }

    /// Why it is lost, for a mirror that was lost before.
    pub fn explain(&self, why: &str) {
        why.clone_into(&mut self.inner.lock().why);
    }

    pub fn entry(&self) -> Option<Entry> {
        self.inner.lock().entry.clone()
    }

    pub fn id(&self) -> Option<MirrorId> {
        self.inner.lock().entry.as_ref().map(|entry| entry.id)
    }

    pub fn spares(&self) -> Option<Arc<Spares>> {
        self.inner.lock().spares.clone()
    }

    /// Its identity and spares, found or made by whoever opened its directory.
    pub fn opened(&self, entry: Entry, spares: Arc<Spares>) {
        let mut inner = self.inner.lock();
        inner.entry = Some(entry);
        inner.spares = Some(spares);
    }

    /// The segment is to be dropped after all that were doomed before it.
    pub fn doom(&self, first_lsn: u64) {
        self.inner.lock().doomed.push_back(first_lsn);
        self.bell.ring();
    }

    /// Has `drop` take the doomed segments out, oldest first: a crash must never leave an older one without a newer.
    pub fn drop_doomed(&self, drop: impl Fn(u64) -> io::Result<()>) -> io::Result<()> {
        let _one = self.dropping.lock();
        let oldest = || self.inner.lock().doomed.front().copied();
        while let Some(first_lsn) = oldest() {
            drop(first_lsn)?;
            // Being lost clears the list.
            let mut inner = self.inner.lock();
            if inner.doomed.front() == Some(&first_lsn) {
                inner.doomed.pop_front();
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn stats(&self) -> MirrorStats {
        let inner = self.inner.lock();
        let state = self.state();
        MirrorStats {
            path: self.dir.clone(),
            state,
            why: inner.why.clone(),
            since: inner.since.elapsed(),
            copied_bytes: self.copied_bytes.load(Ordering::Relaxed),
            to_copy_bytes: self.to_copy_bytes.load(Ordering::Relaxed),
            losses: inner.losses,
            last_loss: inner.last_loss.clone(),
        }
    }
}

/// All mirrors, in the order of the configuration.
#[derive(Default)]
pub struct Roster(RwLock<Vec<Arc<Member>>>);

impl Roster {
    #[must_use]
    pub fn new(members: Vec<Arc<Member>>) -> Self {
        Self(RwLock::new(members))
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Member>> {
        self.0.read().clone()
    }

    #[must_use]
    pub fn healthy(&self) -> Vec<Arc<Member>> {
        let mut all = self.all();
        all.retain(|member| member.is_healthy());
        all
    }

    #[must_use]
    pub fn find(&self, dir: &Path) -> Option<Arc<Member>> {
        self.0.read().iter().find(|member| member.dir == dir).cloned()
    }

    pub fn add(&self, member: Arc<Member>) {
        self.0.write().push(member);
    }

    pub fn remove(&self, key: u64) {
        self.0.write().retain(|member| member.key != key);
    }

    /// Wakes every keeper.
    pub fn ring(&self) {
        for member in self.0.read().iter() {
            member.bell.ring();
        }
    }

    /// The least bytes of ready spares of a healthy mirror whose disk has no space for more; None: all have.
    #[must_use]
    pub fn starved(&self) -> Option<u64> {
        let members = self.0.read();
        let healthy = members.iter().filter(|member| member.is_healthy());
        healthy
            .filter_map(|member| member.spares().and_then(|spares| spares.starved()))
            .min()
    }
}
