//! The pack format: what is built is read back, nothing else is accepted, and the bytes stay as they were.

use std::sync::Arc;

use bytes::Bytes;
use caudal_blocks::pack::format::{Trailer, block_count, check_block, data_bytes};
use caudal_blocks::{
    BLOCK, BlockError, Entry, Footer, PAYLOAD, Pack, PackBuilder, Store, put_pack, read_footer, verify_pack,
};
use proptest::prelude::*;

use crate::support::{Random, joined, memory_store, pack_of, runtime};

const ID: u64 = (5 << 40) | 0x0102_0304;

/// The payload stream, by way of each block's own check.
fn payload(pack: &Pack) -> Vec<u8> {
    let object = joined(&pack.chunks);
    let mut out = Vec::new();
    for block in 0..pack.blocks.len() {
        let start = block * BLOCK as usize;
        let raw = &object[start..object.len().min(start + BLOCK as usize)];
        let (_, place) = check_block(pack.id, block as u32, raw).unwrap();
        assert_eq!(raw[place.clone()], pack.blocks[block]);
        out.extend_from_slice(&raw[place]);
    }
    out
}

#[test]
fn pieces_are_found_where_the_builder_said() {
    let mut random = Random(1);
    let mut builder = PackBuilder::new(ID, 77);
    let mut pieces = Vec::new();
    for inode in 0..40 {
        let len = [1, 100, 5000, 262_136, 300_000][random.below(5) as usize];
        let data = random.bytes(len);
        let at = builder.add(inode, inode * 1000, &data);
        pieces.push((inode, at, data));
    }
    let len = builder.len();
    let pack = builder.finish();
    let stream = payload(&pack);
    assert_eq!(stream.len() as u64, len);
    for (inode, at, data) in &pieces {
        assert_eq!(
            stream[*at as usize..*at as usize + data.len()],
            data[..],
            "{inode}"
        );
    }
    let footer = Footer::parse(ID, pack.chunks.last().unwrap(), pack.bytes, None).unwrap();
    assert_eq!(footer.entries.len(), pieces.len());
    assert_eq!((footer.id, footer.lsn, footer.payload_bytes), (ID, 77, len));
}

#[test]
fn neighbours_share_an_entry() {
    let mut builder = PackBuilder::new(ID, 1);
    builder.add(1, 0, b"abc");
    builder.add(1, 3, b"def");
    builder.add(1, 7, b"not a neighbour");
    builder.add(2, 22, b"another file");
    builder.add(2, 34, b"");
    let entries: Vec<_> = builder
        .finish()
        .entries
        .iter()
        .map(|e| (e.inode, e.offset, e.len, e.pack_offset))
        .collect();
    assert_eq!(entries, [(1, 0, 6, 0), (1, 7, 15, 6), (2, 22, 12, 21)]);
}

/// Sizes around a block's payload.
#[test]
fn borders_of_blocks() {
    for len in [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 2 * PAYLOAD] {
        let data = Random(len).bytes(len as usize);
        let pack = pack_of(ID, &data);
        assert_eq!(pack.blocks.len() as u64, block_count(len));
        assert_eq!(
            pack.bytes,
            data_bytes(ID, len) + pack.chunks.last().unwrap().len() as u64
        );
        assert_eq!(payload(&pack), data);
        assert!(
            pack.chunks[..pack.blocks.len()]
                .iter()
                .rev()
                .skip(1)
                .all(|chunk| chunk.len() as u64 == BLOCK)
        );
    }
}

