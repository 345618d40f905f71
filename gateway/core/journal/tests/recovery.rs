//! What replay makes of torn, flipped, missing and recycled bytes.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use caudal_journal::disk::Disk;
use caudal_journal::format::{RECORD_HEADER, SEGMENT_HEADER, span};
use caudal_journal::simulated::SimDisk;
use caudal_journal::{Journal, JournalError};
use common::{FS_ID, SEGMENT_BYTES, Seen, bytes_of, config, lazy, lsn, overwrite, payload, put};
use common::{reopen, replay_all, replay_from, segments};
use proptest::prelude::*;

fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/j")]
}

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::default();
    (disk.clone(), Arc::new(disk))
}

/// A journal of so many records, each acknowledged by itself.
fn filled(disk: &Arc<dyn Disk>, count: u64) -> Vec<Seen> {
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    let seen = (1..=count).map(|n| {
        (
            put(&journal, 1 + (n % 4) as u8, &payload(n)),
            1 + (n % 4) as u8,
            payload(n),
        )
    });
    let seen = seen.collect();
    journal.close();
    seen
}

/// Where the records begin in the first segment, and where the last one ends.
fn offsets(records: &[Seen]) -> Vec<u64> {
    let mut at = SEGMENT_HEADER;
    let mut offsets = vec![at];
    for (_, _, payload) in records {
        at += span(payload.len() as u64);
        offsets.push(at);
    }
    offsets
}

#[test]
fn an_empty_directory_is_an_empty_journal() {
    let (_, disk) = sim();
    let (seen, replayed) = replay_all(&*disk, &dirs()).unwrap();
    assert!(seen.is_empty());
    assert_eq!((replayed.last_lsn, replayed.torn_tail), (0, false));
}

#[test]
fn what_was_appended_is_replayed_in_order() {
    let (_, disk) = sim();
    let wrote = filled(&disk, 300);
    assert_eq!(wrote[0].0, lsn(1, 1));
    let (seen, replayed) = replay_all(&*disk, &dirs()).unwrap();
    assert_eq!(seen, wrote);
    assert_eq!((replayed.first_lsn, replayed.last_lsn), (lsn(1, 1), lsn(1, 300)));
    assert_eq!(
        (replayed.records, replayed.preceding_lsn, replayed.torn_tail),
        (300, 0, false)
    );
    let (seen, replayed) = replay_from(&*disk, &dirs(), lsn(1, 250)).unwrap();
    assert_eq!(seen, wrote[249..]);
    assert_eq!(
        (replayed.first_lsn, replayed.last_lsn),
        (lsn(1, 250), lsn(1, 300))
    );
}

#[test]
fn the_last_record_torn_at_every_byte_is_the_only_one_missing() {
    let (_, disk) = sim();
    let wrote = filled(&disk, 5);
    let path = &segments(&*disk, &dirs()[0])[0];
    let whole = bytes_of(&*disk, path);
    let (start, end) = (
        offsets(&wrote)[4] as usize,
        offsets(&wrote)[4] as usize + RECORD_HEADER + wrote[4].2.len(),
    );
    for cut in start..end {
        let mut torn = whole[start..end].to_vec();
        torn[cut - start..].fill(0);
        overwrite(&*disk, path, start as u64, &torn);
        let (seen, replayed) = replay_all(&*disk, &dirs()).unwrap();
        // Trailing zeros of the record itself are not missed.
        let missing = whole[cut..end].iter().any(|&byte| byte != 0);
        assert_eq!(seen.len(), if missing { 4 } else { 5 }, "cut at {cut}");
        assert_eq!(seen[..4], wrote[..4]);
        assert!(replayed.torn_tail || cut == start || !missing, "cut at {cut}");
    }
}

#[test]
fn a_torn_tail_is_discarded_for_good() {
    let (_, disk) = sim();
    let wrote = filled(&disk, 5);
    let path = segments(&*disk, &dirs()[0])[0].clone();
    let last = offsets(&wrote)[4];
    let whole = bytes_of(&*disk, &path)[last as usize..offsets(&wrote)[5] as usize].to_vec();
    overwrite(&*disk, &path, last + 40, &[0xee; 4]);
    let journal = reopen(&disk, &dirs(), 2).unwrap();
    put(&journal, 1, b"of the second epoch");
    journal.close();
    // Even a tail that became readable again is none of the history that others built on since.
    for tail in [whole, vec![0xff; 64]] {
        overwrite(&*disk, &path, last, &tail);
        let (seen, replayed) = replay_all(&*disk, &dirs()).unwrap();
        assert_eq!(seen[..4], wrote[..4]);
        assert_eq!(seen[4], (lsn(2, 1), 1, b"of the second epoch".to_vec()));
        assert_eq!((seen.len(), replayed.last_lsn), (5, lsn(2, 1)));
    }
}

