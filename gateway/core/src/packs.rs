//! Packs and caches as a whole: what collection, fsck and the operator ask for.

use caudal_blocks::Footer;

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

    /// (id, bytes, seconds since 1970 of the last change) of all packs.
    pub fn list_packs(&self) -> Result<Vec<(u64, u64, f64)>> {
        Ok(self.block_on(caudal_blocks::list_packs(self.store.as_ref()))??)
    }

    pub fn delete_pack(&self, id: u64) -> Result<()> {
        Ok(self.block_on(caudal_blocks::delete_pack(self.store.as_ref(), id))??)
    }

    pub fn pack_footer(&self, id: u64) -> Result<Footer> {
        Ok(self.block_on(caudal_blocks::read_footer(self.store.as_ref(), id))??)
    }

    /// Checks the footer, and every block where `deep`.
    pub fn verify_pack(&self, id: u64, deep: bool) -> Result<()> {
        if deep {
            self.block_on(caudal_blocks::verify_pack(self.store.as_ref(), id))??;
        } else {
            self.pack_footer(id)?;
        }
        Ok(())
    }

    pub fn cache_drop(&self, l1: bool, l2: bool) -> Result<()> {
        self.check_open()?;
        if l1 {
            self.blocks.drop_l1();
        }
        if l2 {
            self.block_on(self.blocks.drop_l2())??;
        }
        Ok(())
    }

    pub fn resize_l1(&self, bytes: u64) -> Result<()> {
        self.check_open()?;
        Ok(self.blocks.resize_l1(bytes)?)
    }
}
