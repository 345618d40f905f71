//! Packs and caches as a whole: what collection, fsck and the operator ask for.

use std::sync::Arc;

use caudal_blocks::seal::{KeyRing, Keyed};
use caudal_blocks::{Footer, Store};

use crate::engine::Engine;
use crate::errors::Result;

/// What is not flushed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirtySummary {
    pub bytes: u64,
    pub memory_bytes: u64,
    pub inodes: usize,
    pub oldest_age_s: f64,
    pub oldest_lsn: u64,
}

impl Engine {
    pub fn dirty_summary(&self) -> DirtySummary {
        let oldest = self.index.oldest();
        let age_ns = oldest.map_or(0, |since| {
            self.clock
                .monotonic_ns()
                .saturating_sub(since.monotonic_ns)
                .max(0)
        });
        DirtySummary {
            bytes: self.index.bytes(),
            memory_bytes: self.index.memory_bytes(),
            inodes: self.index.len(),
            oldest_age_s: age_ns as f64 / 1e9,
            oldest_lsn: oldest.map_or(0, |since| since.lsn),
        }
    }

    pub fn cache_drop(&self, l1: bool, l2: bool) -> Result<()> {
        self.check_open()?;
        // In this order: what leaves memory would be offered to a disk that is emptied next.
        if l2 {
            self.block_on(self.blocks.drop_l2())??;
        }
        if l1 {
            self.blocks.drop_l1();
        }
        Ok(())
    }

    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.check_open()?;
        Ok(self.blocks.resize_l1(bytes)?)
    }
}

/// The store with the keys of its packs, if there are any.
pub fn keyed(store: Arc<dyn Store>, keys: Option<Arc<KeyRing>>) -> Arc<dyn Store> {
    match keys {
        Some(keys) => Arc::new(Keyed::new(store, keys)),
        None => store,
    }
}

/// (id, bytes, seconds since 1970 of the last change) of all packs.
pub async fn list(store: &dyn Store) -> Result<Vec<(u64, u64, f64)>> {
    Ok(caudal_blocks::list_packs(store).await?)
}

pub async fn delete(store: &dyn Store, id: u64) -> Result<()> {
    Ok(caudal_blocks::delete_pack(store, id).await?)
}

/// Checks a pack's footer, and every block where `deep`.
pub async fn verify(store: &dyn Store, id: u64, deep: bool) -> Result<Footer> {
    Ok(if deep {
        caudal_blocks::verify_pack(store, id).await?
    } else {
        caudal_blocks::read_footer(store, id).await?
    })
}
