//! Where the round that no mirror took waits, until one that holds everything is there again.

use parking_lot::{Condvar, Mutex};

use crate::error::JournalError;
use crate::format::SegmentHeader;
use crate::mirror::Mirror;

#[derive(Default)]
pub struct Returns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The segment to go on in; None: there is a mirror.
    wanted: Option<SegmentHeader>,
    given: Option<Mirror>,
    closing: bool,
}

impl Returns {
    /// Waits for a mirror that has everything that was acknowledged, opened at this segment. An error: the journal is being closed.
    pub fn wait(&self, at: SegmentHeader) -> Result<Mirror, JournalError> {
        let mut state = self.state.lock();
        state.wanted = Some(at);
        loop {
            if let Some(mirror) = state.given.take() {
                return Ok(mirror);
            }
            if state.closing {
                state.wanted = None;
                return Err(JournalError::Closed);
            }
            self.changed.wait(&mut state);
        }
    }

    /// The journal goes on.
    pub fn over(&self) {
        self.state.lock().wanted = None;
    }

    /// Where a returning mirror is to be opened; None: it is not waited for.
    #[must_use]
    pub fn wanted(&self) -> Option<SegmentHeader> {
        let state = self.state.lock();
        state.wanted.filter(|_| state.given.is_none())
    }

    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.state.lock().wanted.is_some()
    }

    /// Hands in a mirror; given back where it came too late.
    pub fn give(&self, mirror: Mirror) -> Option<Mirror> {
        let mut state = self.state.lock();
        if state.wanted.is_none() || state.given.is_some() {
            return Some(mirror);
        }
        state.given = Some(mirror);
        self.changed.notify_all();
        None
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }
}
