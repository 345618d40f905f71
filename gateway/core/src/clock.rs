//! The clock, injected so that tests can hold it still.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wall time for what clients see, monotonic time for ages.
pub trait Clock: Send + Sync {
    /// Nanoseconds since 1970.
    fn now_ns(&self) -> i64;
    /// Nanoseconds of `CLOCK_BOOTTIME`, which goes on while the machine is suspended.
    fn boottime_ns(&self) -> i64;
    /// Nanoseconds of `CLOCK_MONOTONIC`, which is what Python's `time.monotonic_ns()` counts.
    fn monotonic_ns(&self) -> i64;
}

pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    fn boottime_ns(&self) -> i64 {
        read(libc::CLOCK_BOOTTIME)
    }

    fn monotonic_ns(&self) -> i64 {
        read(libc::CLOCK_MONOTONIC)
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of our own; the call fails for unknown clocks only.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
