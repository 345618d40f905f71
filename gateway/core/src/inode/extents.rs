//! The extent map of one inode: which ranges of the file lie in which pack.
//!
//! Extents do not overlap and have no length 0. What no extent covers reads as zeros.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::MAX_SIZE;

/// A range of a file in a pack; as a splice, pack 0 means a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub len: u64,
    pub pack: u64,
    pub pack_offset: u64,
}

impl Extent {
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// The part of it in `[start, end)`, which must intersect it.
    #[must_use]
    fn clipped(&self, start: u64, end: u64) -> Self {
        let from = self.offset.max(start);
        let to = self.end().min(end);
        debug_assert!(from < to);
        Self {
            offset: from,
            len: to - from,
            pack: self.pack,
            pack_offset: self.pack_offset + (from - self.offset),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    len: u64,
    pack: u64,
    pack_offset: u64,
}

/// Extents by file offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentMap {
    map: BTreeMap<u64, Target>,
    bytes: u64,
}

/// Extents that cannot be those of a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("extent at {offset} with length {len} overlaps another one or passes the largest offset")]
pub struct BadExtent {
    offset: u64,
    len: u64,
}

impl ExtentMap {
    /// Builds the map of a row's extents, in any order.
    pub fn from_rows(rows: impl IntoIterator<Item = Extent>) -> Result<Self, BadExtent> {
        let mut map = Self::default();
        for row in rows {
            let bad = BadExtent {
                offset: row.offset,
                len: row.len,
            };
            let end = row.offset.checked_add(row.len).filter(|end| *end <= MAX_SIZE);
            let Some(end) = end else { return Err(bad) };
            if row.len == 0 || row.pack == 0 || map.covered(row.offset, end) != 0 {
                return Err(bad);
            }
            map.splice(row);
        }
        Ok(map)
    }

    /// Bytes that extents cover.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First offset that no extent reaches.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.map
            .last_key_value()
            .map_or(0, |(offset, target)| offset + target.len)
    }

    pub fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        self.map.iter().map(|(offset, target)| extent(*offset, target))
    }

    /// Extents in `[start, end)`, cut to it, in file order.
    pub fn range(&self, start: u64, end: u64) -> impl Iterator<Item = Extent> + '_ {
        let first = self
            .map
            .range(..=start)
            .next_back()
            .filter(|(offset, t)| **offset + t.len > start);
        let rest = self
            .map
            .range((Excluded(start), Unbounded))
            .take_while(move |(offset, _)| **offset < end);
        let usable = start < end;
        first
            .into_iter()
            .chain(rest)
            .filter(move |_| usable)
            .map(move |(offset, target)| extent(*offset, target).clipped(start, end))
    }

    /// Bytes of `[start, end)` that extents cover.
    #[must_use]
    pub fn covered(&self, start: u64, end: u64) -> u64 {
        self.range(start, end).map(|e| e.len).sum()
    }

    /// Puts the extent, or the hole where its pack is 0, in place of whatever lies there.
    pub fn splice(&mut self, new: Extent) {
        if new.len == 0 {
            return;
        }
        self.cut(new.offset, new.end());
        if new.pack == 0 {
            return;
        }
        self.bytes += new.len;
        if let Some((_, left)) = self
            .map
            .range_mut(..new.offset)
            .next_back()
            .filter(|(offset, left)| {
                **offset + left.len == new.offset
                    && left.pack == new.pack
                    && left.pack_offset + left.len == new.pack_offset
            })
        {
            left.len += new.len;
            return;
        }
        self.map.insert(
            new.offset,
            Target {
                len: new.len,
                pack: new.pack,
                pack_offset: new.pack_offset,
            },
        );
    }

    fn cut(&mut self, start: u64, end: u64) {
        if let Some((offset, left)) = self.map.range_mut(..start).next_back() {
            let (offset, old) = (*offset, *left);
            let left_end = offset + old.len;
            if left_end > start {
                left.len = start - offset;
                self.bytes -= left_end.min(end) - start;
                if left_end > end {
                    self.map.insert(end, tail(offset, &old, end));
                }
            }
        }
        while let Some((offset, old)) = self
            .map
            .range(start..end)
            .next()
            .map(|(offset, target)| (*offset, *target))
        {
            self.map.remove(&offset);
            let old_end = offset + old.len;
            self.bytes -= old_end.min(end) - offset;
            if old_end > end {
                self.map.insert(end, tail(offset, &old, end));
            }
        }
    }
}

const fn extent(offset: u64, target: &Target) -> Extent {
    Extent {
        offset,
        len: target.len,
        pack: target.pack,
        pack_offset: target.pack_offset,
    }
}

/// What remains of a target at `offset` from `from` on.
const fn tail(offset: u64, old: &Target, from: u64) -> Target {
    let skipped = from - offset;
    Target {
        len: old.len - skipped,
        pack: old.pack,
        pack_offset: old.pack_offset + skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn e(offset: u64, len: u64, pack: u64, pack_offset: u64) -> Extent {
        Extent {
            offset,
            len,
            pack,
            pack_offset,
        }
    }

    #[test]
    fn a_splice_in_the_middle_keeps_both_sides() {
        let mut map = ExtentMap::from_rows([e(0, 100, 7, 1000)]).unwrap();
        map.splice(e(40, 20, 8, 0));
        let got: Vec<_> = map.iter().collect();
        assert_eq!(got, [e(0, 40, 7, 1000), e(40, 20, 8, 0), e(60, 40, 7, 1060)]);
        assert_eq!(map.bytes(), 100);
        assert_eq!(map.end(), 100);
    }

    #[test]
    fn neighbours_in_file_and_pack_become_one() {
        let mut map = ExtentMap::default();
        map.splice(e(0, 10, 7, 0));
        map.splice(e(10, 10, 7, 10));
        map.splice(e(20, 10, 7, 21));
        assert_eq!(map.iter().collect::<Vec<_>>(), [e(0, 20, 7, 0), e(20, 10, 7, 21)]);
    }

    #[test]
    fn rows_that_overlap_or_pass_the_end_are_refused() {
        assert!(ExtentMap::from_rows([e(0, 10, 1, 0), e(9, 1, 1, 0)]).is_err());
        assert!(ExtentMap::from_rows([e(MAX_SIZE, 1, 1, 0)]).is_err());
        assert!(ExtentMap::from_rows([e(0, 0, 1, 0)]).is_err());
        assert!(ExtentMap::from_rows([e(0, 1, 0, 0)]).is_err());
    }

    proptest! {
        #[test]
        fn equals_a_byte_array(splices in prop::collection::vec((0u64..200, 1u64..60, 0u64..4), 0..40)) {
            let mut map = ExtentMap::default();
            let mut model = vec![None; 300];
            let mut next = 0;
            for (offset, len, pack) in splices {
                map.splice(e(offset, len, pack, next));
                for i in 0..len {
                    model[(offset + i) as usize] = (pack != 0).then_some((pack, next + i));
                }
                next += len + 5;
            }
            let mut got = vec![None; 300];
            for x in map.range(3, 250) {
                for i in 0..x.len {
                    prop_assert!(got[(x.offset + i) as usize].is_none());
                    got[(x.offset + i) as usize] = Some((x.pack, x.pack_offset + i));
                }
            }
            prop_assert_eq!(&got[3..250], &model[3..250]);
            prop_assert_eq!(map.bytes(), model.iter().flatten().count() as u64);
            prop_assert_eq!(map.covered(3, 250), model[3..250].iter().flatten().count() as u64);
        }
    }
}
