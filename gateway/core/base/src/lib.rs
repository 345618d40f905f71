//! What every crate of the core shares: failpoints, latency histograms, the numbering of everything handed out, and what
//! simulated machines go through.
//!
//! Nothing here does I/O except a failpoint that was armed on purpose.

pub mod background;
pub mod crc;
pub mod failpoint;
pub mod fate;
pub mod histogram;
pub mod number;

pub use histogram::Histogram;
