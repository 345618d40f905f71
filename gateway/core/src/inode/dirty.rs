//! The dirty map of one inode: what was written, truncated or punched and is in no pack yet.
//!
//! Pieces do not overlap: inserting one cuts the older ones below it, so the map always shows the newest change of each
//! byte. Each piece knows the LSN of its change and where its data lie in the journal, so its memory can go at any time.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use bytes::Bytes;
use caudal_journal::Place;

/// Where the data of a write lie in the journal: all of them, so that their checksum can be verified.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Place of the record's payload.
    pub place: Place,
    /// Length of the write's data, which follow the payload's fixed part.
    pub len: u32,
    /// CRC32C of those data.
    pub crc: u32,
}

/// Data of one piece.
#[derive(Clone, Debug)]
pub struct Written {
    /// The piece's bytes, unless they left memory.
    pub memory: Option<Bytes>,
    /// Bytes that `memory` keeps allocated; more than it shows when the piece was cut out of a larger write.
    backing: u64,
    pub origin: Origin,
    /// Offset of the piece in the write's data.
    pub skip: u32,
}

impl Written {
    /// A whole write; `memory` is None where its data are only in the journal.
    #[must_use]
    pub fn new(memory: Option<Bytes>, origin: Origin) -> Self {
        let backing = memory.as_ref().map_or(0, |m| m.len() as u64);
        Self {
            memory,
            backing,
            origin,
            skip: 0,
        }
    }

    /// The part of it from `from` on with length `len`, without copying.
    fn slice(&self, from: u64, len: u64) -> Self {
        Self {
            memory: self
                .memory
                .as_ref()
                .map(|m| m.slice(from as usize..(from + len) as usize)),
            backing: self.backing,
            origin: self.origin,
            skip: self.skip + from as u32,
        }
    }

    /// Copies the bytes out of a much larger write, so that a remnant does not keep all of it allocated.
    fn compacted(mut self) -> Self {
        if let Some(memory) = &self.memory
            && (memory.len() as u64) * 2 <= self.backing
        {
            self.memory = Some(Bytes::copy_from_slice(memory));
            self.backing = memory_len(&self.memory);
        }
        self
    }
}

fn memory_len(memory: &Option<Bytes>) -> u64 {
    memory.as_ref().map_or(0, |m| m.len() as u64)
}

#[derive(Clone, Debug)]
pub enum Content {
    Data(Written),
    Hole,
}

/// One change, as it is still visible.
#[derive(Clone, Debug)]
pub struct Piece {
    pub len: u64,
    pub lsn: u64,
    pub content: Content,
}

impl Piece {
    fn slice(&self, from: u64, len: u64) -> Self {
        let content = match &self.content {
            Content::Data(written) => Content::Data(written.slice(from, len)),
            Content::Hole => Content::Hole,
        };
        Self {
            len,
            lsn: self.lsn,
            content,
        }
    }

    fn compacted(self) -> Self {
        match self.content {
            Content::Data(written) => Self {
                content: Content::Data(written.compacted()),
                ..self
            },
            Content::Hole => self,
        }
    }

    #[must_use]
    pub const fn is_data(&self) -> bool {
        matches!(self.content, Content::Data(_))
    }

    fn memory(&self) -> u64 {
        match &self.content {
            Content::Data(written) => memory_len(&written.memory),
            Content::Hole => 0,
        }
    }

    const fn bytes(&self) -> u64 {
        if self.is_data() { self.len } else { 0 }
    }
}

/// Pieces by file offset.
#[derive(Clone, Debug, Default)]
pub struct DirtyMap {
    map: BTreeMap<u64, Piece>,
    bytes: u64,
    memory_bytes: u64,
}

impl DirtyMap {
    /// Bytes of data pieces.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of data pieces held in memory.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    #[must_use]
    pub fn oldest_lsn(&self) -> Option<u64> {
        self.map.values().map(|piece| piece.lsn).min()
    }

