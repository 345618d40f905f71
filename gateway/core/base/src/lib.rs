//! What every crate of the core shares: failpoints, latency histograms and the numbering of everything handed out.
//!
//! Nothing here does I/O except a failpoint that was armed on purpose.

pub mod background;
pub mod crc;
pub mod failpoint;
pub mod histogram;
pub mod number;

pub use histogram::Histogram;