/// A pack that was written by the first version must stay readable for ever, and is written the same for ever.
#[test]
fn golden() {
    let mut builder = PackBuilder::new(ID, (5 << 40) | 9);
    let text: Vec<u8> = (0..3000u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    builder.add(10, 0, &text);
    builder.add(11, 4096, b"a small file shares the pack");
    let written = joined(&builder.finish().chunks);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pack-v1.bin");
    if std::env::var_os("CAUDAL_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert!(
        golden == written,
        "the bytes of a pack have changed: that takes a new version"
    );
    let footer = Footer::parse(ID, &golden, golden.len() as u64, None).unwrap();
    assert_eq!(
        footer.entries,
        [
            Entry {
                inode: 10,
                offset: 0,
                len: text.len() as u64,
                pack_offset: 0
            },
            Entry {
                inode: 11,
                offset: 4096,
                len: 28,
                pack_offset: text.len() as u64
            },
        ]
    );
    let (_, place) = check_block(ID, 0, &golden).unwrap();
    assert!(golden[place].starts_with(&text));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_come_back(pieces in prop::collection::vec((0..4u64, 0..1u64 << 40, 0..90_000usize), 0..16)) {
        let mut builder = PackBuilder::new(ID, 1);
        let mut expected = Vec::new();
        for (seed, (inode, offset, len)) in (0..).zip(pieces) {
            let data = Random(seed).bytes(len);
            prop_assert_eq!(builder.add(inode, offset, &data), expected.len() as u64);
            expected.extend_from_slice(&data);
        }
        let pack = builder.finish();
        prop_assert_eq!(payload(&pack), expected);
        let object = joined(&pack.chunks);
        let footer = Footer::parse(ID, &object, object.len() as u64, None).unwrap();
        prop_assert_eq!(footer.entries, pack.entries);
    }

    /// No flipped bits anywhere in the object pass: either the block or the footer complains.
    #[test]
    fn no_damage_is_accepted(at in any::<prop::sample::Index>(), mask in 1..=255u8, len in 1..2000usize) {
        let pack = pack_of(ID, &Random(7).bytes(len));
        let mut object = joined(&pack.chunks);
        let at = at.index(object.len());
        object[at] ^= mask;
        let footer = Footer::parse(ID, &object, object.len() as u64, None);
        let block = check_block(ID, 0, &object);
        prop_assert!(footer.is_err() != block.is_err(), "byte {}: {:?} {:?}", at, footer, block);
    }

    #[test]
    fn no_cut_object_is_accepted(cut in any::<prop::sample::Index>()) {
        let object = joined(&pack_of(ID, &Random(8).bytes(3000)).chunks);
        let cut = cut.index(object.len());
        prop_assert!(Footer::parse(ID, &object[..cut], cut as u64, None).is_err());
        // A tail that is too short for its footer is an error too, not a panic.
        prop_assert!(Footer::parse(ID, &object[cut..], object.len() as u64, None).is_ok() == (object.len() - cut >= 88));
    }

    #[test]
    fn rubbish_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), object_bytes in any::<u64>()) {
        prop_assert!(check_block(ID, 0, &bytes).is_err());
        prop_assert!(Footer::parse(ID, &bytes, object_bytes, None).is_err());
        prop_assert!(Trailer::parse(ID, &bytes).is_err());
    }

    /// A footer whose checksum is right and whose numbers are not: made by an attacker or a bug, not by a bad disk.
    #[test]
    fn footers_of_wrong_numbers_are_refused(at in 0..104usize, mask in 1..=255u8) {
        let pack = pack_of(ID, &Random(9).bytes(1000));
        let object = joined(&pack.chunks);
        let start = 1008;
        let mut footer = object[start..object.len() - 16].to_vec();
        prop_assume!(at < footer.len());
        footer[at] ^= mask;
        let mut end = (footer.len() as u32).to_le_bytes().to_vec();
        end.extend_from_slice(&1u32.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&footer), &end);
        let mut forged = object[..start].to_vec();
        forged.extend_from_slice(&footer);
        forged.extend_from_slice(&(footer.len() as u32).to_le_bytes());
        forged.extend_from_slice(&crc.to_le_bytes());
        forged.extend_from_slice(&1u32.to_le_bytes());
        forged.extend_from_slice(b"CDPK");
        // It must not panic. Free fields (lsn, inode, offset, the CRC of the blocks) may hold anything.
        if let Ok(read) = Footer::parse(ID, &forged, forged.len() as u64, None) {
            prop_assert_eq!((read.id, read.payload_bytes, read.entries.len()), (ID, 1000, 1));
            prop_assert!(read.entries[0].len == 1000 && read.entries[0].pack_offset == 0);
        }
    }
}

#[test]
fn a_block_passes_only_in_its_place() {
    let data = Random(3).bytes(2 * PAYLOAD as usize);
    let pack = pack_of(ID, &data);
    assert!(check_block(ID, 0, &pack.chunks[0]).is_ok());
    assert!(check_block(ID, 1, &pack.chunks[0]).is_err());
    assert!(check_block(ID + 1, 0, &pack.chunks[0]).is_err());
}

async fn put_raw(store: &Arc<dyn Store>, id: u64, object: Vec<u8>) {
    store
        .put(
            &format!("packs/{:02x}/{id:016x}", id & 0xff),
            &[Bytes::from(object)],
        )
        .await
        .unwrap();
}

#[test]
fn verification_finds_every_kind_of_damage() {
    let store = memory_store();
    runtime().block_on(async {
        let pack = pack_of(ID, &Random(4).bytes(600_000));
        let object = joined(&pack.chunks);
        put_pack(store.as_ref(), &pack).await.unwrap();
        assert_eq!(
            verify_pack(store.as_ref(), ID).await.unwrap().entries,
            pack.entries
        );

        let data_end = data_bytes(ID, 600_000) as usize;
        for (n, at) in [
            3,
            100,
            262_144,
            262_150,
            data_end - 1,
            data_end,
            data_end + 50,
            object.len() - 1,
        ]
        .into_iter()
        .enumerate()
        {
            let id = ID + 1 + n as u64;
            let mut damaged = joined(&pack_of(id, &Random(4).bytes(600_000)).chunks);
            damaged[at] ^= 1;
            put_raw(&store, id, damaged).await;
            let found = verify_pack(store.as_ref(), id).await;
            assert!(
                matches!(found, Err(BlockError::Corrupt { .. })),
                "byte {at}: {found:?}"
            );
        }
        // The data of one pack before the footer of another one of the same id and size.
        let id = ID + 100;
        let mut mixed = joined(&pack_of(id, &Random(5).bytes(600_000)).chunks);
        let other = joined(&pack_of(id, &Random(6).bytes(600_000)).chunks);
        mixed[..data_end].copy_from_slice(&other[..data_end]);
        put_raw(&store, id, mixed).await;
        assert!(read_footer(store.as_ref(), id).await.is_ok());
        assert!(verify_pack(store.as_ref(), id).await.is_err());
        for (n, rubbish) in [vec![], vec![0; 10], vec![7; 100_000]].into_iter().enumerate() {
            put_raw(&store, ID + 200 + n as u64, rubbish).await;
            let found = read_footer(store.as_ref(), ID + 200 + n as u64).await;
            assert!(matches!(found, Err(BlockError::Corrupt { .. })), "{found:?}");
        }
    });
}

#[test]
fn a_footer_larger_than_the_first_guess_is_read() {
    let store = memory_store();
    runtime().block_on(async {
        let mut builder = PackBuilder::new(ID, 1);
        for inode in 0..5000 {
            builder.add(inode, 0, &inode.to_le_bytes());
        }
        let pack = builder.finish();
        put_pack(store.as_ref(), &pack).await.unwrap();
        assert_eq!(
            read_footer(store.as_ref(), ID).await.unwrap().entries,
            pack.entries
        );
        verify_pack(store.as_ref(), ID).await.unwrap();
    });
}
