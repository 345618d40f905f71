//! Retries: what is tried again, how often, and how a put recognises its own success.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use caudal_blocks::store::{Measured, RetryPolicy, Retrying};
use caudal_blocks::{Store, StoreError, StoreState};

use crate::faulty::{Fault, Faulty};
use crate::support::{eager, memory_store, runtime};
use tokio::time::Instant;

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

/// Time that passes as soon as nobody has anything else to do.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

#[test]
fn a_store_that_says_when_is_left_alone_until_then() {
    let faulty = Faulty::scripted(memory_store());
    let store = Retrying::new(faulty.clone(), RetryPolicy::default());
    at_once(async {
        let began = Instant::now();
        faulty.next(&[Fault::Throttled(Duration::from_secs(7))]);
        store.put("object", &ours()).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(7), "{:?}", began.elapsed());
        assert_eq!(faulty.requests.load(Relaxed), 2);
    });
}

/// The store throttles an account, not an operation: the others wait as well, and send nothing meanwhile.
#[test]
fn all_operations_leave_it_alone() {
    let faulty = Faulty::scripted(memory_store());
    let store = Retrying::new(faulty.clone(), RetryPolicy::default());
    at_once(async {
        store.put("object", &ours()).await.unwrap();
        faulty.next(&[Fault::Throttled(Duration::from_secs(10))]);
        let began = Instant::now();
        let (head, get) = tokio::join!(store.head("object"), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(faulty.requests.load(Relaxed), 2);
            let got = store.get_range("object", 0..4).await;
            (got, began.elapsed())
        });
        head.unwrap();
        assert_eq!(get.0.unwrap(), "what");
        assert!(get.1 >= Duration::from_secs(10), "{:?}", get.1);
    });
}

#[test]
fn who_cannot_wait_so_long_hears_it_at_once_and_sends_nothing() {
    let faulty = Faulty::scripted(memory_store());
    let policy = RetryPolicy {
        deadline: Duration::from_secs(5),
        ..RetryPolicy::default()
    };
    let store = Retrying::new(faulty.clone(), policy);
    at_once(async {
        faulty.next(&[Fault::Throttled(Duration::from_secs(60))]);
        for _ in 0..3 {
            let error = store.head("object").await;
            assert!(matches!(error, Err(StoreError::Throttled { .. })), "{error:?}");
        }
        assert_eq!(faulty.requests.load(Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(matches!(store.head("object").await, Err(StoreError::NotFound(_))));
    });
}

#[test]
fn pauses_are_spread_and_grow_to_a_bound() {
    let pauses = |jitter: f64| {
        let faulty = Faulty::scripted(memory_store());
        let policy = RetryPolicy {
            deadline: Duration::from_secs(1000),
            jitter: Arc::new(move || jitter),
            ..RetryPolicy::default()
        };
        let store = Retrying::new(faulty.clone(), policy);
        at_once(async {
            let began = Instant::now();
            faulty.next(&[Fault::Lost; 10]);
            assert!(matches!(store.head("object").await, Err(StoreError::NotFound(_))));
            began.elapsed()
        })
    };
    // 0.1 + 0.2 + ... + 3.2 s, then 5 s each.
    let longest = Duration::from_millis(6300 + 4 * 5000);
    assert!(pauses(1.0) >= longest && pauses(1.0) < longest + Duration::from_secs(1));
    assert!(pauses(0.5) < longest.mul_f64(0.6));
    assert_eq!(pauses(0.0), Duration::ZERO);
}

#[test]
fn the_health_tells_what_is_wrong_and_for_whom() {
    let faulty = Faulty::scripted(memory_store());
    let store = Retrying::new(
        Measured::new(faulty.clone()),
        RetryPolicy { tokens: 0, ..eager() },
    );
    let state = || store.stats().unwrap().health.report();
    runtime().block_on(async {
        for (fault, wanted) in [
            (Fault::Throttled(Duration::ZERO), StoreState::Throttled),
            (Fault::Lost, StoreState::Unreachable),
            (Fault::Fatal, StoreState::Failing),
            (Fault::Denied, StoreState::Refused),
        ] {
            faulty.next(&[fault]);
            store.put("object", &ours()).await.unwrap_err();
            let report = state();
            assert_eq!(
                (report.state, report.writes, report.reads),
                (wanted, wanted, StoreState::Ok)
            );
        }
        store.head("no such object").await.unwrap_err();
        assert_eq!(state().state, StoreState::Refused);
        assert!(state().last_error.unwrap().0.contains("not you"));
        store.put("object", &ours()).await.unwrap();
        assert_eq!(state().state, StoreState::Ok);
    });
}
