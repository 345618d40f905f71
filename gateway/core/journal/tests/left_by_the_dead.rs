//! What a process left that died, and power then failed: a start in between must not have made it worse.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use caudal_journal::disk::Disk;
use caudal_journal::simulated::SimDisk;
use caudal_journal::{Journal, Options};
use common::{config, lazy, lsn, put, reopen, replay_all, segments};

fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/j")]
}

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::default();
    (disk.clone(), Arc::new(disk))
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_durable_once_a_new_epoch_builds_on_it() {
    let (sim_disk, disk) = sim();
    let by_hand = Options {
        by_hand: true,
        ..common::lazy(disk.clone())
    };
    let journal = Journal::open_with(config(&dirs(), 1), by_hand, 0).unwrap();
    put(&journal, 1, b"one");
    // The write succeeds, the sync does not; after that the system takes the bytes for written.
    sim_disk.fail(&dirs()[0], caudal_journal::simulated::Fault::ErrorAfter(1));
    let two = journal.append(1, b"two", Bytes::new()).unwrap();
    journal.wait_durable(two.lsn).unwrap_err();
    drop(journal);
    sim_disk.heal(&dirs()[0]);
    assert_eq!(replay_all(&*disk, &dirs()).unwrap().0.len(), 2);
    let second = reopen(&disk, &dirs(), 2).unwrap();
    let found = sim_disk.after_power_loss(|| false);
    let (seen, _) = replay_all(&found, &dirs()).unwrap();
    assert_eq!(seen.len(), 2);
    drop(second);
}

#[test]
fn a_spare_whose_name_is_not_durable_yet_is_not_written_to() {
    for accesses in 0..40 {
        let (sim_disk, disk) = sim();
        let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
        for _ in 0..10 {
            put(&journal, 1, &[7; 20_000]);
        }
        drop(journal);
        // A trim that died between the renaming and the sync of the directory.
        let oldest = &segments(&*disk, &dirs()[0])[0];
        disk.rename(oldest, &dirs()[0].join("000000ff.spare")).unwrap();
        sim_disk.fail(&dirs()[0], caudal_journal::simulated::Fault::ErrorAfter(accesses));
        let by_hand = Options {
            by_hand: true,
            ..lazy(disk.clone())
        };
        // Dies somewhere on its way, or not; then power goes.
        drop(Journal::open_with(config(&dirs(), 2), by_hand, lsn(1, 10)));
        let found = sim_disk.after_power_loss(|| false);
        let (_, replayed) = replay_all(&found, &dirs()).unwrap();
        assert_eq!(replayed.last_lsn, lsn(1, 10), "{accesses}");
    }
}
