//! The key ring: the master keys of a file system, and data keys wrapped by them.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use parking_lot::RwLock;
use thiserror::Error;

/// Bytes of a master key, and of a data key.
pub const MASTER_KEY: usize = 32;
pub const TAG: usize = 16;
/// Bytes of a key's id in sealed data; a shorter one is followed by zeros.
pub const KEY_ID: usize = 28;
/// A data key as it is stored: id of the master key, nonce, ciphertext, tag.
pub const WRAPPED: usize = KEY_ID + NONCE_LEN + MASTER_KEY + TAG;
const SALT: &[u8] = b"caudal master key 1";

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// The operator can bring it.
    #[error("it is sealed with the key {0}, which the key file does not have")]
    Unknown(String),
    #[error("there is no key to seal with")]
    NoCurrent,
    #[error("the key id {0:?} is not one to {KEY_ID} of the characters A-Z a-z 0-9 . _ -, or is there twice")]
    Id(String),
    #[error("the system gives no random bytes")]
    Random,
    /// Altered, or sealed with another key that has the same id, or for another place.
    #[error("it is not what was sealed here with the key {0}")]
    Forged(String),
    #[error("not sealed data: {0}")]
    Malformed(&'static str),
    #[error("format version {0} is not known")]
    Version(u32),
}

/// What a data key is for: the master key gives each purpose and each file system a wrapping key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Packs,
    Objects,
}

struct Master {
    id: String,
    packs: LessSafeKey,
    objects: LessSafeKey,
}

#[derive(Default)]
struct Keys {
    masters: Vec<Arc<Master>>,
    current: Option<Arc<Master>>,
}

type Random = Box<dyn Fn(&mut [u8]) -> bool + Send + Sync>;

/// The master keys of one file system. They can be replaced while it is in use.
pub struct KeyRing {
    fs_id: [u8; 16],
    keys: RwLock<Keys>,
    random: Random,
}

struct KeyLen;

impl KeyType for KeyLen {
    fn len(&self) -> usize {
        MASTER_KEY
    }
}

/// A data key in memory, and as it is stored.
pub struct Wrapped {
    pub key: LessSafeKey,
    pub stored: [u8; WRAPPED],
}

pub fn nonce(low: u64, high: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&high.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

pub fn aes_key(bytes: &[u8; MASTER_KEY]) -> LessSafeKey {
    // It fails for nothing but another length.
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("a key of AES-256 has 32 bytes"))
}

impl Master {
    fn new(fs_id: &[u8; 16], id: &str, secret: &[u8; MASTER_KEY]) -> Self {
        let prk = Salt::new(HKDF_SHA256, SALT).extract(secret);
        Self {
            id: id.to_owned(),
            packs: derive(&prk, fs_id, b"packs"),
            objects: derive(&prk, fs_id, b"objects"),
        }
    }

    fn of(&self, purpose: Purpose) -> &LessSafeKey {
        match purpose {
            Purpose::Packs => &self.packs,
            Purpose::Objects => &self.objects,
        }
    }
}

fn derive(prk: &Prk, fs_id: &[u8; 16], purpose: &[u8]) -> LessSafeKey {
    let mut key = [0; MASTER_KEY];
    prk.expand(&[fs_id, purpose], KeyLen)
        .and_then(|okm| okm.fill(&mut key))
        .expect("one block of output is within HKDF's bounds");
    aes_key(&key)
}

