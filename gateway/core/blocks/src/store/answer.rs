//! What the service's HTTP answers mean: which are an object's, and which refuse the request itself.
//!
//! The client crate keeps an answer's status and body and drops its headers. Two of them matter: `x-ms-error-code`, which is
//! there for HEAD too, and Retry-After. So answers that refuse are turned into errors here, where they still have them.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

use crate::error::StoreError;

/// Longer is not believed: a store that says so for an hour would be left alone for an hour.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The service answered, and did not do it.
#[derive(Debug)]
pub struct Refusal {
    method: String,
    status: u16,
    /// The service's word for it, such as `AuthenticationFailed`.
    code: String,
    retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered {} {}", self.method, self.status, self.code)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// What the caller must do about it.
    fn to_error(&self, key: String) -> StoreError {
        let message = self.to_string().trim_end().to_owned();
        match self.status {
            429 | 503 => self.throttled(key, message),
            408 | 500.. if self.retry_after.is_some() => self.throttled(key, message),
            408 | 500.. => StoreError::Temporary { key, message },
            // What the service will not do for this credential, this container or this account, until somebody changes that.
            _ => StoreError::Denied { key, message },
        }
    }

    const fn throttled(&self, key: String, message: String) -> StoreError {
        StoreError::Throttled {
            key,
            message,
            retry_after: self.retry_after,
        }
    }
}

/// The crate's client, with refusals as errors.
#[derive(Debug)]
pub struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service(inner)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

impl HttpService for Service {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let method = request.method().to_string();
            let response = self.0.execute(request).await?;
            let headers = response.headers();
            let header = |name| headers.get(name).and_then(|value: &_| value.to_str().ok());
            match refusal(method, response.status().as_u16(), header) {
                Some(refusal) => Err(HttpError::new(HttpErrorKind::Unknown, refusal)),
                None => Ok(response),
            }
        })
    }
}

/// None: an answer about the object, which the crate has a variant for.
fn refusal<'a>(
    method: String,
    status: u16,
    header: impl Fn(&'static str) -> Option<&'a str>,
) -> Option<Refusal> {
    let code = header("x-ms-error-code").unwrap_or_default();
    let of_the_object = match status {
        404 => !code.starts_with("Container"),
        409 => code == "BlobAlreadyExists" || code.is_empty(),
        412 | 416 => true,
        _ => status < 400,
    };
    if of_the_object {
        return None;
    }
    let retry_after = header("retry-after")
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    Some(Refusal {
        method,
        status,
        code: code.to_owned(),
        retry_after,
    })
}

/// The one mapping of the crate's errors. Messages are short and hold no address: that may contain a signature.
pub fn store_error(key: &str, error: &object_store::Error) -> StoreError {
    use object_store::Error;
    let key = key.to_owned();
    if let Some(refusal) = cause::<Refusal>(error) {
        return refusal.to_error(key);
    }
    match error {
        Error::NotFound { .. } => StoreError::NotFound(key),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => StoreError::AlreadyExists(key),
        Error::Generic { .. } if is_range(&error.to_string()) => StoreError::Range(key),
        Error::Generic { .. } | Error::JoinError { .. } => StoreError::Temporary {
            key,
            message: format!("no answer: {}", innermost(error)),
        },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreError::Denied {
            key,
            message: innermost(error),
        },
        _ => StoreError::Permanent {
            key,
            message: innermost(error),
        },
    }
}

/// The crate has no variant for a range that begins after the end.
fn is_range(message: &str) -> bool {
    message.contains("416 Range Not Satisfiable")
        || message.contains("starting at or after")
        || message.contains("Wanted range starting at")
}

fn causes(error: &object_store::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |inner| (*inner).source())
}

fn cause<T: std::error::Error + 'static>(error: &object_store::Error) -> Option<&T> {
    causes(error).find_map(|inner| inner.downcast_ref())
}

/// The text of the first cause.
fn innermost(error: &object_store::Error) -> String {
    causes(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &'static str, retry_after: &'static str) -> Option<StoreError> {
        let header = |name: &'static str| {
            let value = if name == "retry-after" { retry_after } else { code };
            (!value.is_empty()).then_some(value)
        };
        refusal("PUT".to_owned(), status, header).map(|refusal| refusal.to_error("key".to_owned()))
    }

    #[test]
    fn answers_about_the_object_are_left_to_the_client() {
        for (status, code) in [
            (200, ""),
            (304, ""),
            (404, "BlobNotFound"),
            (409, "BlobAlreadyExists"),
            (412, "ConditionNotMet"),
        ] {
            assert_eq!(answer(status, code, ""), None, "{status} {code}");
        }
    }

    #[test]
    fn what_somebody_must_change_is_denied() {
        for (status, code) in [
            (403, "AuthenticationFailed"),
            (401, ""),
            (404, "ContainerNotFound"),
            (409, "ContainerBeingDeleted"),
            (400, "InvalidHeaderValue"),
        ] {
            let error = answer(status, code, "");
            assert!(
                matches!(error, Some(StoreError::Denied { .. })),
                "{status} {code}: {error:?}"
            );
        }
        let text = answer(403, "AuthenticationFailed", "").unwrap().to_string();
        assert!(
            text.contains("PUT was answered 403 AuthenticationFailed"),
            "{text}"
        );
    }

    #[test]
    fn throttling_says_when_to_come_again() {
        for (status, header, wanted) in [
            (503, "7", Some(7)),
            (429, "", None),
            (500, "2", Some(2)),
            (503, "86400", Some(60)),
            (503, "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            let Some(StoreError::Throttled { retry_after, .. }) = answer(status, "ServerBusy", header) else {
                panic!("{status} {header}");
            };
            assert_eq!(
                retry_after.map(|after| after.as_secs()),
                wanted,
                "{status} {header}"
            );
        }
        assert!(matches!(
            answer(500, "InternalError", ""),
            Some(StoreError::Temporary { .. })
        ));
    }
}
