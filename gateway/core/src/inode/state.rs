//! The changing part of a live inode, without locks and without I/O.
//!
//! A file is its dirty pieces over its extents over zeros, cut at its size. Every change comes with the LSN of its journal
//! record; replaying the same records in their order over the same row gives the same state, which is all of recovery.

use bytes::Bytes;
use smallvec::SmallVec;

use super::dirty::{Content, DirtyMap, Origin, Piece, Written};
use super::extents::{Extent, ExtentMap};
use super::index::Since;
use super::payload::{AttrChange, DataHead, HoleChange};
use super::{MAX_SIZE, end_of};
use crate::attributes::{Attributes, Names, without_privilege};
use crate::quota::Charge;

/// Where bytes of a file are.
#[derive(Clone, Debug)]
pub enum Source {
    Zeros,
    Memory(Bytes),
    Journal { origin: Origin, skip: u32 },
    Pack { pack: u64, pack_offset: u64 },
}

/// A part of a read: `len` bytes at `at` in the reader's buffer.
#[derive(Clone, Debug)]
pub struct Part {
    pub at: u64,
    pub len: u64,
    pub source: Source,
}

/// Parts of a read, in order, without gaps; in place for reads that touch few pieces.
pub type Parts = SmallVec<[Part; 6]>;

/// A piece that a flush took.
#[derive(Clone, Debug)]
pub struct TakenPiece {
    pub offset: u64,
    pub len: u64,
    /// Zeros where it is a hole.
    pub source: Source,
}

/// What a flush took of one inode.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Changes up to this LSN are in the pieces and attributes, for the ranges that the pieces cover.
    pub lsn: u64,
    pub monotonic_ns: i64,
    pub attributes: Attributes,
    pub pieces: Vec<TakenPiece>,
    /// Bytes of data pieces.
    pub bytes: u64,
}

#[derive(Debug)]
pub struct State {
    pub attributes: Attributes,
    pub extents: ExtentMap,
    pub dirty: DirtyMap,
    /// LSN of the last change of what a flush must write to the row, and up to where the row has it.
    attr_lsn: u64,
    attr_clean_lsn: u64,
    /// LSN of the first such change after they were last clean.
    attr_first_lsn: u64,
    /// Everything up to here must be durable before a COMMIT may return.
    pub last_lsn: u64,
    /// Place in the dirty index.
    pub since: Option<Since>,
    /// What it owes to its quota tree.
    pub charge: Charge,
    /// A flush or relocation holds the inode.
    pub flushing: bool,
    /// Evicted or deleted: whoever still holds it must look the inode up again.
    pub gone: bool,
}

