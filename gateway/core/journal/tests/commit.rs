//! Appending, waiting, reading back, trimming and running out of room, on a disk that does as it is told.

mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use caudal_journal::simulated::{Fault, SimDisk};
use caudal_journal::{Journal, JournalError};
use common::{config, eventually, lazy, lsn, options, payload, put, replay_all, settled};

fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/j")]
}

fn opened() -> (SimDisk, Arc<Journal>) {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(Arc::new(disk.clone())), 0).unwrap();
    (disk, journal)
}

#[test]
fn all_who_wait_share_one_sync() {
    let (disk, journal) = opened();
    settled(&disk, &dirs()[0]);
    disk.fail(&dirs()[0], Fault::Slow(20));
    let before = disk.syncs();
    std::thread::scope(|scope| {
        for n in 0..32 {
            let journal = &journal;
            scope.spawn(move || put(journal, 1, &payload(n)));
        }
    });
    let syncs = disk.syncs() - before;
    // The first may go alone, the others meet in the next round; a few are late.
    assert!((1..=6).contains(&syncs), "{syncs} syncs for 32 waiters");
    assert_eq!(journal.stats().commits, syncs);
    assert_eq!(journal.durable_lsn(), lsn(1, 32));
}

#[test]
fn threads_that_append_and_wait_are_all_found_again_in_order() {
    let (_root, dirs, disk) = common::real(1);
    let journal = Journal::open_with(config(&dirs, 1), options(disk.clone()), 0).unwrap();
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let (journal, acknowledged) = (&journal, &acknowledged);
            scope.spawn(move || {
                for n in 0..200u64 {
                    let big = Bytes::from(vec![thread; 5000 + (n as usize) % 4000]);
                    let body = if n % 16 == 0 { big } else { Bytes::from(payload(n)) };
                    let at = journal.append(thread, &[thread; 24], body).unwrap().lsn;
                    if n % 3 == 0 {
                        journal.wait_durable(at).unwrap();
                        acknowledged.fetch_max(at, Ordering::SeqCst);
                        assert!(journal.durable_lsn() >= at);
                    }
                }
            });
        }
    });
    let (seen, _) = replay_all(&*disk, &dirs).unwrap();
    assert!(seen.last().unwrap().0 >= acknowledged.load(Ordering::SeqCst));
    journal.close();
    let (seen, replayed) = replay_all(&*disk, &dirs).unwrap();
    assert_eq!((seen.len(), replayed.torn_tail), (1600, false));
    assert!(seen.iter().zip(1..).all(|((at, _, _), n)| *at == lsn(1, n)));
    for thread in 0..8u8 {
        let own = seen.iter().filter(|(_, kind, _)| *kind == thread);
        for (n, (_, _, bytes)) in own.enumerate() {
            assert_eq!(bytes[..24], [thread; 24]);
            if n % 16 != 0 {
                assert_eq!(bytes[24..], payload(n as u64), "record {n} of thread {thread}");
            }
        }
    }
}

#[test]
fn a_checksum_given_by_the_caller_is_combined_with_the_heads() {
    let (disk, journal) = opened();
    for len in [0usize, 1, 100, 4096, 4097, 50_000] {
        let body = Bytes::from(vec![7; len]);
        let crc = crc32c::crc32c(&body);
        let at = journal
            .append_prepared(2, b"head of the record", body, crc)
            .unwrap()
            .lsn;
        journal.wait_durable(at).unwrap();
    }
    journal
        .append(1, &vec![5; 20_000], Bytes::from_static(b"after a long head"))
        .unwrap();
    journal.close();
    let (seen, _) = replay_all(&disk, &dirs()).unwrap();
    assert_eq!(
        seen.iter().map(|(_, _, bytes)| bytes.len()).collect::<Vec<_>>(),
        [18, 19, 118, 4114, 4115, 50_018, 20_017]
    );
    assert!(seen[6].2.ends_with(b"5after a long head") || seen[6].2.ends_with(b"\x05after a long head"));
}

#[test]
fn nobody_waits_and_yet_everything_is_written_and_synced() {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs(), 1), options(Arc::new(disk.clone())), 0).unwrap();
    for n in 1..=3 {
        let at = journal.append(1, &payload(n), Bytes::new()).unwrap().lsn;
        eventually("the sync", || journal.durable_lsn() == at);
        std::thread::sleep(Duration::from_millis(if n == 2 { 150 } else { 0 }));
    }
    assert_eq!(
        replay_all(&disk.after_power_loss(|| false), &dirs())
            .unwrap()
            .0
            .len(),
        3
    );
}

#[test]
fn a_full_batch_makes_appending_wait_for_the_disk() {
    let disk = SimDisk::default();
    let mut config = config(&dirs(), 1);
    config.segment_bytes = 4 << 20;
    let journal = Journal::open_with(config, lazy(Arc::new(disk)), 0).unwrap();
    let body = Bytes::from(vec![1; 300_000]);
    for _ in 0..40 {
        journal.append(2, b"x", body.clone()).unwrap();
    }
    journal.close();
    assert_eq!(journal.durable_lsn(), lsn(1, 40));
}

