//! The blocks that were looked up last. One request of a stream ends in the block in which the next begins: both are one use of it,
//! and only one of them may tell L1 that the block is worth keeping.

use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::BlockKey;

/// As many streams are told apart; each may keep a block in memory that L1 has let go of.
const SLOTS: usize = 16;
/// Look-ups so close to the first are one use.
const ONE_USE: Duration = Duration::from_secs(1);

struct Entry {
    key: BlockKey,
    payload: Bytes,
    since: Instant,
}

#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Option<Entry>>);

#[derive(Default)]
pub struct Recent([Slot; SLOTS]);

impl Recent {
    fn slot(&self, key: BlockKey) -> &Mutex<Option<Entry>> {
        // Neighbours are in different slots, as are the same blocks of neighbouring packs.
        let mixed = (u64::from(key.block) ^ key.pack).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(mixed >> 60) as usize % SLOTS].0
    }

    /// The block, if this look-up belongs to a use that has been counted. Waits for nobody.
    #[inline]
    pub fn same_use(&self, key: BlockKey) -> Option<Bytes> {
        let slot = self.slot(key).try_lock()?;
        let entry = slot.as_ref().filter(|entry| entry.key == key)?;
        (entry.since.elapsed() < ONE_USE).then(|| entry.payload.clone())
    }

    /// A use of the block begins.
    #[inline]
    pub fn begin(&self, key: BlockKey, payload: &Bytes) {
        if let Some(mut slot) = self.slot(key).try_lock() {
            *slot = Some(Entry {
                key,
                payload: payload.clone(),
                since: Instant::now(),
            });
        }
    }

    pub fn clear(&self) {
        for slot in &self.0 {
            *slot.0.lock() = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pack: u64, block: u32) -> BlockKey {
        BlockKey { pack, block }
    }

    #[test]
    fn a_use_is_told_apart_from_the_next_ones_of_other_blocks() {
        let recent = Recent::default();
        assert_eq!(recent.same_use(key(1, 7)), None);
        recent.begin(key(1, 7), &Bytes::from_static(b"seven"));
        assert_eq!(recent.same_use(key(1, 7)).as_deref(), Some(&b"seven"[..]));
        assert_eq!(recent.same_use(key(2, 7)), None);
        // A set of more blocks than slots leaves none of its first ones.
        (0..200).for_each(|block| recent.begin(key(3, block), &Bytes::from_static(b"other")));
        assert_eq!(recent.same_use(key(1, 7)), None);
        assert!(
            (0..200)
                .filter(|block| recent.same_use(key(3, *block)).is_some())
                .count()
                <= SLOTS
        );
        recent.clear();
        assert!((0..200).all(|block| recent.same_use(key(3, block)).is_none()));
    }

    #[test]
    fn a_later_look_up_is_another_use() {
        let recent = Recent::default();
        recent.begin(key(1, 1), &Bytes::from_static(b"one"));
        let mut slot = recent.slot(key(1, 1)).lock();
        slot.as_mut().unwrap().since -= ONE_USE;
        drop(slot);
        assert_eq!(recent.same_use(key(1, 1)), None);
    }
}
