//! Reads by export, and by where the farthest of what they needed was.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use caudal_blocks::Tier;

const PAGE: usize = 256;

type Page = [[AtomicU64; 3]; PAGE];

thread_local! {
    static EXPORT: Cell<u16> = const { Cell::new(0) };
}

/// By which export the next calls on this thread come; 0: nobody said.
pub fn set_export(export: u16) {
    EXPORT.set(export);
}

/// By which export the calls on this thread come.
#[must_use]
pub fn export() -> u16 {
    EXPORT.get()
}

/// Counters of all exports that anybody read from. A page of them is made with the first read of one of its exports.
pub struct ExportReads([OnceLock<Box<Page>>; PAGE]);

impl Default for ExportReads {
    fn default() -> Self {
        Self([const { OnceLock::new() }; PAGE])
    }
}

impl ExportReads {
    pub fn count(&self, export: u16, source: Tier) {
        let [high, low] = export.to_be_bytes();
        let page = self.0[usize::from(high)]
            .get_or_init(|| Box::new([const { [const { AtomicU64::new(0) }; 3] }; PAGE]));
        page[usize::from(low)][source as usize].fetch_add(1, Relaxed);
    }

    /// (export, reads from memory, from a disk of this machine, from the store) of those that were read from.
    #[must_use]
    pub fn all(&self) -> Vec<(u16, u64, u64, u64)> {
        let mut found = Vec::new();
        for (high, page) in (0..=u8::MAX).zip(&self.0) {
            for (low, counters) in (0..=u8::MAX).zip(page.get().into_iter().flat_map(|page| page.iter())) {
                let [memory, disk, store] = counters.each_ref().map(|counter| counter.load(Relaxed));
                if memory + disk + store > 0 {
                    found.push((u16::from_be_bytes([high, low]), memory, disk, store));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted_by_export_and_source() {
        let reads = ExportReads::default();
        reads.count(1, Tier::Memory);
        reads.count(1, Tier::Memory);
        reads.count(1, Tier::Store);
        reads.count(65_000, Tier::Disk);
        assert_eq!(reads.all(), [(1, 2, 0, 1), (65_000, 0, 1, 0)]);
        std::thread::spawn(|| assert_eq!(export(), 0)).join().unwrap();
        set_export(7);
        assert_eq!(export(), 7);
    }
}
