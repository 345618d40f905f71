//! Dirty data that are only in the journal: read back and checked before anyone sees them.

use bytes::Bytes;
use caudal_journal::Journal;

use crate::errors::{CoreError, Result};
use crate::inode::dirty::Origin;
use crate::inode::payload::DATA_HEAD;

/// Reads `len` bytes at `skip` of a write's data. The whole write is read, because its checksum covers all of it.
pub fn read(journal: &Journal, origin: &Origin, skip: u32, len: u64) -> Result<Bytes> {
    let mut data = vec![0; origin.len as usize];
    journal.read_at(origin.place, DATA_HEAD as u64, &mut data)?;
    if crc32c::crc32c(&data) != origin.crc {
        return Err(CoreError::Corrupt(format!(
            "journaled data at offset {} of segment {:016x} do not match their checksum",
            origin.place.offset, origin.place.segment
        )));
    }
    let start = skip as usize;
    Ok(Bytes::from(data).slice(start..start + len as usize))
}
