//! Sealed packs and objects: what was sealed comes back, in its place and with its key, and nothing else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use caudal_blocks::pack::format::{Trailer, data_bytes, pack_key, read_block, sealed_id, stride};
use caudal_blocks::seal::{KeyError, KeyRing, Keyed, OBJECT_CHUNK, SEALED_HEADER, pack_key_id};
use caudal_blocks::store::Retrying;
use caudal_blocks::{
    BlockError, BlockKey, Blocks, BlocksConfig, Footer, PAYLOAD, Pack, PackBuilder, Store, put_pack,
    read_footer, verify_pack,
};
use proptest::prelude::*;

use crate::faulty::{Fault, Faulty};
use crate::support::{Random, eager, joined, memory_store, runtime};

const ID: u64 = sealed_id((5 << 40) | 0x0102_0304);
const FS: [u8; 16] = *b"a file system id";

fn ring_of(fs_id: [u8; 16], keys: &[(&str, u8)]) -> Arc<KeyRing> {
    let keys: Vec<_> = keys
        .iter()
        .map(|(id, byte)| ((*id).to_owned(), [*byte; 32]))
        .collect();
    KeyRing::new(fs_id, &keys, true).unwrap()
}

fn ring() -> Arc<KeyRing> {
    ring_of(FS, &[("new-2", 2), ("old.1", 1)])
}

fn sealed(ring: &KeyRing, id: u64, data: &[u8]) -> Pack {
    let mut builder = PackBuilder::of(id, 77, Some(ring)).unwrap();
    builder.add(42, 0, data);
    builder.finish()
}

/// The payload stream of an object, by way of each block's own check.
fn payload(ring: &KeyRing, id: u64, object: &[u8], blocks: usize) -> Result<Vec<u8>, BlockError> {
    let stride = stride(id) as usize;
    let mut out = Vec::new();
    for block in 0..blocks {
        let raw = &object[block * stride..object.len().min((block + 1) * stride)];
        let raw = Bytes::copy_from_slice(raw);
        out.extend_from_slice(&read_block(Some(ring), id, block as u32, &raw)?.payload);
    }
    Ok(out)
}

#[test]
fn sizes_around_a_block_come_back_and_nothing_of_them_is_in_the_object() {
    let ring = ring();
    for len in [1, 100, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 2 * PAYLOAD + 7] {
        let data = b"plain words ".repeat(len as usize / 12 + 1)[..len as usize].to_vec();
        let pack = sealed(&ring, ID, &data);
        let object = joined(&pack.chunks);
        assert_eq!(
            pack.bytes,
            data_bytes(ID, len) + pack.chunks.last().unwrap().len() as u64
        );
        assert_eq!(joined(&pack.blocks), data);
        assert_eq!(payload(&ring, ID, &object, pack.blocks.len()).unwrap(), data);
        assert!(!object.windows(12).any(|window| window == b"plain words "));
        let footer = Footer::parse(ID, &object, pack.bytes, Some(&ring)).unwrap();
        assert_eq!(footer.entries, pack.entries);
        assert_eq!(pack_key_id(&object).unwrap(), "new-2");
    }
}

#[test]
fn two_packs_of_the_same_bytes_share_nothing() {
    let ring = ring();
    let data = Random(1).bytes(4000);
    let (first, second) = (sealed(&ring, ID, &data), sealed(&ring, ID, &data));
    let (first, second) = (joined(&first.chunks), joined(&second.chunks));
    let equal = (SEALED_HEADER..SEALED_HEADER + 4000)
        .filter(|&at| first[at] == second[at])
        .count();
    // One in 256 by chance.
    assert!(equal < 60, "{equal}");
}

