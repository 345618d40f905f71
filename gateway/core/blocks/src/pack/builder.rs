//! Building a pack in memory: data are copied once, into the blocks that are both put and cached.

use bytes::Bytes;

use super::format::{BLOCK, BLOCK_HEADER, Entry, Footer, PAYLOAD, block_crc, block_header, is_sealed};
use crate::error::{BlockError, Result};
use crate::seal::{KeyError, KeyRing, PackSealer};

/// A pack that is ready to be put.
#[derive(Clone, Debug)]
pub struct Pack {
    pub id: u64,
    /// The object's bytes in order, for a vectored put.
    pub chunks: Vec<Bytes>,
    /// Payloads of the blocks, for the cache; unless the pack is sealed they share memory with `chunks`.
    pub blocks: Vec<Bytes>,
    /// Size of the object.
    pub bytes: u64,
    pub entries: Vec<Entry>,
}

/// Takes pieces one after the other. A builder that is dropped has done nothing.
pub struct PackBuilder {
    id: u64,
    lsn: u64,
    /// The block that is being filled; its header is still zero.
    open: Vec<u8>,
    full: Vec<Bytes>,
    /// The blocks as they go into the store, where that is another thing.
    sealed: Vec<Bytes>,
    sealer: Option<PackSealer>,
    /// What the footer says of the blocks: their CRCs or tags.
    marks: Vec<u8>,
    payload_bytes: u64,
    entries: Vec<Entry>,
}

impl PackBuilder {
    /// A pack of the kind that its number says. `lsn` is where the journal is now.
    pub fn of(id: u64, lsn: u64, keys: Option<&KeyRing>) -> Result<Self> {
        if !is_sealed(id) {
            return Ok(Self::new(id, lsn));
        }
        let sealer = keys
            .ok_or(KeyError::NoCurrent)
            .and_then(|keys| PackSealer::new(keys, id));
        let sealer = sealer.map_err(|error| BlockError::Key {
            pack: id,
            why: error.to_string(),
        })?;
        Ok(Self {
            sealer: Some(sealer),
            ..Self::new(id, lsn)
        })
    }

    /// A pack that is not sealed. `lsn` is where the journal is now.
    #[must_use]
    pub const fn new(id: u64, lsn: u64) -> Self {
        Self {
            id,
            lsn,
            open: Vec::new(),
            full: Vec::new(),
            sealed: Vec::new(),
            sealer: None,
            marks: Vec::new(),
            payload_bytes: 0,
            entries: Vec::new(),
        }
    }

    /// Adds a piece of a file and returns its offset in the pack. Neighbouring pieces of one file become one entry.
    pub fn add(&mut self, inode: u64, offset: u64, data: &[u8]) -> u64 {
        let pack_offset = self.payload_bytes;
        if data.is_empty() {
            return pack_offset;
        }
        let len = data.len() as u64;
        match self.entries.last_mut() {
            Some(last) if last.inode == inode && last.offset + last.len == offset => last.len += len,
            _ => self.entries.push(Entry {
                inode,
                offset,
                len,
                pack_offset,
            }),
        }
        self.payload_bytes += len;
        let mut rest = data;
        while !rest.is_empty() {
            if self.open.is_empty() {
                self.open.reserve_exact(BLOCK as usize);
                self.open.resize(BLOCK_HEADER, 0);
            }
            let room = BLOCK as usize - self.open.len();
            let (head, tail) = rest.split_at(rest.len().min(room));
            self.open.extend_from_slice(head);
            rest = tail;
            if self.open.len() == BLOCK as usize {
                self.seal();
            }
        }
        pack_offset
    }

    /// Payload bytes so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.payload_bytes
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.payload_bytes == 0
    }

    fn seal(&mut self) {
        let mut block = std::mem::take(&mut self.open);
        let number = self.full.len() as u32;
        let payload = &block[BLOCK_HEADER..];
        let crc = block_crc(self.id, number, payload);
        let header = block_header(crc, payload.len());
        block[..BLOCK_HEADER].copy_from_slice(&header);
        // The cache counts lengths: a short block must not hold the memory of a full one.
        if block.capacity() > block.len() {
            block.shrink_to_fit();
        }
        if let Some(sealer) = &mut self.sealer {
            let (sealed, tag) = sealer.seal_next(&block[BLOCK_HEADER..]);
            self.marks.extend_from_slice(&tag);
            self.sealed.push(Bytes::from(sealed));
        } else {
            self.marks.extend_from_slice(&crc.to_le_bytes());
        }
        self.full.push(Bytes::from(block));
    }

    /// Seals the last block and writes the footer.
    #[must_use]
    pub fn finish(mut self) -> Pack {
        if !self.open.is_empty() {
            self.seal();
        }
        debug_assert_eq!(self.full.len() as u64, self.payload_bytes.div_ceil(PAYLOAD));
        let footer = Footer {
            id: self.id,
            lsn: self.lsn,
            payload_bytes: self.payload_bytes,
            data_crc: crc32c::crc32c(&self.marks),
            entries: self.entries,
        };
        let blocks = self
            .full
            .iter()
            .map(|block| block.slice(BLOCK_HEADER..))
            .collect();
        let mut chunks = if self.sealer.is_some() {
            self.sealed
        } else {
            self.full
        };
        chunks.push(Bytes::from(footer.encode(self.sealer)));
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Pack {
            id: self.id,
            chunks,
            blocks,
            bytes,
            entries: footer.entries,
        }
    }
}
