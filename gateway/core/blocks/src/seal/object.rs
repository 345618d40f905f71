//! Sealed objects: whole byte strings such as backups, in chunks, so that none has to fit into memory twice.
//!
//! Every object has a data key of its own. A chunk's nonce is its number and whether it is the last one, so that chunks
//! can be neither exchanged nor left out, at the end either.

use aws_lc_rs::aead::Aad;

use super::keys::{KeyError, KeyRing, Purpose, TAG, WRAPPED, nonce, stored_id};

const MAGIC: [u8; 4] = *b"CDSO";
const VERSION: u32 = 1;
const HEADER: usize = 8 + WRAPPED;
/// Plaintext bytes of a chunk; the last one may have fewer.
pub const OBJECT_CHUNK: usize = 1 << 20;

fn place(purpose: &str) -> Vec<u8> {
    let mut place = b"caudal object".to_vec();
    place.extend_from_slice(&VERSION.to_le_bytes());
    place.extend_from_slice(purpose.as_bytes());
    place
}

impl KeyRing {
    /// Seals an object. `purpose` says what it is, better with its name: only who says the same can open it.
    pub fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, KeyError> {
        let place = place(purpose);
        let wrapped = self.wrap(Purpose::Objects, &place)?;
        let chunks = plain.len().div_ceil(OBJECT_CHUNK).max(1);
        let mut out = Vec::with_capacity(HEADER + plain.len() + chunks * TAG);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&wrapped.stored);
        let mut rest = plain;
        for number in 0..chunks {
            let (chunk, tail) = rest.split_at(rest.len().min(OBJECT_CHUNK));
            rest = tail;
            let start = out.len();
            out.extend_from_slice(chunk);
            let last = u32::from(number + 1 == chunks);
            let tag = wrapped
                .key
                .seal_in_place_separate_tag(
                    nonce(number as u64, last),
                    Aad::from(self.fs_id()),
                    &mut out[start..],
                )
                .expect("a chunk is within the bounds of AES-GCM");
            out.extend_from_slice(tag.as_ref());
        }
        Ok(out)
    }

    /// What was sealed for this purpose. Nothing in the bytes is trusted.
    pub fn open(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, KeyError> {
        let id = object_key_id(sealed)?;
        let (header, mut rest) = sealed
            .split_at_checked(HEADER)
            .ok_or(KeyError::Malformed("shorter than its header"))?;
        let place = place(purpose);
        let key = self.unwrap(Purpose::Objects, &place, &header[8..])?;
        let mut out = Vec::with_capacity(rest.len());
        let mut number = 0u64;
        loop {
            let chunk = rest.len().min(OBJECT_CHUNK + TAG);
            let (sealed, tail) = rest.split_at(chunk);
            let (cipher, tag) = chunk
                .checked_sub(TAG)
                .map(|len| sealed.split_at(len))
                .ok_or(KeyError::Malformed("shorter than a chunk"))?;
            let start = out.len();
            out.resize(start + cipher.len(), 0);
            key.open_separate_gather(
                nonce(number, u32::from(tail.is_empty())),
                Aad::from(self.fs_id()),
                cipher,
                tag,
                &mut out[start..],
            )
            .map_err(|_| KeyError::Forged(id.clone()))?;
            if tail.is_empty() {
                return Ok(out);
            }
            rest = tail;
            number += 1;
        }
    }
}

/// The id of the key that an object is sealed with, as its beginning says, unproven.
pub fn object_key_id(start: &[u8]) -> Result<String, KeyError> {
    if start.get(..4) != Some(&MAGIC[..]) {
        return Err(KeyError::Malformed("no sealed object begins so"));
    }
    let version = start.get(4..8).ok_or(KeyError::Malformed("cut off"))?;
    let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
    if version != VERSION {
        return Err(KeyError::Version(version));
    }
    Ok(stored_id(&start[8..])?.to_owned())
}
