//! Blocks on disk: they survive restarts, belong to one file system, and their device may fail.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use caudal_blocks::{BlockKey, Blocks, BlocksConfig, PAYLOAD, Pack, put_pack};
use tokio::runtime::Runtime;

use crate::faulty::Faulty;
use crate::support::{Random, memory_store, pack_of, runtime};

const ID: u64 = (6 << 40) | 3;
const BLOCKS: u32 = 24;

fn config(dir: &Path, fs: u8) -> BlocksConfig {
    BlocksConfig {
        l1_bytes: 32 << 20,
        l2_dir: Some(dir.to_owned()),
        l2_bytes: 64 << 20,
        readahead_bytes: 0,
        fs_id: [fs; 16],
    }
}

fn store_with_pack(rt: &Runtime) -> (Arc<Faulty>, Pack) {
    let store = Faulty::scripted(memory_store());
    let pack = pack_of(ID, &Random(1).bytes((BLOCKS as usize) * PAYLOAD as usize));
    rt.block_on(put_pack(store.as_ref(), &pack)).unwrap();
    (store, pack)
}

fn open(rt: &Runtime, store: &Arc<Faulty>, config: BlocksConfig) -> Arc<Blocks> {
    rt.block_on(Blocks::open(rt.handle().clone(), store.clone(), config))
        .unwrap()
}

/// Opens, reads all and closes; returns how many GETs that took, and the L2 hits.
fn visit(rt: &Runtime, store: &Arc<Faulty>, pack: &Pack, config: BlocksConfig) -> (u64, u64) {
    let before = store.gets.load(Relaxed);
    let blocks = open(rt, store, config);
    assert_eq!(rt.block_on(blocks.get_run(ID, 0, BLOCKS)).unwrap(), pack.blocks);
    let hits = blocks.stats().l2.hits;
    rt.block_on(blocks.close()).unwrap();
    (store.gets.load(Relaxed) - before, hits)
}

#[test]
fn blocks_survive_a_restart() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    assert_eq!(visit(&rt, &store, &pack, config(dir.path(), 1)), (2, 0));
    assert_eq!(
        visit(&rt, &store, &pack, config(dir.path(), 1)),
        (0, u64::from(BLOCKS))
    );
}

#[test]
fn what_was_flushed_survives_a_restart() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    let blocks = open(&rt, &store, config(dir.path(), 1));
    for (block, payload) in (0..).zip(&pack.blocks) {
        blocks.insert_written(BlockKey { pack: ID, block }, payload);
    }
    rt.block_on(blocks.close()).unwrap();
    drop(blocks);
    assert_eq!(visit(&rt, &store, &pack, config(dir.path(), 1)).0, 0);
}

/// The disk is spared while the clients write; what leaves memory for whatever reason goes there.
#[test]
fn what_was_flushed_goes_to_the_disk_when_it_leaves_memory() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    let blocks = open(&rt, &store, config(dir.path(), 1));
    for (block, payload) in (0..).zip(&pack.blocks) {
        blocks.insert_written(BlockKey { pack: ID, block }, payload);
    }
    assert_eq!(rt.block_on(blocks.get_run(ID, 0, BLOCKS)).unwrap(), pack.blocks);
    assert_eq!(blocks.stats().l2.bytes, 0);
    blocks.drop_l1();
    assert_eq!(rt.block_on(blocks.get_run(ID, 0, BLOCKS)).unwrap(), pack.blocks);
    assert_eq!(
        (blocks.stats().l2.hits, store.gets.load(Relaxed)),
        (u64::from(BLOCKS), 0)
    );
    rt.block_on(blocks.close()).unwrap();
}

/// Much more than the disk takes at once: it is written by and by, and read from memory until then.
#[test]
fn a_burst_is_not_lost() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, _) = store_with_pack(&rt);
    let large = BlocksConfig {
        l1_bytes: 256 << 20,
        l2_bytes: 256 << 20,
        ..config(dir.path(), 1)
    };
    let payload = bytes::Bytes::from(vec![3; PAYLOAD as usize]);
    let blocks = open(&rt, &store, large.clone());
    for block in 0..200 {
        blocks.insert(BlockKey { pack: 77, block }, payload.clone());
    }
    blocks.drop_l1();
    assert!(
        rt.block_on(blocks.get_run(77, 0, 200))
            .unwrap()
            .iter()
            .all(|found| *found == payload)
    );
    rt.block_on(blocks.close()).unwrap();
    drop(blocks);
    let blocks = open(&rt, &store, large);
    assert!(
        rt.block_on(blocks.get_run(77, 0, 200))
            .unwrap()
            .iter()
            .all(|found| *found == payload)
    );
    assert_eq!((blocks.stats().l2.hits, store.gets.load(Relaxed)), (200, 0));
    rt.block_on(blocks.close()).unwrap();
}

