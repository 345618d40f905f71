//! Packs, the block cache and the object stores.
//!
//! A pack is an immutable object that holds pieces of many files; a block is a part of it that is fetched, checked and
//! cached alone. Blocks never change, so nothing in the caches is ever stale. The format is docs/formats/pack.md.
//!
//! ```text
//!   Blocks (L1, L2, single flight)          put_pack, read_footer, verify_pack ...
//!        └────────── pack: format, builder, reader ──────────┘
//!                              seal: keys, sealed blocks and objects
//!                              Store
//!            Retrying → Gated → Measured → FileStore | ObjectBackend (Azure)
//! ```

mod blocks;
mod cache;
mod error;
mod fetch;
mod flight;
pub mod pack;
mod readahead;
pub mod seal;
mod seen;
mod shelf_set;
pub mod store;

pub use blocks::{Blocks, BlocksConfig, BlocksStats};
pub use cache::{BlockKey, ShelfStats, TierStats};
pub use error::{BlockError, Result, StoreError};
pub use flight::Tier;
pub use pack::builder::{Pack, PackBuilder};
pub use pack::format::{BLOCK, Entry, Footer, PAYLOAD};
pub use pack::reader::{delete_pack, list_packs, put_pack, read_footer, verify_pack};
pub use readahead::Readahead;
pub use shelf_set::{Run, ShelfSet};
pub use store::open::{PATIENCE, open_gated_store, open_store};
pub use store::{Change, Gate, HealthReport, ObjectInfo, Store, StoreState, StoreStats};
