//! Bytes of a segment's header and of a record's header; docs/formats/journal.md describes them.
//!
//! A recycled segment still holds the records of its former life. They are not taken for records of the new one because
//! a record's header checksum covers the segment's first LSN and the file system's id as well, which are not stored in it.

use crate::Place;

pub const MAGIC: [u8; 8] = *b"CAUDALJ1";
pub const VERSION: u32 = 1;
/// Records begin here: the header has a page of its own, which is written once.
pub const SEGMENT_HEADER: u64 = 4096;
/// Bytes of that page that mean something; the rest is zero.
pub const SEGMENT_HEADER_USED: usize = 64;
pub const RECORD_HEADER: usize = 32;
/// Records begin at multiples of this.
pub const ALIGN: u64 = 16;

/// What a segment file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub fs_id: [u8; 16],
    pub epoch: u64,
    /// LSN of its first record, which may not have been written yet.
    pub first_lsn: u64,
    /// Last LSN of the history that it follows; what the segment before holds beyond that was cut off by a crash.
    pub previous_lsn: u64,
}

/// Why a segment's header could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadHeader {
    Damaged,
    /// Intact, but of a newer format.
    Version(u32),
}

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_USED] {
        let mut out = [0; SEGMENT_HEADER_USED];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.fs_id);
        out[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_lsn.to_le_bytes());
        out[48..56].copy_from_slice(&self.previous_lsn.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes = bytes.get(..SEGMENT_HEADER_USED).ok_or(BadHeader::Damaged)?;
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(BadHeader::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let mut fs_id = [0; 16];
        fs_id.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            fs_id,
            epoch: u64_at(bytes, 32),
            first_lsn: u64_at(bytes, 40),
            previous_lsn: u64_at(bytes, 48),
        })
    }

    /// What binds a record's header to this segment.
    #[must_use]
    pub fn salt(&self) -> Salt {
        Salt::new(&self.fs_id, self.first_lsn)
    }
}

/// Start value of the header checksums of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    #[must_use]
    pub fn new(fs_id: &[u8; 16], first_lsn: u64) -> Self {
        Self(crc32c::crc32c_append(
            crc32c::crc32c(fs_id),
            &first_lsn.to_le_bytes(),
        ))
    }
}

/// What stands before a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub payload_len: u32,
    pub kind: u8,
    pub lsn: u64,
    pub payload_crc: u32,
    /// Everything up to this LSN was durable when the record was written, so a bad record below it is a loss and no torn tail.
    pub durable_lsn: u64,
}

impl RecordHeader {
    #[must_use]
    pub fn encode(&self, salt: Salt) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[0..4].copy_from_slice(&self.payload_len.to_le_bytes());
        out[4] = self.kind;
        out[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        out[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_lsn.to_le_bytes());
        let crc = header_crc(&out, salt);
        out[20..24].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes`; None where there is no valid record of this segment.
    #[must_use]
    pub fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        if u64_at(bytes, 8) == 0 || header_crc(bytes, salt) != u32_at(bytes, 20) {
            return None;
        }
        Some(Self {
            payload_len: u32_at(bytes, 0),
            kind: bytes[4],
            lsn: u64_at(bytes, 8),
            payload_crc: u32_at(bytes, 16),
            durable_lsn: u64_at(bytes, 24),
        })
    }

    /// Bytes from this record to where the next one begins.
    #[must_use]
    pub fn span(&self) -> u64 {
        span(u64::from(self.payload_len))
    }
}

/// Bytes that a record with such a payload takes in a segment.
#[must_use]
pub const fn span(payload_len: u64) -> u64 {
    (RECORD_HEADER as u64 + payload_len).next_multiple_of(ALIGN)
}

/// Place of the payload of the record that begins at `offset`.
#[must_use]
pub const fn payload_place(segment: u64, offset: u64) -> Place {
    Place {
        segment,
        offset: offset + RECORD_HEADER as u64,
    }
}

fn header_crc(header: &[u8], salt: Salt) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt.0, &header[..20]), &header[24..32])
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
