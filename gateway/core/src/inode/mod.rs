//! Live inodes: what the core knows of a file that is being read or written.

pub mod dirty;
pub mod extents;
pub mod index;
pub mod live;
#[cfg(test)]
mod model_test;
pub mod payload;
pub mod seek;
pub mod state;
pub mod table;

/// Offsets and sizes lie below this: they must fit the signed 64 bits of protocols and of SQL.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// End of a range without passing [`MAX_SIZE`].
#[must_use]
pub const fn end_of(offset: u64, len: u64) -> u64 {
    let end = offset.saturating_add(len);
    if end > MAX_SIZE { MAX_SIZE } else { end }
}