impl State {
    /// State of an inode whose row says this. `last_lsn`: newest record of the journal, so that a COMMIT of an inode that
    /// was flushed, evicted and loaded again still waits for the flush's own record.
    #[must_use]
    pub fn new(attributes: Attributes, extents: ExtentMap, last_lsn: u64) -> Self {
        let mut state = Self {
            attributes,
            extents,
            dirty: DirtyMap::default(),
            attr_lsn: 0,
            attr_clean_lsn: 0,
            attr_first_lsn: 0,
            last_lsn,
            since: None,
            charge: Charge::default(),
            flushing: false,
            gone: false,
        };
        state.attributes.space_used = state.extents.bytes();
        state
    }

    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.attr_lsn <= self.attr_clean_lsn
    }

    /// Sizes of the dirty map: bytes, bytes in memory.
    #[must_use]
    pub const fn sizes(&self) -> (u64, u64) {
        (self.dirty.bytes(), self.dirty.memory_bytes())
    }

    pub fn write(&mut self, lsn: u64, head: &DataHead, written: Written) {
        let len = u64::from(written.origin.len);
        self.put(
            head.offset,
            Piece {
                len,
                lsn,
                content: Content::Data(written),
            },
        );
        self.attributes.size = self.attributes.size.max(head.offset + len);
        self.attributes.mtime_ns = head.time_ns;
        self.written_by_other(lsn, head.clear_privilege);
        self.changed(lsn, Some(head.time_ns));
    }

    /// `replaying`: extents of a later flush may be missing still, so a new size always leaves its hole.
    pub fn set_attributes(&mut self, lsn: u64, change: &AttrChange, replaying: bool) {
        if let Some(size) = change.size {
            if replaying || self.dirty.end() > size || self.extents.end() > size {
                self.put(
                    size,
                    Piece {
                        len: MAX_SIZE - size,
                        lsn,
                        content: Content::Hole,
                    },
                );
            }
            self.attributes.size = size;
        }
        if let Some(atime_ns) = change.atime_ns {
            self.attributes.atime_ns = atime_ns;
        }
        if let Some(mtime_ns) = change.mtime_ns {
            self.attributes.mtime_ns = mtime_ns;
        }
        self.written_by_other(lsn, change.clear_privilege);
        self.changed(lsn, change.ctime_ns);
    }

    pub fn punch(&mut self, lsn: u64, change: &HoleChange) {
        let end = end_of(change.offset, change.len);
        if change.offset < end {
            self.put(
                change.offset,
                Piece {
                    len: end - change.offset,
                    lsn,
                    content: Content::Hole,
                },
            );
        }
        self.attributes.mtime_ns = change.time_ns;
        self.written_by_other(lsn, change.clear_privilege);
        self.changed(lsn, Some(change.time_ns));
    }

    pub fn set_names(&mut self, names: &Names) {
        self.attributes.set_names(names);
        self.last_lsn = self.last_lsn.max(names.lsn);
    }

    /// A flush that was replayed: its rows had all of the inode's changes up to `taken_lsn` in these ranges.
    pub fn replay_flushed(&mut self, taken_lsn: u64, splices: impl IntoIterator<Item = Extent>) {
        for splice in splices {
            self.splice(splice, taken_lsn);
        }
        self.attr_clean_lsn = self.attr_clean_lsn.max(taken_lsn);
    }

    /// Takes pieces from the start of the file, until they are `max_pieces` or hold `max_bytes` of data; at least one.
    #[must_use]
    pub fn take(&self, max_bytes: u64, max_pieces: usize, monotonic_ns: i64) -> Taken {
        let mut taken = Taken {
            lsn: self.last_lsn,
            monotonic_ns,
            attributes: self.attributes,
            pieces: Vec::new(),
            bytes: 0,
        };
        for (offset, piece) in self.dirty.range(0, MAX_SIZE) {
            if (taken.bytes >= max_bytes && taken.bytes > 0) || taken.pieces.len() >= max_pieces {
                break;
            }
            taken.bytes += if piece.is_data() { piece.len } else { 0 };
            taken.pieces.push(TakenPiece {
                offset,
                len: piece.len,
                source: source_of(piece, 0, piece.len),
            });
        }
        taken
    }

    /// The splice that a taken hole needs: nothing where no extent lies below it. Extents change by flushes only, of which
    /// there is one at a time, so the answer holds until the flush's end.
    #[must_use]
    pub fn hole_splice(&self, offset: u64, len: u64) -> Option<Extent> {
        let end = (offset + len).min(self.extents.end());
        let needed = self.extents.range(offset, end).next().is_some();
        needed.then(|| Extent {
            offset,
            len: end - offset,
            pack: 0,
            pack_offset: 0,
        })
    }

    /// Part of the end of a flush: some of its splices take the place of what it took, where nothing newer was written.
    /// Each is complete in itself, so the lock may be given away in between.
    pub fn splice_flushed(&mut self, taken_lsn: u64, splices: &[Extent]) {
        for splice in splices {
            self.splice(*splice, taken_lsn);
        }
    }

    /// Ends a flush whose splices were applied. Holes over nothing had none: they go here.
    pub fn end_flush(&mut self, taken: &Taken) {
        for piece in taken
            .pieces
            .iter()
            .filter(|piece| matches!(piece.source, Source::Zeros))
        {
            self.dirty.cut(piece.offset, piece.offset + piece.len, taken.lsn);
        }
        self.attr_clean_lsn = self.attr_clean_lsn.max(taken.lsn);
        self.flushing = false;
    }

    /// A lower bound of the LSNs of changes that are not flushed; None when there are none.
    #[must_use]
    pub fn dirty_since_lsn(&self) -> Option<u64> {
        let pieces = self.dirty.oldest_lsn();
        let dirty = self.attr_lsn > self.attr_clean_lsn;
        let attributes = dirty.then(|| self.attr_first_lsn.max(self.attr_clean_lsn + 1));
        pieces.into_iter().chain(attributes).min()
    }

    /// Place in the dirty index after a flush.
    #[must_use]
    pub fn since_after(&self, taken: &Taken) -> Option<Since> {
        let before = self.since?;
        let lsn = self.dirty_since_lsn()?;
        let monotonic_ns = if lsn > taken.lsn {
            taken.monotonic_ns
        } else {
            before.monotonic_ns
        };
        Some(Since { lsn, monotonic_ns })
    }

    /// Parts of a read of `[offset, offset + len)`, which must lie below the size.
    pub fn resolve(&self, offset: u64, len: u64, parts: &mut Parts) {
        let end = offset + len;
        let mut at = offset;
        if !self.dirty.is_empty() {
            for (from, piece) in self.dirty.range(offset, end) {
                let start = from.max(offset);
                let stop = (from + piece.len).min(end);
                self.resolve_flushed(offset, at, start, parts);
                let source = source_of(piece, start - from, stop - start);
                parts.push(Part {
                    at: start - offset,
                    len: stop - start,
                    source,
                });
                at = stop;
            }
        }
        self.resolve_flushed(offset, at, end, parts);
    }

    fn resolve_flushed(&self, base: u64, start: u64, end: u64, parts: &mut Parts) {
        let mut at = start;
        for extent in self.extents.range(start, end) {
            if at < extent.offset {
                parts.push(Part {
                    at: at - base,
                    len: extent.offset - at,
                    source: Source::Zeros,
                });
            }
            let source = Source::Pack {
                pack: extent.pack,
                pack_offset: extent.pack_offset,
            };
            parts.push(Part {
                at: extent.offset - base,
                len: extent.len,
                source,
            });
            at = extent.end();
        }
        if at < end {
            parts.push(Part {
                at: at - base,
                len: end - at,
                source: Source::Zeros,
            });
        }
    }

    /// At a replay the row may be newer than the write: then its mode is what came after that.
    const fn written_by_other(&mut self, lsn: u64, clear_privilege: bool) {
        if clear_privilege && lsn > self.attributes.change {
            self.attributes.mode = without_privilege(self.attributes.mode);
        }
    }

    fn changed(&mut self, lsn: u64, ctime_ns: Option<i64>) {
        if let Some(ctime_ns) = ctime_ns {
            self.attributes.ctime_ns = self.attributes.ctime_ns.max(ctime_ns);
            self.attributes.change = self.attributes.change.max(lsn);
        }
        if self.attr_lsn <= self.attr_clean_lsn {
            self.attr_first_lsn = lsn;
        }
        self.attr_lsn = self.attr_lsn.max(lsn);
        self.last_lsn = self.last_lsn.max(lsn);
    }

    fn put(&mut self, offset: u64, piece: Piece) {
        let end = offset + piece.len;
        let before = self.allocated(offset, end);
        let after = if piece.is_data() { piece.len } else { 0 };
        self.dirty.insert(offset, piece);
        self.attributes.space_used = self.attributes.space_used - before + after;
    }

    fn splice(&mut self, splice: Extent, upto_lsn: u64) {
        let before = self.allocated(splice.offset, splice.end());
        self.extents.splice(splice);
        self.dirty.cut(splice.offset, splice.end(), upto_lsn);
        let after = self.allocated(splice.offset, splice.end());
        self.attributes.space_used = self.attributes.space_used - before + after;
    }

    /// Bytes of the range that hold data, dirty or flushed.
    #[must_use]
    pub fn allocated(&self, start: u64, end: u64) -> u64 {
        let mut sum = 0;
        let mut at = start;
        for (offset, piece) in self.dirty.range(start, end) {
            let from = offset.max(start);
            let to = (offset + piece.len).min(end);
            sum += self.extents.covered(at, from);
            sum += if piece.is_data() { to - from } else { 0 };
            at = to;
        }
        sum + self.extents.covered(at, end)
    }
}

fn source_of(piece: &Piece, from: u64, len: u64) -> Source {
    match &piece.content {
        Content::Hole => Source::Zeros,
        Content::Data(written) => match &written.memory {
            Some(memory) => Source::Memory(memory.slice(from as usize..(from + len) as usize)),
            None => Source::Journal {
                origin: written.origin,
                skip: written.skip + from as u32,
            },
        },
    }
}