#[test]
fn a_bad_record_among_acknowledged_ones_is_a_loss_and_says_which() {
    let (_, disk) = sim();
    let wrote = filled(&disk, 9);
    let path = &segments(&*disk, &dirs()[0])[0];
    let at = offsets(&wrote)[3];
    overwrite(&*disk, path, at + 33, &[0x55]);
    let error = replay_all(&*disk, &dirs()).unwrap_err();
    // The ninth record says that the eighth was durable.
    let lost = JournalError::Corrupt {
        path: path.clone(),
        offset: at,
        first_lost: lsn(1, 4),
        last_lost: lsn(1, 8),
    };
    assert_eq!(error, lost);
    assert!(Journal::open_with(config(&dirs(), 2), lazy(disk), lsn(1, 3)).is_err());
}

#[test]
fn unacknowledged_records_after_a_bad_one_are_a_torn_tail() {
    let (_, disk) = sim();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    for n in 1..=6 {
        journal.append(1, &payload(n), Bytes::new()).unwrap();
    }
    journal.close();
    let path = &segments(&*disk, &dirs()[0])[0];
    overwrite(
        &*disk,
        path,
        SEGMENT_HEADER + span(payload(1).len() as u64) + 2,
        &[0x55],
    );
    let (seen, replayed) = replay_all(&*disk, &dirs()).unwrap();
    assert_eq!(
        (seen.len(), replayed.torn_tail, replayed.last_lsn),
        (1, true, lsn(1, 1))
    );
}

/// A journal of several segments in two epochs.
fn several(disk: &Arc<dyn Disk>) -> Vec<Seen> {
    let mut wrote = Vec::new();
    for epoch in 1..=2 {
        let journal = reopen(disk, &dirs(), epoch).unwrap();
        for n in 1..=400 {
            wrote.push((put(&journal, 1, &payload(n)), 1, payload(n)));
        }
        journal.close();
    }
    assert!(segments(&**disk, &dirs()[0]).len() >= 4);
    wrote
}

#[test]
fn epochs_and_segments_follow_one_another() {
    let (_, disk) = sim();
    let wrote = several(&disk);
    // Starts that append nothing leave nothing that disturbs.
    for epoch in [3, 7, 9] {
        reopen(&disk, &dirs(), epoch).unwrap().close();
        assert_eq!(replay_all(&*disk, &dirs()).unwrap().0, wrote);
    }
    let last_lsn = wrote[wrote.len() - 1].0;
    for (epoch, last) in [(2, last_lsn), (10, last_lsn - 1), (10, 0), (0, 0)] {
        let refused = Journal::open_with(config(&dirs(), epoch), lazy(disk.clone()), last);
        assert!(matches!(refused, Err(JournalError::Misuse(_))), "{epoch} {last}");
    }
    assert_eq!(replay_all(&*disk, &dirs()).unwrap().0, wrote);
}

#[test]
fn a_missing_or_damaged_segment_is_a_loss_unless_it_is_the_oldest() {
    let (_, disk) = sim();
    let wrote = several(&disk);
    let paths = segments(&*disk, &dirs()[0]);
    let first_lsn =
        |path: &PathBuf| u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
    for index in 0..paths.len() {
        let path = &paths[index];
        let header = bytes_of(&*disk, path)[..64].to_vec();
        overwrite(&*disk, path, 20, &[0x77, 0x78]);
        let error = replay_all(&*disk, &dirs()).unwrap_err();
        assert!(
            matches!(error, JournalError::Corrupt { first_lost, .. } if first_lost == first_lsn(path)),
            "{error} {index}"
        );
        overwrite(&*disk, path, 0, &header);

        disk.rename(path, &path.with_extension("away")).unwrap();
        let result = replay_all(&*disk, &dirs());
        if index == 0 {
            let replayed = result.unwrap().1;
            assert_eq!(replayed.preceding_lsn, first_lsn(&paths[1]) - 1);
        } else if index + 1 < paths.len() {
            let error = result.unwrap_err();
            let first = first_lsn(path);
            assert!(
                matches!(error, JournalError::Corrupt { first_lost, .. } if first_lost == first),
                "{error} {index}"
            );
        }
        disk.rename(&path.with_extension("away"), path).unwrap();
    }
    assert_eq!(replay_all(&*disk, &dirs()).unwrap().0, wrote);
}

#[test]
fn other_file_systems_and_newer_formats_are_refused() {
    let (_, disk) = sim();
    filled(&disk, 3);
    let path = &segments(&*disk, &dirs()[0])[0];
    let mut other = config(&dirs(), 2);
    other.fs_id = [9; 16];
    let refused = Journal::open_with(other, lazy(disk.clone()), lsn(1, 3))
        .err()
        .unwrap();
    assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
    let mut header = bytes_of(&*disk, path)[..64].to_vec();
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    overwrite(&*disk, path, 0, &header);
    let refused = replay_all(&*disk, &dirs()).unwrap_err();
    assert!(
        matches!(refused, JournalError::Version { version: 2, .. }),
        "{refused}"
    );
}

