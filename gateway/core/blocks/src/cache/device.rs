//! Whether the device of L2 answers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Reads, or written batches, that fail one after the other before the device is left alone, and for how long at first.
const FAILURES: u32 = 8;
const PAUSE: Duration = Duration::from_secs(30);
/// About an hour.
const MAX_DOUBLINGS: u32 = 7;

/// Whether the device answers.
#[derive(Default)]
pub struct Health {
    pub errors: AtomicU64,
    failures: AtomicU32,
    paused_until: Mutex<Option<Instant>>,
    /// Pauses since it last answered.
    pauses: AtomicU32,
}

impl Health {
    /// Takes note of an answer; true where the device is left alone from now on, because it failed too often.
    pub fn judge(&self, answered: bool) -> bool {
        if answered {
            self.failures.store(0, Relaxed);
            self.pauses.store(0, Relaxed);
            return false;
        }
        self.errors.fetch_add(1, Relaxed);
        let too_often = self.failures.fetch_add(1, Relaxed) + 1 >= FAILURES;
        if too_often {
            self.give_up();
        }
        too_often
    }

    /// Leaves the device alone for a while, for longer each time.
    pub fn give_up(&self) {
        self.failures.store(0, Relaxed);
        let doubled = self.pauses.fetch_add(1, Relaxed).min(MAX_DOUBLINGS);
        *self.paused_until.lock() = Some(Instant::now() + PAUSE * 2u32.pow(doubled));
    }

    /// Time passes.
    #[cfg(test)]
    pub fn end_pause(&self) {
        *self.paused_until.lock() = Some(Instant::now());
    }

    pub fn is_paused(&self) -> bool {
        let mut until = self.paused_until.lock();
        if until.is_some_and(|until| Instant::now() >= until) {
            *until = None;
        }
        until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_device_is_left_alone() {
        let health = Health::default();
        for _ in 1..FAILURES {
            health.judge(false);
        }
        health.judge(true);
        for _ in 1..FAILURES {
            health.judge(false);
        }
        assert!(!health.is_paused());
        health.judge(false);
        assert!(health.is_paused());
        health.end_pause();
        assert!(!health.is_paused());
    }
}