#[test]
fn callbacks_come_when_the_record_is_durable_or_the_journal_is_over() {
    let (disk, journal) = opened();
    let (told, tell) = mpsc::channel();
    let later = |name: &'static str| -> caudal_journal::OnDurable {
        let told = told.clone();
        Box::new(move |result| told.send((name, result)).unwrap())
    };
    let wait = Duration::from_secs(5);
    let first = journal.append(1, b"1", Bytes::new()).unwrap().lsn;
    journal.on_durable(first, later("first"));
    assert_eq!(tell.recv_timeout(wait).unwrap(), ("first", Ok(())));
    assert!(journal.durable_lsn() >= first);
    journal.on_durable(first, later("again"));
    assert_eq!(tell.recv_timeout(wait).unwrap(), ("again", Ok(())));
    journal.on_durable(first + 1, later("early"));
    assert!(matches!(
        tell.recv_timeout(wait).unwrap(),
        ("early", Err(JournalError::Misuse(_)))
    ));
    disk.fail(&dirs()[0], Fault::Error);
    let second = journal.append(1, b"2", Bytes::new()).unwrap().lsn;
    journal.on_durable(second, later("second"));
    assert!(tell.recv_timeout(Duration::from_millis(100)).is_err());
    journal.close();
    assert_eq!(
        tell.recv_timeout(wait).unwrap(),
        ("second", Err(JournalError::Closed))
    );
    journal.on_durable(first, later("closed"));
    assert_eq!(tell.recv_timeout(wait).unwrap(), ("closed", Ok(())));
    journal.on_durable(second, later("closed"));
    assert!(tell.recv_timeout(wait).unwrap().1.is_err());
}

#[test]
fn without_any_mirror_writes_wait_until_it_is_there_again() {
    let (disk, journal) = opened();
    let first = put(&journal, 1, b"safe");
    disk.fail(&dirs()[0], Fault::Error);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|n| {
                let journal = &journal;
                scope.spawn(move || {
                    let lsn = journal.append(1, &payload(n), Bytes::new()).unwrap().lsn;
                    journal.wait_durable(lsn)
                })
            })
            .collect();
        common::eventually("the halt", || journal.stats().halted);
        assert!(journal.reserve(100).is_err());
        assert_eq!(journal.durable_lsn(), first);
        assert_eq!(journal.stats().mirrors[0].state.name(), "lost");
        disk.heal(&dirs()[0]);
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    });
    assert!(journal.reserve(100).is_ok());
    assert_eq!(journal.stats().mirrors[0].state.name(), "healthy");
    journal.close();
    let found = disk.after_power_loss(|| false);
    assert_eq!(replay_all(&found, &dirs()).unwrap().0.len(), 9);
}

#[test]
fn payloads_are_read_back_from_the_batch_and_from_the_files() {
    let (_disk, journal) = opened();
    let body = Bytes::from((0..30_000u32).map(|n| n as u8).collect::<Vec<u8>>());
    let places: Vec<_> = (0..10)
        .map(|_| journal.append(2, b"0123456789", body.clone()).unwrap())
        .collect();
    let check = || {
        for appended in &places {
            let mut buf = vec![0; 5000];
            journal.read_at(appended.place, 10 + 777, &mut buf).unwrap();
            assert_eq!(buf, body[777..5777]);
            let mut buf = vec![0; 20];
            journal.read_at(appended.place, 0, &mut buf).unwrap();
            assert_eq!((&buf[..10], &buf[10..]), (&b"0123456789"[..], &body[..10]));
        }
    };
    check();
    assert!(journal.read_at(places[0].place, 30_000, &mut [0; 11]).is_err());
    journal.wait_durable(places[9].lsn).unwrap();
    check();
    journal.trim(places[5].lsn).unwrap();
    let gone = journal.read_at(places[0].place, 0, &mut [0; 10]).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_callback_may_panic_or_close_the_journal() {
    let (_disk, journal) = opened();
    let (told, tell) = mpsc::channel();
    let at = journal.append(1, b"x", Bytes::new()).unwrap().lsn;
    journal.on_durable(at, Box::new(|_| panic!("this is part of the test")));
    let own = journal.clone();
    journal.on_durable(
        at,
        Box::new(move |_| {
            own.close();
            told.send(own.durable_lsn()).unwrap();
        }),
    );
    assert_eq!(tell.recv_timeout(Duration::from_secs(5)).unwrap(), at);
}

#[test]
fn so_many_threads_may_wait_and_no_more() {
    let (_disk, journal) = opened();
    let mut slots: Vec<_> = (0..4).map(|_| journal.try_wait_slot().unwrap()).collect();
    assert!(journal.try_wait_slot().is_none());
    slots.pop();
    assert!(journal.try_wait_slot().is_some());
}

#[test]
fn closing_makes_durable_what_is_pending_and_refuses_more() {
    let (disk, journal) = opened();
    let at = journal.append(1, b"pending", Bytes::new()).unwrap().lsn;
    journal.close();
    journal.close();
    assert_eq!(journal.wait_durable(at), Ok(()));
    assert_eq!(
        journal.append(1, b"late", Bytes::new()),
        Err(JournalError::Closed)
    );
    assert!(matches!(
        journal.wait_durable(at + 1),
        Err(JournalError::Closed | JournalError::Misuse(_))
    ));
    assert_eq!(
        replay_all(&disk.after_power_loss(|| false), &dirs())
            .unwrap()
            .0
            .len(),
        1
    );
}
