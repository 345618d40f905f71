//! The bytes of a pack. See docs/formats/pack.md.

use bytes::Bytes;

use crate::error::{BlockError, Result};
use crate::seal::{KeyRing, PackSealer, SEALED_HEADER, open_block, open_footer};

/// Bytes of a full physical block: its header and its payload.
pub const BLOCK: u64 = 262_144;
/// Bytes of a block's header: CRC-32C and payload length.
pub const BLOCK_HEADER: usize = 8;
/// Payload bytes of a full block.
pub const PAYLOAD: u64 = BLOCK - BLOCK_HEADER as u64;
/// Version of packs that are not sealed.
pub const VERSION: u32 = 1;
/// Version of sealed packs.
pub const SEALED_VERSION: u32 = 2;
/// The bit of a pack's number that says that it is sealed. Extents name packs by number, so nobody who can write to the
/// store, but not to the metadata, can put a plain pack in place of a sealed one.
const SEALED_BIT: u64 = 1 << 39;
/// The last four bytes of every pack.
pub const MAGIC: [u8; 4] = *b"CDPK";
/// Bytes of the trailer at the very end.
pub const TRAILER: usize = 16;
/// Bytes of the footer before its entries.
pub const FOOTER_HEAD: usize = 40;
/// Bytes of an index entry.
pub const ENTRY: usize = 32;
/// No pack has a larger footer; a trailer that says so is damaged.
pub const FOOTER_LIMIT: u64 = 64 << 20;

/// A piece of a file and its place in the pack's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub inode: u64,
    /// In the file.
    pub offset: u64,
    pub len: u64,
    /// In the payload stream: block = `pack_offset / PAYLOAD`.
    pub pack_offset: u64,
}

/// What a pack says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    pub id: u64,
    /// The journal had been written up to here when the pack was begun.
    pub lsn: u64,
    pub payload_bytes: u64,
    /// CRC-32C over the CRCs of all blocks in order (little-endian), of a sealed pack over their tags: two packs with equal
    /// footers are equal.
    pub data_crc: u32,
    pub entries: Vec<Entry>,
}

/// The number of a sealed pack with this counter.
#[must_use]
pub const fn sealed_id(id: u64) -> u64 {
    id | SEALED_BIT
}

/// Whether the pack of this number is sealed.
#[must_use]
pub const fn is_sealed(id: u64) -> bool {
    id & SEALED_BIT != 0
}

/// Version of the format of the pack with this number.
#[must_use]
pub const fn version_of(id: u64) -> u32 {
    if is_sealed(id) { SEALED_VERSION } else { VERSION }
}

/// Bytes before a block's payload.
#[must_use]
pub const fn header_bytes(id: u64) -> u64 {
    if is_sealed(id) {
        SEALED_HEADER as u64
    } else {
        BLOCK_HEADER as u64
    }
}

/// Bytes of a full block in the object, header included: block `b` begins at `b` times this.
#[must_use]
pub const fn stride(id: u64) -> u64 {
    header_bytes(id) + PAYLOAD
}

/// Number of blocks that hold `payload_bytes`.
#[must_use]
pub const fn block_count(payload_bytes: u64) -> u64 {
    payload_bytes.div_ceil(PAYLOAD)
}

/// Bytes of the object before the footer.
#[must_use]
pub const fn data_bytes(id: u64, payload_bytes: u64) -> u64 {
    payload_bytes + block_count(payload_bytes) * header_bytes(id)
}

/// Payload bytes of block `block` of a pack with `payload_bytes`.
#[must_use]
pub const fn payload_len(payload_bytes: u64, block: u64) -> u64 {
    let rest = payload_bytes.saturating_sub(block * PAYLOAD);
    if rest < PAYLOAD { rest } else { PAYLOAD }
}

/// Key of a pack below the store's prefix. The directory is the id's low byte, so that packs spread evenly.
#[must_use]
pub fn pack_key(id: u64) -> String {
    format!("packs/{:02x}/{id:016x}", id & 0xff)
}

/// The pack that a key is of; None: something else.
#[must_use]
pub fn pack_of_key(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?;
    let id = u64::from_str_radix(name, 16).ok()?;
    (pack_key(id) == key).then_some(id)
}

