//! Figures of packs and the block cache: `cargo run --release -p caudal-blocks --example blocks_bench [DIRECTORY]`.
//!
//! The directory (default: a temporary one) gets a store and an L2; both are removed at the end.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caudal_blocks::seal::{KeyRing, PackSealer, open_block};
use caudal_blocks::{BlockKey, Blocks, BlocksConfig, PAYLOAD, PackBuilder, Store, open_store, put_pack};
use tokio::runtime::Runtime;

const PACKS: u64 = 32;
const PACK_BYTES: u64 = 8 << 20;
const BLOCKS: u32 = PACK_BYTES.div_ceil(PAYLOAD) as u32;
const HITS: u32 = 5_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = at.join(format!("blocks-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = run(&rt, &dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn run(rt: &Runtime, dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(dir.join("store"))?;
    std::fs::create_dir_all(dir.join("l2"))?;
    let store = open_store(
        &format!("file://{}", dir.join("store").display()),
        &HashMap::new(),
    )?;
    build();
    seal()?;
    put(rt, &store)?;
    let config = BlocksConfig {
        l1_bytes: 1 << 30,
        l2_dir: Some(dir.join("l2")),
        l2_bytes: 1 << 30,
        readahead_bytes: 8 << 20,
        fs_id: [0; 16],
    };
    let blocks = rt.block_on(Blocks::open(rt.handle().clone(), store.clone(), config.clone()))?;
    read(rt, &blocks, "cold read, store (page cache of the system is warm)")?;
    hits(&blocks, 1);
    hits(&blocks, 2);
    rt.block_on(blocks.close())?;
    drop(blocks);

    let began = Instant::now();
    let blocks = rt.block_on(Blocks::open(rt.handle().clone(), store, config))?;
    println!(
        "{:<52} {:>9.1} ms",
        "open again, L2 of 256 MiB",
        began.elapsed().as_secs_f64() * 1e3
    );
    read(rt, &blocks, "read, L2 after the restart")?;
    println!(
        "{:<52} {:>9}",
        "  of these blocks from L2",
        blocks.stats().l2.hits
    );
    rt.block_on(blocks.close())?;
    Ok(())
}

fn rate(what: &str, bytes: u64, took: Duration) {
    println!("{what:<52} {:>9.0} MB/s", bytes as f64 / 1e6 / took.as_secs_f64());
}

/// One core seals full blocks as a flush does, and opens them as a fetch does.
fn seal() -> Result<(), Box<dyn std::error::Error>> {
    let ring = KeyRing::new([0; 16], &[("bench".to_owned(), [7; 32])], true)?;
    let payload = vec![7u8; PAYLOAD as usize];
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    for id in 0..PACKS {
        let mut sealer = PackSealer::new(&ring, id)?;
        let began = Instant::now();
        let sealed: Vec<_> = (0..BLOCKS).map(|_| sealer.seal_next(&payload).0).collect();
        sealing += began.elapsed();
        let began = Instant::now();
        for (block, bytes) in (0..).zip(&sealed) {
            black_box(open_block(Some(&ring), id, block, bytes)?.payload);
        }
        opening += began.elapsed();
    }
    let bytes = PACKS * u64::from(BLOCKS) * PAYLOAD;
    rate("seal blocks, one core", bytes, sealing);
    rate("open blocks, one core", bytes, opening);
    Ok(())
}

fn build() {
    let data = vec![7u8; 1 << 20];
    let mut took = Duration::ZERO;
    for id in 0..PACKS {
        let began = Instant::now();
        let mut builder = PackBuilder::new(id, id);
        while builder.len() < PACK_BYTES {
            builder.add(1, builder.len(), &data);
        }
        black_box(builder.finish());
        took += began.elapsed();
    }
    rate("build packs", PACKS * PACK_BYTES, took);
}

fn put(rt: &Runtime, store: &Arc<dyn Store>) -> Result<(), Box<dyn std::error::Error>> {
    let mut took = Duration::ZERO;
    for id in 0..PACKS {
        let mut builder = PackBuilder::new(id, id);
        builder.add(1, 0, &vec![id as u8; PACK_BYTES as usize]);
        let pack = builder.finish();
        let began = Instant::now();
        rt.block_on(put_pack(store.as_ref(), &pack))?;
        took += began.elapsed();
    }
    rate("put packs, synced, one after the other", PACKS * PACK_BYTES, took);
    Ok(())
}

/// Reads everything, four packs at a time.
fn read(rt: &Runtime, blocks: &Arc<Blocks>, what: &str) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|first| {
            let blocks = blocks.clone();
            rt.spawn(async move {
                for pack in (first..PACKS).step_by(4) {
                    blocks.get_run(pack, 0, BLOCKS).await?;
                }
                Ok::<_, caudal_blocks::BlockError>(())
            })
        })
        .collect();
    for task in tasks {
        rt.block_on(task)??;
    }
    rate(what, PACKS * PACK_BYTES, began.elapsed());
    Ok(())
}

fn hits(blocks: &Arc<Blocks>, threads: u64) {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for n in 0..HITS {
                    let pack = (u64::from(n) * 7 + thread) % PACKS;
                    black_box(blocks.get_l1(BlockKey {
                        pack,
                        block: n % BLOCKS,
                    }));
                }
            });
        }
    });
    let ns = began.elapsed().as_nanos() as f64 / f64::from(HITS);
    println!("{:<52} {ns:>9.0} ns", format!("L1 hit, {threads} threads"));
}
