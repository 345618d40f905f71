//! Changes among the mirrors, which rounds make, and what the keepers of mirrors ask.

use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use super::Committer;
use crate::error::JournalError;
use crate::mirrors::{Asked, Change};
use crate::state::{Kept, State};

impl Committer {
    /// What the round is to change among the mirrors. Who joins begins with an empty segment, after all that is in the batch.
    pub(super) fn take_asked(&self, state: &mut State) -> Vec<Asked> {
        if !self.is_asked.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut asked = self.asked.lock();
        self.is_asked.store(false, Ordering::Release);
        let changes = std::mem::take(&mut *asked);
        if changes
            .iter()
            .any(|(change, _)| matches!(change, Change::Join(_)))
        {
            state.switch(&self.room);
        }
        changes
    }

    /// Has a round change something among the mirrors, and waits until it has. An error says why it was not done.
    pub fn change(&self, change: Change) -> std::result::Result<u64, String> {
        let (answer, answered) = channel();
        {
            let state = self.state.lock();
            if state.closing || state.end.is_some() {
                return Err(JournalError::Closed.to_string());
            }
            self.asked.lock().push((change, answer));
            self.is_asked.store(true, Ordering::Release);
            if self.by_hand {
                drop(self.round(state, true));
            } else {
                self.work.notify_one();
            }
        }
        answered
            .recv()
            .unwrap_or_else(|_| Err(JournalError::Closed.to_string()))
    }

    /// Has a round see who is lost, also where nobody writes: the others get their list without it, and where none is left the
    /// journal waits for one from now on.
    pub fn see_losses(&self) {
        let state = self.state.lock();
        if !state.closing && state.end.is_none() {
            self.is_asked.store(true, Ordering::Release);
            self.work.notify_one();
        }
    }

    /// Segments that are kept, oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        self.state.lock().kept.iter().copied().collect()
    }

    #[must_use]
    pub fn keeps(&self, first_lsn: u64) -> bool {
        let state = self.state.lock();
        state.kept.iter().any(|kept| kept.first_lsn == first_lsn)
    }

    /// The segment that the disks have open.
    #[must_use]
    pub fn disk_segment(&self) -> u64 {
        self.state.lock().disk_segment
    }
}
