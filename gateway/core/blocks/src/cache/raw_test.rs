use proptest::prelude::*;

use super::*;

const HEADER: Header = Header {
    fs_id: [0xa7; 16],
    salt: 7,
    region_bytes: 16 << 20,
};

#[test]
fn a_header_is_read_back_and_nothing_damaged_is_one() {
    let page = HEADER.page();
    assert_eq!(parse(&page.0), First::Shelf(HEADER));
    let length = page.0.iter().position(|byte| *byte == 0).unwrap();
    for at in 0..length {
        let mut damaged = page.0;
        damaged[at] ^= 0x01;
        assert!(!matches!(parse(&damaged), First::Shelf(_)), "byte {at}");
        damaged = page.0;
        damaged[at..].fill(0);
        assert!(!matches!(parse(&damaged), First::Shelf(_)), "cut at {at}");
    }
    assert_eq!(parse(&[0; PAGE]), First::Other);
    let later = String::from_utf8_lossy(&page.0).replacen("shelf 1", "shelf 2", 1);
    assert!(matches!(parse(later.as_bytes()), First::Unreadable(why) if why.contains("another version")));
}

proptest! {
    #[test]
    fn any_page_is_judged(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool) {
        if magic {
            bytes.splice(..0, b"caudal-shelf 1\n".iter().copied());
        }
        let found = parse(&bytes);
        prop_assert!(!matches!(found, First::Shelf(_)));
    }
}

/// As blocks of a shelf lie in the last pages.
fn fill_tail(claimed: &Claimed, size: u64) {
    for at in pages(tail(size)) {
        claimed.lock.write_all_at(&Page([0xa5; PAGE]).0, at).unwrap();
    }
}

#[test]
fn data_that_blkid_does_not_know_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device");
    let size: u64 = (40 << 20) + 512;
    for at in [0, 4096 + 9, END_BYTES - 1, tail(size), tail(size) + END_BYTES - 1] {
        let file = File::create_new(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(&[1], at).unwrap();
        let told = claim(&path, [1; 16], 32 << 20, |_| 1 << 20)
            .err()
            .unwrap()
            .to_string();
        assert!(
            told.contains("unknown kind") && told.contains("seek=9984"),
            "{at}: {told}"
        );
        assert_eq!(fs::read(&path).unwrap()[at as usize], 1, "{at}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_shelf_of_other_regions_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device");
    File::create(&path).unwrap().set_len(40 << 20).unwrap();
    let before = claim(&path, [1; 16], 32 << 20, |_| 1 << 20).unwrap();
    fill_tail(&before, 40 << 20);
    drop(before);
    let after = claim(&path, [1; 16], 32 << 20, |_| 2 << 20).unwrap();
    assert_eq!(after.header.region_bytes, 2 << 20);
    // As after a crash before the new header: blank, so that the next start takes it.
    after.lock.write_all_at(&Page([0; PAGE]).0, 0).unwrap();
    drop(after);
    claim(&path, [2; 16], 32 << 20, |_| 1 << 20).unwrap();
}

/// A file stands for the device; what blkid says of it counts as well.
#[test]
fn a_device_is_taken_when_it_is_blank_or_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device");
    let (capacity, regions) = (32 << 20, |_: Option<u64>| 1 << 20);
    File::create(&path).unwrap().set_len(40 << 20).unwrap();
    let claimed = claim(&path, [1; 16], capacity, regions).unwrap();
    assert_eq!(taken_bytes(&path, [1; 16], capacity), 0);
    let page = Page([7; PAGE]);
    claimed
        .lock
        .write_all_at(&page.0, HEADER_BYTES + (3 << 20))
        .unwrap();
    assert_eq!(taken_bytes(&path, [1; 16], capacity), 1 << 20);
    let again = claim(&path, [1; 16], capacity, regions).unwrap();
    assert_eq!(again.header, claimed.header);
    let other = claim(&path, [2; 16], capacity, regions)
        .err()
        .unwrap()
        .to_string();
    assert!(other.contains("a shelf of another file system"), "{other}");
    remove(&path, [2; 16]).unwrap();
    assert!(header(&path, [1; 16]).unwrap().is_some());
    remove(&path, [1; 16]).unwrap();
    let taken = claim(&path, [2; 16], capacity, regions).unwrap();
    assert_ne!(taken.header.salt, claimed.header.salt);
    assert_eq!(
        taken_bytes(&path, [2; 16], capacity),
        0,
        "what another one left is no block"
    );
    // Its end is zeros again as well.
    let size = fs::metadata(&path).unwrap().len();
    fill_tail(&taken, size);
    remove(&path, [2; 16]).unwrap();
    claim(&path, [2; 16], capacity, regions).unwrap();
    let large = claim(&path, [2; 16], 40 << 20, regions)
        .err()
        .unwrap()
        .to_string();
    assert!(large.contains("fewer than"), "{large}");
}
