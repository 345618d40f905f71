//! Sealing: what leaves this machine is encrypted and bound to its place. The bytes are in docs/formats/sealed.md.
//!
//! Master keys come from the operator's key file and encrypt nothing but data keys. Every pack, and every other sealed
//! object, has a random data key of its own, which lies in it wrapped by a master key.

mod block;
mod keyed;
mod keys;
mod object;

pub use block::{PackSealer, SEALED_HEADER, SealedBlock, open_block, open_footer, pack_key_id};
pub use keyed::Keyed;
pub use keys::{KeyError, KeyRing, MASTER_KEY};
pub use object::{OBJECT_CHUNK, ObjectOpener, ObjectSealer, object_key_id};
