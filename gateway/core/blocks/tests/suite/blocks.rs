//! The cache over a store: one fetch for all readers, nothing bad served, L1 by its bounds.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use caudal_blocks::{BLOCK, BlockError, BlockKey, Blocks, BlocksConfig, PAYLOAD, Pack, StoreError, put_pack};
use futures::future::join_all;
use tokio::runtime::Runtime;

use crate::faulty::{Fault, Faulty};
use crate::support::{Random, joined, memory_store, pack_of, runtime};

const ID: u64 = (5 << 40) | 1;
const BLOCKS: u32 = 40;

struct Bench {
    rt: Runtime,
    store: Arc<Faulty>,
    blocks: Arc<Blocks>,
    pack: Pack,
}

impl Bench {
    /// A pack of forty blocks, the last one short, in a store that does as it is told.
    fn new(l1_bytes: u64) -> Self {
        let rt = runtime();
        let store = Faulty::scripted(memory_store());
        let pack = pack_of(ID, &Random(1).bytes((39 * PAYLOAD + 1000) as usize));
        rt.block_on(put_pack(store.as_ref(), &pack)).unwrap();
        let config = BlocksConfig {
            l1_bytes,
            l2_dir: None,
            l2_bytes: 0,
            readahead_bytes: 8 << 20,
            fs_id: [1; 16],
        };
        let blocks = rt
            .block_on(Blocks::open(rt.handle().clone(), store.clone(), config))
            .unwrap();
        Self {
            rt,
            store,
            blocks,
            pack,
        }
    }

    fn get(&self, first: u32, count: u32) -> Result<Vec<Bytes>, BlockError> {
        self.rt.block_on(self.blocks.get_run(ID, first, count))
    }

    fn gets(&self) -> u64 {
        self.store.gets.load(Relaxed)
    }

