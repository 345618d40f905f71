//! Where a file has data, as lseek(2) and NFS 4.2's SEEK ask: data are written bytes, dirty or flushed, whatever their value;
//! all else is a hole, and so is the end of the file.

use super::state::State;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Data,
    Hole,
}

/// Where a search has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    Found(u64),
    /// Nothing of it before the end of the file.
    End,
    /// Nothing before this offset; the search goes on from here.
    More(u64),
}

impl State {
    /// Looks from `offset` on, at `max_steps` pieces and extents at most: under the lock that the caller holds, a file may have
    /// any number of them.
    #[must_use]
    pub fn seek(&self, offset: u64, wanted: Wanted, max_steps: usize) -> Sought {
        let size = self.attributes.size;
        let mut steps = max_steps;
        let mut at = offset;
        let mut dirty = self.dirty.range(at, size);
        while at < size {
            let next = dirty.next();
            let (from, until, is_data) = next.map_or((size, size, false), |(from, piece)| {
                (from, from + piece.len, piece.is_data())
            });
            match self.seek_flushed(at, from.max(at), wanted, &mut steps) {
                Sought::End => {}
                found => return found,
            }
            at = at.max(from);
            if at >= size {
                break;
            }
            if is_data == (wanted == Wanted::Data) {
                return Sought::Found(at);
            }
            at = until;
            if steps == 0 {
                return Sought::More(at);
            }
            steps -= 1;
        }
        Sought::End
    }

    /// Looks at `[start, end)`, over which nothing is dirty. End: nothing of it there.
    fn seek_flushed(&self, start: u64, end: u64, wanted: Wanted, steps: &mut usize) -> Sought {
        let mut extents = self.extents.range(start, end);
        if wanted == Wanted::Data {
            return extents.next().map_or(Sought::End, |e| Sought::Found(e.offset));
        }
        let mut at = start;
        for extent in extents {
            if at < extent.offset {
                return Sought::Found(at);
            }
            at = extent.end();
            if *steps == 0 && at < end {
                return Sought::More(at);
            }
            *steps = steps.saturating_sub(1);
        }
        if at < end { Sought::Found(at) } else { Sought::End }
    }
}
