//! From a URL to a store.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::file::FileStore;
use super::{Measured, RetryPolicy, Retrying, Store, azure};
use crate::error::{BlockError, Result};

/// Opens `file:///DIRECTORY` or `az://CONTAINER[/PREFIX]`, with retries and figures. Nothing is sent yet.
///
/// The options are those of `object_store` for Azure; a directory has none.
pub fn open_store(url: &str, options: &HashMap<String, String>) -> Result<Arc<dyn Store>> {
    match url.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => {
            let store = FileStore::open(Path::new(path), rand::random())
                .map_err(|error| BlockError::Config(format!("{path}: {error}")))?;
            // A disk that fails for seconds goes on failing.
            let policy = RetryPolicy {
                deadline: Duration::from_secs(2),
                ..RetryPolicy::default()
            };
            Ok(Arc::new(Retrying::new(Measured::new(store), policy)))
        }
        Some(("az", place)) => {
            let store = azure::open(place, options)?;
            Ok(Arc::new(Retrying::new(
                Measured::new(store),
                RetryPolicy::default(),
            )))
        }
        _ => Err(BlockError::Config(format!(
            "{url}: expected file:///DIRECTORY or az://CONTAINER[/PREFIX]"
        ))),
    }
}
