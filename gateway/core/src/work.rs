//! Who runs what does not happen on the caller's thread: threads of a runtime, or in a simulation the caller itself.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot::Receiver;

/// The runtime of an engine.
pub enum Work {
    Threads(Mutex<Option<Runtime>>),
    /// Tasks run while somebody waits for one, on that thread, in one order; time passes when nothing else is left to do.
    ByHand(Runtime),
}

impl Work {
    pub fn threads(count: usize) -> io::Result<(Self, Handle)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count.max(1))
            .thread_name("caudal-io")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok((Self::Threads(Mutex::new(Some(runtime))), handle))
    }

    pub fn by_hand() -> io::Result<(Self, Handle)> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let handle = runtime.handle().clone();
        Ok((Self::ByHand(runtime), handle))
    }

    pub const fn is_by_hand(&self) -> bool {
        matches!(self, Self::ByHand(_))
    }

    /// Runs a future to its end; not from a thread of the runtime.
    pub fn block_on<F: Future>(&self, handle: &Handle, future: F) -> F::Output {
        match self {
            Self::Threads(_) => handle.block_on(future),
            Self::ByHand(runtime) => runtime.block_on(future),
        }
    }

    /// Waits for the answer of a task; None: it ended without one. Not from a thread of the runtime.
    pub fn answer<T>(&self, receiver: Receiver<T>) -> Option<T> {
        match self {
            Self::Threads(_) => receiver.blocking_recv().ok(),
            Self::ByHand(runtime) => runtime.block_on(receiver).ok(),
        }
    }

    /// Ends the threads after `last` has run, and no later than after `wait`; the second time does nothing.
    pub fn close<F: Future>(&self, last: F, wait: Duration) {
        match self {
            Self::Threads(runtime) => {
                let Some(runtime) = runtime.lock().take() else {
                    return;
                };
                runtime.block_on(last);
                runtime.shutdown_timeout(wait);
            }
            Self::ByHand(runtime) => {
                runtime.block_on(last);
            }
        }
    }
}
