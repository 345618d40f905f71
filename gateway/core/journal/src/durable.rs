//! Waiting until records are durable: threads that block, callbacks, and how many threads may block at once.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::error::{JournalError, Result};

/// Called when a record is durable or will never be.
pub type OnDurable = Box<dyn FnOnce(Result<()>) + Send>;

/// The durable LSN and those who wait for it to grow.
///
/// A round of the committer makes everything up to some LSN durable. Who waits for that round sleeps on its word, who
/// came later on the other one, so one system call wakes exactly those who are done.
pub struct Durable {
    lsn: AtomicU64,
    words: [AtomicU32; 2],
}

impl Durable {
    #[must_use]
    pub fn new(lsn: u64) -> Self {
        Self {
            lsn: AtomicU64::new(lsn),
            words: [AtomicU32::new(0), AtomicU32::new(0)],
        }
    }

    #[must_use]
    pub fn lsn(&self) -> u64 {
        self.lsn.load(Ordering::SeqCst)
    }

    /// Everything up to `lsn` is durable.
    pub fn advance(&self, lsn: u64) {
        self.lsn.fetch_max(lsn, Ordering::SeqCst);
    }

    /// What to sleep on until the end of that round; read under the lock that rounds begin and end with.
    #[must_use]
    pub fn ticket(&self, round: u64) -> u32 {
        self.words[(round & 1) as usize].load(Ordering::SeqCst)
    }

    /// Sleeps until the round of the ticket ends; may return early.
    pub fn sleep(&self, round: u64, ticket: u32) {
        let word = &self.words[(round & 1) as usize];
        // SAFETY: the word outlives the call; a null timeout means none.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                ticket,
                std::ptr::null::<libc::timespec>(),
            );
        }
    }

    /// Wakes all who sleep on that round.
    pub fn wake(&self, round: u64) {
        let word = &self.words[(round & 1) as usize];
        word.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the word outlives the call.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                i32::MAX,
            );
        }
    }
}

/// Callbacks by LSN, run by a thread of their own so that the next round need not wait for them.
#[derive(Default)]
pub struct Callbacks {
    waiting: Mutex<BTreeMap<(u64, u64), OnDurable>>,
    changed: Condvar,
    count: AtomicUsize,
    ids: AtomicU64,
    stopping: AtomicBool,
}

impl Callbacks {
    /// Gives the callback back when the thread has ended.
    pub fn add(&self, lsn: u64, done: OnDurable) -> std::result::Result<(), OnDurable> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        if self.stopping.load(Ordering::SeqCst) {
            return Err(done);
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        waiting.insert((lsn, id), done);
        Ok(())
    }

    /// Lets the thread look again, where there is anything to look at.
    pub fn poke(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            let _waiting = self.waiting.lock();
            self.changed.notify_one();
        }
    }

    /// Ends the thread when it has answered all.
    pub fn stop(&self) {
        let _waiting = self.waiting.lock();
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Body of the thread. `end` gives the answer for records that will never be durable, once there are any.
    pub fn run(&self, durable: &Durable, end: impl Fn() -> Option<JournalError>) {
        let mut waiting = self.waiting.lock();
        loop {
            // Read the end first: what became durable before it is answered well.
            let ended = end();
            let later = waiting.split_off(&(durable.lsn() + 1, 0));
            let done = std::mem::replace(&mut *waiting, later);
            let lost = if ended.is_some() {
                std::mem::take(&mut *waiting)
            } else {
                BTreeMap::new()
            };
            if done.is_empty() && lost.is_empty() {
                if self.stopping.load(Ordering::SeqCst) {
                    return;
                }
                self.changed.wait(&mut waiting);
                continue;
            }
            self.count.fetch_sub(done.len() + lost.len(), Ordering::SeqCst);
            drop(waiting);
            for callback in done.into_values() {
                call(callback, Ok(()));
            }
            for callback in lost.into_values() {
                call(callback, Err(ended.clone().unwrap_or(JournalError::Closed)));
            }
            waiting = self.waiting.lock();
        }
    }
}

/// A callback that panics, which its thread reports as any other, must not keep the others from their answers.
fn call(callback: OnDurable, result: Result<()>) {
    drop(catch_unwind(AssertUnwindSafe(|| callback(result))));
}

/// Counts the threads that wait for disks.
pub struct Slots {
    free: AtomicUsize,
}

/// One of the threads that may wait for disks; given back when dropped.
pub struct WaitSlot(Arc<Slots>);

impl Slots {
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: AtomicUsize::new(count),
        })
    }

    pub fn try_take(self: &Arc<Self>) -> Option<WaitSlot> {
        self.free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1))
            .ok()
            .map(|_| WaitSlot(self.clone()))
    }
}

impl Drop for WaitSlot {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}