    fn settle(&self) {
        for _ in 0..2000 {
            if self.blocks.stats().in_flight == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("fetches do not end");
    }
}

#[test]
fn a_run_comes_from_the_store_once_and_then_from_memory() {
    let bench = Bench::new(64 << 20);
    assert!(bench.blocks.get_l1(BlockKey { pack: ID, block: 0 }).is_none());
    assert_eq!(bench.get(0, BLOCKS).unwrap(), bench.pack.blocks);
    for block in 0..BLOCKS {
        let hit = bench.blocks.get_l1(BlockKey { pack: ID, block }).unwrap();
        assert_eq!(hit, bench.pack.blocks[block as usize]);
    }
    assert_eq!(bench.get(3, 20).unwrap(), bench.pack.blocks[3..23]);
    assert_eq!(bench.gets(), 3, "runs of 4 MiB: 16, 16 and 8 blocks");
    let stats = bench.blocks.stats();
    assert_eq!((stats.l1.hits, stats.l1.misses), (u64::from(BLOCKS), 1));
    assert!(stats.l2.off.is_some());
}

#[test]
fn only_what_is_missing_is_fetched() {
    let bench = Bench::new(64 << 20);
    bench.get(4, 2).unwrap();
    bench.get(8, 1).unwrap();
    bench.store.get_ranges.lock().clear();
    assert_eq!(bench.get(2, 10).unwrap(), bench.pack.blocks[2..12]);
    let mut ranges: Vec<_> = bench
        .store
        .get_ranges
        .lock()
        .iter()
        .map(|range| (range.start / BLOCK, range.end / BLOCK))
        .collect();
    ranges.sort_unstable();
    assert_eq!(ranges, [(2, 4), (6, 8), (9, 12)]);
}

#[test]
fn a_hundred_readers_share_one_fetch() {
    let bench = Bench::new(64 << 20);
    *bench.store.latency.lock() = Duration::from_millis(20);
    let readers = (0..100u32).map(|n| {
        let blocks = bench.blocks.clone();
        let first = n % 5;
        bench
            .rt
            .spawn(async move { (first, blocks.get_run(ID, first, 10 - first).await) })
    });
    let results = bench.rt.block_on(join_all(readers.collect::<Vec<_>>()));
    for result in results {
        let (first, got) = result.unwrap();
        assert_eq!(got.unwrap(), bench.pack.blocks[first as usize..10]);
    }
    let asked: u64 = bench
        .store
        .get_ranges
        .lock()
        .iter()
        .map(|range| (range.end - range.start) / BLOCK)
        .sum();
    assert_eq!(asked, 10, "every block once: {:?}", bench.store.get_ranges.lock());
}

/// The reader that began a fetch goes away; those who joined it still get their block.
#[test]
fn a_fetch_outlives_the_reader_that_began_it() {
    let bench = Bench::new(64 << 20);
    *bench.store.latency.lock() = Duration::from_millis(30);
    bench.rt.block_on(async {
        let first = tokio::time::timeout(Duration::from_millis(5), bench.blocks.get_run(ID, 0, 1)).await;
        assert!(first.is_err());
        assert_eq!(
            bench.blocks.get_run(ID, 0, 1).await.unwrap(),
            bench.pack.blocks[..1]
        );
    });
    assert_eq!(bench.gets(), 1);
}

#[test]
fn a_bad_block_is_fetched_once_more() {
    for fault in [Fault::Flipped, Fault::Short] {
        let bench = Bench::new(64 << 20);
        bench.store.next(&[fault]);
        assert_eq!(bench.get(0, 4).unwrap(), bench.pack.blocks[..4], "{fault:?}");
        assert_eq!(bench.gets(), 2);
        assert_eq!(
            bench.store.get_ranges.lock()[1],
            3 * BLOCK..4 * BLOCK,
            "the bad one alone"
        );
        assert_eq!(bench.blocks.stats().bad_blocks, 1);
    }
}

#[test]
fn a_block_that_is_bad_twice_is_an_error_and_never_served() {
    for fault in [Fault::Flipped, Fault::Short] {
        let bench = Bench::new(64 << 20);
        bench.store.next(&[fault, fault]);
        let error = bench.get(7, 1).unwrap_err();
        assert!(
            matches!(
                error,
                BlockError::Corrupt {
                    pack: ID,
                    block: Some(7),
                    ..
                }
            ),
            "{error}"
        );
        assert!(bench.blocks.get_l1(BlockKey { pack: ID, block: 7 }).is_none());
        assert_eq!(
            bench.get(7, 1).unwrap(),
            bench.pack.blocks[7..8],
            "it may have been the network"
        );
    }
}

/// Bytes that were changed in the store, whichever they are: what is served is right, or an error.
#[test]
fn no_damage_in_the_store_is_served() {
    let rt = runtime();
    let mut random = Random(11);
    for n in 0..60u64 {
        let id = ID + 10 + n;
        let pack = pack_of(id, &Random(n).bytes((PAYLOAD + 5000) as usize));
        let mut object = joined(&pack.chunks);
        match n % 3 {
            0 => {
                let at = random.below(object.len() as u64) as usize;
                object[at] ^= 1 << random.below(8);
            }
            1 => object.truncate(random.below(object.len() as u64) as usize),
            _ => {
                let (at, len) = (random.below(200_000) as usize, random.below(60_000) as usize);
                let rubbish = random.bytes(len);
                object[at..at + len].copy_from_slice(&rubbish);
            }
        }
        let store = memory_store();
        let config = BlocksConfig {
            l1_bytes: 8 << 20,
            l2_dir: None,
            l2_bytes: 0,
            readahead_bytes: 0,
            fs_id: [1; 16],
        };
        rt.block_on(async {
            store
                .put(
                    &format!("packs/{:02x}/{id:016x}", id & 0xff),
                    &[Bytes::from(object)],
                )
                .await
                .unwrap();
            let blocks = Blocks::open(rt.handle().clone(), store.clone(), config)
                .await
                .unwrap();
            for block in 0..3u32 {
                match blocks.get_run(id, block, 1).await {
                    Ok(got) => assert_eq!(got, pack.blocks[block as usize..=block as usize]),
                    Err(error) => assert!(matches!(error, BlockError::Corrupt { .. }), "{error}"),
                }
            }
        });
    }
}

#[test]
fn what_is_not_there_is_an_error() {
    let bench = Bench::new(64 << 20);
    let beyond = bench.get(BLOCKS, 1).unwrap_err();
    assert!(matches!(beyond, BlockError::Corrupt { .. }), "{beyond}");
    let tail = bench.get(BLOCKS - 1, 2).unwrap_err();
    assert!(matches!(tail, BlockError::Corrupt { .. }), "{tail}");
    let absent = bench.rt.block_on(bench.blocks.get_run(ID + 1, 0, 1)).unwrap_err();
    assert!(
        matches!(absent, BlockError::Store(StoreError::NotFound(_))),
        "{absent}"
    );
    assert!(bench.get(0, 0).unwrap().is_empty());
    bench.store.next(&[Fault::Fatal]);
    assert!(matches!(
        bench.get(0, 1),
        Err(BlockError::Store(StoreError::Permanent { .. }))
    ));
    assert_eq!(
        bench.get(0, 1).unwrap(),
        bench.pack.blocks[..1],
        "an error is not remembered"
    );
    assert_eq!(bench.blocks.stats().in_flight, 0);
}

#[test]
fn prefetched_blocks_are_there_and_are_bounded() {
    let bench = Bench::new(64 << 20);
    bench.blocks.prefetch(ID, 0, 20);
    bench.settle();
    assert!((0..20).all(|block| bench.blocks.get_l1(BlockKey { pack: ID, block }).is_some()));
    let gets = bench.gets();
    bench.blocks.prefetch(ID, 0, 20);
    bench.settle();
    assert_eq!(bench.gets(), gets, "nothing is fetched twice");
    bench.blocks.prefetch(ID, 10, 15);
    bench.settle();
    assert_eq!(
        bench.store.get_ranges.lock().last().unwrap(),
        &(20 * BLOCK..25 * BLOCK)
    );
    // Errors and ends of packs are the reader's business.
    bench.blocks.prefetch(ID + 1, 0, 4);
    bench.blocks.prefetch(ID, u32::MAX, u32::MAX);
    bench.settle();
    *bench.store.latency.lock() = Duration::from_millis(50);
    let before = bench.blocks.stats().prefetched_blocks;
    for pack in 100..400 {
        bench.blocks.prefetch(pack, 0, 10);
    }
    assert!(bench.blocks.stats().prefetched_blocks - before <= 1024);
    bench.settle();
}

#[test]
fn memory_keeps_to_its_bounds_and_can_be_resized() {
    let bench = Bench::new(4 << 20);
    bench.get(0, BLOCKS).unwrap();
    let stats = bench.blocks.stats().l1;
    assert!(stats.bytes <= 4 << 20 && stats.bytes > 2 << 20, "{stats:?}");
    assert_eq!(
        bench.get(0, BLOCKS).unwrap(),
        bench.pack.blocks,
        "a cache smaller than a read serves it"
    );
    bench.blocks.resize_l1(64 << 20).unwrap();
    bench.get(0, BLOCKS).unwrap();
    assert!((0..BLOCKS).all(|block| bench.blocks.get_l1(BlockKey { pack: ID, block }).is_some()));
    bench.blocks.resize_l1(2 << 20).unwrap();
    assert!(bench.blocks.stats().l1.bytes <= 2 << 20);
    bench.blocks.drop_l1();
    assert_eq!(
        (
            bench.blocks.stats().l1.bytes,
            bench.blocks.stats().l1.capacity_bytes
        ),
        (0, 2 << 20)
    );
    bench.get(0, 6).unwrap();
    assert!(
        (0..6).all(|block| bench.blocks.get_l1(BlockKey { pack: ID, block }).is_some()),
        "as good as new"
    );
}

#[test]
fn what_was_flushed_is_in_memory() {
    let bench = Bench::new(64 << 20);
    for (block, payload) in (0..).zip(bench.pack.blocks.clone()) {
        bench.blocks.insert(BlockKey { pack: ID, block }, payload);
    }
    assert_eq!(bench.get(0, BLOCKS).unwrap(), bench.pack.blocks);
    assert_eq!(bench.gets(), 0);
}
