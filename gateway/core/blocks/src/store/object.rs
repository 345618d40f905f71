//! A store over the `object_store` crate: Azure in service, memory in tests.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::answer::store_error;
use super::{ObjectInfo, Store, StoreResult};
use crate::error::StoreError;

const DEFAULT_SILENCE: Duration = Duration::from_secs(10);

/// Any `ObjectStore` below a prefix.
pub struct ObjectBackend {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    /// How long a request that sends little may go on without a byte of its answer. A connection that died without a word
    /// would otherwise hold its readers until the limit of a whole request.
    silence: Duration,
}

impl ObjectBackend {
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self {
            inner,
            prefix: Path::from(prefix),
            silence: DEFAULT_SILENCE,
        }
    }

    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// The next part of an answer, if it comes in time.
    async fn heard<T>(&self, key: &str, next: impl Future<Output = T>) -> StoreResult<T> {
        tokio::time::timeout(self.silence, next)
            .await
            .map_err(|_| StoreError::Temporary {
                key: key.to_owned(),
                message: format!("no answer for {:?}", self.silence),
            })
    }

    fn path(&self, key: &str) -> Path {
        self.prefix
            .parts()
            .chain(
                Path::from(key)
                    .parts()
                    .map(|part| part.as_ref().to_owned().into()),
            )
            .collect()
    }

    fn info(&self, meta: &ObjectMeta) -> Option<ObjectInfo> {
        let parts = meta.location.prefix_match(&self.prefix)?;
        let key = parts
            .map(|part| part.as_ref().to_owned())
            .collect::<Vec<_>>()
            .join("/");
        let modified_s = meta.last_modified.timestamp_micros() as f64 / 1e6;
        Some(ObjectInfo {
            key,
            bytes: meta.size,
            modified_s,
        })
    }
}

/// Cuts a stream of chunks into pieces with one copy.
struct Cutter {
    piece: usize,
    left: u64,
    open: Vec<u8>,
    pieces: Vec<Bytes>,
}

impl Cutter {
    fn take(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            if self.open.capacity() == 0 {
                self.open
                    .reserve_exact((self.piece as u64).min(self.left) as usize);
            }
            let room = self.piece - self.open.len();
            let (head, tail) = chunk.split_at(chunk.len().min(room));
            self.open.extend_from_slice(head);
            self.left = self.left.saturating_sub(head.len() as u64);
            chunk = tail;
            if self.open.len() == self.piece {
                self.pieces.push(Bytes::from(std::mem::take(&mut self.open)));
            }
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.pieces.push(Bytes::from(self.open));
        }
        self.pieces
    }
}

impl Store for ObjectBackend {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let payload: PutPayload = chunks.iter().cloned().collect();
            let options = PutOptions {
                mode: PutMode::Create,
                ..Default::default()
            };
            let result = self.inner.put_opts(&self.path(key), payload, options).await;
            result.map(drop).map_err(|error| store_error(key, &error))
        })
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        Box::pin(async move {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range)),
                ..Default::default()
            };
            let path = self.path(key);
            let found = self.heard(key, self.inner.get_opts(&path, options)).await?;
            let found = found.map_err(|error| store_error(key, &error))?;
            let bytes = found.range.end - found.range.start;
            let mut cutter = Cutter {
                piece,
                left: bytes,
                open: Vec::new(),
                pieces: Vec::new(),
            };
            let mut stream = found.into_stream();
            while let Some(chunk) = self.heard(key, stream.next()).await? {
                cutter.take(&chunk.map_err(|error| store_error(key, &error))?);
            }
            if cutter.left > 0 {
                let message = format!("the answer lacks {} of {bytes} bytes", cutter.left);
                return Err(StoreError::Temporary {
                    key: key.to_owned(),
                    message,
                });
            }
            Ok(cutter.finish())
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        Box::pin(async move {
            let path = self.path(key);
            let meta = self
                .heard(key, self.inner.head(&path))
                .await?
                .map_err(|error| store_error(key, &error))?;
            self.info(&meta)
                .ok_or_else(|| StoreError::NotFound(key.to_owned()))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let path = self.path(key);
            match self.heard(key, self.inner.delete(&path)).await? {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(store_error(key, &error)),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        Box::pin(async move {
            let found: Vec<ObjectMeta> = self
                .inner
                .list(Some(&self.path(prefix)))
                .try_collect()
                .await
                .map_err(|error| store_error(prefix, &error))?;
            Ok(found.iter().filter_map(|meta| self.info(meta)).collect())
        })
    }
}
