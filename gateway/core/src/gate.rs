//! The gate before the data path, as C functions: the twin of `pyganesha_gate.h`. It lets requests pass as the limits say.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::activity::{caller, set_caller};
use crate::clock::{Clock, SystemClock};
use crate::export_reads::set_export;
use crate::limits::{Address, Limits, Verdict};
use crate::vtable::{DONE, PENDING};

pub const ABI: u32 = 1;
pub const NAME: &CStr = c"pyganesha.gate";
/// Requests that go on after a delay may wait for Python's lock: so many at once.
const GOING_ON: usize = 8;

pub type Go = unsafe extern "C" fn(token: *mut c_void);

/// `struct pyganesha_gate`.
#[repr(C)]
pub struct CGate {
    pub abi: u32,
    pub size: u32,
    pub gate: *const c_void,
    pub admit: unsafe extern "C" fn(
        gate: *const c_void,
        export: u16,
        client: *const u8,
        is_read: bool,
        bytes: u64,
        go: Go,
        token: *mut c_void,
    ) -> c_int,
}

/// The limits, and who wakes those that they delay.
pub struct Gate {
    pub limits: Limits,
    clock: Arc<dyn Clock>,
    runtime: Mutex<Option<Runtime>>,
    closing: watch::Sender<bool>,
}

/// Goes on when it is dropped, whatever becomes of the task that has it: a client's request is never left without an answer.
struct Waiting {
    export: u16,
    caller: (Option<IpAddr>, u32),
    go: Go,
    token: *mut c_void,
}

// SAFETY: the interface allows the call from any thread; the token is only handed back.
unsafe impl Send for Waiting {}

impl Drop for Waiting {
    fn drop(&mut self) {
        set_export(self.export);
        set_caller(self.caller.0, self.caller.1);
        // SAFETY: called once, as the interface promises.
        unsafe { (self.go)(self.token) };
    }
}

impl Gate {
    pub fn new() -> io::Result<Arc<Self>> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(GOING_ON)
            .thread_name("caudal-limits")
            .enable_time()
            .build()?;
        Ok(Arc::new(Self {
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            runtime: Mutex::new(Some(runtime)),
            closing: watch::Sender::new(false),
        }))
    }

    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.monotonic_ns()).unwrap_or(0)
    }

    /// False: the gate has closed, and the request is still the caller's.
    fn later(&self, wait: Duration, export: u16, go: Go, token: *mut c_void) -> bool {
        let guard = self.runtime.lock();
        let Some(runtime) = guard.as_ref() else {
            return false;
        };
        let waiting = Waiting {
            export,
            caller: caller(),
            go,
            token,
        };
        let mut closing = self.closing.subscribe();
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            // At the end nobody is kept waiting any more.
            let _ = tokio::time::timeout(wait, closing.wait_for(|closing| *closing)).await;
            handle.spawn_blocking(move || drop(waiting));
        });
        true
    }

    /// Lets everybody go who waits, and ends the threads. Not from one of them.
    pub fn close(&self) {
        self.closing.send_replace(true);
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

/// The table and the gate that it points to.
#[repr(C)]
pub struct OwnedGate {
    table: CGate,
    gate: Arc<Gate>,
}

// SAFETY: the pointer in the table is to the gate, which is Send and Sync and kept alive by the Arc beside it.
unsafe impl Send for OwnedGate {}

impl OwnedGate {
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        let table = CGate {
            abi: ABI,
            size: size_of::<CGate>() as u32,
            gate: Arc::as_ptr(&gate).cast(),
            admit,
        };
        Self { table, gate }
    }

    #[must_use]
    pub const fn table(&self) -> &CGate {
        &self.table
    }

    #[must_use]
    pub const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

unsafe extern "C" fn admit(
    gate: *const c_void,
    export: u16,
    client: *const u8,
    is_read: bool,
    bytes: u64,
    go: Go,
    token: *mut c_void,
) -> c_int {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the pointer is to a live Gate, which the capsule's owner keeps.
        let gate = unsafe { &*gate.cast::<Gate>() };
        // Whoever is let go at once reads on this thread.
        set_export(export);
        if !gate.limits.any() {
            return DONE;
        }
        let mut address: Address = [0; 16];
        // SAFETY: the caller's 16 bytes.
        unsafe { std::ptr::copy_nonoverlapping(client, address.as_mut_ptr(), address.len()) };
        match gate.limits.admit(export, &address, is_read, bytes, gate.now_ns()) {
            Verdict::Now => DONE,
            Verdict::Again => -libc::EAGAIN,
            // A gate that has closed keeps nobody waiting.
            Verdict::Later(wait) if gate.later(wait, export, go, token) => PENDING,
            Verdict::Later(_) => DONE,
        }
    }))
    .unwrap_or(DONE)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Instant;

    use super::*;
    use crate::limits::{Rates, Rule, Scope};

    unsafe extern "C" fn count(token: *mut c_void) {
        // SAFETY: the token of these tests is a counter.
        unsafe { &*token.cast::<AtomicU32>() }.fetch_add(1, SeqCst);
    }

    fn ask(owned: &OwnedGate, bytes: u64, counter: &AtomicU32) -> c_int {
        let table = owned.table();
        let token = std::ptr::from_ref(counter).cast_mut().cast();
        // SAFETY: the table is alive, the address has 16 bytes.
        unsafe { (table.admit)(table.gate, 1, [0; 16].as_ptr(), true, bytes, count, token) }
    }

    fn limited(rate: f64) -> OwnedGate {
        let owned = OwnedGate::new(Gate::new().unwrap());
        let rates = Rates {
            read_bytes_s: rate,
            burst_s: 1.0,
            ..Rates::default()
        };
        let rule = Rule {
            scope: Scope::Server,
            rates,
        };
        owned.gate().limits.set(&[rule], owned.gate().now_ns());
        owned
    }

    #[test]
    fn layout_is_that_of_the_header() {
        assert_eq!(
            (
                size_of::<CGate>(),
                offset_of!(CGate, gate),
                offset_of!(CGate, admit)
            ),
            (24, 8, 16)
        );
        assert_eq!(offset_of!(OwnedGate, table), 0);
    }

    #[test]
    fn who_is_delayed_goes_on_once_and_not_before_its_time() {
        let (owned, counter) = (limited(1000.0), AtomicU32::new(0));
        assert_eq!(ask(&owned, 1000, &counter), DONE);
        let began = Instant::now();
        assert_eq!(ask(&owned, 100, &counter), PENDING);
        while counter.load(SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(began.elapsed() >= Duration::from_millis(90));
        assert_eq!(ask(&owned, 1_000_000, &counter), -libc::EAGAIN);
        owned.gate().close();
        assert_eq!(counter.load(SeqCst), 1);
    }

    #[test]
    fn a_close_lets_everybody_go() {
        let (owned, counter) = (limited(1000.0), AtomicU32::new(0));
        assert_eq!(ask(&owned, 1000, &counter), DONE);
        for _ in 0..4 {
            assert_eq!(ask(&owned, 1000, &counter), PENDING);
        }
        owned.gate().close();
        assert_eq!(counter.load(SeqCst), 4);
        assert_eq!(ask(&owned, 1000, &counter), DONE);
    }
}
