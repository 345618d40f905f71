//! What the journal's tests share: a disk in memory that fails, tears and forgets, and short forms of the usual steps.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caudal_journal::disk::{Disk, SystemDisk};
use caudal_journal::{
    Journal, JournalConfig, JournalError, Options, ReplayError, Replayed, Result, Timing, replay_on,
};

pub const FS_ID: [u8; 16] = *b"0123456789abcdef";
pub const SEGMENT_BYTES: u64 = 64 << 10;

/// A record as a test compares it.
pub type Seen = (u64, u8, Vec<u8>);

#[must_use]
pub fn lsn(epoch: u64, count: u64) -> u64 {
    (epoch << 40) + count
}

#[must_use]
pub fn config(dirs: &[PathBuf], epoch: u64) -> JournalConfig {
    JournalConfig {
        mirrors: dirs.to_vec(),
        fs_id: FS_ID,
        epoch,
        segment_bytes: SEGMENT_BYTES,
        limit_bytes: 64 * SEGMENT_BYTES,
        wait_slots: 4,
    }
}

/// Quick times, and a lost mirror is no news.
#[must_use]
pub fn options(disk: Arc<dyn Disk>) -> Options {
    Options {
        disk,
        on_mirror_lost: Arc::new(|_, _| {}),
        timing: Timing {
            look: Duration::from_millis(10),
            write_after: Duration::from_millis(5),
            sync_after: Duration::from_millis(20),
            mirror_limit: Duration::from_millis(200),
            max_unwritten_bytes: 1 << 20,
        },
        ..Options::default()
    }
}

/// As `options`, but nothing is written or synced unless somebody waits.
#[must_use]
pub fn lazy(disk: Arc<dyn Disk>) -> Options {
    let mut options = options(disk);
    options.timing.write_after = Duration::from_secs(3600);
    options.timing.sync_after = Duration::from_secs(3600);
    options
}

/// Everything that the journal holds, and what the replay says about it.
pub fn replay_all(disk: &dyn Disk, dirs: &[PathBuf]) -> Result<(Vec<Seen>, Replayed)> {
    replay_from(disk, dirs, 0)
}

pub fn replay_from(disk: &dyn Disk, dirs: &[PathBuf], from_lsn: u64) -> Result<(Vec<Seen>, Replayed)> {
    let mut seen = Vec::new();
    let replayed = replay_on(disk, dirs, FS_ID, from_lsn, &mut |record| {
        seen.push((record.lsn, record.kind, record.payload.to_vec()));
        Ok::<(), ()>(())
    });
    match replayed {
        Ok(replayed) => Ok((seen, replayed)),
        Err(ReplayError::Journal(error)) => Err(error),
        Err(ReplayError::Callback(())) => Err(JournalError::Misuse("the callback never fails".into())),
    }
}

/// Replays and opens the next epoch, as a start does.
pub fn reopen(disk: &Arc<dyn Disk>, dirs: &[PathBuf], epoch: u64) -> Result<Arc<Journal>> {
    let (_, replayed) = replay_all(&**disk, dirs)?;
    Journal::open_with(config(dirs, epoch), lazy(disk.clone()), replayed.last_lsn)
}

/// Appends and waits; returns the LSN.
pub fn put(journal: &Journal, kind: u8, payload: &[u8]) -> u64 {
    let appended = journal.append(kind, payload, Bytes::new()).expect("append");
    journal.wait_durable(appended.lsn).expect("durable");
    appended.lsn
}

/// A payload that says which record it is of, of a length that varies.
#[must_use]
pub fn payload(number: u64) -> Vec<u8> {
    let len = 8 + (number * 37 % 400) as usize;
    number.to_le_bytes().iter().copied().cycle().take(len).collect()
}

/// A real directory for a test, and its mirrors.
pub fn real(mirrors: usize) -> (tempfile::TempDir, Vec<PathBuf>, Arc<dyn Disk>) {
    let root = tempfile::tempdir().expect("temporary directory");
    let dirs = (0..mirrors)
        .map(|index| root.path().join(format!("m{index}")))
        .collect();
    (root, dirs, Arc::new(SystemDisk))
}

/// Names of the segment files of a directory, oldest first.
#[must_use]
pub fn segments(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    let mut names = disk.list(dir).expect("list");
    names.retain(|name| name.ends_with(".seg"));
    names.sort();
    names.iter().map(|name| dir.join(name)).collect()
}

/// Bytes of a file.
#[must_use]
pub fn bytes_of(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).expect("open");
    let mut bytes = vec![0; file.size().expect("size") as usize];
    assert_eq!(file.read_at(&mut bytes, 0).expect("read"), bytes.len());
    bytes
}

/// Changes bytes of a file behind the journal's back.
pub fn overwrite(disk: &dyn Disk, path: &Path, offset: u64, bytes: &[u8]) {
    let file = disk.open(path).expect("open");
    file.write_at(&mut [std::io::IoSlice::new(bytes)], offset)
        .expect("write");
    file.sync().expect("sync");
}

/// Waits until it is so, or fails.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not happen");
}

/// Waits until the threads that make spares have made theirs, so that only commits are counted.
pub fn settled(disk: &dyn Disk, dir: &Path) {
    let spares = || {
        disk.list(dir)
            .unwrap()
            .iter()
            .filter(|name| name.ends_with(".spare"))
            .count()
    };
    eventually("making spares", || spares() == 2);
    std::thread::sleep(Duration::from_millis(20));
}
