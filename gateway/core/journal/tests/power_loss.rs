//! The promise itself: whatever was acknowledged is there after power failed, on any seed.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use caudal_journal::Journal;
use caudal_journal::disk::Disk;
use caudal_journal::simulated::SimDisk;
use common::{config, lsn, options, payload, replay_all};

/// A small generator, so that a seed says everything.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Threads append, wait and trim until the power fails; says what was acknowledged and trimmed just before.
fn live(disk: &SimDisk, dirs: &[PathBuf], epoch: u64, from: u64, random: &mut Random) -> (SimDisk, u64, u64) {
    let journal = Journal::open_with(config(dirs, epoch), options(Arc::new(disk.clone())), from).unwrap();
    let (acknowledged, trimmed, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let seeds = [random.next(), random.next(), random.next()];
    let found = std::thread::scope(|scope| {
        for seed in seeds {
            let (journal, acknowledged, trimmed, stop) = (&journal, &acknowledged, &trimmed, &stop);
            scope.spawn(move || {
                let mut random = Random(seed | 1);
                while !stop.load(Ordering::Relaxed) {
                    append(journal, &mut random, acknowledged);
                    if random.next().is_multiple_of(300) {
                        // As a checkpoint does: first noted, then trimmed.
                        let below = acknowledged.load(Ordering::SeqCst);
                        trimmed.fetch_max(below, Ordering::SeqCst);
                        journal.trim(below).unwrap();
                    }
                }
            });
        }
        std::thread::sleep(std::time::Duration::from_micros(random.next() % 12_000));
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        let chance = random.next() % 101;
        let found = disk.after_power_loss(|| random.next() % 100 < chance);
        let trimmed = trimmed.load(Ordering::SeqCst);
        stop.store(true, Ordering::Relaxed);
        (found, acknowledged, trimmed)
    });
    journal.close();
    found
}

fn append(journal: &Journal, random: &mut Random, acknowledged: &AtomicU64) {
    let content = payload(random.next() % 1000);
    let big = random.next().is_multiple_of(8);
    let body = if big { content.repeat(30) } else { content };
    let at = journal.append(1, &[], Bytes::from(body)).unwrap().lsn;
    if random.next().is_multiple_of(3) {
        journal.wait_durable(at).unwrap();
        acknowledged.fetch_max(at, Ordering::SeqCst);
    }
}

fn history(seed: u64, mirrors: usize) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let all: Vec<PathBuf> = (0..mirrors)
        .map(|index| PathBuf::from(format!("/m{index}")))
        .collect();
    let mut disk = SimDisk::default();
    let (mut last, mut promised, mut floor) = (0, 0, 0);
    for epoch in 1..=4 {
        let (found, acknowledged, trimmed) = live(&disk, &all, epoch, last, &mut random);
        promised = acknowledged.max(promised);
        floor = trimmed.max(floor);
        // Any one mirror is enough, and all together too.
        let mut dirs = all.clone();
        if random.next().is_multiple_of(2) {
            dirs = vec![all[(random.next() % mirrors as u64) as usize].clone()];
        }
        let (seen, replayed) =
            replay_all(&found, &dirs).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(
            replayed.last_lsn >= promised,
            "seed {seed}: {:x} of {promised:x}",
            replayed.last_lsn
        );
        assert!(replayed.preceding_lsn < floor.max(1), "seed {seed}");
        let gapless = seen.windows(2).all(|pair| {
            let next = pair[0].0 + 1;
            pair[1].0 == next || (pair[1].0 & 0xff_ffff_ffff) == 1 && pair[1].0 > next
        });
        assert!(gapless, "seed {seed}");
        let (_, replayed) = replay_all(&found, &all).unwrap();
        last = replayed.last_lsn;
        promised = promised.max(last);
        disk = found;
    }
    assert!(last >= lsn(1, 0) || last == 0);
}

#[test]
fn what_was_acknowledged_survives_power_loss() {
    (1..=60).for_each(|seed| history(seed, 1));
}

#[test]
fn and_in_each_of_two_mirrors() {
    (1..=40).for_each(|seed| history(seed, 2));
}

#[test]
fn the_disk_in_memory_does_forget() {
    let disk = SimDisk::default();
    let path = PathBuf::from("/d/f");
    let file = disk.create(&path).unwrap();
    file.write_at(&mut [std::io::IoSlice::new(b"kept")], 0).unwrap();
    file.sync().unwrap();
    assert!(disk.after_power_loss(|| false).open(&path).is_err());
    disk.sync_dir(path.parent().unwrap()).unwrap();
    file.write_at(&mut [std::io::IoSlice::new(b"lost")], 0).unwrap();
    let mut bytes = [0; 4];
    disk.after_power_loss(|| false)
        .open(&path)
        .unwrap()
        .read_at(&mut bytes, 0)
        .unwrap();
    assert_eq!(&bytes, b"kept");
}
