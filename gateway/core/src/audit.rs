//! Who did what to files, where operators want to know: events in a queue that nobody waits for, taken by Python.
//!
//! What is not audited costs one relaxed load. A queue that is full drops the newest and counts them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::activity::caller;
use crate::export_reads::export;

/// What of an export is audited.
pub const OFF: u8 = 0;
pub const CHANGES: u8 = 1;
pub const ALL: u8 = 2;

const EXPORTS: usize = 1 << 16;
/// Reads or writes of one file by one client after this time are told again.
const AGAIN: Duration = Duration::from_secs(600);
const SHARDS: usize = 16;
const KNOWN: usize = 4096;
const NAME_BYTES: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at_ns: i64,
    pub op: String,
    pub export: u16,
    pub client: Option<IpAddr>,
    pub uid: u32,
    /// 0, an errno, or -1: it had not ended when it was told.
    pub result: i32,
    pub inode: u64,
    pub place: Option<Place>,
    /// Where a rename or link leads.
    pub target: Option<Place>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub directory: u64,
    pub name: Vec<u8>,
}

impl Place {
    #[must_use]
    pub fn new(directory: u64, mut name: Vec<u8>) -> Self {
        name.truncate(NAME_BYTES);
        Self { directory, name }
    }
}

type Key = (u16, Option<IpAddr>, u64, bool);

pub struct Audit {
    any: AtomicBool,
    levels: Box<[AtomicU8]>,
    queue: Mutex<VecDeque<Event>>,
    most: usize,
    dropped: AtomicU64,
    known: [Mutex<HashMap<Key, Instant>>; SHARDS],
}

impl Default for Audit {
    fn default() -> Self {
        Self::new(1 << 16)
    }
}

impl Audit {
    /// most: events that wait, at most.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            any: AtomicBool::new(false),
            levels: (0..EXPORTS).map(|_| AtomicU8::new(OFF)).collect(),
            queue: Mutex::default(),
            most,
            dropped: AtomicU64::new(0),
            known: Default::default(),
        }
    }

    /// Levels of exports; those that are not named are off.
    pub fn set(&self, levels: &[(u16, u8)]) {
        for level in &self.levels {
            level.store(OFF, Relaxed);
        }
        for (export, level) in levels {
            self.levels[usize::from(*export)].store(*level, Relaxed);
        }
        self.any
            .store(levels.iter().any(|(_, level)| *level > OFF), Relaxed);
    }

    #[must_use]
    pub fn level(&self, export: u16) -> u8 {
        self.levels[usize::from(export)].load(Relaxed)
    }

    /// A read or write of this thread's caller, told if it is the first of the client and file for a while.
    #[inline]
    pub fn data(&self, is_write: bool, inode: u64, now_ns: impl FnOnce() -> i64, result: i32) {
        if self.any.load(Relaxed) {
            self.audit_data(is_write, inode, now_ns, result);
        }
    }

    #[cold]
    fn audit_data(&self, is_write: bool, inode: u64, now_ns: impl FnOnce() -> i64, result: i32) {
        let export = export();
        let (client, uid) = caller();
        let wanted = if is_write { CHANGES } else { ALL };
        if self.level(export) < wanted || !self.is_first((export, client, inode, is_write)) {
            return;
        }
        self.push(Event {
            at_ns: now_ns(),
            op: if is_write { "write" } else { "read" }.to_owned(),
            export,
            client,
            uid,
            result,
            inode,
            place: None,
            target: None,
        });
    }

    fn is_first(&self, key: Key) -> bool {
        let now = Instant::now();
        let mut known = self.known[key.2 as usize % SHARDS].lock();
        if known.get(&key).is_some_and(|at| now.duration_since(*at) < AGAIN) {
            return false;
        }
        if known.len() >= KNOWN {
            // What is forgotten is told once more.
            known.clear();
        }
        known.insert(key, now);
        true
    }

    /// A file that was opened, or made: its next read and write are told.
    pub fn push(&self, event: Event) {
        let mut queue = self.queue.lock();
        if queue.len() >= self.most {
            self.dropped.fetch_add(1, Relaxed);
        } else {
            queue.push_back(event);
        }
    }

    /// The oldest events, at most so many.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<Event> {
        let mut queue = self.queue.lock();
        let count = most.min(queue.len());
        queue.drain(..count).collect()
    }

    /// Events that found no room since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Events that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::set_caller;
    use crate::export_reads::set_export;

    fn ops(audit: &Audit) -> Vec<String> {
        audit.take(100).into_iter().map(|event| event.op).collect()
    }

    #[test]
    fn the_first_read_and_write_of_a_client_are_told_where_they_are_audited() {
        let audit = Audit::new(100);
        set_export(3);
        set_caller(Some(IpAddr::from([10, 0, 0, 1])), 7);
        audit.data(false, 5, || 1, 0);
        assert!(ops(&audit).is_empty());
        audit.set(&[(3, CHANGES)]);
        audit.data(false, 5, || 1, 0);
        audit.data(true, 5, || 1, 0);
        audit.data(true, 5, || 1, 0);
        assert_eq!(ops(&audit), ["write"]);
        audit.set(&[(3, ALL)]);
        audit.data(false, 5, || 2, 0);
        set_caller(Some(IpAddr::from([10, 0, 0, 2])), 8);
        audit.data(false, 5, || 2, -1);
        audit.data(false, 5, || 3, 0);
        let told = audit.take(100);
        assert_eq!(told.len(), 2);
        assert_eq!((told[1].uid, told[1].result, told[1].at_ns), (8, -1, 2));
        set_export(4);
        audit.data(true, 5, || 1, 0);
        assert!(ops(&audit).is_empty());
        set_caller(None, 0);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let audit = Audit::new(3);
        audit.set(&[(9, ALL)]);
        set_export(9);
        for inode in 0..10 {
            audit.data(true, inode, || 1, 0);
        }
        assert_eq!((audit.waiting(), audit.dropped()), (3, 7));
        let inodes: Vec<u64> = audit.take(2).iter().map(|event| event.inode).collect();
        assert_eq!(inodes, [0, 1]);
        assert_eq!(audit.waiting(), 1);
    }
}
