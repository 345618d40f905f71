//! Flush and relocation: bytes on their way into packs.
//!
//! `take` marks inodes and notes what is dirty; `write` builds packs and puts them; the caller then appends the row
//! transaction that names them; `commit` swaps what was taken for extents. Until the commit nothing that a reader or a
//! recovery sees has changed, so a batch can end at any point: its packs are garbage then, its data still dirty.

pub mod commit;
pub mod relocate;
pub mod take;
pub mod write;

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::inode::extents::Extent;
use crate::inode::live::Live;
use crate::inode::state::Taken;

/// An inode of a batch. Its `flushing` flag is set until the batch ends.
pub struct BatchInode {
    pub live: Arc<Live>,
    pub taken: Taken,
    /// Filled in by the write.
    pub splices: Vec<Extent>,
}

/// A pack that was put.
pub struct BatchPack {
    pub id: u64,
    /// Size of the object.
    pub bytes: u64,
    /// Payload bytes that the splices name.
    pub live_bytes: u64,
    /// Payloads of its blocks, for the cache.
    pub blocks: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Taken,
    Written,
    Ended,
}

/// A flush or a relocation under way.
pub struct Batch {
    engine: Arc<Engine>,
    relocation: bool,
    stage: Stage,
    /// No change in the batch is older; the journal keeps it until a checkpoint has the batch's rows.
    first_lsn: u64,
    taken_bytes: u64,
    taken_pieces: usize,
    pub inodes: Vec<BatchInode>,
    pub packs: Vec<BatchPack>,
}

impl Batch {
    const fn new(engine: Arc<Engine>, relocation: bool) -> Self {
        Self {
            engine,
            relocation,
            stage: Stage::Taken,
            first_lsn: u64::MAX,
            taken_bytes: 0,
            taken_pieces: 0,
            inodes: Vec::new(),
            packs: Vec::new(),
        }
    }

    /// File data in the batch.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.taken_bytes
    }
}