/// CRC of a block: it binds the payload to its place, so that a block of another pack or place does not pass.
#[must_use]
pub fn block_crc(pack: u64, block: u32, payload: &[u8]) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&pack.to_le_bytes());
    place[8..].copy_from_slice(&block.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), payload)
}

/// Header of a block with this payload.
#[must_use]
pub fn block_header(crc: u32, payload_len: usize) -> [u8; BLOCK_HEADER] {
    let mut header = [0; BLOCK_HEADER];
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header[4..].copy_from_slice(&(payload_len as u32).to_le_bytes());
    header
}

/// Checks a physical block, which may be followed by other bytes. Returns its CRC and the payload's place in `bytes`.
pub fn check_block(pack: u64, block: u32, bytes: &[u8]) -> Result<(u32, std::ops::Range<usize>)> {
    let corrupt = |why: &str| BlockError::Corrupt {
        pack,
        block: Some(block),
        why: why.to_owned(),
    };
    let Some((header, rest)) = bytes.split_at_checked(BLOCK_HEADER) else {
        return Err(corrupt("shorter than a block's header"));
    };
    let (crc, len) = (u32_at(header, 0), u32_at(header, 4) as usize);
    if len == 0 || len as u64 > PAYLOAD {
        return Err(corrupt("impossible payload length"));
    }
    let payload = rest
        .get(..len)
        .ok_or_else(|| corrupt("shorter than its payload"))?;
    if block_crc(pack, block, payload) != crc {
        return Err(corrupt("checksum does not match"));
    }
    Ok((crc, BLOCK_HEADER..BLOCK_HEADER + len))
}

/// A block that was checked: its payload, and the mark by which the footer knows it.
pub struct Checked {
    pub payload: Bytes,
    mark: [u8; 16],
    mark_len: usize,
}

impl Checked {
    /// CRC or tag.
    #[must_use]
    pub fn mark(&self) -> &[u8] {
        &self.mark[..self.mark_len]
    }
}

