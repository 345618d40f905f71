//! Work that no client waits for, at a lower priority than what clients do wait for.

use std::io;
use std::panic::resume_unwind;
use std::thread;

/// What the threads of background work add to their nice value: about a tenth of a processor where others want all of it.
pub const NICENESS: libc::c_int = 10;

/// Runs `f` on a thread of its own at low priority, and waits for it. A panic of it goes on here.
///
/// A thread of its own, since one that has lowered its priority may lack the right to raise it again, and those that it
/// starts inherit it: `f` must not make pools grow.
pub fn run<T: Send>(f: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("caudal-behind".into())
            .spawn_scoped(scope, || {
                lower_priority();
                f()
            })?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn lower_priority() {
    // SAFETY: plain calls without memory. On Linux the process 0 is the calling thread.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        // It may always be lowered; if not, the work is only in the way of others.
        libc::setpriority(libc::PRIO_PROCESS, 0, now + NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn the_priority_is_low_there_and_as_it_was_here() {
        let before = niceness();
        let there = run(niceness).unwrap();
        assert_eq!(there, (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let caught = std::panic::catch_unwind(|| run(|| -> u32 { panic!("there") }));
        assert!(caught.is_err());
    }
}
