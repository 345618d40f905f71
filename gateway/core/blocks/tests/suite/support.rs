//! What the tests share: a runtime, random bytes that are the same each time, packs.

use std::sync::Arc;

use bytes::Bytes;
use caudal_blocks::store::{ObjectBackend, RetryPolicy};
use caudal_blocks::{Pack, PackBuilder, Store};
use tokio::runtime::Runtime;

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A small generator of numbers; the same seed gives the same numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out: Vec<u8> = (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .collect();
        out.truncate(len);
        out
    }
}

/// A pack of one file with these bytes.
pub fn pack_of(id: u64, data: &[u8]) -> Pack {
    let mut builder = PackBuilder::new(id, id);
    builder.add(42, 0, data);
    builder.finish()
}

pub fn memory_store() -> Arc<dyn Store> {
    Arc::new(ObjectBackend::new(
        Arc::new(object_store::memory::InMemory::new()),
        "prefix/of/it",
    ))
}

/// Retries at once, and as often as it takes.
pub fn eager() -> RetryPolicy {
    RetryPolicy {
        first_pause: std::time::Duration::from_micros(100),
        longest_pause: std::time::Duration::from_millis(1),
        tokens: 1_000_000,
        jitter: Arc::new(|| 1.0),
        ..RetryPolicy::default()
    }
}

pub fn joined(chunks: &[Bytes]) -> Vec<u8> {
    chunks.iter().flatten().copied().collect()
}
