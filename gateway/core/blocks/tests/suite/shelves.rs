//! Several shelves: they come, go, fill, fail and return while blocks are read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use caudal_blocks::{Blocks, BlocksConfig, PAYLOAD, Pack, ShelfStats, put_pack};
use tokio::runtime::Runtime;

use crate::faulty::Faulty;
use crate::support::{Random, memory_store, pack_of, runtime};

const ID: u64 = (6 << 40) | 9;
const BLOCKS: u32 = 40;
const SHELF: u64 = 64 << 20;

struct Shelved {
    rt: Runtime,
    dir: tempfile::TempDir,
    store: Arc<Faulty>,
    packs: Vec<Pack>,
    blocks: Arc<Blocks>,
}

impl Drop for Shelved {
    /// The disk's engine does not bear to lose its runtime while it makes room: it waits for itself then.
    fn drop(&mut self) {
        drop(self.rt.block_on(self.blocks.close()));
    }
}

impl Shelved {
    fn new(packs: u64, shelves: &[(&str, u64)]) -> Self {
        let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
        let store = Faulty::scripted(memory_store());
        let packs: Vec<Pack> = (0..packs)
            .map(|n| pack_of(ID + n, &Random(n).bytes(BLOCKS as usize * PAYLOAD as usize)))
            .collect();
        for pack in &packs {
            rt.block_on(put_pack(store.as_ref(), pack)).unwrap();
        }
        let blocks = open(&rt, &store);
        let shelved = Self {
            rt,
            dir,
            store,
            packs,
            blocks,
        };
        shelved.add(shelves);
        shelved
    }

