//! What a thread holds between `reserve` and the end of its operation: a wait slot and room in the journal.

use std::cell::RefCell;
use std::sync::Arc;

use caudal_journal::{Permit, WaitSlot};

use crate::engine::Engine;
use crate::errors::{CoreError, Result};

/// Room for the records that an operation makes beside its rows: attributes of the inodes in it.
const EXTRA_BYTES: u64 = 512;

struct Held {
    /// Address of the engine: a thread may serve several cores in tests.
    engine: usize,
    _slot: WaitSlot,
    room: Option<Permit>,
}

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

fn key(engine: &Arc<Engine>) -> usize {
    Arc::as_ptr(engine).addr()
}

/// Takes a slot and room for the calling thread; does not wait.
pub fn reserve(engine: &Arc<Engine>, bytes: u64) -> Result<()> {
    release(engine);
    let journal = engine.journal()?;
    let slot = journal
        .try_wait_slot()
        .ok_or(CoreError::Busy("too many callers wait for the journal"))?;
    let room = engine.room(journal, bytes + EXTRA_BYTES)?;
    HELD.with_borrow_mut(|held| {
        held.push(Held {
            engine: key(engine),
            _slot: slot,
            room: Some(room),
        })
    });
    Ok(())
}

/// The records of the operation are appended: gives the room back, keeps the slot.
pub fn appended(engine: &Arc<Engine>) {
    let key = key(engine);
    HELD.with_borrow_mut(|held| {
        for held in held.iter_mut().filter(|held| held.engine == key) {
            held.room = None;
        }
    });
}

/// Gives back whatever the calling thread holds.
pub fn release(engine: &Arc<Engine>) {
    let key = key(engine);
    HELD.with_borrow_mut(|held| held.retain(|held| held.engine != key));
}
