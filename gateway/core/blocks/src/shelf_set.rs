//! What an operator does with the shelves of L2, and what is kept on them.

use std::path::Path;

use crate::cache::{BlockKey, Cache};
use crate::error::Result;

/// Neighbouring blocks of one pack: pack, first block, how many.
pub type Run = (u64, u32, u32);

/// The shelves of one cache.
pub struct ShelfSet<'a>(pub(crate) &'a Cache);

impl ShelfSet<'_> {
    /// Puts another shelf into the set. An error says why it could not be opened; it belongs to the set all the same, and is
    /// opened as soon as it can be. One that is a shelf already, or one too many, is refused.
    pub async fn add(&self, dir: &Path, bytes: u64) -> Result<()> {
        self.0.add_shelf(dir, bytes).await
    }

    /// Takes a shelf out of the set and removes its blocks.
    pub async fn remove(&self, dir: &Path) -> Result<()> {
        self.0.shelves().remove(dir).await
    }

    /// A shelf that is drained takes nothing new; a block that is read from it moves to where it belongs.
    pub fn drain(&self, dir: &Path, draining: bool) -> Result<()> {
        self.0.shelves().drain(dir, draining)
    }

    /// Copies those blocks that only this shelf has to others; returns how many. Waits while the others cannot keep up.
    pub async fn move_from(&self, dir: &Path, (pack, first, count): Run) -> Result<u64> {
        self.0.wait_for_shelves().await;
        self.0.shelves().move_from(dir, pack, first, count).await
    }

    pub async fn resize(&self, dir: &Path, bytes: u64) -> Result<()> {
        self.0.shelves().resize(dir, bytes).await
    }

    /// Those of these blocks stay on disk when others make room, and no others. They are kept where they are: bringing them there
    /// is the caller's business.
    pub fn pin(&self, runs: &[Run]) {
        let keys = runs.iter().flat_map(|(pack, first, count)| {
            (*first..=u32::MAX)
                .take(*count as usize)
                .map(|block| BlockKey { pack: *pack, block })
        });
        self.0.shelves().pins().replace(keys);
    }
}