#[test]
fn recycled_segments_show_nothing_of_their_former_life() {
    let (_, disk) = sim();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk.clone()), 0).unwrap();
    let mut kept = Vec::new();
    let newest = || segments(&*disk, &dirs()[0]).pop().unwrap();
    let recycled = || {
        bytes_of(&*disk, &newest())[SEGMENT_BYTES as usize - 4096..]
            .iter()
            .any(|&byte| byte != 0)
    };
    // Equal lengths, so that old records lie exactly where new ones would.
    for n in 1.. {
        assert!(n < 20_000, "no segment is ever recycled");
        let at = put(&journal, 1, &[n as u8; 200]);
        kept.push((at, 1, vec![n as u8; 200]));
        if n % 600 == 0 {
            journal.trim(at).unwrap();
            let oldest = journal.stats().oldest_lsn;
            kept.retain(|(lsn, _, _)| *lsn >= oldest);
        }
        // In the first half of a segment whose end has the bytes of another life.
        if n > 1000 && n % 250 == 30 && recycled() {
            break;
        }
    }
    journal.close();
    let (seen, replayed) = replay_all(&*disk, &dirs()).unwrap();
    assert_eq!(seen, kept);
    assert!(!replayed.torn_tail);
    assert_eq!(replayed.preceding_lsn, kept[0].0 - 1);
}

#[test]
fn what_only_the_page_cache_held_is_durable_once_a_new_epoch_builds_on_it() {
    let (sim_disk, disk) = sim();
    let journal = Journal::open_with(config(&dirs(), 1), common::options(disk.clone()), 0).unwrap();
    put(&journal, 1, b"one");
    sim_disk.fail(&dirs()[0], caudal_journal::simulated::Fault::Slow(1_000));
    journal.append(1, b"two", Bytes::new()).unwrap();
    // Written within milliseconds, synced only after a second: as after kill -9, the file has it and the disk may not.
    while replay_all(&*disk, &dirs()).unwrap().0.len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    sim_disk.heal(&dirs()[0]);
    let second = reopen(&disk, &dirs(), 2).unwrap();
    let found = sim_disk.after_power_loss(|| false);
    let (seen, _) = replay_all(&found, &dirs()).unwrap();
    assert_eq!(
        seen.iter().map(|(lsn, _, _)| *lsn).collect::<Vec<_>>(),
        [lsn(1, 1), lsn(1, 2)]
    );
    drop(second);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_is_never_taken_for_data(at in 0usize..10_000, bit in 0u8..8) {
        let (_, disk) = sim();
        let wrote = filled(&disk, 20);
        let path = &segments(&*disk, &dirs()[0])[0];
        let end = *offsets(&wrote).last().unwrap() as usize;
        let at = at % (end + 64);
        let byte = bytes_of(&*disk, path)[at];
        overwrite(&*disk, path, at as u64, &[byte ^ (1 << bit)]);
        let result = replay_all(&*disk, &dirs());
        let header = at < 64;
        let last = at >= offsets(&wrote)[19] as usize;
        match result {
            Ok((seen, _)) => {
                prop_assert!(!header);
                prop_assert_eq!(&seen[..], &wrote[..seen.len()]);
                // Padding may flip unseen; in a record, only the newest can go without proof that it was there.
                prop_assert!(seen.len() == 20 || (last && seen.len() == 19));
            }
            Err(JournalError::Corrupt { .. } | JournalError::Foreign { .. }) => prop_assert!(!last),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn garbage_in_a_segment_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..9000), at in 0u64..9000) {
        let (_, disk) = sim();
        let wrote = filled(&disk, 20);
        let path = &segments(&*disk, &dirs()[0])[0];
        overwrite(&*disk, path, at, &garbage);
        if let Ok((seen, _)) = replay_all(&*disk, &dirs()) {
            prop_assert_eq!(&seen[..], &wrote[..seen.len()]);
        }
    }
}

#[test]
fn a_record_that_no_segment_holds_is_refused() {
    let (_, disk) = sim();
    let journal = Journal::open_with(config(&dirs(), 1), lazy(disk), 0).unwrap();
    let largest = SEGMENT_BYTES - SEGMENT_HEADER - RECORD_HEADER as u64;
    put(&journal, 1, &vec![1; largest as usize]);
    let refused = journal
        .append(1, &vec![1; largest as usize + 1], Bytes::new())
        .unwrap_err();
    assert_eq!(refused, JournalError::TooLarge { bytes: largest + 1 });
    assert_eq!(journal.last_lsn(), lsn(1, 1));
    assert_eq!(FS_ID.len(), 16);
}