    /// First offset that no piece reaches.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.map
            .last_key_value()
            .map_or(0, |(offset, piece)| offset + piece.len)
    }

    /// Pieces that touch `[start, end)`, whole, with their offsets, in file order.
    pub fn range(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Piece)> + '_ {
        let first = self
            .map
            .range(..=start)
            .next_back()
            .filter(|(offset, p)| **offset + p.len > start);
        let rest = self
            .map
            .range((Excluded(start), Unbounded))
            .take_while(move |(offset, _)| **offset < end);
        let usable = start < end;
        first
            .into_iter()
            .chain(rest)
            .filter(move |_| usable)
            .map(|(offset, piece)| (*offset, piece))
    }

    /// Like [`Self::range`], with the pieces cut to it.
    pub fn clipped(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Piece)> + '_ {
        self.range(start, end).map(move |(offset, piece)| {
            let from = offset.max(start);
            let to = (offset + piece.len).min(end);
            (from, piece.slice(from - offset, to - from))
        })
    }

    /// Puts the piece over whatever lies there.
    pub fn insert(&mut self, offset: u64, piece: Piece) {
        if piece.len == 0 {
            return;
        }
        self.cut(offset, offset + piece.len, u64::MAX);
        self.add(offset, piece);
    }

    /// Removes from `[start, end)` what is not newer than `upto_lsn`; pieces that reach out of the range keep the rest.
    pub fn cut(&mut self, start: u64, end: u64, upto_lsn: u64) {
        if start >= end {
            return;
        }
        let mut from = start;
        while let Some((offset, piece)) = self.take_first(from, end, upto_lsn) {
            let piece_end = offset + piece.len;
            if offset < start {
                self.add(offset, piece.slice(0, start - offset).compacted());
            }
            if piece_end > end {
                self.add(end, piece.slice(end - offset, piece_end - end).compacted());
            }
            from = piece_end.min(end);
            if from == end {
                return;
            }
        }
    }

    /// Lets go of memory, the journal keeps the data. Returns the bytes freed.
    pub fn spill(&mut self) -> u64 {
        if self.memory_bytes == 0 {
            return 0;
        }
        for piece in self.map.values_mut() {
            if let Content::Data(written) = &mut piece.content {
                written.memory = None;
                written.backing = 0;
            }
        }
        std::mem::take(&mut self.memory_bytes)
    }

    fn add(&mut self, offset: u64, piece: Piece) {
        self.bytes += piece.bytes();
        self.memory_bytes += piece.memory();
        self.map.insert(offset, piece);
    }

    /// Removes the first piece that touches the range and is not newer.
    fn take_first(&mut self, start: u64, end: u64, upto_lsn: u64) -> Option<(u64, Piece)> {
        let (offset, _) = self.range(start, end).find(|(_, piece)| piece.lsn <= upto_lsn)?;
        let piece = self.map.remove(&offset)?;
        self.bytes -= piece.bytes();
        self.memory_bytes -= piece.memory();
        Some((offset, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(len: usize, fill: u8, lsn: u64) -> Piece {
        let origin = Origin {
            place: Place {
                segment: 1,
                offset: 0,
            },
            len: len as u32,
            crc: 0,
        };
        let written = Written::new(Some(Bytes::from(vec![fill; len])), origin);
        Piece {
            len: len as u64,
            lsn,
            content: Content::Data(written),
        }
    }

    fn hole(len: u64, lsn: u64) -> Piece {
        Piece {
            len,
            lsn,
            content: Content::Hole,
        }
    }

    #[test]
    fn a_newer_piece_cuts_the_older_ones_below_it() {
        let mut map = DirtyMap::default();
        map.insert(0, data(100, 1, 1));
        map.insert(20, data(10, 2, 2));
        let got: Vec<_> = map.range(0, 100).map(|(o, p)| (o, p.len, p.lsn)).collect();
        assert_eq!(got, [(0, 20, 1), (20, 10, 2), (30, 70, 1)]);
        assert_eq!(map.bytes(), 100);
        let Content::Data(right) = &map.range(30, 31).next().unwrap().1.content else {
            panic!()
        };
        assert_eq!(right.skip, 30);
    }

    #[test]
    fn a_cut_spares_what_is_newer() {
        let mut map = DirtyMap::default();
        map.insert(0, data(100, 1, 1));
        map.insert(20, data(10, 2, 5));
        map.cut(10, 90, 4);
        let got: Vec<_> = map.range(0, 100).map(|(o, p)| (o, p.len, p.lsn)).collect();
        assert_eq!(got, [(0, 10, 1), (20, 10, 5), (90, 10, 1)]);
        assert_eq!(map.bytes(), 30);
        assert_eq!(map.memory_bytes(), 30);
    }

    #[test]
    fn remnants_do_not_keep_a_large_write_allocated() {
        let mut map = DirtyMap::default();
        map.insert(0, data(1000, 1, 1));
        map.insert(10, data(990, 2, 2));
        let Content::Data(left) = &map.range(0, 1).next().unwrap().1.content else {
            panic!()
        };
        assert_eq!(left.backing, 10);
    }

    #[test]
    fn spilled_pieces_keep_their_place_in_the_journal() {
        let mut map = DirtyMap::default();
        map.insert(0, data(100, 1, 1));
        assert_eq!(map.spill(), 100);
        assert_eq!((map.bytes(), map.memory_bytes(), map.spill()), (100, 0, 0));
        map.insert(40, data(10, 2, 2));
        let Content::Data(right) = &map.range(60, 61).next().unwrap().1.content else {
            panic!()
        };
        assert_eq!((right.skip, right.memory.is_none()), (50, true));
    }

    proptest! {
        #[test]
        fn equals_a_byte_array(ops in prop::collection::vec((0u64..200, 1u64..60, 0u8..4, 0u64..3), 0..60)) {
            let mut map = DirtyMap::default();
            let mut model: Vec<Option<(u64, u8)>> = vec![None; 300];
            for (lsn, (offset, len, fill, back)) in ops.into_iter().enumerate() {
                let lsn = lsn as u64 + 1;
                let range = offset as usize..(offset + len) as usize;
                match fill {
                    0 => {
                        let upto = lsn.saturating_sub(back * 4);
                        map.cut(offset, offset + len, upto);
                        for byte in &mut model[range] {
                            if byte.is_some_and(|(lsn, _)| lsn <= upto) { *byte = None; }
                        }
                    }
                    1 => { map.insert(offset, hole(len, lsn)); model[range].fill(Some((lsn, 0))); }
                    _ => { map.insert(offset, data(len as usize, fill, lsn)); model[range].fill(Some((lsn, fill))); }
                }
            }
            let mut got = vec![None; 300];
            for (offset, piece) in map.clipped(5, 260) {
                for i in 0..piece.len {
                    let fill = match &piece.content {
                        Content::Hole => 0,
                        Content::Data(w) => w.memory.as_ref().unwrap()[i as usize],
                    };
                    prop_assert!(got[(offset + i) as usize].is_none());
                    got[(offset + i) as usize] = Some((piece.lsn, fill));
                }
            }
            prop_assert_eq!(&got[5..260], &model[5..260]);
            let bytes = model.iter().flatten().filter(|(_, fill)| *fill > 0).count() as u64;
            prop_assert_eq!((map.bytes(), map.memory_bytes()), (bytes, bytes));
        }
    }
}
