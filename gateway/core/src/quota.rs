//! Quotas on the bytes of trees: an account for each directory with limits, charged by the live inodes below it.
//!
//! An account's `used` is what all files of its tree take now, flushed or not: what rows say was told to it once, and every
//! change of a live inode moves it in the same step, under the inode's lock. A write is charged before its record is
//! appended, in one atomic step an account, so that concurrent writers never pass a limit together, and one that is
//! refused has changed nothing.
//!
//! Accounts nest: a tree's parent is the next directory above it that has limits, and counts what the tree takes, too.
//! Order of locks: an inode's state, then accounts from the inside out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use parking_lot::RwLock;

use crate::errors::{CoreError, Result};

/// Stands for a limit that is not set.
pub const UNLIMITED: i64 = i64::MAX;

/// Limits in bytes, the grace time of the soft one, and since when it is exceeded (nanoseconds since 1970; 0: it is not).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub hard: i64,
    pub soft: i64,
    pub grace_ns: i64,
    pub since_ns: i64,
}

/// What a tree takes, and what it may.
#[derive(Debug)]
pub struct Account {
    pub directory: u64,
    /// Held for reading during a charge that begins here, so that a tree changes its parent between two of them.
    parent: RwLock<Option<Arc<Self>>>,
    used: AtomicI64,
    hard: AtomicI64,
    soft: AtomicI64,
    grace_ns: AtomicI64,
    since_ns: AtomicI64,
}

impl Account {
    #[must_use]
    pub fn new(directory: u64, parent: Option<Arc<Self>>) -> Self {
        Self {
            directory,
            parent: RwLock::new(parent),
            used: AtomicI64::new(0),
            hard: AtomicI64::new(UNLIMITED),
            soft: AtomicI64::new(UNLIMITED),
            grace_ns: AtomicI64::new(0),
            since_ns: AtomicI64::new(0),
        }
    }

