//! Following the journal while it is written.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use caudal_journal::disk::Disk;
use caudal_journal::simulated::SimDisk;
use caudal_journal::{Journal, JournalError, Tail};
use common::{FS_ID, config, lazy, lsn, overwrite, payload, put, reopen, segments};

fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/a"), PathBuf::from("/b")]
}

fn fill(journal: &Journal, n: u64) {
    put(journal, 1, &payload(n));
}

fn drain(tail: &mut Tail, durable: u64) -> Vec<u64> {
    std::iter::from_fn(|| tail.next_upto(durable).unwrap())
        .map(|record| record.lsn)
        .collect()
}

#[test]
fn sees_everything_up_to_the_durable_lsn_while_segments_roll_and_are_trimmed() {
    let (_root, dirs, disk) = common::real(1);
    let journal = Journal::open_with(config(&dirs, 1), common::options(disk), 0).unwrap();
    let ended = AtomicBool::new(false);
    let total = 6000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=total {
                let at = journal
                    .append((n % 3) as u8, &payload(n), Bytes::new())
                    .unwrap()
                    .lsn;
                if n % 50 == 0 {
                    journal.wait_durable(at).unwrap();
                }
            }
            journal.wait_durable(journal.last_lsn()).unwrap();
            ended.store(true, Ordering::SeqCst);
        });
        let mut tail = Tail::open(&dirs, FS_ID, 1).unwrap();
        let mut next = 1;
        while next <= total {
            let durable = journal.durable_lsn();
            match tail.next_upto(durable).unwrap() {
                Some(record) => {
                    assert_eq!((record.lsn, record.kind), (lsn(1, next), (next % 3) as u8));
                    assert_eq!(record.payload, payload(next));
                    assert!(record.lsn <= durable);
                    if next % 500 == 0 {
                        // What the tail has passed may go.
                        journal.trim(tail.position()).unwrap();
                    }
                    next += 1;
                }
                None => assert!(!ended.load(Ordering::SeqCst) || durable < lsn(1, total)),
            }
        }
        assert_eq!(tail.position(), lsn(1, total));
    });
    assert!(journal.stats().segments < 6);
}

#[test]
fn never_shows_more_than_was_asked_for() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let mut tail = Tail::open_on(disk.clone(), &dirs(), FS_ID, 0).unwrap();
    assert!(tail.next_upto(u64::MAX >> 1).unwrap().is_none());
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    (1..=10).for_each(|n| fill(&journal, n));
    assert_eq!(
        drain(&mut tail, lsn(1, 4)),
        (1..=4).map(|n| lsn(1, n)).collect::<Vec<_>>()
    );
    assert!(tail.next_upto(0).unwrap().is_none());
    assert_eq!(drain(&mut tail, lsn(1, 10)).len(), 6);
    assert!(tail.next_upto(lsn(1, 10)).unwrap().is_none());
    let mut later = Tail::open_on(disk, &dirs(), FS_ID, lsn(1, 8)).unwrap();
    assert_eq!(drain(&mut later, lsn(1, 9)), [lsn(1, 8), lsn(1, 9)]);
}

#[test]
fn goes_on_into_a_new_epoch_without_what_was_cut_off() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    (1..=10).for_each(|n| fill(&journal, n));
    let mut tail = Tail::open_on(disk.clone(), &dirs(), FS_ID, 1).unwrap();
    assert_eq!(drain(&mut tail, lsn(1, 10)).len(), 10);
    journal.append(1, b"never acknowledged", Bytes::new()).unwrap();
    journal.close();
    let path = segments(&*disk, Path::new("/a"))[0].clone();
    let torn = caudal_journal::format::SEGMENT_HEADER
        + (1..=10)
            .map(|n| caudal_journal::format::span(payload(n).len() as u64))
            .sum::<u64>();
    let mut whole = [0; 50];
    disk.open(&path).unwrap().read_at(&mut whole, torn).unwrap();
    for dir in ["/a", "/b"] {
        overwrite(&*disk, &segments(&*disk, Path::new(dir))[0], torn, &[0; 50]);
    }
    let second = reopen(&disk, &dirs(), 2).unwrap();
    overwrite(&*disk, &path, torn, &whole);
    assert!(tail.next_upto(second.durable_lsn()).unwrap().is_none());
    put(&second, 3, b"second epoch");
    assert_eq!(drain(&mut tail, second.durable_lsn()), [lsn(2, 1)]);
    let third = {
        second.close();
        reopen(&disk, &dirs(), 3).unwrap()
    };
    put(&third, 3, b"third epoch");
    assert_eq!(drain(&mut tail, third.durable_lsn()), [lsn(3, 1)]);
    let mut all = Tail::open_on(disk.clone(), &dirs(), FS_ID, 0).unwrap();
    assert_eq!(drain(&mut all, third.durable_lsn()).len(), 12);
    for (known, cut_off) in [
        (lsn(1, 10), false),
        (lsn(1, 11), true),
        (lsn(2, 1), false),
        (lsn(2, 2), true),
        (lsn(3, 1), false),
    ] {
        let after = Tail::open_on(disk.clone(), &dirs(), FS_ID, known + 1).unwrap();
        assert_eq!(after.is_cut_off(), cut_off, "{known:x}");
    }
}

#[test]
fn passes_over_other_kinds_and_reads_from_the_mirror_that_is_well() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    for n in 1..=600 {
        put(&journal, 1 + (n % 2) as u8, &payload(n));
    }
    overwrite(&*disk, &segments(&*disk, Path::new("/a"))[0], 8000, &[0x11; 2000]);
    let mut tail = Tail::open_on(disk.clone(), &dirs(), FS_ID, 1).unwrap().only(1);
    let seen = drain(&mut tail, lsn(1, 600));
    assert_eq!(seen, (1..=300).map(|n| lsn(1, 2 * n)).collect::<Vec<_>>());
    assert_eq!(tail.position(), lsn(1, 600));
    overwrite(&*disk, &segments(&*disk, Path::new("/b"))[0], 8000, &[0x11; 2000]);
    let mut tail = Tail::open_on(disk, &dirs(), FS_ID, 1).unwrap();
    let error = std::iter::from_fn(|| tail.next_upto(lsn(1, 600)).transpose())
        .find_map(Result::err)
        .unwrap();
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
}

#[test]
fn records_that_were_trimmed_before_they_were_read_are_missed_loudly() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    (1..=10).for_each(|n| fill(&journal, n));
    let mut tail = Tail::open_on(disk.clone(), &dirs(), FS_ID, 1).unwrap();
    assert_eq!(drain(&mut tail, lsn(1, 5)).len(), 5);
    (11..=3000).for_each(|n| fill(&journal, n));
    journal.trim(lsn(1, 2500)).unwrap();
    let kept = journal.stats().segments as usize;
    for dir in dirs() {
        common::eventually("the trim of each mirror", || segments(&*disk, &dir).len() == kept);
    }
    let late = std::iter::from_fn(|| tail.next_upto(lsn(1, 3000)).transpose()).find_map(Result::err);
    assert!(matches!(late, Some(JournalError::Corrupt { .. })));
}
