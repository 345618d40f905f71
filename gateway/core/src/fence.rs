//! The fence: what the owner's lease lets pass.
//!
//! A thread of Python's keeps the lease and tells here how its attempts to renew end. Before the time until which the last
//! one lets replies pass, a reply costs two loads and two clock readings. Past it (the process was paused, or the attempts hang)
//! a reply first waits for one whole attempt, begun after it asked: it cannot go out on what was known before a pause. An
//! attempt that finds another owner closes the fence for good.
//!
//! Without a thread that keeps a lease (fsck, tests) everything passes.
//!
//! Times are measured from the beginning of an attempt, on the clock that counts suspension too and on the wall clock: a
//! machine that was stopped from outside may have only the latter set right.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use caudal_blocks::{Change, Gate, StoreError};

use crate::clock::Clock;
use crate::errors::{CoreError, Result};

/// No lease is kept: everything passes.
const FOR_EVER: i64 = i64::MAX;

/// How an attempt to renew the lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The lease runs for so long, from the beginning of the attempt.
    Renewed(Duration),
    /// The store did not answer. Replies pass for so long from the beginning of the attempt; those that waited for it
    /// go out too, unless the time is zero.
    Unanswered(Duration),
    /// Somebody holds the lease who has not taken the file system yet: nothing passes until that is decided.
    Contested,
    /// Somebody else owns the file system.
    Lost,
}

/// A time on both clocks.
#[derive(Debug)]
struct Until {
    boot_ns: AtomicI64,
    wall_ns: AtomicI64,
}

impl Until {
    const fn new(ns: i64) -> Self {
        Self {
            boot_ns: AtomicI64::new(ns),
            wall_ns: AtomicI64::new(ns),
        }
    }

    fn set(&self, from: (i64, i64), duration: Duration) {
        let ns = i64::try_from(duration.as_nanos()).unwrap_or(FOR_EVER);
        self.boot_ns.store(from.0.saturating_add(ns), Release);
        self.wall_ns.store(from.1.saturating_add(ns), Release);
    }

    fn left_ns(&self, clock: &dyn Clock) -> i64 {
        let boot_ns = self.boot_ns.load(Acquire);
        if boot_ns == FOR_EVER {
            return FOR_EVER;
        }
        let left_ns = boot_ns.saturating_sub(clock.boottime_ns());
        left_ns.min(self.wall_ns.load(Acquire).saturating_sub(clock.now_ns()))
    }
}

#[derive(Debug, Default)]
struct Attempts {
    /// Both clocks at the beginning of the attempt that is under way.
    from: (i64, i64),
    begun: u64,
    ended: u64,
    /// Whether those who waited for the last attempt may go on.
    passes: bool,
    /// Somebody waits for an attempt that was not begun when they came.
    wanted: bool,
    shut: bool,
}

pub struct Fence {
    clock: Arc<dyn Clock>,
    replies: Until,
    lease: Until,
    closed: AtomicBool,
    attempts: Mutex<Attempts>,
    changed: Condvar,
    /// Wakes tasks; it holds the number of changes.
    told: watch::Sender<u64>,
}

