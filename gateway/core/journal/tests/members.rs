//! Lists of members: their bytes, and that no history of losses, returns and power cuts loses what was acknowledged, or starts from
//! a mirror that was left behind.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caudal_journal::disk::{Disk, Site};
use caudal_journal::members::{BadMembers, Entry, Members};
use caudal_journal::simulated::{Fault, SimDisk};
use caudal_journal::{Journal, JournalError, MirrorState, Published, assemble};
use common::{FS_ID, config, eventually, lazy, payload, put, replay_all};
use parking_lot::Mutex;
use proptest::prelude::*;

fn list(paths: &[&str]) -> Members {
    let entry = |(at, path): (usize, &&str)| Entry {
        id: [at as u8 + 1; 16],
        path: PathBuf::from(path),
        site: Site {
            device: 7 + at as u64,
            mount_point: at == 1,
        },
    };
    Members {
        fs_id: FS_ID,
        epoch: (5 << 40) | 3,
        own: [1; 16],
        written_at_s: 1_795_906_800,
        entries: paths.iter().enumerate().map(entry).collect(),
    }
}

#[test]
fn lists_are_read_as_they_were_written() {
    for paths in [&[][..], &["/a"], &["/a", "/mirrors/b", "/c"]] {
        let members = list(paths);
        assert_eq!(Members::decode(&members.encode()), Ok(members));
    }
}

#[test]
fn each_bit_of_a_list_counts() {
    let bytes = list(&["/a", "/b"]).encode();
    for at in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[at / 8] ^= 1 << (at % 8);
        assert!(Members::decode(&bad).is_err(), "bit {at}");
    }
    for len in 0..bytes.len() {
        assert_eq!(Members::decode(&bytes[..len]), Err(BadMembers::Damaged));
    }
}

#[test]
fn a_newer_list_is_refused() {
    let mut bytes = list(&["/a"]).encode();
    bytes[8] = 2;
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&crc);
    assert_eq!(Members::decode(&bytes), Err(BadMembers::Version(2)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_list_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Members::decode(&bytes);
    }

    #[test]
    fn any_body_with_a_right_checksum_is_a_list_or_none(mut bytes in proptest::collection::vec(any::<u8>(), 80..400)) {
        let len = bytes.len();
        bytes[..8].copy_from_slice(b"CAUDALM1");
        bytes[8..16].copy_from_slice(&(1 | (len as u64) << 32).to_le_bytes());
        bytes[72..76].copy_from_slice(&2_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..len - 4]).to_le_bytes();
        bytes[len - 4..].copy_from_slice(&crc);
        if let Ok(members) = Members::decode(&bytes) {
            prop_assert_eq!(members.entries.len(), 2);
        }
    }
}

#[test]
fn a_directory_whose_disk_is_not_mounted_is_no_mirror() {
    let disk = SimDisk::default();
    let dirs = ["/a", "/b"].map(PathBuf::from);
    let own = Site {
        device: 9,
        mount_point: true,
    };
    disk.mount(&dirs[1], own);
    let journal = Journal::open_with(config(&dirs, 1), lazy(Arc::new(disk.clone())), 0).unwrap();
    disk.fail(&dirs[1], Fault::Error);
    put(&journal, 1, b"in one");
    disk.replace(&dirs[1]);
    disk.mount(&dirs[1], Site::default());
    disk.heal(&dirs[1]);
    eventually("a look at it", || {
        journal.stats().mirrors[1].why.contains("not mounted")
    });
    assert!(disk.list(&dirs[1]).unwrap().is_empty());
    // Whoever means it says so.
    assert_eq!(journal.add_mirror(&dirs[1]), Ok(false));
    eventually("a rebuild", || {
        journal.stats().mirrors[1].state == MirrorState::Healthy
    });
    journal.remove_mirror(&dirs[0]).unwrap();
    assert!(matches!(
        journal.remove_mirror(&dirs[1]),
        Err(JournalError::Misuse(_))
    ));
    put(&journal, 1, b"in the other");
    journal.close();
    assert_eq!(replay_all(&disk, &dirs[1..]).unwrap().0.len(), 2);
}

/// A small generator, so that a seed says everything but the order of threads.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

type Kept = Arc<Mutex<Vec<Members>>>;

/// Opens what is there; where that was left behind, all disks are attached first.
fn start(
    disk: &SimDisk,
    dirs: &[PathBuf],
    epoch: u64,
    kept: &Kept,
    acked: &[(u64, Vec<u8>)],
) -> Arc<Journal> {
    let published = Published {
        epoch: 0,
        lists: kept.lock().clone(),
    };
    let found = assemble(disk, dirs, &FS_ID, &published, false).or_else(|error| {
        assert!(
            matches!(error, JournalError::Stale(_) | JournalError::Io { .. }),
            "{error}"
        );
        dirs.iter().for_each(|dir| disk.heal(dir));
        assemble(disk, dirs, &FS_ID, &published, false)
    });
    let assembly = found.unwrap_or_else(|error| panic!("{error}"));
    let (seen, replayed) = replay_all(disk, &assembly.dirs()).unwrap();
    for (lsn, bytes) in acked {
        let found = seen.iter().find(|(at, _, _)| at == lsn);
        assert!(
            found.is_some_and(|(_, _, seen)| seen == bytes),
            "LSN {lsn:#x} is lost"
        );
    }
    let mut options = lazy(Arc::new(disk.clone()));
    options.assembly = Some(assembly);
    let keep = kept.clone();
    options.on_members = Arc::new(move |list| *keep.lock() = vec![list.clone()]);
    Journal::open_with(config(dirs, epoch), options, replayed.last_lsn).unwrap()
}

fn healthy(journal: &Journal) -> Vec<PathBuf> {
    let mirrors = journal.stats().mirrors;
    let healthy = mirrors
        .iter()
        .filter(|mirror| mirror.state == MirrorState::Healthy);
    healthy.map(|mirror| mirror.path.clone()).collect()
}

fn history(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let dirs = ["/a", "/b", "/c"].map(PathBuf::from);
    let mut disk = SimDisk::default();
    let kept = Kept::default();
    let mut acked = Vec::new();
    for epoch in 1..=4 {
        let journal = start(&disk, &dirs, epoch, &kept, &acked);
        let mut broken: BTreeSet<PathBuf> = dirs
            .iter()
            .filter(|dir| disk.list(dir).is_err())
            .cloned()
            .collect();
        for _ in 0..80 {
            let dir: &Path = &dirs[random.next(3) as usize];
            match random.next(12) {
                // One that is healthy and well stays: without any, writes would wait for ever.
                0 if healthy(&journal)
                    .iter()
                    .any(|other| other != dir && !broken.contains(other)) =>
                {
                    broken.insert(dir.to_owned());
                    disk.fail(dir, Fault::Error);
                }
                1 | 2 => {
                    broken.remove(dir);
                    disk.heal(dir);
                }
                3 => std::thread::sleep(std::time::Duration::from_millis(random.next(15))),
                _ => {
                    let bytes = payload(random.next(1000)).repeat(8);
                    acked.push((put(&journal, 1, &bytes), bytes));
                }
            }
        }
        let chance = random.next(101);
        // What others know was in the mirrors first.
        let known = kept.lock().clone();
        let found = disk.after_power_loss(|| random.next(100) < chance);
        dirs.iter().for_each(|dir| disk.heal(dir));
        journal.close();
        *kept.lock() = known;
        disk = found;
        for dir in &dirs {
            if random.next(2) == 0 {
                disk.fail(dir, Fault::Error);
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_while_one_of_its_mirrors_survives() {
    (1..=40).for_each(history);
}
