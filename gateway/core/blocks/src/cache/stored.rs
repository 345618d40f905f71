//! A block as it lies on a shelf, with a checksum over its key and its bytes.

use std::io::{Read, Write};

use bytes::Bytes;
use foyer::{Code, Error, ErrorKind};

use super::BlockKey;
use crate::pack::format::{PAYLOAD, block_crc};

/// Set in the length of a block that carries a salt; no length is so large.
const SALTED: u32 = 1 << 31;

/// A payload as it lies on the disk. The salt is its shelf's, 0 in directories: a device may hold blocks of others, which carry
/// another one.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: BlockKey,
    pub payload: Bytes,
    pub salt: u32,
}

impl Code for BlockKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.pack.encode(writer)?;
        self.block.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        Ok(Self {
            pack: u64::decode(reader)?,
            block: u32::decode(reader)?,
        })
    }

    fn estimated_size(&self) -> usize {
        12
    }
}

impl Code for Stored {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.key.encode(writer)?;
        let len = self.payload.len() as u32;
        if self.salt == 0 {
            len.encode(writer)?;
        } else {
            (len | SALTED).encode(writer)?;
            self.salt.encode(writer)?;
        }
        let crc = block_crc(self.key.pack, self.key.block, &self.payload);
        (crc ^ self.salt).encode(writer)?;
        writer.write_all(&self.payload).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let key = BlockKey::decode(reader)?;
        let len = u32::decode(reader)?;
        let salt = if len & SALTED == 0 {
            0
        } else {
            u32::decode(reader)?
        };
        let (len, crc) = (len & !SALTED, u32::decode(reader)? ^ salt);
        let bad = |what: &str| Error::new(ErrorKind::ChecksumMismatch, what);
        if u64::from(len) > PAYLOAD {
            return Err(bad("a cached block has an impossible length"));
        }
        let mut payload = Vec::with_capacity(len as usize);
        reader
            .take(u64::from(len))
            .read_to_end(&mut payload)
            .map_err(Error::io_error)?;
        if payload.len() != len as usize || block_crc(key.pack, key.block, &payload) != crc {
            return Err(bad("a cached block does not fit its checksum"));
        }
        Ok(Self {
            key,
            payload: payload.into(),
            salt,
        })
    }

    fn estimated_size(&self) -> usize {
        20 + usize::from(self.salt != 0) * 4 + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(salt: u32) -> Vec<u8> {
        let stored = Stored {
            key: BlockKey { pack: 7, block: 3 },
            payload: Bytes::from(vec![9; 1000]),
            salt,
        };
        let mut raw = Vec::new();
        stored.encode(&mut raw).unwrap();
        assert_eq!(raw.len(), stored.estimated_size());
        raw
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for salt in [0, 0x8000_0001] {
            let back = Stored::decode(&mut &encoded(salt)[..]).unwrap();
            assert_eq!(
                (back.key, &back.payload[..], back.salt),
                (BlockKey { pack: 7, block: 3 }, &[9; 1000][..], salt)
            );
        }
    }

    #[test]
    fn nothing_damaged_is_accepted() {
        for raw in [encoded(0), encoded(5)] {
            for at in 0..raw.len() {
                let mut damaged = raw.clone();
                damaged[at] ^= 0x10;
                assert!(Stored::decode(&mut &damaged[..]).is_err(), "byte {at}");
                assert!(Stored::decode(&mut &raw[..at]).is_err(), "cut to {at}");
            }
        }
    }
}
