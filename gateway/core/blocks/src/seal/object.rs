//! Sealed objects: byte strings such as backups, in chunks, so that none has to fit into memory.
//!
//! Every object has a data key of its own. A chunk's nonce is its number and whether it is the last one, so that chunks
//! can be neither exchanged nor left out, at the end either.

use std::sync::Arc;

use aws_lc_rs::aead::{Aad, LessSafeKey};

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

/// Seals an object that comes piece by piece.
pub struct ObjectSealer {
    fs_id: [u8; 16],
    key: LessSafeKey,
    /// What is not in a chunk yet: a whole one may be the last, so it waits for what follows.
    open: Vec<u8>,
    number: u64,
    out: Vec<u8>,
}

impl ObjectSealer {
    fn chunk(&mut self, from: usize, to: usize, last: bool) {
        let start = self.out.len();
        self.out.extend_from_slice(&self.open[from..to]);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(self.number, u32::from(last)),
                Aad::from(&self.fs_id),
                &mut self.out[start..],
            )
            .expect("a chunk is within the bounds of AES-GCM");
        self.out.extend_from_slice(tag.as_ref());
        self.number += 1;
    }

    /// The next bytes of the sealed object, as many as are certain.
    pub fn update(&mut self, plain: &[u8]) -> Vec<u8> {
        self.open.extend_from_slice(plain);
        let mut at = 0;
        while self.open.len() - at > OBJECT_CHUNK {
            self.chunk(at, at + OBJECT_CHUNK, false);
            at += OBJECT_CHUNK;
        }
        self.open.drain(..at);
        std::mem::take(&mut self.out)
    }

    /// The last bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.chunk(0, self.open.len(), true);
        self.out
    }
}

/// Opens an object that comes piece by piece. What it gives is authentic, and complete only when `finish` has said so.
pub struct ObjectOpener {
    ring: Arc<KeyRing>,
    place: Vec<u8>,
    /// The key, and the id of the one that wrapped it, once the header is there.
    key: Option<(LessSafeKey, String)>,
    waiting: Vec<u8>,
    number: u64,
    broken: bool,
}

impl ObjectOpener {
    fn chunk(&mut self, from: usize, to: usize, last: bool, out: &mut Vec<u8>) -> Result<(), KeyError> {
        let (key, id) = self
            .key
            .as_ref()
            .ok_or(KeyError::Malformed("shorter than its header"))?;
        let (cipher, tag) = (to - from)
            .checked_sub(TAG)
            .map(|len| self.waiting[from..to].split_at(len))
            .ok_or(KeyError::Malformed("shorter than a chunk"))?;
        let start = out.len();
        out.resize(start + cipher.len(), 0);
        let opened = key.open_separate_gather(
            nonce(self.number, u32::from(last)),
            Aad::from(self.ring.fs_id()),
            cipher,
            tag,
            &mut out[start..],
        );
        self.number += 1;
        opened.map_err(|_| KeyError::Forged(id.clone()))
    }

    fn advance(&mut self, sealed: &[u8], last: bool) -> Result<Vec<u8>, KeyError> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(KeyError::Malformed("what came before it was not sealed here"));
        }
        self.waiting.extend_from_slice(sealed);
        let mut out = Vec::new();
        let mut at = 0;
        if self.key.is_none() && (last || self.waiting.len() >= HEADER) {
            let id = object_key_id(&self.waiting)?;
            let stored = self
                .waiting
                .get(8..HEADER)
                .ok_or(KeyError::Malformed("shorter than its header"))?;
            let key = self.ring.unwrap(Purpose::Objects, &self.place, stored)?;
            self.key = Some((key, id));
            at = HEADER;
        }
        if self.key.is_some() {
            while self.waiting.len() - at > OBJECT_CHUNK + TAG {
                self.chunk(at, at + OBJECT_CHUNK + TAG, false, &mut out)?;
                at += OBJECT_CHUNK + TAG;
            }
        }
        if last {
            self.chunk(at, self.waiting.len(), true, &mut out)?;
        }
        self.waiting.drain(..at);
        self.broken = false;
        Ok(out)
    }

    /// The next plaintext, as much as is certain.
    pub fn update(&mut self, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.advance(sealed, false)
    }

    /// The last plaintext. An error means that the object was cut or altered: what came before is of no use then.
    pub fn finish(mut self) -> Result<Vec<u8>, KeyError> {
        self.advance(&[], true)
    }
}

impl KeyRing {
    /// Begins to seal an object. `purpose` says what it is, better with its name: only who says the same can open it.
    pub fn sealer(&self, purpose: &str) -> Result<ObjectSealer, KeyError> {
        let wrapped = self.wrap(Purpose::Objects, &place(purpose))?;
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&wrapped.stored);
        Ok(ObjectSealer {
            fs_id: *self.fs_id(),
            key: wrapped.key,
            open: Vec::new(),
            number: 0,
            out,
        })
    }

    /// Begins to open an object that was sealed for this purpose. Nothing in the bytes is trusted.
    pub fn opener(self: &Arc<Self>, purpose: &str) -> ObjectOpener {
        ObjectOpener {
            ring: self.clone(),
            place: place(purpose),
            key: None,
            waiting: Vec::new(),
            number: 0,
            broken: false,
        }
    }

    /// Seals an object that is in memory.
    pub fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, KeyError> {
        let mut sealer = self.sealer(purpose)?;
        let mut out = sealer.update(plain);
        out.append(&mut sealer.finish());
        Ok(out)
    }

    /// What was sealed for this purpose.
    pub fn open(self: &Arc<Self>, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, KeyError> {
        let mut opener = self.opener(purpose);
        let mut out = opener.update(sealed)?;
        out.append(&mut opener.finish()?);
        Ok(out)
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
