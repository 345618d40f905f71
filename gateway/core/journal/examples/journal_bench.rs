//! Measures the journal: `cargo run --release -p caudal-journal --example journal_bench -- [DIR [MIRRORS]]`.
//!
//! The directory is made below DIR (default: the system's temporary one) and removed at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use caudal_journal::{Journal, JournalConfig, replay};

const FS_ID: [u8; 16] = *b"benchmark-of-log";
const RUN: Duration = Duration::from_secs(2);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mirrors: usize = args.next().map_or(Ok(1), |count| count.parse())?;
    let root = base.join(format!("journal_bench.{}", std::process::id()));
    let result = run_all(&root, mirrors);
    std::fs::remove_dir_all(&root)?;
    result
}

fn run_all(root: &Path, mirrors: usize) -> Outcome {
    println!("{mirrors} mirror(s) below {}", root.display());
    let dirs: Vec<PathBuf> = (0..mirrors)
        .map(|index| root.join(format!("mirror{index}")))
        .collect();
    let mut last_lsn = 0;
    let mut epoch = 0;
    let mut next = || {
        epoch += 1;
        epoch
    };
    for threads in [1, 2, 8, 30] {
        last_lsn = waiters(&open(&dirs, next(), last_lsn)?, threads)?;
    }
    last_lsn = appends(&open(&dirs, next(), last_lsn)?)?;
    last_lsn = stream(&open(&dirs, next(), last_lsn)?)?;
    let began = Instant::now();
    let replayed =
        replay(&dirs, FS_ID, 0, &mut |_| Ok::<(), ()>(())).map_err(|error| format!("{error:?}"))?;
    let took = began.elapsed().as_secs_f64();
    assert_eq!(replayed.last_lsn, last_lsn);
    println!(
        "replay: {} records, {:.0} MB at {:.0} MB/s",
        replayed.records,
        replayed.bytes as f64 / 1e6,
        replayed.bytes as f64 / 1e6 / took
    );
    Ok(())
}

fn open(dirs: &[PathBuf], epoch: u64, last_lsn: u64) -> Result<Arc<Journal>, Box<dyn std::error::Error>> {
    let config = JournalConfig {
        mirrors: dirs.to_vec(),
        fs_id: FS_ID,
        epoch,
        segment_bytes: 64 << 20,
        limit_bytes: 64 << 30,
        wait_slots: 100,
    };
    let journal = Journal::open(config, last_lsn)?;
    // Let the spares be made, so that they are not measured.
    std::thread::sleep(Duration::from_millis(600));
    Ok(journal)
}

/// Name operations: each thread appends 300 bytes and waits until they are durable.
fn waiters(journal: &Arc<Journal>, threads: usize) -> Result<u64, Box<dyn std::error::Error>> {
    let done = AtomicU64::new(0);
    let payload = [7; 300];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while began.elapsed() < RUN {
                    let appended = journal.append(1, &payload, Bytes::new()).expect("append");
                    journal.wait_durable(appended.lsn).expect("commit");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let count = done.load(Ordering::Relaxed);
    let stats = journal.stats();
    println!(
        "{threads:>2} waiters: {:.0} durable appends/s, {:.0} us each, {:.1} a commit, commit p50 {:.0} us p99 {:.0} us",
        count as f64 / RUN.as_secs_f64(),
        RUN.as_secs_f64() * 1e6 * threads as f64 / count as f64,
        count as f64 / stats.commits as f64,
        stats.commit_p50_ns as f64 / 1e3,
        stats.commit_p99_ns as f64 / 1e3,
    );
    journal.close();
    Ok(journal.last_lsn())
}

/// The cost of an append alone.
fn appends(journal: &Arc<Journal>) -> Result<u64, Box<dyn std::error::Error>> {
    for (what, size) in [("100 B", 100), ("4 KiB", 4096)] {
        let head = vec![1; size];
        let count = 100_000_000 / size.max(1000);
        let began = Instant::now();
        for _ in 0..count {
            journal.append(1, &head, Bytes::new())?;
        }
        println!(
            "append of {what}: {:.0} ns",
            began.elapsed().as_nanos() as f64 / count as f64
        );
        journal.wait_durable(journal.last_lsn())?;
    }
    journal.close();
    Ok(journal.last_lsn())
}

/// Unstable writes of 1 MiB, as fast as they are taken, then one commit.
fn stream(journal: &Arc<Journal>) -> Result<u64, Box<dyn std::error::Error>> {
    let body = Bytes::from(vec![3; 1 << 20]);
    let crc = crc32c::crc32c(&body);
    let cases = [
        ("200 MB burst", 200, false),
        ("1 GB, new segments", 1000, false),
        ("4 GB, trimmed and recycled", 4000, true),
    ];
    for (what, megabytes, trimmed) in cases {
        let began = Instant::now();
        for n in 0..megabytes {
            journal.append_prepared(2, &[0; 32], body.clone(), crc)?;
            if trimmed && n % 64 == 0 {
                journal.trim(journal.durable_lsn())?;
            }
        }
        let taken = began.elapsed().as_secs_f64();
        journal.wait_durable(journal.last_lsn())?;
        let durable = began.elapsed().as_secs_f64();
        let megabytes = f64::from(megabytes) * 1.048_576;
        println!(
            "{what}: taken at {:.0} MB/s, durable at {:.0} MB/s",
            megabytes / taken,
            megabytes / durable
        );
    }
    journal.close();
    Ok(journal.last_lsn())
}
