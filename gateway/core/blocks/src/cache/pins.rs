//! Which blocks stay on disk when the region that they lie in is reclaimed: they are written again, as if they were new.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use foyer::{DefaultHasher, Statistics, StorageFilter, StorageFilterCondition, StorageFilterResult};
use parking_lot::RwLock;

use super::BlockKey;

/// Which blocks are pinned, by the hash that the disk's engine knows them by: 8 bytes each. Whoever pins bounds how many.
/// Two blocks of one hash are both kept, which costs room and nothing else.
#[derive(Debug, Default)]
pub struct Pins(RwLock<HashSet<u64>>);

fn hash(key: BlockKey) -> u64 {
    DefaultHasher::default().hash_one(key)
}

impl Pins {
    /// From now on these, and no others.
    pub fn replace(&self, keys: impl Iterator<Item = BlockKey>) {
        let fresh = keys.map(hash).collect();
        let old = std::mem::replace(&mut *self.0.write(), fresh);
        drop(old);
    }

    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    fn stays(&self, hash: u64) -> bool {
        self.0.read().contains(&hash)
    }

    /// What the engine asks for each block of a region that it reclaims.
    pub fn filter(self: &Arc<Self>) -> StorageFilter {
        StorageFilter::new().with_condition(Stays(self.clone()))
    }
}

#[derive(Debug)]
struct Stays(Arc<Pins>);

impl StorageFilterCondition for Stays {
    fn filter(&self, _: &Arc<Statistics>, hash: u64, _: usize) -> StorageFilterResult {
        if self.0.stays(hash) {
            StorageFilterResult::Admit
        } else {
            StorageFilterResult::Reject
        }
    }
}
