//! The native core of a Caudal file system: live inodes over extents in packs, dirty data in a journal.
//!
//! Python decides, this moves bytes. A read that hits memory, a write and the attributes of a live inode take neither the
//! GIL nor any lock for longer than a few microseconds; everything that waits does so without the GIL.

pub mod activity;
pub mod attributes;
pub mod audit;
pub mod buffers;
pub mod clock;
pub mod commit;
pub mod completion;
pub mod engine;
pub mod errors;
pub mod export_reads;
pub mod fence;
#[cfg(test)]
mod fence_test;
pub mod flush;
pub mod gate;
pub mod ground;
pub mod inode;
pub mod journaled;
pub mod limits;
#[cfg(test)]
mod limits_test;
pub mod mirrors;
pub mod operation;
#[cfg(test)]
mod operation_test;
pub mod packs;
mod py;
pub mod quota;
#[cfg(test)]
mod quota_test;
pub mod read;
pub mod replay;
pub mod resident;
pub mod sparse;
pub mod spill;
pub mod stats;
pub mod vtable;
mod vtable_sparse;
#[cfg(test)]
mod vtable_test;
pub mod waiting;
pub mod witness;
pub mod work;
pub mod write;
