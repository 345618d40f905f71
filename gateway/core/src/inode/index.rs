//! Which inodes are dirty, oldest first, and how much they hold: what flush chooses from and trim must not pass.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// When an inode became dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// No change of the inode that is not flushed has a smaller LSN.
    pub lsn: u64,
    pub monotonic_ns: i64,
}

/// Dirty inodes by the LSN that they became dirty at.
#[derive(Debug, Default)]
pub struct DirtyIndex {
    map: Mutex<BTreeMap<(u64, u64), i64>>,
    /// Entries of the map, for those who would not take its lock.
    count: AtomicUsize,
    bytes: AtomicU64,
    memory_bytes: AtomicU64,
}

impl DirtyIndex {
    /// Moves an inode from one place in the order to another; None is clean.
    pub fn move_inode(&self, inode: u64, from: Option<Since>, to: Option<Since>) {
        if from == to {
            return;
        }
        let mut map = self.map.lock();
        if let Some(since) = from {
            map.remove(&(since.lsn, inode));
        }
        if let Some(since) = to {
            map.insert((since.lsn, inode), since.monotonic_ns);
        }
        self.count.store(map.len(), Relaxed);
    }

    /// Adds the difference between two sizes of an inode's dirty map: (bytes, bytes in memory) before and after.
    pub fn resized(&self, before: (u64, u64), after: (u64, u64)) {
        if before != after {
            // Wrapping: the difference may be negative, the sum never is.
            self.bytes.fetch_add(after.0.wrapping_sub(before.0), Relaxed);
            self.memory_bytes
                .fetch_add(after.1.wrapping_sub(before.1), Relaxed);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Relaxed)
    }

    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn oldest(&self) -> Option<Since> {
        self.map.lock().first_key_value().map(|((lsn, _), ns)| Since {
            lsn: *lsn,
            monotonic_ns: *ns,
        })
    }

    /// Up to `limit` inodes after the place `after` in the order, oldest first; the last place to go on from.
    pub fn oldest_inodes(&self, after: (u64, u64), limit: usize) -> Vec<(u64, u64, i64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let map = self.map.lock();
        map.range((Excluded(after), Unbounded))
            .take(limit)
            .map(|((lsn, inode), ns)| (*lsn, *inode, *ns))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_becoming_dirty() {
        let index = DirtyIndex::default();
        let since = |lsn| {
            Some(Since {
                lsn,
                monotonic_ns: lsn as i64 * 10,
            })
        };
        index.move_inode(5, None, since(2));
        index.move_inode(4, None, since(1));
        index.move_inode(4, since(1), since(3));
        assert_eq!(index.oldest(), since(2));
        assert_eq!(index.oldest_inodes((0, 0), 9), [(2, 5, 20), (3, 4, 30)]);
        assert_eq!(index.oldest_inodes((2, 5), 9), [(3, 4, 30)]);
        index.move_inode(5, since(2), None);
        assert_eq!(index.len(), 1);
        index.resized((0, 0), (10, 10));
        index.resized((10, 10), (4, 0));
        assert_eq!((index.bytes(), index.memory_bytes()), (4, 0));
    }
}
