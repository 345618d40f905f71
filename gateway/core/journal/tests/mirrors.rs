//! Several mirrors: what one loses another has, and the loss of one is no failure.

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use caudal_journal::disk::Disk;
use caudal_journal::simulated::{Fault, SimDisk};
use caudal_journal::{Journal, JournalError, MirrorState};
use common::{
    bytes_of, config, eventually, lazy, lsn, options, overwrite, payload, put, reopen, replay_all, segments,
};

fn dirs() -> Vec<PathBuf> {
    ["/a", "/b", "/c"].map(PathBuf::from).to_vec()
}

fn one(dir: &str) -> Vec<PathBuf> {
    vec![PathBuf::from(dir)]
}

fn all_healthy(journal: &Journal) {
    eventually("health of all", || {
        states(journal).iter().all(|state| *state == MirrorState::Healthy)
    });
}

fn states(journal: &Journal) -> Vec<MirrorState> {
    journal
        .stats()
        .mirrors
        .iter()
        .map(|mirror| mirror.state)
        .collect()
}

#[test]
fn each_mirror_alone_has_everything() {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(Arc::new(disk.clone())), 0).unwrap();
    for n in 1..=600 {
        put(&journal, 1, &payload(n));
    }
    let found = disk.after_power_loss(|| false);
    for dir in dirs() {
        let (seen, _) = replay_all(&found, &[dir]).unwrap();
        assert_eq!((seen.len(), seen[599].0), (600, lsn(1, 600)));
    }
    journal.close();
    for (a, b) in segments(&disk, Path::new("/a"))
        .iter()
        .zip(segments(&disk, Path::new("/b")))
    {
        assert_eq!(bytes_of(&disk, a), bytes_of(&disk, &b));
    }
}

#[test]
fn a_mirror_that_fails_is_dropped_once_and_the_others_go_on() {
    let disk = SimDisk::default();
    let (told, tell) = mpsc::channel();
    let mut options = lazy(Arc::new(disk.clone()));
    options.on_mirror_lost = Arc::new(move |dir, why| told.send((dir.to_owned(), why.to_owned())).unwrap());
    let journal = Journal::open_with(config(&dirs(), 1), options, 0).unwrap();
    put(&journal, 1, b"in all");
    disk.fail(Path::new("/b"), Fault::Error);
    for n in 1..=300 {
        put(&journal, 1, &payload(n));
    }
    use MirrorState::{Healthy, Lost};
    assert_eq!(states(&journal), [Healthy, Lost, Healthy]);
    disk.fail(Path::new("/a"), Fault::Error);
    put(&journal, 1, b"in one");
    assert_eq!(states(&journal), [Lost, Lost, Healthy]);
    disk.fail(Path::new("/c"), Fault::Error);
    journal.append(1, b"in none", Bytes::new()).unwrap();
    let writing = journal.clone();
    let waiter = std::thread::spawn(move || writing.wait_durable(writing.last_lsn()));
    eventually("the halt", || journal.stats().halted);
    journal.close();
    assert_eq!(waiter.join().unwrap(), Err(JournalError::Closed));
    drop(journal);
    let lost: Vec<_> = tell.iter().map(|(dir, _)| dir).collect();
    assert_eq!(lost, ["/b", "/a", "/c"].map(PathBuf::from));
    dirs().iter().for_each(|dir| disk.heal(dir));
    let (seen, _) = replay_all(&disk.after_power_loss(|| false), &dirs()).unwrap();
    assert_eq!((seen.len(), seen[301].2.as_slice()), (302, &b"in one"[..]));
}

#[test]
fn a_mirror_that_does_not_answer_is_not_waited_for() {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs(), 1), options(Arc::new(disk.clone())), 0).unwrap();
    disk.fail(Path::new("/a"), Fault::Slow(1_500));
    let began = std::time::Instant::now();
    put(&journal, 1, b"late in one");
    put(&journal, 1, b"quick from now on");
    assert!(began.elapsed().as_millis() < 1_200, "{:?}", began.elapsed());
    assert_eq!(states(&journal)[0], MirrorState::Lost);
    disk.heal(Path::new("/a"));
    journal.close();
    assert_eq!(replay_all(&disk, &dirs()).unwrap().0.len(), 2);
}

#[test]
fn the_last_mirror_is_waited_for_however_slow() {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs()[..2], 1), options(Arc::new(disk.clone())), 0).unwrap();
    disk.fail(Path::new("/a"), Fault::Error);
    disk.fail(Path::new("/b"), Fault::Slow(500));
    put(&journal, 1, b"slow");
    assert_eq!(states(&journal), [MirrorState::Lost, MirrorState::Healthy]);
}

