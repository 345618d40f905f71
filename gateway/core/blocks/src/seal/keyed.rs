//! A store with the keys of what lies in it: whoever reads and writes packs there asks it for them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::KeyRing;
use crate::store::{ObjectInfo, Store, StoreResult, StoreStats};

pub struct Keyed<S> {
    inner: S,
    keys: Arc<KeyRing>,
}

impl<S: Store> Keyed<S> {
    pub const fn new(inner: S, keys: Arc<KeyRing>) -> Self {
        Self { inner, keys }
    }
}

impl<S: Store> Store for Keyed<S> {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        self.inner.put(key, chunks)
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        self.inner.get_pieces(key, range, piece)
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        self.inner.head(key)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        self.inner.delete(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        self.inner.list(prefix)
    }

    fn stats(&self) -> Option<Arc<StoreStats>> {
        self.inner.stats()
    }

    fn available_bytes(&self) -> Option<u64> {
        self.inner.available_bytes()
    }

    fn keys(&self) -> Option<&KeyRing> {
        Some(&self.keys)
    }
}
