//! Blocks that a flush just put into memory. L2 is for what leaves memory, and a crash costs a fetch only: so they are copied
//! to the disk when they are older and little else is, instead of competing with the clients whose writes they were.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::BlockKey;

/// Age at which a block is copied.
pub const AGE: Duration = Duration::from_secs(20);
/// Blocks that may wait. What comes beyond that is copied only when it leaves memory.
const LIMIT: usize = 1 << 17;

/// Keys in the order in which they came; the blocks themselves are in L1, or have left it on their way to L2.
#[derive(Default)]
pub struct Later(Mutex<VecDeque<(Instant, BlockKey)>>);

impl Later {
    pub fn push(&self, key: BlockKey, now: Instant) {
        let mut queue = self.0.lock();
        if queue.len() < LIMIT {
            queue.push_back((now, key));
        }
    }

    /// Takes up to so many blocks that came before `until`.
    pub fn take(&self, until: Instant, most: usize) -> Vec<BlockKey> {
        let mut queue = self.0.lock();
        let due = queue
            .iter()
            .take(most)
            .take_while(|(came, _)| *came <= until)
            .count();
        queue.drain(..due).map(|(_, key)| key).collect()
    }

    /// Takes all.
    pub fn drain(&self) -> Vec<BlockKey> {
        std::mem::take(&mut *self.0.lock())
            .into_iter()
            .map(|(_, key)| key)
            .collect()
    }

    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_ones_come_first_and_the_young_ones_stay() {
        let later = Later::default();
        let begin = Instant::now();
        for block in 0..10 {
            later.push(
                BlockKey { pack: 1, block },
                begin + Duration::from_secs(block.into()),
            );
        }
        let blocks = |keys: Vec<BlockKey>| keys.iter().map(|key| key.block).collect::<Vec<_>>();
        assert_eq!(blocks(later.take(begin + Duration::from_secs(4), 3)), [0, 1, 2]);
        assert_eq!(blocks(later.take(begin + Duration::from_secs(4), 30)), [3, 4]);
        assert!(later.take(begin + Duration::from_secs(4), 30).is_empty());
        assert_eq!(blocks(later.drain()), [5, 6, 7, 8, 9]);
        later.push(BlockKey { pack: 2, block: 0 }, begin);
        later.clear();
        assert!(later.drain().is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let later = Later::default();
        let now = Instant::now();
        for block in 0..LIMIT as u32 + 5 {
            later.push(BlockKey { pack: 1, block }, now);
        }
        assert_eq!(later.drain().len(), LIMIT);
    }
}