    #[must_use]
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.parent.read().clone()
    }

    /// What the tree takes, and since when that is more than the soft limit (0: it is not).
    #[must_use]
    pub fn usage(&self) -> (i64, i64) {
        (self.used.load(Relaxed), self.since_ns.load(Relaxed))
    }

    pub fn set_limits(&self, limits: &Limits, now_ns: i64) {
        self.hard.store(limits.hard, Relaxed);
        self.soft.store(limits.soft, Relaxed);
        self.grace_ns.store(limits.grace_ns, Relaxed);
        self.since_ns.store(limits.since_ns, Relaxed);
        self.note_soft(self.used.load(Relaxed), now_ns);
    }

    /// Takes so many bytes of this tree and of all around it, or of none: then the quota is exceeded.
    pub fn charge(&self, bytes: u64, now_ns: i64) -> Result<()> {
        let bytes = i64::try_from(bytes).map_err(|_| CoreError::QuotaExceeded)?;
        if bytes == 0 || self.take(bytes, now_ns, None) {
            Ok(())
        } else {
            Err(CoreError::QuotaExceeded)
        }
    }

    /// As `charge`, but not of `end` and what is around that, which have the bytes already.
    pub fn charge_below(&self, bytes: i64, now_ns: i64, end: Option<u64>) -> Result<()> {
        if bytes <= 0 || self.take(bytes, now_ns, end) {
            Ok(())
        } else {
            Err(CoreError::QuotaExceeded)
        }
    }

    fn take(&self, bytes: i64, now_ns: i64, end: Option<u64>) -> bool {
        if end == Some(self.directory) {
            return true;
        }
        let parent = self.parent.read();
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| {
            let after = used.checked_add(bytes)?;
            (after <= self.limit_at(now_ns)).then_some(after)
        });
        let Ok(before) = taken else { return false };
        if parent
            .as_ref()
            .is_some_and(|parent| !parent.take(bytes, now_ns, end))
        {
            self.used.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.note_soft(before + bytes, now_ns);
        true
    }

    /// Adds what cannot be refused, or gives back (negative), here and around, up to `end` without it.
    pub fn add_below(&self, bytes: i64, now_ns: i64, end: Option<u64>) {
        if bytes == 0 || end == Some(self.directory) {
            return;
        }
        let parent = self.parent.read();
        self.add_here(bytes, now_ns);
        if let Some(parent) = parent.as_ref() {
            parent.add_below(bytes, now_ns, end);
        }
    }

    pub fn add(&self, bytes: i64, now_ns: i64) {
        self.add_below(bytes, now_ns, None);
    }

    /// Adds to this tree alone, whose surroundings have the bytes already.
    pub fn add_here(&self, bytes: i64, now_ns: i64) {
        let before = self.used.fetch_add(bytes, Relaxed);
        self.note_soft(before + bytes, now_ns);
    }

    /// Makes `parent` the next tree around this one. `joins`: it does not count this tree's bytes yet.
    pub fn relink(&self, parent: Option<Arc<Self>>, joins: bool, now_ns: i64) {
        let mut link = self.parent.write();
        if let Some(parent) = parent.as_ref().filter(|_| joins) {
            parent.add_here(self.used.load(Relaxed), now_ns);
        }
        *link = parent;
    }

    /// Bytes that the tree may still take, by its own limits and those around it.
    #[must_use]
    pub fn available(&self, now_ns: i64) -> i64 {
        let parent = self.parent.read();
        let mine = self
            .limit_at(now_ns)
            .saturating_sub(self.used.load(Relaxed))
            .max(0);
        parent
            .as_ref()
            .map_or(mine, |parent| mine.min(parent.available(now_ns)))
    }

    /// The limit that holds now: the soft one once its grace has passed.
    fn limit_at(&self, now_ns: i64) -> i64 {
        let hard = self.hard.load(Relaxed);
        let since_ns = self.since_ns.load(Relaxed);
        let expired = since_ns != 0 && now_ns.saturating_sub(since_ns) > self.grace_ns.load(Relaxed);
        if expired {
            hard.min(self.soft.load(Relaxed))
        } else {
            hard
        }
    }

    fn note_soft(&self, used: i64, now_ns: i64) {
        let soft = self.soft.load(Relaxed);
        if soft == UNLIMITED && self.since_ns.load(Relaxed) == 0 {
            return;
        }
        if used <= soft {
            self.since_ns.store(0, Relaxed);
        } else if self.since_ns.load(Relaxed) == 0 {
            // Whoever passes the limit at the same moment may be the one that is noted.
            self.since_ns.store(now_ns, Relaxed);
        }
    }
}

/// The innermost tree that counts both, of two that may be the same.
#[must_use]
pub fn common(a: Option<&Arc<Account>>, b: Option<&Arc<Account>>) -> Option<u64> {
    let mut of_a = Vec::new();
    let mut at = a.cloned();
    while let Some(account) = at {
        of_a.push(account.directory);
        at = account.parent();
    }
    let mut at = b.cloned();
    while let Some(account) = at {
        if of_a.contains(&account.directory) {
            return Some(account.directory);
        }
        at = account.parent();
    }
    None
}

/// What a live inode owes: its tree, and what of a write that is under way was charged in advance.
#[derive(Debug, Default)]
pub struct Charge {
    pub account: Option<Arc<Account>>,
    prepaid: u64,
}

impl Charge {
    /// Charges the growth of a change to come. What of it does not happen `refund` gives back.
    pub fn prepay(&mut self, bytes: u64, now_ns: i64) -> Result<()> {
        if let Some(account) = &self.account {
            account.charge(bytes, now_ns)?;
            self.prepaid = bytes;
        }
        Ok(())
    }

    pub fn refund(&mut self, now_ns: i64) {
        let left = std::mem::take(&mut self.prepaid);
        if let Some(account) = self.account.as_ref().filter(|_| left > 0) {
            account.add(-(left as i64), now_ns);
        }
    }

    /// The inode takes `after` bytes instead of `before`.
    pub fn moved(&mut self, before: u64, after: u64, now_ns: i64) {
        let Some(account) = self.account.as_ref().filter(|_| before != after) else {
            return;
        };
        let mut delta = after as i64 - before as i64;
        if delta > 0 {
            let paid = self.prepaid.min(delta as u64);
            self.prepaid -= paid;
            delta -= paid as i64;
        }
        account.add(delta, now_ns);
    }
}
