//! Azure Blob Storage: a container, or a prefix of one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::{ClientOptions, RetryConfig};

use super::answer::Connector;
use super::object::ObjectBackend;
use crate::error::{BlockError, Result};

/// Bounds of a request where the options do not say otherwise. A whole pack has to pass within the second.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(50);

/// The longest silence of an answer to a request that sends little.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Opens `container[/prefix]`. The options are the keys of `object_store`, such as `azure_storage_account_name`.
/// `patience`: how long operations are tried again; no answer is waited for in silence for longer.
pub fn open(place: &str, options: &HashMap<String, String>, patience: Duration) -> Result<ObjectBackend> {
    let (container, prefix) = place.split_once('/').unwrap_or((place, ""));
    if container.is_empty() {
        return Err(BlockError::Config(
            "the URL names no container: az://CONTAINER[/PREFIX]".to_owned(),
        ));
    }
    // Attempts are counted above: a put that the client itself repeated could not be told from another one's.
    let retry = RetryConfig {
        max_retries: 0,
        retry_timeout: REQUEST_LIMIT,
        ..RetryConfig::default()
    };
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_timeout(REQUEST_LIMIT);
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(client)
        .with_http_connector(Connector)
        .with_container_name(container)
        .with_retry(retry);
    for (key, value) in options {
        let key: AzureConfigKey = key
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| BlockError::Config(format!("{key}: not an option of the store")))?;
        builder = builder.with_config(key, value);
    }
    let azure = builder
        .build()
        .map_err(|error| BlockError::Config(error.to_string()))?;
    Ok(ObjectBackend::new(Arc::new(azure), prefix).with_silence(patience.min(SILENCE_LIMIT)))
}
