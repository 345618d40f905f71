//! Packs in a store: put, read, checked, listed, deleted.

use caudal_base::failpoint;

use super::builder::Pack;
use super::format::{
    Footer, TRAILER, Trailer, block_count, data_bytes, pack_key, pack_of_key, payload_len, read_block, stride,
};
use crate::error::{BlockError, Result, StoreError};
use crate::store::Store;

/// First guess of how much of the end holds the whole footer.
const TAIL_BYTES: u64 = 64 << 10;
/// Blocks read at once by a check of a whole pack.
const VERIFY_BLOCKS: u64 = 16;

fn failed(id: u64, error: &std::io::Error) -> BlockError {
    BlockError::Store(StoreError::Permanent {
        key: pack_key(id),
        message: error.to_string(),
    })
}

/// Puts a pack; it is durable when this returns. After an error it may be there or not: its id must not be used again.
pub async fn put_pack(store: &dyn Store, pack: &Pack) -> Result<()> {
    failpoint::hit("pack.before_put").map_err(|e| failed(pack.id, &e))?;
    store.put(&pack_key(pack.id), &pack.chunks).await?;
    // A crash here leaves a pack that no row names: collection finds it by listing.
    failpoint::hit("pack.after_put").map_err(|e| failed(pack.id, &e))
}

/// Reads and checks a pack's footer.
pub async fn read_footer(store: &dyn Store, id: u64) -> Result<Footer> {
    let key = pack_key(id);
    let object_bytes = store.head(&key).await?.bytes;
    let mut tail = object_bytes.min(TAIL_BYTES);
    loop {
        if tail < TRAILER as u64 {
            return Err(BlockError::Corrupt {
                pack: id,
                block: None,
                why: "shorter than a trailer".to_owned(),
            });
        }
        let bytes = store.get_range(&key, object_bytes - tail..object_bytes).await?;
        let needed = u64::from(Trailer::parse(id, &bytes)?.footer_bytes) + TRAILER as u64;
        if needed <= bytes.len() as u64 || needed > object_bytes {
            return Footer::parse(id, &bytes, object_bytes, store.keys());
        }
        tail = needed;
    }
}

/// Reads all of a pack and checks all of it.
pub async fn verify_pack(store: &dyn Store, id: u64) -> Result<Footer> {
    let footer = read_footer(store, id).await?;
    let key = pack_key(id);
    let blocks = block_count(footer.payload_bytes);
    let mut marks = Vec::new();
    let (mut first, mut seen) = (0, 0);
    while first < blocks {
        let stride = stride(id);
        let end = data_bytes(id, footer.payload_bytes).min((first + VERIFY_BLOCKS) * stride);
        let pieces = store
            .get_pieces(&key, first * stride..end, stride as usize)
            .await?;
        for (block, bytes) in (first..).zip(&pieces) {
            let checked = read_block(store.keys(), id, block as u32, bytes)?;
            if checked.payload.len() as u64 != payload_len(footer.payload_bytes, block) {
                let why = "length differs from the footer".to_owned();
                return Err(BlockError::Corrupt {
                    pack: id,
                    block: Some(block as u32),
                    why,
                });
            }
            marks.extend_from_slice(checked.mark());
            seen += 1;
        }
        first += VERIFY_BLOCKS;
    }
    if seen != blocks || crc32c::crc32c(&marks) != footer.data_crc {
        let why = "blocks are not those of the footer".to_owned();
        return Err(BlockError::Corrupt {
            pack: id,
            block: None,
            why,
        });
    }
    Ok(footer)
}

/// Deletes a pack; one that is gone already is no error.
pub async fn delete_pack(store: &dyn Store, id: u64) -> Result<()> {
    Ok(store.delete(&pack_key(id)).await?)
}

/// All packs: (id, bytes, seconds since 1970 of the put). Other objects below `packs/` are left out.
pub async fn list_packs(store: &dyn Store) -> Result<Vec<(u64, u64, f64)>> {
    let mut packs: Vec<_> = store
        .list("packs")
        .await?
        .into_iter()
        .filter_map(|info| Some((pack_of_key(&info.key)?, info.bytes, info.modified_s)))
        .collect();
    packs.sort_unstable_by_key(|pack| pack.0);
    Ok(packs)
}
