//! Numbers that are never handed out twice.
//!
//! Each start of a file system's owner takes a new epoch from the container. LSNs, pack ids, inode numbers and directory
//! cookies carry it in their high bits, so what a client saw of a history that a crash cut off is never used again.

/// Bits of a number below its epoch.
pub const EPOCH_SHIFT: u32 = 40;
/// Largest epoch: numbers stay below 2^63 and so fit the signed integers of SQL.
pub const MAX_EPOCH: u64 = (1 << 23) - 1;

/// First number of an epoch. Counters start one above it, so that 0 can mean "none".
#[must_use]
pub const fn first_of(epoch: u64) -> u64 {
    epoch << EPOCH_SHIFT
}

/// The epoch that a number was handed out in.
#[must_use]
pub const fn epoch_of(number: u64) -> u64 {
    number >> EPOCH_SHIFT
}