    fn add(&self, shelves: &[(&str, u64)]) {
        for (name, bytes) in shelves {
            fs::create_dir_all(self.at(name)).unwrap();
            let added = self
                .rt
                .block_on(self.blocks.shelf_set().add(&self.at(name), *bytes));
            added.unwrap();
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Reads all that is not in memory; returns how many GETs that took.
    fn read(&self) -> u64 {
        self.blocks.drop_l1();
        let before = self.store.gets.load(Relaxed);
        for pack in &self.packs {
            self.read_pack(pack);
        }
        self.store.gets.load(Relaxed) - before
    }

    fn read_pack(&self, pack: &Pack) {
        let got = self.rt.block_on(self.blocks.get_run(pack.id, 0, BLOCKS)).unwrap();
        assert_eq!(got, pack.blocks);
    }

    fn shelf(&self, name: &str) -> ShelfStats {
        let dir = self.at(name);
        let found = self.blocks.stats().shelves.into_iter();
        found.into_iter().find(|shelf| shelf.dir == dir).unwrap()
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All is written that was offered.
    fn settle(&self) {
        let bytes = self.packs.len() as u64 * u64::from(BLOCKS) * PAYLOAD;
        self.until("all is on the shelves", |all| {
            all.blocks.stats().l2.bytes >= bytes
        });
    }

    /// As a restart does.
    fn restart(&mut self, shelves: &[(&str, u64)]) {
        self.rt.block_on(self.blocks.close()).unwrap();
        self.blocks = open(&self.rt, &self.store);
        self.add(shelves);
    }
}

fn open(rt: &Runtime, store: &Arc<Faulty>) -> Arc<Blocks> {
    let config = BlocksConfig {
        l1_bytes: 256 << 20,
        l2_dir: None,
        l2_bytes: 0,
        readahead_bytes: 0,
        fs_id: [3; 16],
    };
    rt.block_on(Blocks::open(rt.handle().clone(), store.clone(), config))
        .unwrap()
}

fn flip(dir: &Path, seed: u64) {
    let mut random = Random(seed);
    for region in fs::read_dir(dir.join("data")).unwrap() {
        let path = region.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for _ in 0..bytes.len() / 50_000 {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn blocks_are_spread_and_survive_a_restart() {
    let shelves = [("a", SHELF), ("b", SHELF)];
    let mut all = Shelved::new(2, &shelves);
    assert!(all.read() > 0);
    assert_eq!(all.read(), 0);
    all.restart(&shelves);
    assert!(all.blocks.stats().l2.bytes >= 2 * u64::from(BLOCKS) * PAYLOAD);
    assert_eq!(all.read(), 0);
    let (a, b) = (all.shelf("a"), all.shelf("b"));
    assert_eq!(a.hits + b.hits, u64::from(2 * BLOCKS));
    assert!(a.hits > 20 && b.hits > 20, "{a:?} {b:?}");
    assert_eq!((a.state, b.state), ("ok", "ok"));
}

#[test]
fn a_flipped_bit_is_found_and_never_served() {
    let shelves = [("a", SHELF), ("b", SHELF)];
    let mut all = Shelved::new(2, &shelves);
    all.read();
    all.rt.block_on(all.blocks.close()).unwrap();
    flip(&all.at("a"), 5);
    all.restart(&shelves);
    assert!(all.read() > 0);
    assert!(all.shelf("a").damaged_blocks > 0);
    assert_eq!(all.shelf("b").damaged_blocks, 0);
    all.until("what was fetched once is kept again", |all| all.read() == 0);
}

#[test]
fn a_new_shelf_takes_its_share_and_costs_no_hit() {
    let all = Shelved::new(2, &[("a", SHELF)]);
    all.read();
    all.add(&[("b", SHELF)]);
    assert_eq!(all.read(), 0);
    let twice = all.rt.block_on(all.blocks.shelf_set().add(&all.at("b"), SHELF));
    assert!(twice.unwrap_err().to_string().contains("a shelf already"));
}

#[test]
fn a_drained_shelf_is_removed_without_a_miss() {
    let all = Shelved::new(2, &[("a", SHELF), ("b", SHELF)]);
    all.read();
    all.settle();
    let (set, dir) = (all.blocks.shelf_set(), all.at("a"));
    set.drain(&dir, true).unwrap();
    assert_eq!(all.shelf("a").state, "draining");
    let moved: u64 = all
        .packs
        .iter()
        .map(|pack| {
            all.rt
                .block_on(set.move_from(&dir, (pack.id, 0, BLOCKS)))
                .unwrap()
        })
        .sum();
    assert!(moved > 20, "{moved}");
    let again = all.rt.block_on(set.move_from(&dir, (ID, 0, BLOCKS))).unwrap();
    assert_eq!(again, 0, "what was moved is moved");
    all.rt.block_on(set.remove(&dir)).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    assert_eq!(all.read(), 0);
    assert!(all.rt.block_on(set.remove(&dir)).is_err());
}

#[test]
fn a_removed_shelf_costs_fetches_only() {
    let all = Shelved::new(2, &[("a", SHELF), ("b", SHELF)]);
    all.read();
    all.rt
        .block_on(all.blocks.shelf_set().remove(&all.at("b")))
        .unwrap();
    assert!(all.read() > 0);
    assert_eq!(all.read(), 0);
    all.rt
        .block_on(all.blocks.shelf_set().remove(&all.at("a")))
        .unwrap();
    assert!(all.blocks.stats().l2.off.is_some());
    assert!(all.read() > 0);
}

/// As a device that is unmounted and mounted again.
#[test]
fn a_shelf_that_goes_away_is_left_and_taken_back_with_what_it_holds() {
    let all = Shelved::new(2, &[("a", SHELF), ("b", SHELF)]);
    all.read();
    all.settle();
    let away = all.at("elsewhere");
    fs::rename(all.at("a"), &away).unwrap();
    all.until("the shelf is left", |all| all.shelf("a").state == "failed");
    assert!(all.shelf("a").why.is_some());
    assert!(all.read() > 0);
    assert!(all.blocks.stats().l2.off.is_none(), "the other one is in use");
    // A mount point without its disk is nothing to fill.
    fs::create_dir(all.at("a")).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(all.shelf("a").state, "failed");
    fs::remove_dir(all.at("a")).unwrap();
    fs::rename(&away, all.at("a")).unwrap();
    all.until("the shelf is taken back", |all| all.shelf("a").state == "ok");
    let before = all.shelf("a").hits;
    assert_eq!(all.read(), 0);
    assert!(all.shelf("a").hits > before);
}

/// What the engine reads fails: the files have no bytes any more.
#[test]
fn a_shelf_that_fails_its_reads_is_left_without_an_error() {
    let all = Shelved::new(2, &[("a", SHELF), ("b", SHELF)]);
    all.read();
    all.settle();
    for region in fs::read_dir(all.at("a").join("data")).unwrap() {
        let path = region.unwrap().path();
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    assert!(all.read() > 0);
    assert!(all.shelf("a").errors >= 8, "{:?}", all.shelf("a"));
    all.until("the shelf is left", |all| all.shelf("a").state == "failed");
    all.until("the shelf is opened anew", |all| all.shelf("a").state == "ok");
    all.until("all is kept again", |all| all.read() == 0);
}

#[test]
fn another_size_keeps_what_fits() {
    let all = Shelved::new(2, &[("a", SHELF)]);
    all.read();
    all.settle();
    all.rt
        .block_on(all.blocks.shelf_set().resize(&all.at("a"), 4 * SHELF))
        .unwrap();
    assert_eq!(all.shelf("a").capacity_bytes, 4 * SHELF);
    assert_eq!(all.read(), 0);
    all.rt
        .block_on(all.blocks.shelf_set().resize(&all.at("a"), SHELF / 4))
        .unwrap();
    let size: u64 = fs::read_dir(all.at("a").join("data"))
        .unwrap()
        .map(|region| region.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= SHELF / 4, "{size}");
    all.read();
}

/// Pinned blocks outlive several times the shelf's size of others.
#[test]
fn pinned_blocks_stay() {
    let all = Shelved::new(16, &[("a", SHELF)]);
    all.read_pack(&all.packs[0]);
    all.rt.block_on(all.blocks.warm((ID, 0, BLOCKS))).unwrap();
    all.blocks.shelf_set().pin(&[(ID, 0, BLOCKS)]);
    assert_eq!(all.blocks.stats().pinned_blocks, u64::from(BLOCKS));
    for round in 0..2 {
        for pack in &all.packs[1..] {
            all.blocks.drop_l1();
            all.read_pack(pack);
            while all.rt.block_on(all.blocks.warm((pack.id, 0, BLOCKS))).unwrap() > 0 {}
        }
        assert_eq!(
            all.blocks.held((ID, 0, BLOCKS)),
            u64::from(BLOCKS),
            "round {round}"
        );
    }
    let held: u64 = all.packs[1..]
        .iter()
        .map(|pack| all.blocks.held((pack.id, 0, BLOCKS)))
        .sum();
    assert!(held < 14 * u64::from(BLOCKS), "others had to go: {held}");
    all.blocks.drop_l1();
    let before = all.store.gets.load(Relaxed);
    all.read_pack(&all.packs[0]);
    assert_eq!(all.store.gets.load(Relaxed), before);
}
