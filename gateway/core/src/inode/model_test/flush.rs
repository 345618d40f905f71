//! What happens to the model's inode beside changes: flushes, relocations, trims of the journal, crashes.

use super::{Batch, Logged, World, apply, apply_rows};
use crate::inode::extents::Extent;
use crate::inode::state::{Source, State, Taken, TakenPiece};

impl World {
    pub(super) fn first_lsn(&self) -> u64 {
        self.state.dirty_since_lsn().unwrap_or(u64::MAX)
    }

    pub(super) fn take(&mut self, max_bytes: u64) {
        if self.batch.is_some() || self.state.is_clean() {
            return;
        }
        let first_lsn = self.first_lsn();
        let taken = self.state.take(max_bytes, usize::MAX, 0);
        self.batch = Some(self.packed(taken, first_lsn, false));
    }

    pub(super) fn relocate(&mut self, offset: u64, len: u64) {
        if self.batch.is_some() {
            return;
        }
        let pieces = self
            .state
            .extents
            .range(offset, offset + len)
            .map(|e| TakenPiece {
                offset: e.offset,
                len: e.len,
                source: Source::Pack {
                    pack: e.pack,
                    pack_offset: e.pack_offset,
                },
            });
        let pieces = pieces.collect();
        let taken = Taken {
            lsn: 0,
            monotonic_ns: 0,
            attributes: self.state.attributes,
            pieces,
            bytes: 0,
        };
        self.batch = Some(self.packed(taken, u64::MAX, true));
    }

    fn packed(&mut self, taken: Taken, first_lsn: u64, relocation: bool) -> Batch {
        let id = 1000 + self.packs.len() as u64;
        let mut pack = Vec::new();
        let mut splices = Vec::new();
        for piece in &taken.pieces {
            if matches!(piece.source, Source::Zeros) {
                splices.extend(self.state.hole_splice(piece.offset, piece.len));
                continue;
            }
            let pack_offset = pack.len() as u64;
            splices.push(Extent {
                offset: piece.offset,
                len: piece.len,
                pack: id,
                pack_offset,
            });
            pack.extend_from_slice(&self.bytes_of(&piece.source, piece.len));
        }
        self.packs.insert(id, pack);
        Batch {
            taken,
            splices,
            first_lsn,
            relocation,
        }
    }

    pub(super) fn commit(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        self.lsn += 1;
        let rows = Logged::Rows {
            taken_lsn: batch.taken.lsn,
            attributes: batch.taken.attributes,
            splices: batch.splices.clone(),
        };
        self.log.push((self.lsn, rows));
        if batch.relocation {
            self.state.splice_flushed(0, &batch.splices);
        } else {
            self.pending.push((self.lsn, batch.first_lsn));
            self.state.splice_flushed(batch.taken.lsn, &batch.splices);
            self.state.end_flush(&batch.taken);
        }
    }

    pub(super) fn trim(&mut self) {
        self.pending
            .retain(|(commit_lsn, _)| *commit_lsn > self.checkpoint_lsn);
        let floor = self
            .pending
            .iter()
            .map(|(_, first)| *first)
            .min()
            .unwrap_or(u64::MAX);
        let floor = floor.min(self.first_lsn()).min(self.checkpoint_lsn + 1);
        self.log.retain(|(lsn, _)| *lsn >= floor);
    }

    /// Recovery: the log over the row of the last checkpoint.
    pub(super) fn crash(&mut self) {
        self.batch = None;
        self.pending.clear();
        let mut rows = self.row.clone();
        let mut state: Option<State> = None;
        let mut first_lsn = u64::MAX;
        for (lsn, record) in &self.log {
            if let Logged::Rows {
                taken_lsn,
                attributes,
                splices,
            } = record
            {
                if let Some(state) = &mut state {
                    state.replay_flushed(*taken_lsn, splices.iter().copied());
                    // The log keeps what the flush covered until a checkpoint has its rows, after this crash too.
                    self.pending.push((*lsn, first_lsn));
                }
                // What the database has is not applied again: a load in between would see the row as it was before.
                if *lsn > self.checkpoint_lsn {
                    apply_rows(&mut rows, attributes, splices);
                }
            } else {
                first_lsn = first_lsn.min(*lsn);
                let state = state.get_or_insert_with(|| State::new(rows.0, rows.1.clone(), 0));
                apply(state, *lsn, record, false, true);
            }
        }
        self.state = state.unwrap_or_else(|| State::new(rows.0, rows.1.clone(), self.lsn));
        self.state.last_lsn = self.state.last_lsn.max(self.lsn);
    }
}