fn is_id(id: &str) -> bool {
    (1..=KEY_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The master key's id in stored bytes of a data key.
pub fn stored_id(stored: &[u8]) -> Result<&str, KeyError> {
    let bytes = stored.get(..KEY_ID).ok_or(KeyError::Malformed("cut off"))?;
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(KEY_ID);
    let id = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
    if is_id(id) && bytes[len..].iter().all(|&byte| byte == 0) {
        Ok(id)
    } else {
        Err(KeyError::Malformed("no key id"))
    }
}

impl KeyRing {
    /// The keys of a file system: (id, secret). The first is the one to seal with, unless `seals` says that nothing is to be
    /// sealed any more.
    pub fn new(
        fs_id: [u8; 16],
        keys: &[(String, [u8; MASTER_KEY])],
        seals: bool,
    ) -> Result<Arc<Self>, KeyError> {
        Self::with_random(
            fs_id,
            keys,
            seals,
            Box::new(|out| aws_lc_rs::rand::fill(out).is_ok()),
        )
    }

    /// With randomness of the caller's, for tests.
    pub fn with_random(
        fs_id: [u8; 16],
        keys: &[(String, [u8; MASTER_KEY])],
        seals: bool,
        random: Random,
    ) -> Result<Arc<Self>, KeyError> {
        let ring = Arc::new(Self {
            fs_id,
            keys: RwLock::default(),
            random,
        });
        ring.replace(keys, seals)?;
        Ok(ring)
    }

    /// Puts other keys in place of these. What is being sealed goes on with the key that it began with.
    pub fn replace(&self, keys: &[(String, [u8; MASTER_KEY])], seals: bool) -> Result<(), KeyError> {
        for (at, (id, _)) in keys.iter().enumerate() {
            if !is_id(id) || keys[..at].iter().any(|(other, _)| other == id) {
                return Err(KeyError::Id(id.clone()));
            }
        }
        let masters: Vec<_> = keys
            .iter()
            .map(|(id, secret)| Arc::new(Master::new(&self.fs_id, id, secret)))
            .collect();
        let current = masters.first().filter(|_| seals).cloned();
        *self.keys.write() = Keys { masters, current };
        Ok(())
    }

    /// Id of the key that seals; None: nothing is to be sealed.
    #[must_use]
    pub fn current(&self) -> Option<String> {
        self.keys.read().current.as_ref().map(|master| master.id.clone())
    }

    /// Ids of all keys.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.keys
            .read()
            .masters
            .iter()
            .map(|master| master.id.clone())
            .collect()
    }

    pub const fn fs_id(&self) -> &[u8; 16] {
        &self.fs_id
    }

    /// A new data key. `place` is what it may be used for; whoever unwraps it must say the same.
    ///
    /// The nonce is random: a master key wraps at most some billions of data keys, one for each pack of 8 MiB, so two
    /// nonces of 96 bits do not meet.
    pub fn wrap(&self, purpose: Purpose, place: &[u8]) -> Result<Wrapped, KeyError> {
        let master = self.keys.read().current.clone().ok_or(KeyError::NoCurrent)?;
        let mut fresh = [0; NONCE_LEN + MASTER_KEY];
        if !(self.random)(&mut fresh) {
            return Err(KeyError::Random);
        }
        let mut data_key = [0; MASTER_KEY];
        data_key.copy_from_slice(&fresh[NONCE_LEN..]);
        let key = aes_key(&data_key);
        let mut stored = [0; WRAPPED];
        stored[..master.id.len()].copy_from_slice(master.id.as_bytes());
        let (head, body) = stored.split_at_mut(KEY_ID + NONCE_LEN);
        head[KEY_ID..].copy_from_slice(&fresh[..NONCE_LEN]);
        let mut wrap_nonce = [0; NONCE_LEN];
        wrap_nonce.copy_from_slice(&fresh[..NONCE_LEN]);
        body[..MASTER_KEY].copy_from_slice(&data_key);
        let tag = master
            .of(purpose)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(wrap_nonce),
                Aad::from(wrap_aad(&master.id, place)),
                &mut body[..MASTER_KEY],
            )
            .expect("32 bytes are within the bounds of AES-GCM");
        body[MASTER_KEY..].copy_from_slice(tag.as_ref());
        Ok(Wrapped { key, stored })
    }

    /// The data key of stored bytes that were made for the same purpose and place.
    pub fn unwrap(&self, purpose: Purpose, place: &[u8], stored: &[u8]) -> Result<LessSafeKey, KeyError> {
        let stored = stored.get(..WRAPPED).ok_or(KeyError::Malformed("cut off"))?;
        let id = stored_id(stored)?;
        let master = self
            .keys
            .read()
            .masters
            .iter()
            .find(|master| master.id == id)
            .cloned()
            .ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        let nonce_end = KEY_ID + NONCE_LEN;
        let forged = |_| KeyError::Forged(id.to_owned());
        let wrap_nonce = Nonce::try_assume_unique_for_key(&stored[KEY_ID..nonce_end]).map_err(forged)?;
        let mut data_key = [0; MASTER_KEY];
        master
            .of(purpose)
            .open_separate_gather(
                wrap_nonce,
                Aad::from(wrap_aad(id, place)),
                &stored[nonce_end..nonce_end + MASTER_KEY],
                &stored[nonce_end + MASTER_KEY..],
                &mut data_key,
            )
            .map_err(forged)?;
        Ok(aes_key(&data_key))
    }
}

fn wrap_aad(id: &str, place: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(1 + id.len() + place.len());
    aad.push(id.len() as u8);
    aad.extend_from_slice(id.as_bytes());
    aad.extend_from_slice(place);
    aad
}
