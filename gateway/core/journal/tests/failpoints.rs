//! The named points at which a process may die: what must hold after each. The process that dies is this test again.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use caudal_base::failpoint;
use caudal_journal::disk::SystemDisk;
use caudal_journal::{Journal, Tail};
use common::{FS_ID, config, lsn, options, payload, put, replay_all};

const DIRS: &str = "JOURNAL_TEST_DIRS";

/// Where a process dies, and whether the record it was about may be there then.
const POINTS: [&str; 9] = [
    "journal.before_append=kill@200",
    "journal.before_write=kill@100",
    "journal.torn_write=kill@100",
    "journal.before_sync=kill@100",
    "journal.after_sync=kill@100",
    "journal.before_roll=kill@2",
    "journal.after_roll=kill@2",
    "journal.before_trim=kill@1",
    "journal.after_trim=kill@1",
];

fn dirs_of(text: &str) -> Vec<PathBuf> {
    text.split(':').map(PathBuf::from).collect()
}

/// Not a test by itself: what the process does that is to die. Each acknowledged LSN goes to its output first.
#[test]
fn child() {
    let Some(text) = std::env::var_os(DIRS) else {
        return;
    };
    let dirs = dirs_of(text.to_str().unwrap());
    failpoint::arm_from_env().unwrap();
    let (_, replayed) = replay_all(&SystemDisk, &dirs).unwrap();
    let epoch = (replayed.last_lsn >> 40) + 1;
    let journal = Journal::open_with(
        config(&dirs, epoch),
        options(Arc::new(SystemDisk)),
        replayed.last_lsn,
    )
    .unwrap();
    for n in 1..=1500 {
        let at = journal.append(1, &payload(n), Bytes::new()).unwrap().lsn;
        if n % 2 == 0 {
            journal.wait_durable(at).unwrap();
            eprintln!("durable {at}");
        }
        if n % 700 == 0 {
            journal.trim(journal.durable_lsn() - 100).unwrap();
        }
    }
}

fn die_at(point: &str, dirs: &[PathBuf]) -> u64 {
    let text: Vec<_> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(DIRS, text.join(":"))
        .env("CAUDAL_FAILPOINTS", point)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.signal(),
        Some(9),
        "{point}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said
        .lines()
        .filter_map(|line| line.strip_prefix("durable ")?.parse().ok())
        .next_back();
    last.unwrap_or(0)
}

#[test]
fn after_death_at_any_point_everything_acknowledged_is_there() {
    for mirrors in [1, 2] {
        let (_root, dirs, disk) = common::real(mirrors);
        let mut newest = 0;
        for point in POINTS {
            let acknowledged = die_at(point, &dirs).max(newest);
            for dir in &dirs {
                let one = std::slice::from_ref(dir);
                let (seen, replayed) =
                    replay_all(&*disk, one).unwrap_or_else(|error| panic!("{point}: {error}"));
                assert!(
                    replayed.last_lsn >= acknowledged,
                    "{point}: {:x} {acknowledged:x}",
                    replayed.last_lsn
                );
                for (at, _, bytes) in seen {
                    assert_eq!(bytes, payload(at & 0xff_ffff_ffff), "{point}");
                }
            }
            newest = acknowledged;
        }
    }
}

#[test]
fn an_armed_error_is_an_error_of_the_disk() {
    let (_root, dirs, disk) = common::real(1);
    let journal = Journal::open_with(config(&dirs, 1), options(disk.clone()), 0).unwrap();
    put(&journal, 1, b"well");
    failpoint::arm("journal.before_append=error@1").unwrap();
    assert!(
        journal
            .append(1, b"refused, and nothing else happened", Bytes::new())
            .is_err()
    );
    let at = put(&journal, 1, b"well again");
    assert_eq!(at, lsn(1, 2));
    failpoint::arm("journal.torn_write=error@1").unwrap();
    let torn = journal
        .append(1, b"half of this is written at first", Bytes::new())
        .unwrap()
        .lsn;
    // The mirror is there again at once, and gets the whole of it.
    assert!(journal.wait_durable(torn).is_ok());
    failpoint::disarm_all();
    journal.close();
    let (seen, replayed) = replay_all(&*disk, &dirs).unwrap();
    assert_eq!((seen.len(), replayed.torn_tail), (3, false));
    assert!(Tail::open(&dirs, FS_ID, 0).is_ok());
}
