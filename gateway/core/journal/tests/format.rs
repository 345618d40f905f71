//! The format as it was released: golden bytes, and a decoder that nothing upsets.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use caudal_journal::Journal;
use caudal_journal::disk::Disk;
use caudal_journal::format::{
    RECORD_HEADER, RecordHeader, SEGMENT_HEADER, Salt, SegmentHeader, payload_place, span,
};
use caudal_journal::simulated::SimDisk;
use common::{FS_ID, bytes_of, config, lazy, lsn, overwrite, put, replay_all, segments};
use proptest::prelude::*;

const GOLDEN: &[u8] = include_bytes!("golden/segment_v1.seg");
const GOLDEN_RECORDS: [(u8, &[u8]); 4] = [
    (1, b"rows"),
    (2, b"sixteen bytes!!!"),
    (3, b""),
    (4, b"a payload of a length that needs padding"),
];

/// A segment with the records above, cut behind the last one.
fn segment_of_today() -> Vec<u8> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let dirs = [PathBuf::from("/j")];
    let journal = Journal::open_with(config(&dirs, 7), lazy(disk.clone()), lsn(6, 41)).unwrap();
    for (kind, payload) in GOLDEN_RECORDS {
        put(&journal, kind, payload);
    }
    journal.close();
    let mut bytes = bytes_of(&*disk, &segments(&*disk, Path::new("/j"))[0]);
    let records: u64 = GOLDEN_RECORDS
        .iter()
        .map(|(_, payload)| span(payload.len() as u64))
        .sum();
    bytes.truncate((SEGMENT_HEADER + records) as usize);
    bytes
}

#[test]
fn the_released_format_is_still_written() {
    // After a change of the format this is written anew under another version's name, and the old one is still read.
    if std::env::var_os("CAUDAL_WRITE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/segment_v1.seg");
        std::fs::write(path, segment_of_today()).unwrap();
    }
    assert_eq!(segment_of_today(), GOLDEN);
}

#[test]
fn the_released_format_is_still_read() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let dirs = [PathBuf::from("/j")];
    let path = dirs[0].join(format!("{:016x}.seg", lsn(7, 1)));
    disk.create(&path).unwrap();
    overwrite(&*disk, &path, 0, GOLDEN);
    let (seen, replayed) = replay_all(&*disk, &dirs).unwrap();
    assert_eq!(replayed.preceding_lsn, lsn(6, 41));
    assert_eq!(
        (replayed.first_lsn, replayed.last_lsn, replayed.torn_tail),
        (lsn(7, 1), lsn(7, 4), false)
    );
    for ((at, kind, payload), (n, golden)) in seen.iter().zip((1..).zip(GOLDEN_RECORDS)) {
        assert_eq!((*at, *kind, payload.as_slice()), (lsn(7, n), golden.0, golden.1));
    }
}

#[test]
fn the_bytes_are_where_the_documentation_says() {
    assert_eq!(GOLDEN[..8], *b"CAUDALJ1");
    assert_eq!(GOLDEN[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(GOLDEN[16..32], FS_ID);
    assert_eq!(GOLDEN[32..40], 7u64.to_le_bytes());
    assert_eq!(GOLDEN[40..48], lsn(7, 1).to_le_bytes());
    assert_eq!(GOLDEN[48..56], lsn(6, 41).to_le_bytes());
    let second = &GOLDEN[4096 + 48..];
    assert_eq!(second[..8], [16, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(second[8..16], lsn(7, 2).to_le_bytes());
    assert_eq!(second[16..20], crc32c::crc32c(b"sixteen bytes!!!").to_le_bytes());
    assert_eq!(second[24..32], lsn(7, 1).to_le_bytes());
    assert_eq!(second[32..48], *b"sixteen bytes!!!");
    assert_eq!(payload_place(lsn(7, 1), 4096 + 48).offset, 4096 + 80);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        prop_assert!(RecordHeader::decode(&bytes, Salt::new(&FS_ID, 1)).is_none());
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
    }

    #[test]
    fn headers_come_back_as_they_went(
        payload_len in any::<u32>(), kind in any::<u8>(), lsn in 1u64.., payload_crc in any::<u32>(),
        durable_lsn in any::<u64>(), first_lsn in any::<u64>(), other in any::<u64>(), bit in 0usize..256,
    ) {
        let header = RecordHeader { payload_len, kind, lsn, payload_crc, durable_lsn };
        let salt = Salt::new(&FS_ID, first_lsn);
        let mut bytes = header.encode(salt);
        prop_assert_eq!(RecordHeader::decode(&bytes, salt), Some(header));
        prop_assert_eq!(bytes.len(), RECORD_HEADER);
        if other != first_lsn {
            prop_assert_eq!(RecordHeader::decode(&bytes, Salt::new(&FS_ID, other)), None);
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(RecordHeader::decode(&bytes, salt), None);
        let header = SegmentHeader { fs_id: FS_ID, epoch: payload_len.into(), first_lsn, previous_lsn: other };
        let mut bytes = header.encode();
        prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
    }
}
