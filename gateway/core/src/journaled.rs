//! Dirty data that are only in the journal: read back and checked before anyone sees them.

use bytes::Bytes;
use caudal_journal::{Journal, Place};

use crate::errors::{CoreError, Result};
use crate::inode::dirty::Origin;
use crate::inode::payload::DATA_HEAD;

/// Reads pieces of writes. A whole write is read at a time, because its checksum covers all of it, and kept for the next
/// piece: what is left of an overwritten write often lies in several pieces, one after the other.
pub struct Reader<'a> {
    journal: &'a Journal,
    last: Option<(Place, Bytes)>,
}

impl<'a> Reader<'a> {
    pub const fn new(journal: &'a Journal) -> Self {
        Self { journal, last: None }
    }

    /// `len` bytes at `skip` of a write's data, sharing the memory of all of them.
    pub fn read(&mut self, origin: &Origin, skip: u32, len: u64) -> Result<Bytes> {
        let data = match &self.last {
            Some((place, data)) if *place == origin.place => data.clone(),
            _ => self.whole(origin)?,
        };
        let start = skip as usize;
        Ok(data.slice(start..start + len as usize))
    }

    fn whole(&mut self, origin: &Origin) -> Result<Bytes> {
        let mut data = vec![0; origin.len as usize];
        self.journal.read_at(origin.place, DATA_HEAD as u64, &mut data)?;
        if crc32c::crc32c(&data) != origin.crc {
            return Err(CoreError::Corrupt(format!(
                "journaled data at offset {} of segment {:016x} do not match their checksum",
                origin.place.offset, origin.place.segment
            )));
        }
        let data = Bytes::from(data);
        self.last = Some((origin.place, data.clone()));
        Ok(data)
    }
}