#[test]
fn a_block_opens_only_where_it_was_sealed() {
    let ring = ring();
    let data = Random(3).bytes(2 * PAYLOAD as usize);
    let pack = sealed(&ring, ID, &data);
    let second = sealed(&ring, ID, &data);
    let open = |ring: &KeyRing, id, block, bytes: &Bytes| read_block(Some(ring), id, block, bytes).map(drop);
    open(&ring, ID, 0, &pack.chunks[0]).unwrap();
    let forged = |result: Result<(), BlockError>| matches!(result, Err(BlockError::Corrupt { .. }));
    assert!(forged(open(&ring, ID, 1, &pack.chunks[0])), "another place");
    assert!(forged(open(&ring, ID + 1, 0, &pack.chunks[0])), "another pack");
    let elsewhere = ring_of(*b"another fs of it", &[("new-2", 2)]);
    assert!(
        forged(open(&elsewhere, ID, 0, &pack.chunks[0])),
        "another file system"
    );
    assert!(
        forged(open(&ring_of(FS, &[("new-2", 9)]), ID, 0, &pack.chunks[0])),
        "another key of the same name"
    );
    // The key of one pack before the ciphertext of another one with the same number.
    let mut mixed = pack.chunks[0].to_vec();
    mixed[..SEALED_HEADER - 16].copy_from_slice(&second.chunks[0][..SEALED_HEADER - 16]);
    assert!(forged(open(&ring, ID, 0, &mixed.into())), "another pack's key");
    let lacking = read_block(Some(&ring_of(FS, &[("old.1", 1)])), ID, 0, &pack.chunks[0]);
    assert!(
        matches!(&lacking, Err(BlockError::Key { why, .. }) if why.contains("new-2")),
        "a key that is lacking is named"
    );
    let without = read_block(None, ID, 0, &pack.chunks[0]);
    assert!(matches!(&without, Err(BlockError::Key { why, .. }) if why.contains("new-2")));
}

#[test]
fn keys_rotate_while_the_ring_is_in_use() {
    let ring = ring_of(FS, &[("first", 1)]);
    let old = sealed(&ring, ID, b"sealed before");
    let mut building = PackBuilder::of(ID + 1, 1, Some(&ring)).unwrap();
    let keys = [("second".to_owned(), [2; 32]), ("first".to_owned(), [1; 32])];
    ring.replace(&keys, true).unwrap();
    building.add(1, 0, b"begun before");
    let begun = building.finish();
    let new = sealed(&ring, ID + 2, b"sealed after");
    for (pack, key) in [(&old, "first"), (&begun, "first"), (&new, "second")] {
        assert_eq!(pack_key_id(&pack.chunks[0]).unwrap(), key);
        read_block(Some(&ring), pack.id, 0, &pack.chunks[0]).unwrap();
    }
    // Nothing more is sealed, everything is read.
    ring.replace(&keys, false).unwrap();
    assert_eq!(ring.current(), None);
    assert!(PackBuilder::of(ID + 3, 1, Some(&ring)).is_err());
    read_block(Some(&ring), new.id, 0, &new.chunks[0]).unwrap();
    for wrong in ["", "a b", "ä", &"x".repeat(29), "first"] {
        let twice = [(wrong.to_owned(), [3; 32]), ("first".to_owned(), [1; 32])];
        assert!(
            matches!(ring.replace(&twice, true), Err(KeyError::Id(_))),
            "{wrong}"
        );
    }
    assert_eq!(ring.ids(), ["second", "first"]);
}

