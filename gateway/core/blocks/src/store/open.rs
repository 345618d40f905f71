//! From a URL to a store.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::file::FileStore;
use super::{Gate, Gated, Measured, RetryPolicy, Retrying, Store, azure};
use crate::error::{BlockError, Result, StoreError};

/// How long an operation is tried again where nobody says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A disk that fails for seconds goes on failing.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// Opens a store whose operations are tried again for [`PATIENCE`].
pub fn open_store(url: &str, options: &HashMap<String, String>) -> Result<Arc<dyn Store>> {
    open_gated_store(url, options, PATIENCE, None)
}

/// Opens `file:///DIRECTORY` or `az://CONTAINER[/PREFIX]`, with figures and with retries for as long as `patience`.
/// Nothing is sent yet. Every attempt to change something passes the gate, where there is one.
///
/// The options are those of `object_store` for Azure; a directory has none.
pub fn open_gated_store(
    url: &str,
    options: &HashMap<String, String>,
    patience: Duration,
    gate: Option<Arc<dyn Gate>>,
) -> Result<Arc<dyn Store>> {
    let policy = |deadline| RetryPolicy {
        deadline,
        ..RetryPolicy::default()
    };
    match url.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => {
            let store =
                FileStore::open(Path::new(path), rand::random()).map_err(|error| match error.kind() {
                    // A disk that is not mounted, say.
                    io::ErrorKind::NotFound => BlockError::Store(StoreError::Temporary {
                        key: path.to_owned(),
                        message: error.to_string(),
                    }),
                    _ => BlockError::Config(format!("{path}: {error}")),
                })?;
            let policy = policy(patience.min(DISK_PATIENCE));
            Ok(Arc::new(Retrying::new(
                Gated::new(Measured::new(store), gate),
                policy,
            )))
        }
        Some(("az", place)) => {
            let store = azure::open(place, options, patience)?;
            Ok(Arc::new(Retrying::new(
                Gated::new(Measured::new(store), gate),
                policy(patience),
            )))
        }
        _ => Err(BlockError::Config(format!(
            "{url}: expected file:///DIRECTORY or az://CONTAINER[/PREFIX]"
        ))),
    }
}
