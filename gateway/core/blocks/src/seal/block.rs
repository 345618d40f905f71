//! Blocks of sealed packs. Each holds all that is needed to open it: the pack's wrapped key and the block's tag.
//!
//! No nonce is used twice with one key. A data key belongs to one `PackSealer`, which is made for one pack that is being
//! built, and dies with it; it numbers the blocks itself, and the footer's number is none that a block can have. A put that
//! is repeated sends the bytes that were sealed once. A flush that is tried again builds another pack, with another key.

use aws_lc_rs::aead::{Aad, LessSafeKey};

use super::keys::{KeyError, KeyRing, Purpose, TAG, WRAPPED, nonce, stored_id};
use crate::error::{BlockError, Result};
use crate::pack::format::{PAYLOAD, SEALED_VERSION};

pub const MAGIC: [u8; 4] = *b"CDS2";
/// Bytes of a sealed block before its ciphertext: magic, length, wrapped key, tag.
pub const SEALED_HEADER: usize = 8 + WRAPPED + TAG;
/// The number under which the footer is sealed.
const FOOTER: u32 = u32::MAX;
const DOMAIN: &[u8] = b"caudal pack";

/// Seals the blocks of one pack in their order, and its footer at the end.
pub struct PackSealer {
    pack: u64,
    fs_id: [u8; 16],
    key: LessSafeKey,
    stored: [u8; WRAPPED],
    next: u32,
}

/// What opening a block gave.
pub struct SealedBlock {
    pub payload: Vec<u8>,
    /// It depends on every byte of the block.
    pub tag: [u8; TAG],
}

fn wrap_place(pack: u64) -> Vec<u8> {
    [DOMAIN, &SEALED_VERSION.to_le_bytes(), &pack.to_le_bytes()].concat()
}

/// What a block is bound to: format, file system, pack, place and length.
fn block_aad(fs_id: &[u8; 16], pack: u64, block: u32, len: u32) -> [u8; 36] {
    let mut aad = [0; 36];
    aad[..4].copy_from_slice(&SEALED_VERSION.to_le_bytes());
    aad[4..20].copy_from_slice(fs_id);
    aad[20..28].copy_from_slice(&pack.to_le_bytes());
    aad[28..32].copy_from_slice(&block.to_le_bytes());
    aad[32..].copy_from_slice(&len.to_le_bytes());
    aad
}

impl PackSealer {
    pub fn new(ring: &KeyRing, pack: u64) -> std::result::Result<Self, KeyError> {
        let wrapped = ring.wrap(Purpose::Packs, &wrap_place(pack))?;
        Ok(Self {
            pack,
            fs_id: *ring.fs_id(),
            key: wrapped.key,
            stored: wrapped.stored,
            next: 0,
        })
    }

    /// The next block as it is stored, and its tag.
    pub fn seal_next(&mut self, payload: &[u8]) -> (Vec<u8>, [u8; TAG]) {
        let number = self.next;
        assert!(number < FOOTER, "a pack has fewer blocks");
        self.next += 1;
        self.seal(number, payload)
    }

    /// The footer as it is stored. Nothing can be sealed after it.
    pub fn seal_footer(self, body: &[u8]) -> Vec<u8> {
        self.seal(FOOTER, body).0
    }

    fn seal(&self, number: u32, plain: &[u8]) -> (Vec<u8>, [u8; TAG]) {
        let len = plain.len() as u32;
        let mut out = Vec::with_capacity(SEALED_HEADER + plain.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.stored);
        out.extend_from_slice(&[0; TAG]);
        out.extend_from_slice(plain);
        let aad = Aad::from(block_aad(&self.fs_id, self.pack, number, len));
        let sealed =
            self.key
                .seal_in_place_separate_tag(nonce(u64::from(number), 0), aad, &mut out[SEALED_HEADER..]);
        // It fails for nothing but more than 64 GiB. Going on would put plaintext into the store.
        let sealed = sealed.expect("a block is within the bounds of AES-GCM");
        let mut tag = [0; TAG];
        tag.copy_from_slice(sealed.as_ref());
        out[SEALED_HEADER - TAG..SEALED_HEADER].copy_from_slice(&tag);
        (out, tag)
    }
}

fn bad(pack: u64, block: u32, error: &KeyError) -> BlockError {
    let why = error.to_string();
    let block = (block != FOOTER).then_some(block);
    match error {
        // The key file may get it.
        KeyError::Unknown(_) | KeyError::NoCurrent | KeyError::Random => BlockError::Key { pack, why },
        _ => BlockError::Corrupt { pack, block, why },
    }
}

/// Opens a block of a sealed pack, which may be followed by other bytes. Nothing in the bytes is trusted.
pub fn open_block(ring: Option<&KeyRing>, pack: u64, block: u32, bytes: &[u8]) -> Result<SealedBlock> {
    open(ring, pack, block, bytes, PAYLOAD).map_err(|error| bad(pack, block, &error))
}

/// Opens the footer of a sealed pack, of which `bytes` hold nothing else.
pub fn open_footer(ring: Option<&KeyRing>, pack: u64, bytes: &[u8]) -> Result<SealedBlock> {
    let longest = bytes.len().saturating_sub(SEALED_HEADER) as u64;
    let opened = open(ring, pack, FOOTER, bytes, longest).map_err(|error| bad(pack, FOOTER, &error))?;
    if opened.payload.len() as u64 != longest {
        return Err(bad(pack, FOOTER, &KeyError::Malformed("longer than it says")));
    }
    Ok(opened)
}

fn open(
    ring: Option<&KeyRing>,
    pack: u64,
    number: u32,
    bytes: &[u8],
    longest: u64,
) -> std::result::Result<SealedBlock, KeyError> {
    let (header, rest) = bytes
        .split_at_checked(SEALED_HEADER)
        .ok_or(KeyError::Malformed("shorter than a sealed block's header"))?;
    if header[..4] != MAGIC {
        return Err(KeyError::Malformed("no sealed block begins so"));
    }
    let mut len = [0; 4];
    len.copy_from_slice(&header[4..8]);
    let len = u32::from_le_bytes(len);
    if len == 0 || u64::from(len) > longest {
        return Err(KeyError::Malformed("impossible length"));
    }
    let cipher = rest
        .get(..len as usize)
        .ok_or(KeyError::Malformed("shorter than its payload"))?;
    let stored = &header[8..8 + WRAPPED];
    let id = || stored_id(stored).unwrap_or_default().to_owned();
    let ring = ring.ok_or_else(|| KeyError::Unknown(id()))?;
    let key = ring.unwrap(Purpose::Packs, &wrap_place(pack), stored)?;
    let mut tag = [0; TAG];
    tag.copy_from_slice(&header[SEALED_HEADER - TAG..]);
    let mut payload = vec![0; cipher.len()];
    key.open_separate_gather(
        nonce(u64::from(number), 0),
        Aad::from(block_aad(ring.fs_id(), pack, number, len)),
        cipher,
        &tag,
        &mut payload,
    )
    .map_err(|_| KeyError::Forged(id()))?;
    Ok(SealedBlock { payload, tag })
}

/// The id of the key that a pack is sealed with, as the beginning of the object says, unproven.
pub fn pack_key_id(start: &[u8]) -> std::result::Result<String, KeyError> {
    if start.get(..4) != Some(&MAGIC[..]) {
        return Err(KeyError::Malformed("no sealed block begins so"));
    }
    Ok(stored_id(&start[8.min(start.len())..])?.to_owned())
}