/// The bytes of a sealed pack, with keys and nonces that are the same each time, stay as they are.
#[test]
fn golden() {
    let next = AtomicU64::new(0);
    let random = Box::new(move |out: &mut [u8]| {
        out.copy_from_slice(&Random(next.fetch_add(1, Relaxed)).bytes(out.len()));
        true
    });
    let ring = KeyRing::with_random(FS, &[("golden".to_owned(), [7; 32])], true, random).unwrap();
    let text: Vec<u8> = (0..300u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let written = joined(&sealed(&ring, ID, &text).chunks);
    let object = ring.seal(b"an object", "golden/1").unwrap();
    for (name, bytes) in [("pack-v2.bin", &written), ("object-v1.bin", &object)] {
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("CAUDAL_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, bytes).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap() == *bytes,
            "the bytes of {name} have changed: that takes a new version"
        );
    }
    assert_eq!(payload(&ring, ID, &written, 1).unwrap(), text);
    assert_eq!(ring.open(&object, "golden/1").unwrap(), b"an object");
}

/// Every bit of a small object, header and footer included.
#[test]
fn no_flipped_bit_is_accepted() {
    let ring = ring();
    let object = joined(&sealed(&ring, ID, &Random(7).bytes(200)).chunks);
    for bit in 0..object.len() * 8 {
        let mut flipped = object.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let footer = Footer::parse(ID, &flipped, flipped.len() as u64, Some(&ring));
        let block = payload(&ring, ID, &flipped, 1);
        assert!(
            footer.is_err() != block.is_err(),
            "bit {bit}: {footer:?} {block:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_flipped_bit_of_longer_ones_is_accepted(at in any::<prop::sample::Index>(), bit in 0..8u32, len in 2000..90_000usize) {
        let ring = ring();
        let mut object = joined(&sealed(&ring, ID, &Random(7).bytes(len)).chunks);
        let at = at.index(object.len());
        object[at] ^= 1 << bit;
        let footer = Footer::parse(ID, &object, object.len() as u64, Some(&ring));
        let block = payload(&ring, ID, &object, 1);
        prop_assert!(footer.is_err() != block.is_err(), "byte {}: {:?} {:?}", at, footer, block);
    }

    #[test]
    fn rubbish_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), magic in 0..3u8, object_bytes in any::<u64>()) {
        let mut bytes = bytes;
        let start: &[u8] = [&b""[..], b"CDS2\x10\0\0\0new-2", b"CDSO\x01\0\0\0new-2"][magic as usize];
        bytes.splice(..0, start.iter().copied());
        let ring = ring();
        prop_assert!(read_block(Some(&ring), ID, 0, &bytes.clone().into()).is_err());
        prop_assert!(Footer::parse(ID, &bytes, object_bytes, Some(&ring)).is_err());
        prop_assert!(Trailer::parse(ID, &bytes).is_err());
        prop_assert!(ring.open(&bytes, "").is_err());
    }

    #[test]
    fn objects_come_back_for_their_purpose_alone(seed: u64, chunks in 0..3usize, more in 0..40usize, step in 1000..3_000_000usize, at in any::<prop::sample::Index>()) {
        let ring = ring();
        // Around the borders of chunks, too.
        let data = Random(seed).bytes((chunks * OBJECT_CHUNK + more).saturating_sub(20));
        let sealed = ring.seal(&data, "backup/7").unwrap();
        prop_assert!(ring.open(&sealed, "backup/7").unwrap() == data);
        // In pieces it is the same form.
        let mut sealer = ring.sealer("backup/7").unwrap();
        let mut pieces: Vec<u8> = data.chunks(step).flat_map(|piece| sealer.update(piece)).collect();
        pieces.extend(sealer.finish());
        prop_assert_eq!(pieces.len(), sealed.len());
        let mut opener = ring.opener("backup/7");
        let mut back: Vec<u8> = pieces
            .chunks(step + 1)
            .flat_map(|piece| opener.update(piece).unwrap())
            .collect();
        back.extend(opener.finish().unwrap());
        prop_assert!(back == data);
        prop_assert!(ring.open(&sealed, "backup/8").is_err());
        let at = at.index(sealed.len());
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        prop_assert!(ring.open(&flipped, "backup/7").is_err(), "byte {}", at);
        prop_assert!(ring.open(&sealed[..at], "backup/7").is_err(), "cut at {}", at);
    }
}

#[test]
fn chunks_of_an_object_cannot_be_left_out_or_exchanged() {
    let ring = ring();
    let data = Random(5).bytes(2 * OBJECT_CHUNK + 5);
    let sealed = ring.seal(&data, "p").unwrap();
    let whole = OBJECT_CHUNK + 16;
    let header = sealed.len() - (2 * whole + 21);
    // What follows an error is one too.
    let mut opener = ring.opener("p");
    let mut bad = sealed[..header + whole + 1].to_vec();
    bad[header] ^= 1;
    assert!(opener.update(&bad).is_err());
    assert!(opener.update(&sealed[header..]).is_err());
    assert!(opener.finish().is_err());
    // The last one left out, which leaves an object that ends with a whole chunk.
    assert!(ring.open(&sealed[..header + 2 * whole], "p").is_err());
    let mut exchanged = sealed.clone();
    let (first, second) = exchanged[header..header + 2 * whole].split_at_mut(whole);
    first.swap_with_slice(second);
    assert!(ring.open(&exchanged, "p").is_err());
}

