//! The fence with a clock that tests move, and with threads that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use caudal_blocks::{Change, Gate};

use crate::clock::Clock;
use crate::errors::CoreError;
use crate::fence::{Attempt, Fence};

const LEASE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Hands {
    boot_ns: AtomicI64,
    wall_ns: AtomicI64,
}

impl Hands {
    fn pass(&self, seconds: i64) {
        self.boot_ns.fetch_add(seconds * 1_000_000_000, SeqCst);
        self.wall_ns.fetch_add(seconds * 1_000_000_000, SeqCst);
    }
}

impl Clock for Hands {
    fn now_ns(&self) -> i64 {
        self.wall_ns.load(SeqCst)
    }

    fn boottime_ns(&self) -> i64 {
        self.boot_ns.load(SeqCst)
    }

    fn monotonic_ns(&self) -> i64 {
        self.boottime_ns()
    }
}

fn fence() -> (Arc<Hands>, Arc<Fence>) {
    let hands = Arc::new(Hands::default());
    (hands.clone(), Arc::new(Fence::new(hands)))
}

fn renew(fence: &Fence) {
    fence.attempt();
    fence.end(Attempt::Renewed(LEASE));
}

/// Waits in a thread of its own until the keeper would be woken.
fn waiter(fence: &Arc<Fence>) -> thread::JoinHandle<Result<(), CoreError>> {
    let waiting = fence.clone();
    let thread = thread::spawn(move || waiting.wait());
    while !fence.wait_wanted(Duration::from_millis(5)) {}
    thread
}

#[test]
fn without_a_keeper_everything_passes() {
    let (hands, fence) = fence();
    hands.pass(1 << 30);
    assert!(fence.passes().unwrap());
    assert_eq!(fence.lease_left(), None);
    fence.wait().unwrap();
}

#[test]
fn a_lease_runs_from_the_beginning_of_the_attempt() {
    let (hands, fence) = fence();
    fence.attempt();
    hands.pass(12);
    fence.end(Attempt::Renewed(LEASE));
    assert_eq!(fence.lease_left(), Some(Duration::from_secs(18)));
    hands.pass(17);
    assert!(fence.passes().unwrap());
    hands.pass(1);
    assert!(!fence.passes().unwrap());
}

#[test]
fn a_pause_that_only_one_clock_counted_is_noticed() {
    for which in 0..2 {
        let (hands, fence) = fence();
        renew(&fence);
        let hand = [&hands.boot_ns, &hands.wall_ns][which];
        hand.fetch_add(31_000_000_000, SeqCst);
        assert!(!fence.passes().unwrap());
    }
}

#[test]
fn after_a_pause_a_reply_waits_for_an_attempt_that_began_later() {
    let (hands, fence) = fence();
    renew(&fence);
    fence.attempt();
    hands.pass(31);
    let reply = waiter(&fence);
    // Sent before the pause, answered after it: says nothing about the time between.
    fence.end(Attempt::Renewed(LEASE));
    hands.pass(0);
    assert!(!fence.passes().unwrap());
    assert!(!reply.is_finished());
    fence.attempt();
    fence.end(Attempt::Lost);
    assert!(matches!(reply.join().unwrap(), Err(CoreError::Fenced)));
    assert!(matches!(fence.passes(), Err(CoreError::Fenced)));
}

#[test]
fn a_store_that_is_away_stops_nobody_for_longer_than_an_attempt() {
    let (hands, fence) = fence();
    renew(&fence);
    hands.pass(31);
    let reply = waiter(&fence);
    fence.attempt();
    hands.pass(8);
    fence.end(Attempt::Unanswered(Duration::from_secs(20)));
    reply.join().unwrap().unwrap();
    assert!(fence.passes().unwrap());
    assert_eq!(fence.lease_left(), Some(Duration::ZERO));
    hands.pass(11);
    assert!(fence.passes().unwrap());
    hands.pass(1);
    assert!(!fence.passes().unwrap());
}

#[test]
fn an_unanswered_attempt_takes_nothing_from_the_lease() {
    let (hands, fence) = fence();
    renew(&fence);
    hands.pass(5);
    fence.attempt();
    fence.end(Attempt::Unanswered(Duration::ZERO));
    hands.pass(24);
    assert!(fence.passes().unwrap());
    hands.pass(1);
    let reply = waiter(&fence);
    fence.attempt();
    fence.end(Attempt::Unanswered(Duration::ZERO));
    assert!(matches!(reply.join().unwrap(), Err(CoreError::Busy(_))));
}

#[test]
fn a_contested_lease_lets_nothing_pass_until_it_is_decided() {
    let (_hands, fence) = fence();
    renew(&fence);
    fence.attempt();
    fence.end(Attempt::Contested);
    assert!(!fence.passes().unwrap());
    let reply = waiter(&fence);
    fence.attempt();
    fence.end(Attempt::Contested);
    assert!(matches!(reply.join().unwrap(), Err(CoreError::Busy(_))));
    renew(&fence);
    assert!(fence.passes().unwrap());
}

#[test]
fn a_server_that_stops_keeps_nobody_waiting() {
    let (hands, fence) = fence();
    renew(&fence);
    hands.pass(31);
    let reply = waiter(&fence);
    fence.shut();
    assert!(matches!(reply.join().unwrap(), Err(CoreError::Closed)));
}

#[tokio::test]
async fn deletions_take_a_lease_and_puts_take_what_replies_take() {
    let (hands, fence) = fence();
    for change in [Change::Put, Change::Delete] {
        Gate::pass(fence.as_ref(), "key", change).await.unwrap();
    }
    renew(&fence);
    Gate::pass(fence.as_ref(), "key", Change::Delete).await.unwrap();
    hands.pass(29);
    fence.attempt();
    fence.end(Attempt::Unanswered(Duration::from_secs(20)));
    hands.pass(1);
    Gate::pass(fence.as_ref(), "key", Change::Put).await.unwrap();
    let error = Gate::pass(fence.as_ref(), "key", Change::Delete)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("valid lease"), "{error}");
    fence.attempt();
    fence.end(Attempt::Lost);
    let error = Gate::pass(fence.as_ref(), "key", Change::Put).await.unwrap_err();
    assert!(error.to_string().contains("no longer owns"), "{error}");
}
