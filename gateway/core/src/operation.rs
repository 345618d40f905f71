//! What an operation holds on its thread, from its reservation to its answer: a wait slot, room in the journal, and the
//! LSN that its answer waits for.
//!
//! A thread of the server brackets each operation by [`begin`] and [`settle`]. In between, [`wait_durable`] only notes what is
//! to be waited for, so that Python, which calls it, has left the interpreter when the thread sleeps. Threads that do
//! not bracket their operations wait at once.

use std::cell::RefCell;
use std::sync::Arc;

use caudal_journal::{Permit, WaitSlot};

use crate::engine::Engine;
use crate::errors::{CoreError, Result};

/// Room for the records that an operation makes beside its rows: attributes of the inodes in it.
const EXTRA_BYTES: u64 = 512;

#[derive(Default)]
struct Operation {
    /// Address of the engine: a thread may serve several cores in tests.
    engine: usize,
    slot: Option<WaitSlot>,
    room: Option<Permit>,
    begun: bool,
    /// The answer waits for this; 0: for nothing.
    wanted_lsn: u64,
}

thread_local! {
    static OPERATIONS: RefCell<Vec<Operation>> = const { RefCell::new(Vec::new()) };
}

fn with<T>(engine: &Arc<Engine>, f: impl FnOnce(&mut Operation) -> T) -> T {
    let key = Arc::as_ptr(engine).addr();
    OPERATIONS.with_borrow_mut(|all| {
        let at = all.iter().position(|one| one.engine == key).unwrap_or_else(|| {
            all.push(Operation {
                engine: key,
                ..Default::default()
            });
            all.len() - 1
        });
        f(&mut all[at])
    })
}

/// From now on the thread waits in [`settle`] only.
pub fn begin(engine: &Arc<Engine>) {
    with(engine, |one| one.begun = true);
}

/// Waits for what the operation noted, and ends it: only then may it be answered.
pub fn settle(engine: &Arc<Engine>) -> Result<()> {
    let operation = with(engine, |one| {
        std::mem::replace(
            one,
            Operation {
                engine: one.engine,
                ..Default::default()
            },
        )
    });
    if operation.wanted_lsn == 0 {
        return engine.pass_fence();
    }
    // The slot is held until here: it stands for a thread that waits for a disk, or for the owner's lease.
    engine.opened_journal()?.wait_durable(operation.wanted_lsn)?;
    engine.fence.wait()
}

/// Returns when the record is durable, or at once in an operation that settles.
pub fn wait_durable(engine: &Arc<Engine>, lsn: u64) -> Result<()> {
    let later = with(engine, |one| {
        if one.begun {
            one.wanted_lsn = one.wanted_lsn.max(lsn);
        }
        one.begun
    });
    if later {
        return Ok(());
    }
    let result = engine.journal()?.wait_durable(lsn);
    release(engine);
    Ok(result?)
}

/// Takes a slot and room for the calling thread; does not wait.
pub fn reserve(engine: &Arc<Engine>, bytes: u64) -> Result<()> {
    release(engine);
    let journal = engine.journal()?;
    let slot = journal
        .try_wait_slot()
        .ok_or(CoreError::Busy("too many callers wait for the journal"))?;
    let room = engine.room(journal, bytes + EXTRA_BYTES)?;
    with(engine, |one| {
        one.slot = Some(slot);
        one.room = Some(room);
    });
    Ok(())
}

/// The records of the operation are appended: gives the room back, keeps the slot.
pub fn appended(engine: &Arc<Engine>) {
    with(engine, |one| one.room = None);
}

/// Gives slot and room back. What the operation waits for it still waits for.
pub fn release(engine: &Arc<Engine>) {
    with(engine, |one| {
        one.slot = None;
        one.room = None;
    });
}