#[test]
fn bad_records_in_different_mirrors_do_not_add_up() {
    let disk = SimDisk::default();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(Arc::new(disk.clone())), 0).unwrap();
    for n in 1..=600 {
        put(&journal, 1, &payload(n));
    }
    journal.close();
    for (at, dir) in dirs().iter().enumerate() {
        let paths = segments(&disk, dir);
        overwrite(&disk, &paths[1], 6000 + 5000 * at as u64, &[0xaa; 3000]);
        assert!(matches!(
            replay_all(&disk, std::slice::from_ref(dir)),
            Err(JournalError::Corrupt { .. })
        ));
    }
    disk.remove(&segments(&disk, Path::new("/c"))[2]).unwrap();
    overwrite(&disk, &segments(&disk, Path::new("/b"))[0], 0, &[0; 64]);
    let (seen, _) = replay_all(&disk, &dirs()).unwrap();
    assert_eq!(seen.len(), 600);
    // The next start mends all of them.
    let disk: Arc<dyn Disk> = Arc::new(disk);
    reopen(&disk, &dirs(), 2).unwrap().close();
    for dir in dirs() {
        assert_eq!(replay_all(&*disk, &[dir]).unwrap().0, seen);
    }
}

#[test]
fn a_new_or_returned_mirror_gets_the_history_at_the_next_start() {
    let disk = SimDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let journal = Journal::open_with(config(&dirs()[..2], 1), lazy(shared.clone()), 0).unwrap();
    for n in 1..=300 {
        put(&journal, 1, &payload(n));
    }
    disk.fail(Path::new("/b"), Fault::Error);
    for n in 301..=900 {
        put(&journal, 1, &payload(n));
    }
    // What the lost mirror still has goes in the other one: its files are older than the history then.
    journal.trim(lsn(1, 700)).unwrap();
    let oldest = journal.stats().oldest_lsn;
    journal.close();
    disk.heal(Path::new("/b"));
    let (whole, replayed) = replay_all(&disk, &dirs()).unwrap();
    assert_eq!((whole[0].0, replayed.preceding_lsn), (oldest, oldest - 1));
    let second = reopen(&shared, &dirs(), 2).unwrap();
    put(&second, 1, b"in three");
    all_healthy(&second);
    let found = disk.after_power_loss(|| false);
    for dir in dirs() {
        let (seen, _) = replay_all(&found, std::slice::from_ref(&dir)).unwrap();
        assert_eq!(seen[..whole.len()], whole, "{}", dir.display());
        assert_eq!(seen[whole.len()].2, b"in three");
    }
}

#[test]
fn what_a_lost_node_wrote_alone_does_not_come_back_into_a_later_history() {
    let disk = SimDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let both = &dirs()[..2];
    let journal = Journal::open_with(config(both, 1), lazy(shared.clone()), 0).unwrap();
    put(&journal, 1, b"common");
    disk.fail(Path::new("/b"), Fault::Error);
    for n in 1..=300 {
        put(&journal, 1, &payload(n));
    }
    journal.close();
    // Somebody accepted the loss and went on from the other mirror alone.
    disk.heal(Path::new("/b"));
    let second = reopen(&shared, &one("/b"), 2).unwrap();
    put(&second, 1, b"after the loss");
    second.close();
    let (seen, _) = replay_all(&disk, both).unwrap();
    let payloads: Vec<_> = seen.iter().map(|(_, _, bytes)| bytes.as_slice()).collect();
    assert_eq!(payloads, [&b"common"[..], b"after the loss"]);
    let third = reopen(&shared, both, 3).unwrap();
    all_healthy(&third);
    third.close();
    for dir in ["/a", "/b"] {
        assert_eq!(replay_all(&disk, &one(dir)).unwrap().0, seen);
    }
}

#[test]
fn a_mirror_that_cannot_be_opened_is_lost_while_another_can() {
    let disk = SimDisk::default();
    disk.fail(Path::new("/a"), Fault::Error);
    let journal = Journal::open_with(config(&dirs(), 1), lazy(Arc::new(disk.clone())), 0).unwrap();
    put(&journal, 1, b"two are left");
    assert_eq!(
        states(&journal),
        [MirrorState::Lost, MirrorState::Healthy, MirrorState::Healthy]
    );
    journal.close();
    dirs().iter().for_each(|dir| disk.fail(dir, Fault::Error));
    assert!(Journal::open_with(config(&dirs(), 2), lazy(Arc::new(disk.clone())), lsn(1, 1)).is_err());
    assert!(replay_all(&disk, &dirs()).is_err());
}