/// The payload of a physical block of either kind of pack, if it is that block and unharmed.
pub fn read_block(keys: Option<&KeyRing>, pack: u64, block: u32, bytes: &Bytes) -> Result<Checked> {
    if is_sealed(pack) {
        let opened = open_block(keys, pack, block, bytes)?;
        return Ok(Checked {
            payload: opened.payload.into(),
            mark: opened.tag,
            mark_len: opened.tag.len(),
        });
    }
    let (crc, place) = check_block(pack, block, bytes)?;
    let mut mark = [0; 16];
    mark[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(Checked {
        payload: bytes.slice(place),
        mark,
        mark_len: 4,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

/// What the last 16 bytes of a pack say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Bytes between the last block and the trailer.
    pub footer_bytes: u32,
    crc: u32,
    version: u32,
}

impl Trailer {
    /// Reads the trailer at the end of `tail`.
    pub fn parse(pack: u64, tail: &[u8]) -> Result<Self> {
        let corrupt = |why: &str| BlockError::Corrupt {
            pack,
            block: None,
            why: why.to_owned(),
        };
        let start = tail
            .len()
            .checked_sub(TRAILER)
            .ok_or_else(|| corrupt("shorter than a trailer"))?;
        let bytes = &tail[start..];
        if bytes[12..] != MAGIC {
            return Err(corrupt("does not end as a pack does"));
        }
        let trailer = Self {
            footer_bytes: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            version: u32_at(bytes, 8),
        };
        if trailer.version != version_of(pack) {
            return Err(corrupt(&match trailer.version {
                VERSION => "its number says that it is sealed, and it is not".to_owned(),
                SEALED_VERSION => "it is sealed, and its number does not say so".to_owned(),
                other => format!("format version {other} is not known"),
            }));
        }
        let head = FOOTER_HEAD + if is_sealed(pack) { SEALED_HEADER } else { 0 };
        let entries = (trailer.footer_bytes as usize).checked_sub(head);
        if entries.is_none_or(|bytes| bytes % ENTRY != 0) || u64::from(trailer.footer_bytes) > FOOTER_LIMIT {
            return Err(corrupt("impossible footer length"));
        }
        Ok(trailer)
    }
}

fn footer_crc(body: &[u8], version: u32) -> u32 {
    let mut end = [0; 8];
    end[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    end[4..].copy_from_slice(&version.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(body), &end)
}

impl Footer {
    /// Footer and trailer as they are written; `seal` is what a sealed pack does to its footer.
    #[must_use]
    pub fn encode(&self, seal: Option<PackSealer>) -> Vec<u8> {
        let body = self.body();
        let mut out = match seal {
            Some(sealer) => sealer.seal_footer(&body),
            None => body,
        };
        let version = version_of(self.id);
        let (len, crc) = (out.len() as u32, footer_crc(&out, version));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_HEAD + self.entries.len() * ENTRY + TRAILER);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.lsn.to_le_bytes());
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(&(block_count(self.payload_bytes) as u32).to_le_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.data_crc.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        for entry in &self.entries {
            for value in [entry.inode, entry.offset, entry.len, entry.pack_offset] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        out
    }

    /// Reads the footer at the end of `tail`, which holds at least footer and trailer of an object of `object_bytes`.
    ///
    /// Nothing in the bytes is trusted: any other than those of a pack `id` of this size is `Corrupt`.
    pub fn parse(id: u64, tail: &[u8], object_bytes: u64, keys: Option<&KeyRing>) -> Result<Self> {
        let corrupt = |why: &str| BlockError::Corrupt {
            pack: id,
            block: None,
            why: why.to_owned(),
        };
        let trailer = Trailer::parse(id, tail)?;
        let end = tail.len() - TRAILER;
        let start = end
            .checked_sub(trailer.footer_bytes as usize)
            .ok_or_else(|| corrupt("footer is cut off"))?;
        let stored = &tail[start..end];
        if footer_crc(stored, trailer.version) != trailer.crc {
            return Err(corrupt("footer's checksum does not match"));
        }
        let stored_bytes = (stored.len() + TRAILER) as u64;
        if is_sealed(id) {
            let body = open_footer(keys, id, stored)?.payload;
            Self::parse_body(id, &body, object_bytes, stored_bytes)
        } else {
            Self::parse_body(id, stored, object_bytes, stored_bytes)
        }
    }

    /// `stored_bytes`: what footer and trailer take in the object.
    fn parse_body(id: u64, body: &[u8], object_bytes: u64, stored_bytes: u64) -> Result<Self> {
        let corrupt = |why: &str| BlockError::Corrupt {
            pack: id,
            block: None,
            why: why.to_owned(),
        };
        let footer = Self {
            id: u64_at(body, 0),
            lsn: u64_at(body, 8),
            payload_bytes: u64_at(body, 16),
            data_crc: u32_at(body, 32),
            entries: body[FOOTER_HEAD..].chunks_exact(ENTRY).map(parse_entry).collect(),
        };
        if footer.id != id {
            return Err(corrupt("is another pack"));
        }
        if footer.payload_bytes > object_bytes
            || data_bytes(id, footer.payload_bytes) + stored_bytes != object_bytes
            || block_count(footer.payload_bytes) != u64::from(u32_at(body, 24))
            || footer.entries.len() != u32_at(body, 28) as usize
        {
            return Err(corrupt("footer does not fit the object"));
        }
        footer.check_entries().map_err(corrupt)?;
        Ok(footer)
    }

    /// Entries lie one after the other and fill the payload.
    fn check_entries(&self) -> std::result::Result<(), &'static str> {
        let mut at = 0u64;
        for entry in &self.entries {
            if entry.pack_offset != at || entry.len == 0 || entry.offset.checked_add(entry.len).is_none() {
                return Err("entries do not fit together");
            }
            at = at.checked_add(entry.len).ok_or("entries do not fit together")?;
        }
        if at == self.payload_bytes {
            Ok(())
        } else {
            Err("entries do not fill the payload")
        }
    }
}

fn parse_entry(bytes: &[u8]) -> Entry {
    Entry {
        inode: u64_at(bytes, 0),
        offset: u64_at(bytes, 8),
        len: u64_at(bytes, 16),
        pack_offset: u64_at(bytes, 24),
    }
}