impl Fence {
    /// A fence that lets everything pass until the first attempt.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            replies: Until::new(FOR_EVER),
            lease: Until::new(FOR_EVER),
            closed: AtomicBool::new(false),
            attempts: Mutex::default(),
            changed: Condvar::new(),
            told: watch::Sender::new(0),
        }
    }

    /// Whether a reply may go out at once; `Fenced` when none ever will again.
    #[inline]
    pub fn passes(&self) -> Result<bool> {
        if self.closed.load(Acquire) {
            return Err(CoreError::Fenced);
        }
        Ok(self.replies.left_ns(self.clock.as_ref()) > 0)
    }

    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// How long the lease is known to run; `None` where none is kept.
    pub fn lease_left(&self) -> Option<Duration> {
        match self.lease.left_ns(self.clock.as_ref()) {
            FOR_EVER => None,
            left_ns => Some(Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0))),
        }
    }

    /// Returns when a reply may go out: at once, or after one attempt to renew the lease.
    pub fn wait(&self) -> Result<()> {
        if self.passes()? {
            return Ok(());
        }
        let mut attempts = self.attempts.lock();
        let came = self.want(&mut attempts);
        loop {
            if let Some(verdict) = self.verdict(&attempts, came) {
                return verdict;
            }
            self.changed.wait(&mut attempts);
        }
    }

    /// The same for a task.
    pub async fn pass(&self) -> Result<()> {
        if self.passes()? {
            return Ok(());
        }
        let mut told = self.told.subscribe();
        let came = self.want(&mut self.attempts.lock());
        loop {
            told.mark_unchanged();
            if let Some(verdict) = self.verdict(&self.attempts.lock(), came) {
                return verdict;
            }
            // The sender is in self, so it lives.
            drop(told.changed().await);
        }
    }

    fn want(&self, attempts: &mut Attempts) -> u64 {
        attempts.wanted = true;
        self.changed.notify_all();
        attempts.begun
    }

    /// What a reply that came when so many attempts were begun may do; None: wait.
    fn verdict(&self, attempts: &Attempts, came: u64) -> Option<Result<()>> {
        match self.passes() {
            Err(error) => return Some(Err(error)),
            Ok(true) => return Some(Ok(())),
            Ok(false) => {}
        }
        if attempts.shut {
            return Some(Err(CoreError::Closed));
        }
        (attempts.ended > came).then(|| {
            attempts.passes.then_some(()).ok_or(CoreError::Busy(
                "the store has not confirmed that this server is the owner",
            ))
        })
    }

    /// An attempt to renew the lease begins. One at a time.
    pub fn attempt(&self) {
        let mut attempts = self.attempts.lock();
        attempts.from = (self.clock.boottime_ns(), self.clock.now_ns());
        attempts.begun += 1;
        attempts.wanted = false;
    }

    /// How the attempt ended.
    pub fn end(&self, how: Attempt) {
        let mut attempts = self.attempts.lock();
        match how {
            Attempt::Renewed(duration) => {
                self.lease.set(attempts.from, duration);
                self.replies.set(attempts.from, duration);
                attempts.passes = true;
            }
            Attempt::Unanswered(duration) => {
                attempts.passes = !duration.is_zero();
                // What the lease allows it allows all the same.
                let boot_ns = self.replies.boot_ns.load(Relaxed);
                let ns = i64::try_from(duration.as_nanos()).unwrap_or(FOR_EVER);
                if boot_ns == FOR_EVER || attempts.from.0.saturating_add(ns) > boot_ns {
                    self.replies.set(attempts.from, duration);
                }
                if self.lease.boot_ns.load(Relaxed) == FOR_EVER {
                    self.lease.set(attempts.from, Duration::ZERO);
                }
            }
            Attempt::Contested => {
                self.lease.set(attempts.from, Duration::ZERO);
                self.replies.set(attempts.from, Duration::ZERO);
                attempts.passes = false;
            }
            Attempt::Lost => self.closed.store(true, Release),
        }
        attempts.ended = attempts.begun;
        self.tell();
    }

    /// Wakes the thread that keeps the lease.
    pub fn wake(&self) {
        self.attempts.lock().wanted = true;
        self.changed.notify_all();
    }

    /// Lets whoever waits go with an error: the server stops.
    pub fn shut(&self) {
        let mut attempts = self.attempts.lock();
        attempts.shut = true;
        self.tell();
    }

    fn tell(&self) {
        self.changed.notify_all();
        self.told.send_modify(|count| *count += 1);
    }

    /// Waits until a reply waits for an attempt, at most so long; whether one does. For the thread that keeps the lease.
    pub fn wait_wanted(&self, limit: Duration) -> bool {
        let mut attempts = self.attempts.lock();
        if !attempts.wanted && !attempts.shut {
            // Woken early it looks at the lease early, which does no harm.
            self.changed.wait_for(&mut attempts, limit);
        }
        attempts.wanted
    }
}

impl Gate for Fence {
    /// Objects are put under names of this epoch, so a put may go out as a reply may. A deletion takes a valid lease.
    fn pass<'a>(
        &'a self,
        key: &'a str,
        change: Change,
    ) -> BoxFuture<'a, std::result::Result<(), StoreError>> {
        Box::pin(async move {
            let denied = |message: &str| StoreError::Denied {
                key: key.to_owned(),
                message: message.to_owned(),
            };
            Fence::pass(self)
                .await
                .map_err(|error| denied(&error.to_string()))?;
            if change == Change::Delete && self.lease_left().is_some_and(|left| left.is_zero()) {
                return Err(denied("nothing is deleted without a valid lease of the owner"));
            }
            Ok(())
        })
    }
}