/// Pack ids of another file system may be the same and mean other bytes.
#[test]
fn another_file_system_gets_none_of_it() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    visit(&rt, &store, &pack, config(dir.path(), 1));
    assert_eq!(visit(&rt, &store, &pack, config(dir.path(), 2)), (2, 0));
    assert_eq!(visit(&rt, &store, &pack, config(dir.path(), 2)).0, 0);
}

#[test]
fn dropping_the_tiers_empties_them() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    let blocks = open(&rt, &store, config(dir.path(), 1));
    let read = || assert_eq!(rt.block_on(blocks.get_run(ID, 0, BLOCKS)).unwrap(), pack.blocks);
    read();
    blocks.drop_l1();
    read();
    assert_eq!(
        (store.gets.load(Relaxed), blocks.stats().l2.hits),
        (2, u64::from(BLOCKS))
    );
    rt.block_on(blocks.drop_l2()).unwrap();
    read();
    assert_eq!(store.gets.load(Relaxed), 2, "still in memory");
    blocks.drop_l1();
    read();
    assert_eq!(store.gets.load(Relaxed), 4);
    rt.block_on(blocks.close()).unwrap();
}

fn regions(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir.join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Every region is damaged between two starts: what is read is right all the same.
#[test]
fn damage_on_disk_costs_a_fetch_and_nothing_else() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    visit(&rt, &store, &pack, config(dir.path(), 1));
    let mut random = Random(4);
    for path in regions(dir.path()) {
        let mut bytes = fs::read(&path).unwrap();
        for _ in 0..bytes.len() / 100_000 {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 0x40;
        }
        fs::write(&path, bytes).unwrap();
    }
    let (gets, hits) = visit(&rt, &store, &pack, config(dir.path(), 1));
    assert!(gets > 0 && hits < u64::from(BLOCKS), "{gets} {hits}");
}

#[test]
fn a_disk_smaller_than_the_data_serves_what_it_has() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let store = Faulty::scripted(memory_store());
    let small = BlocksConfig {
        l1_bytes: 2 << 20,
        l2_bytes: 16 << 20,
        ..config(dir.path(), 1)
    };
    let blocks = open(&rt, &store, small);
    let packs: Vec<Pack> = (0..6)
        .map(|n| pack_of(ID + n, &Random(n).bytes(20 * PAYLOAD as usize)))
        .collect();
    for pack in &packs {
        rt.block_on(put_pack(store.as_ref(), pack)).unwrap();
    }
    for _ in 0..2 {
        for pack in &packs {
            assert_eq!(rt.block_on(blocks.get_run(pack.id, 0, 20)).unwrap(), pack.blocks);
        }
    }
    rt.block_on(blocks.close()).unwrap();
}

#[test]
fn without_a_usable_directory_there_is_no_l2() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let (store, pack) = store_with_pack(&rt);
    let file = dir.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    let blocks = open(&rt, &store, config(&file.join("l2"), 1));
    assert!(blocks.stats().l2.off.unwrap().contains("file/l2"));
    assert_eq!(rt.block_on(blocks.get_run(ID, 0, BLOCKS)).unwrap(), pack.blocks);
    rt.block_on(blocks.drop_l2()).unwrap();
    rt.block_on(blocks.close()).unwrap();
}

/// The directory lies on a full disk: nothing can be written, everything can be read.
#[test]
fn a_full_disk_costs_hits_only() {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let full = Mount::tmpfs(dir.path(), "size=256k");
    let Some(_mounted) = full else {
        println!("skipped: needs root");
        return;
    };
    let (store, pack) = store_with_pack(&rt);
    let blocks = open(&rt, &store, config(dir.path(), 1));
    for _ in 0..3 {
        assert_eq!(rt.block_on(blocks.get_run(ID, 0, BLOCKS)).unwrap(), pack.blocks);
        blocks.drop_l1();
    }
    drop(rt.block_on(blocks.close()));
}

/// A mount that ends with the test.
struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(at)
            .status();
        done.is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(
            std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .status(),
        );
    }
}
