//! Trimming, and what happens when there is no room: by the limit, or on the disk.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use caudal_journal::Journal;
use caudal_journal::disk::Disk;
use caudal_journal::simulated::{Fault, SimDisk};
use common::{SEGMENT_BYTES, config, eventually, lazy, lsn, payload, put, replay_all, segments, settled};

fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/j")]
}

fn opened() -> (SimDisk, Arc<Journal>) {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(Arc::new(disk.clone())), 0).unwrap();
    (disk, journal)
}

#[test]
fn trimming_drops_whole_segments_that_are_durable_and_passed() {
    let (disk, journal) = opened();
    for n in 1..=1000 {
        put(&journal, 1, &payload(n));
    }
    let before = journal.stats();
    assert!(before.segments >= 4);
    assert_eq!(
        (before.oldest_lsn, segments(&disk, &dirs()[0]).len() as u64),
        (lsn(1, 1), before.segments)
    );
    assert_eq!(journal.trim(lsn(1, 2)).unwrap(), 0);
    let freed = journal.trim(lsn(1, 600)).unwrap();
    let after = journal.stats();
    assert_eq!(freed, (before.segments - after.segments) * SEGMENT_BYTES);
    assert_eq!(after.bytes, before.bytes - freed);
    assert!(after.oldest_lsn <= lsn(1, 600) && after.oldest_lsn > lsn(1, 300));
    // The segment that records go to stays, whatever is asked.
    journal.trim(u64::MAX).unwrap();
    assert_eq!(journal.stats().segments, 1);
    assert_eq!(segments(&disk, &dirs()[0]).len(), 1);
    let oldest = journal.stats().oldest_lsn;
    journal.close();
    let (seen, replayed) = replay_all(&disk, &dirs()).unwrap();
    assert_eq!((seen[0].0, replayed.preceding_lsn), (oldest, oldest - 1));
    assert_eq!(seen.last().unwrap().0, lsn(1, 1000));
}

#[test]
fn segments_of_older_epochs_count_and_are_trimmed_too() {
    let (disk, journal) = opened();
    for n in 1..=500 {
        put(&journal, 1, &payload(n));
    }
    journal.close();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let second = common::reopen(&disk, &dirs(), 2).unwrap();
    assert_eq!(
        (second.last_lsn(), second.durable_lsn()),
        (lsn(1, 500), lsn(1, 500))
    );
    let at = put(&second, 1, b"new");
    assert_eq!(second.stats().oldest_lsn, lsn(1, 1));
    second.trim(at).unwrap();
    assert_eq!(
        (second.stats().segments, second.stats().oldest_lsn),
        (1, lsn(2, 1))
    );
    second.close();
    assert_eq!(replay_all(&*disk, &dirs()).unwrap().0, [(at, 1, b"new".to_vec())]);
}

#[test]
fn room_is_promised_up_to_the_limit_and_comes_back_by_trimming() {
    let disk = SimDisk::default();
    let mut config = config(&dirs(), 1);
    config.limit_bytes = 4 * SEGMENT_BYTES;
    let journal = Journal::open_with(config, lazy(Arc::new(disk)), 0).unwrap();
    let promised = journal.reserve(3 * SEGMENT_BYTES).unwrap();
    assert!(journal.reserve(SEGMENT_BYTES).is_err());
    drop(promised);
    let mut last = 0;
    for n in 1.. {
        let Ok(permit) = journal.reserve(1000) else { break };
        last = journal.append(1, &vec![n as u8; 1000], Bytes::new()).unwrap().lsn;
        drop(permit);
    }
    assert!(journal.stats().bytes > 3 * SEGMENT_BYTES);
    // What was promised is appended even now, and so is what was not.
    last = last.max(put(&journal, 1, b"appending is not refused"));
    assert!(journal.trim(last).unwrap() > 0);
    assert!(journal.reserve(1000).is_ok());
}

#[test]
fn a_full_disk_refuses_reservations_before_anything_fails() {
    let (disk, journal) = opened();
    settled(&disk, &dirs()[0]);
    disk.fail(&dirs()[0], Fault::Full);
    let mut refused_at = 0;
    for n in 1..2000u64 {
        if journal.reserve(400).is_err() {
            refused_at = n;
            break;
        }
        put(&journal, 1, &payload(n));
        std::thread::sleep(Duration::from_micros(100));
    }
    assert!(refused_at > 0, "the spares are used up some time");
    assert_eq!(journal.stats().mirrors[0].state.name(), "healthy");
    put(&journal, 1, b"still there");
    journal.trim(journal.last_lsn()).unwrap();
    eventually("room after trimming", || journal.reserve(400).is_ok());
}

#[test]
fn on_a_full_disk_writes_wait_for_space() {
    let (disk, journal) = opened();
    settled(&disk, &dirs()[0]);
    disk.fail(&dirs()[0], Fault::Full);
    let wrote = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // More than the spares hold, and without asking for room first.
            for n in 1..=1200 {
                wrote.store(put(&journal, 1, &payload(n)), Ordering::SeqCst);
            }
        });
        let mut seen = 0;
        eventually("running out of space", || {
            std::thread::sleep(Duration::from_millis(30));
            let before = std::mem::replace(&mut seen, wrote.load(Ordering::SeqCst));
            before > 0 && before == seen
        });
        assert!(seen < lsn(1, 1200) && journal.reserve(100).is_err());
        assert!(journal.trim(seen - 100).unwrap() > 0);
    });
    assert_eq!(journal.stats().mirrors[0].state.name(), "healthy");
    journal.close();
    let (seen, _) = replay_all(&disk.after_power_loss(|| false), &dirs()).unwrap();
    assert_eq!(seen.last().unwrap().0, lsn(1, 1200));
}
