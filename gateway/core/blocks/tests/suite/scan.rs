//! A working set, and a scan of much more than the cache holds.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use caudal_blocks::{Blocks, BlocksConfig, PAYLOAD, put_pack};
use tokio::runtime::Runtime;

use crate::faulty::Faulty;
use crate::support::{memory_store, pack_of, runtime};

const BLOCKS: u32 = 32;

struct Cached {
    rt: Runtime,
    store: Arc<Faulty>,
    blocks: Arc<Blocks>,
}

impl Drop for Cached {
    /// The disk's engine does not bear to lose its runtime while it makes room: it waits for itself then.
    fn drop(&mut self) {
        drop(self.rt.block_on(self.blocks.close()));
    }
}

impl Cached {
    /// Packs 1 to `packs` of 8 MiB each.
    fn new(packs: u64, l1_mib: u64, shelf: Option<(&std::path::Path, u64)>) -> Self {
        let rt = runtime();
        let store = Faulty::scripted(memory_store());
        for id in 1..=packs {
            let pack = pack_of(id, &vec![id as u8; BLOCKS as usize * PAYLOAD as usize]);
            rt.block_on(put_pack(store.as_ref(), &pack)).unwrap();
        }
        let config = BlocksConfig {
            l1_bytes: l1_mib << 20,
            l2_dir: shelf.map(|(dir, _)| dir.to_owned()),
            l2_bytes: shelf.map_or(0, |(_, mib)| mib << 20),
            readahead_bytes: 0,
            fs_id: [1; 16],
        };
        let opened = Blocks::open(rt.handle().clone(), store.clone(), config);
        let blocks = rt.block_on(opened).unwrap();
        Self { rt, store, blocks }
    }

    /// Reads packs block by block; what waits for the disk is written meanwhile.
    fn read(&self, packs: impl Iterator<Item = u64>) -> u64 {
        self.read_runs(packs, 1)
    }

    /// With `run` 2 each request ends in the block where the next one begins, as those of clients do.
    fn read_runs(&self, packs: impl Iterator<Item = u64>, run: u32) -> u64 {
        let before = self.store.gets.load(Relaxed);
        for pack in packs {
            for block in 0..=BLOCKS - run {
                let got = self.rt.block_on(self.blocks.get_run(pack, block, run)).unwrap();
                assert_eq!(got[0][0], pack as u8);
            }
            let began = Instant::now();
            while self.blocks.is_writing() && began.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.store.gets.load(Relaxed) - before
    }
}

/// The set takes half of L1, the scan is five times as large as L1.
#[test]
fn a_scan_leaves_the_working_set_in_memory() {
    for run in [1, 2] {
        let cached = Cached::new(48, 64, None);
        for _ in 0..3 {
            cached.read_runs(1..=4, run);
        }
        assert_eq!(cached.read_runs(9..=48, run), 40 * u64::from(BLOCKS + 1 - run));
        let missed = cached.read_runs(1..=4, run);
        assert!(missed <= 4, "runs of {run}: {missed} of {}", 4 * BLOCKS);
    }
}

/// L1 is smaller than the set, which takes half of L2; the scan is six times as large as L2.
#[test]
fn a_scan_leaves_the_working_set_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let cached = Cached::new(56, 16, Some((dir.path(), 64)));
    for _ in 0..3 {
        cached.read(1..=4);
    }
    cached.read(9..=56);
    let missed = cached.read(1..=4);
    assert!(missed <= 12, "{missed} of {}", 4 * BLOCKS);
    // Another working set gets its place, though L2 is full.
    for _ in 0..4 {
        cached.read(40..=43);
    }
    let missed = cached.read(40..=43);
    assert!(missed <= 12, "{missed} of {}", 4 * BLOCKS);
}
