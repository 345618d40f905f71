//! Retries: what is tried again, how often, and how a put recognises its own success.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use caudal_blocks::store::{Measured, RetryPolicy, Retrying};
use caudal_blocks::{Store, StoreError};

use crate::faulty::{Fault, Faulty};
use crate::support::{eager, memory_store, runtime};

fn ours() -> [Bytes; 2] {
    [
        Bytes::from_static(b"what we write"),
        Bytes::from_static(b" and its end"),
    ]
}

#[test]
fn a_put_recognises_its_own_success() {
    let faulty = Faulty::scripted(memory_store());
    let store = Retrying::new(faulty.clone(), eager());
    runtime().block_on(async {
        faulty.next(&[Fault::ReplyLost, Fault::Lost, Fault::ReplyLost]);
        store.put("object", &ours()).await.unwrap();
        assert_eq!(
            store.get_range("object", 0..100).await.unwrap(),
            "what we write and its end"
        );
    });
}

/// Another writer's object of the same length, put while our first attempt was lost.
#[test]
fn a_put_does_not_take_another_object_for_its_own() {
    let inner = memory_store();
    let faulty = Faulty::scripted(inner.clone());
    let store = Retrying::new(faulty.clone(), eager());
    runtime().block_on(async {
        inner
            .put("object", &[Bytes::from_static(b"what others write + its tail")])
            .await
            .unwrap();
        inner
            .put("same length", &[Bytes::from_static(b"what we write and its eNd")])
            .await
            .unwrap();
        for key in ["object", "same length"] {
            faulty.next(&[Fault::Lost]);
            let put = store.put(key, &ours()).await;
            assert!(matches!(put, Err(StoreError::AlreadyExists(_))), "{put:?}");
        }
    });
}

/// Without a failed attempt before there is nothing to recognise: the name was taken, whatever it holds.
#[test]
fn a_first_attempt_is_strict() {
    let store = Retrying::new(memory_store(), eager());
    runtime().block_on(async {
        store.put("object", &ours()).await.unwrap();
        assert!(matches!(
            store.put("object", &ours()).await,
            Err(StoreError::AlreadyExists(_))
        ));
    });
}

#[test]
fn only_what_is_temporary_is_tried_again() {
    let faulty = Faulty::scripted(memory_store());
    let store = Retrying::new(Measured::new(faulty.clone()), eager());
    runtime().block_on(async {
        faulty.next(&[Fault::Fatal]);
        assert!(matches!(
            store.head("object").await,
            Err(StoreError::Permanent { .. })
        ));
        assert_eq!(faulty.requests.load(Relaxed), 1);
        assert!(matches!(store.head("object").await, Err(StoreError::NotFound(_))));
        assert_eq!(faulty.requests.load(Relaxed), 2);
        faulty.next(&[Fault::Lost, Fault::Lost]);
        assert!(matches!(store.head("object").await, Err(StoreError::NotFound(_))));
        assert_eq!(faulty.requests.load(Relaxed), 5);
    });
    let stats = store.stats().unwrap();
    assert_eq!(
        (
            stats.heads.load(Relaxed),
            stats.errors.load(Relaxed),
            stats.retries.load(Relaxed)
        ),
        (5, 3, 2)
    );
}

#[test]
fn retries_end_with_the_deadline() {
    let faulty = Arc::new(Faulty::by_chance(memory_store(), 100, 1));
    let policy = RetryPolicy {
        deadline: Duration::from_millis(50),
        ..eager()
    };
    let store = Retrying::new(faulty.clone(), policy);
    let error = runtime().block_on(store.head("object"));
    assert!(matches!(error, Err(StoreError::Temporary { .. })));
    assert!((5..1000).contains(&faulty.requests.load(Relaxed)));
}

/// A store that is down for long sees hardly more than first attempts; successes earn retries again.
#[test]
fn all_operations_share_a_budget() {
    let faulty = Faulty::scripted(memory_store());
    let policy = RetryPolicy { tokens: 3, ..eager() };
    let store = Retrying::new(faulty.clone(), policy);
    runtime().block_on(async {
        store.put("object", &ours()).await.unwrap();
        faulty.next(&[Fault::Lost; 23]);
        for _ in 0..20 {
            assert!(store.head("object").await.is_err());
        }
        assert_eq!(faulty.requests.load(Relaxed), 24);
        for _ in 0..10 {
            store.head("object").await.unwrap();
        }
        faulty.next(&[Fault::Lost]);
        store.head("object").await.unwrap();
    });
}

#[test]
fn an_attempt_that_hangs_is_given_up() {
    let faulty = Faulty::scripted(memory_store());
    *faulty.latency.lock() = Duration::from_secs(60);
    let policy = RetryPolicy {
        attempt_limit: Duration::from_millis(5),
        deadline: Duration::from_millis(30),
        ..eager()
    };
    let store = Retrying::new(faulty, policy);
    let error = runtime().block_on(store.get_range("object", 0..10));
    assert!(matches!(error, Err(StoreError::Temporary { .. })), "{error:?}");
}