/// The reply to a put is lost: the second attempt sends the same bytes, and finds them.
#[test]
fn a_repeated_put_sends_what_was_sealed_once() {
    let ring = ring();
    let faulty = Faulty::scripted(memory_store());
    let store = Keyed::new(Retrying::new(faulty.clone(), eager()), ring.clone());
    let pack = sealed(&ring, ID, &Random(2).bytes(600_000));
    runtime().block_on(async {
        faulty.next(&[Fault::ReplyLost]);
        put_pack(&store, &pack).await.unwrap();
        let stored = store.get_range(&pack_key(ID), 0..pack.bytes).await.unwrap();
        assert!(stored == joined(&pack.chunks));
        // The same data sealed again is another object.
        let again = sealed(&ring, ID, &Random(2).bytes(600_000));
        faulty.next(&[Fault::Lost]);
        assert!(put_pack(&store, &again).await.is_err());
        verify_pack(&store, ID).await.unwrap();
    });
}

/// A store that holds plain and sealed packs, and one in which somebody put a plain pack under a sealed one's name.
#[test]
fn plain_and_sealed_packs_live_side_by_side_and_do_not_pass_for_each_other() {
    let rt = runtime();
    let ring = ring();
    let store: Arc<dyn Store> = Arc::new(Keyed::new(memory_store(), ring.clone()));
    let data = Random(11).bytes(700_000);
    let plain_id = (5 << 40) | 9;
    let mut plain = PackBuilder::new(plain_id, 1);
    plain.add(42, 0, &data);
    let plain = plain.finish();
    let forged_id = sealed_id(plain_id + 1);
    let mut forged = PackBuilder::new(forged_id, 1);
    forged.add(42, 0, &data);
    let forged = forged.finish();
    let sealed = sealed(&ring, ID, &data);
    let other = self::sealed(&ring, ID + 1, &data);
    rt.block_on(async {
        for pack in [&plain, &sealed, &forged] {
            put_pack(store.as_ref(), pack).await.unwrap();
        }
        store.put(&pack_key(ID + 2), &other.chunks).await.unwrap();
        assert_eq!(
            verify_pack(store.as_ref(), plain_id).await.unwrap().entries,
            plain.entries
        );
        assert_eq!(
            verify_pack(store.as_ref(), ID).await.unwrap().entries,
            sealed.entries
        );
        for id in [forged_id, ID + 2] {
            assert!(matches!(
                verify_pack(store.as_ref(), id).await,
                Err(BlockError::Corrupt { .. })
            ));
            assert!(matches!(
                read_footer(store.as_ref(), id).await,
                Err(BlockError::Corrupt { .. })
            ));
        }
    });
    let config = BlocksConfig {
        l1_bytes: 8 << 20,
        l2_dir: None,
        l2_bytes: 0,
        readahead_bytes: 1 << 20,
        fs_id: FS,
    };
    let blocks = rt
        .block_on(Blocks::open(rt.handle().clone(), store, config))
        .unwrap();
    for id in [plain_id, ID] {
        let got = rt.block_on(blocks.get_run(id, 0, 3)).unwrap();
        assert_eq!(joined(&got), data);
        let again = rt.block_on(blocks.get_run(id, 1, 1)).unwrap();
        assert_eq!(again[0][..], data[PAYLOAD as usize..2 * PAYLOAD as usize]);
    }
    for id in [forged_id, ID + 2] {
        assert!(rt.block_on(blocks.get_run(id, 0, 1)).is_err(), "{id:x}");
        assert!(blocks.get_l1(BlockKey { pack: id, block: 0 }).is_none());
    }
}
