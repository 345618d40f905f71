//! Limits against what a cap means: in no time more passes than the burst and the rate times that time.

use std::time::Duration;

use proptest::prelude::*;

use crate::limits::{Limits, MAX_WAIT, Rates, Rule, Scope, Verdict};

const ALICE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
const BOB: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2];
const EVE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 11, 0, 0, 1];
const SECOND: u64 = 1_000_000_000;

fn reads(rate: f64, burst_s: f64) -> Rates {
    Rates {
        read_bytes_s: rate,
        burst_s,
        ..Rates::default()
    }
}

fn limits(scope: Scope, rates: Rates) -> Limits {
    let limits = Limits::default();
    limits.set(&[Rule { scope, rates }], 0);
    limits
}

fn network() -> Scope {
    Scope::Clients {
        network: ALICE,
        prefix: 104,
    }
}

#[test]
fn without_rules_everything_passes() {
    assert_eq!(
        Limits::default().admit(1, &ALICE, true, u64::MAX, 0),
        Verdict::Now
    );
}

#[test]
fn credit_is_used_first_then_each_waits_behind_the_one_before() {
    let limits = limits(Scope::Export(7), reads(100.0, 2.0));
    assert_eq!(limits.admit(7, &ALICE, true, 200, 0), Verdict::Now);
    let later = |s| Verdict::Later(Duration::from_secs(s));
    assert_eq!(limits.admit(7, &ALICE, true, 100, 0), later(1));
    assert_eq!(limits.admit(7, &BOB, true, 100, 0), later(2));
    assert_eq!(limits.admit(7, &BOB, true, 100, 2 * SECOND), later(1));
    // Writes, and other exports, are not meant.
    assert_eq!(limits.admit(7, &BOB, false, 1 << 30, 0), Verdict::Now);
    assert_eq!(limits.admit(8, &BOB, true, 1 << 30, 0), Verdict::Now);
    assert_eq!(limits.counts()[0][..3], [5, 3, 0]);
}

#[test]
fn who_would_wait_too_long_comes_again_and_is_not_charged() {
    let limits = limits(Scope::Server, reads(100.0, 1.0));
    assert_eq!(limits.admit(1, &ALICE, true, 10_000, 0), Verdict::Again);
    assert_eq!(limits.admit(1, &ALICE, true, 100, 0), Verdict::Now);
    assert_eq!(limits.counts()[0][2], 1);
}

#[test]
fn each_client_of_a_network_has_the_rates_for_itself() {
    let limits = limits(network(), reads(100.0, 1.0));
    assert_eq!(limits.admit(1, &ALICE, true, 100, 0), Verdict::Now);
    assert_eq!(limits.admit(1, &BOB, true, 100, 0), Verdict::Now);
    assert!(matches!(limits.admit(1, &BOB, true, 100, 0), Verdict::Later(_)));
    assert_eq!(limits.admit(1, &EVE, true, 1 << 40, 0), Verdict::Now);
}

#[test]
fn of_client_rules_the_first_holds_and_of_others_all() {
    let limits = Limits::default();
    let whole = Scope::Clients {
        network: [0; 16],
        prefix: 0,
    };
    let one = Scope::Clients {
        network: ALICE,
        prefix: 128,
    };
    limits.set(
        &[
            Rule {
                scope: one,
                rates: reads(1000.0, 1.0),
            },
            Rule {
                scope: whole,
                rates: reads(10.0, 1.0),
            },
            Rule {
                scope: Scope::Server,
                rates: reads(500.0, 1.0),
            },
        ],
        0,
    );
    assert_eq!(limits.admit(1, &ALICE, true, 500, 0), Verdict::Now);
    assert_eq!(
        limits.admit(1, &ALICE, true, 250, 0),
        Verdict::Later(Duration::from_millis(500))
    );
    assert!(matches!(
        limits.admit(1, &BOB, true, 11, SECOND),
        Verdict::Later(_)
    ));
}

#[test]
fn requests_have_a_rate_of_their_own() {
    let rates = Rates {
        ops_s: 10.0,
        burst_s: 0.1,
        ..Rates::default()
    };
    let limits = limits(Scope::Server, rates);
    assert_eq!(limits.admit(1, &ALICE, true, 0, 0), Verdict::Now);
    assert_eq!(
        limits.admit(1, &ALICE, false, 0, 0),
        Verdict::Later(Duration::from_millis(100))
    );
}

#[test]
fn clients_that_are_idle_are_forgotten() {
    let limits = limits(
        Scope::Clients {
            network: [0; 16],
            prefix: 0,
        },
        reads(100.0, 1.0),
    );
    for number in 0..30_000u128 {
        assert_eq!(
            limits.admit(1, &number.to_be_bytes(), true, 10, number as u64),
            Verdict::Now
        );
    }
}

proptest! {
    #[test]
    fn no_more_passes_than_the_cap_allows(
        rate in 1.0..1e6f64,
        burst_s in 0.0..10.0f64,
        requests in prop::collection::vec((0u64..SECOND, 0u64..2_000_000), 1..80),
    ) {
        let limits = limits(Scope::Server, reads(rate, burst_s));
        let mut now_ns = 0;
        let mut released: Vec<(u64, f64)> = Vec::new();
        for (pause_ns, bytes) in requests {
            now_ns += pause_ns;
            match limits.admit(1, &ALICE, true, bytes, now_ns) {
                Verdict::Now => released.push((now_ns, bytes as f64)),
                Verdict::Later(wait) => {
                    prop_assert!(wait <= MAX_WAIT);
                    let at = now_ns + u64::try_from(wait.as_nanos()).unwrap();
                    // One bucket is a queue: nobody overtakes but who needs nothing.
                    prop_assert!(bytes == 0 || released.last().is_none_or(|last| last.0 <= at + 1000));
                    released.push((at, bytes as f64));
                }
                Verdict::Again => {}
            }
        }
        let most = rate * burst_s.max(0.001);
        for (from, first) in released.iter().enumerate() {
            let mut sum = 0.0;
            for (at, bytes) in &released[from..] {
                sum += bytes;
                let span_s = at.saturating_sub(first.0) as f64 / 1e9;
                prop_assert!(sum <= first.1.max(most) + most + span_s * rate + 1.0 + 1e-6 * sum);
            }
        }
    }
}
