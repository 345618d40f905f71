//! Which blocks were brought not long ago: one that has to be brought again had a place in a larger cache.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cache::BlockKey;

/// Places for hashes, 8 bytes each: blocks of 64 GiB.
const PLACES: usize = 1 << 18;

/// Hashes of blocks, each where it belongs, until another one of the same place comes. The lowest bit says that it came again.
pub struct Seen {
    places: Box<[AtomicU64]>,
    hash: RandomState,
    again: AtomicU64,
}

const AGAIN: u64 = 1;

impl Default for Seen {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hash: RandomState::new(),
            again: AtomicU64::new(0),
        }
    }
}

impl Seen {
    /// The place of a block, and what stands there if it is noted.
    fn place(&self, key: BlockKey) -> (&AtomicU64, u64) {
        let hash = self.hash.hash_one(key);
        // Never what an empty place holds.
        (&self.places[(hash >> 32) as usize % PLACES], (hash | 2) & !AGAIN)
    }

    /// Notes that a block is brought; true if it was before.
    pub fn note(&self, key: BlockKey) -> bool {
        let (place, hash) = self.place(key);
        let again = place.load(Relaxed) & !AGAIN == hash;
        place.store(if again { hash | AGAIN } else { hash }, Relaxed);
        if again {
            self.again.fetch_add(1, Relaxed);
        }
        again
    }

    /// Whether a block was brought more than once.
    pub fn came_again(&self, key: BlockKey) -> bool {
        let (place, hash) = self.place(key);
        place.load(Relaxed) == hash | AGAIN
    }

    /// How often a block was brought again.
    pub fn again(&self) -> u64 {
        self.again.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_counted() {
        let seen = Seen::default();
        let all = || (0..1000).map(|block| BlockKey { pack: 9, block });
        assert!(!all().any(|key| seen.note(key)));
        assert!(!all().any(|key| seen.came_again(key)));
        let again = all().filter(|key| seen.note(*key)).count();
        assert!(again > 980 && seen.again() == again as u64, "{again}");
        assert!(all().filter(|key| seen.came_again(*key)).count() > 980);
    }
}
