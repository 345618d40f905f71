//! Accounts: exact at the byte, also for many writers at once, in nested trees, and when trees change around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::quota::{Account, Charge, Limits, UNLIMITED, common};

fn hard(bytes: i64) -> Limits {
    Limits {
        hard: bytes,
        soft: UNLIMITED,
        grace_ns: 0,
        since_ns: 0,
    }
}

#[test]
fn the_last_byte_is_taken_and_not_one_more() {
    let account = Account::new(2, None);
    account.set_limits(&hard(100), 1);
    account.charge(99, 1).unwrap();
    account.charge(2, 1).unwrap_err();
    account.charge(1, 1).unwrap();
    account.charge(1, 1).unwrap_err();
    account.charge(0, 1).unwrap();
    account.add(-1, 1);
    account.charge(1, 1).unwrap();
    assert_eq!(account.usage(), (100, 0));
    account.charge(u64::MAX, 1).unwrap_err();
    account.charge(i64::MAX as u64, 1).unwrap_err();
}

#[test]
fn writers_at_once_never_pass_it_and_leave_nothing_unused() {
    let outer = Arc::new(Account::new(2, None));
    outer.set_limits(&hard(10_007), 1);
    let inner = Arc::new(Account::new(3, Some(outer.clone())));
    inner.set_limits(&hard(6_001), 1);
    let taken = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (inner, outer, taken) = (&inner, &outer, &taken);
            let account = if thread < 2 { inner } else { outer };
            scope.spawn(move || {
                for step in 0..20_000_u64 {
                    let bytes = 1 + (step * 7 + thread) % 3;
                    if account.charge(bytes, 1).is_ok() {
                        let now = taken.fetch_add(bytes as i64, Relaxed) + bytes as i64;
                        assert!(now <= 10_007);
                    }
                    assert!(inner.usage().0 <= 6_001 && outer.usage().0 <= 10_007);
                }
            });
        }
    });
    assert_eq!(outer.usage().0, taken.load(Relaxed));
    // What a refused charge of the inner tree held for a moment was given back.
    assert_eq!(outer.usage().0, 10_007);
}

#[test]
fn a_refused_charge_leaves_no_trace_in_any_tree() {
    let outer = Arc::new(Account::new(2, None));
    outer.set_limits(&hard(10), 1);
    let inner = Account::new(3, Some(outer.clone()));
    inner.set_limits(&hard(100), 1);
    inner.charge(10, 1).unwrap();
    inner.charge(1, 1).unwrap_err();
    assert_eq!((inner.usage().0, outer.usage().0), (10, 10));
    assert_eq!(inner.available(1), 0);
}

#[test]
fn grace_begins_with_the_byte_that_passes_the_soft_limit_and_ends_below_it() {
    let account = Account::new(2, None);
    let limits = Limits {
        hard: 100,
        soft: 50,
        grace_ns: 1000,
        since_ns: 0,
    };
    account.set_limits(&limits, 1);
    account.charge(50, 10).unwrap();
    assert_eq!(account.usage(), (50, 0));
    account.charge(1, 20).unwrap();
    assert_eq!(account.usage(), (51, 20));
    account.charge(1, 1020).unwrap();
    account.charge(1, 1021).unwrap_err();
    assert_eq!(account.available(1021), 0);
    account.add(-2, 1022);
    assert_eq!(account.usage(), (50, 0));
    account.charge(1, 5000).unwrap();
    assert_eq!(account.usage(), (51, 5000));
}

#[test]
fn a_soft_limit_below_what_is_there_begins_its_grace_at_once() {
    let account = Account::new(2, None);
    account.charge(70, 1).unwrap();
    let limits = Limits {
        hard: UNLIMITED,
        soft: 50,
        grace_ns: 10,
        since_ns: 0,
    };
    account.set_limits(&limits, 7);
    assert_eq!(account.usage(), (70, 7));
    account.charge(1, 17).unwrap();
    account.charge(1, 18).unwrap_err();
}

#[test]
fn trees_come_between_and_go_again() {
    let outer = Arc::new(Account::new(2, None));
    let inner = Arc::new(Account::new(4, Some(outer.clone())));
    inner.add(30, 1);
    let between = Arc::new(Account::new(3, Some(outer.clone())));
    inner.relink(Some(between.clone()), true, 1);
    inner.add(5, 1);
    assert_eq!(
        (outer.usage().0, between.usage().0, inner.usage().0),
        (35, 35, 35)
    );
    assert_eq!(common(Some(&inner), Some(&between)), Some(3));
    assert_eq!(common(Some(&inner), None), None);
    inner.relink(Some(outer.clone()), false, 1);
    inner.add(1, 1);
    assert_eq!((outer.usage().0, between.usage().0), (36, 35));
}

#[test]
fn what_was_charged_in_advance_and_did_not_happen_comes_back() {
    let account = Arc::new(Account::new(2, None));
    account.set_limits(&hard(100), 1);
    let mut charge = Charge::default();
    charge.prepay(1 << 40, 1).unwrap();
    charge.account = Some(account.clone());
    charge.prepay(60, 1).unwrap();
    charge.moved(0, 40, 1);
    charge.refund(1);
    assert_eq!(account.usage().0, 40);
    charge.moved(40, 10, 1);
    charge.refund(1);
    assert_eq!(account.usage().0, 10);
    charge.prepay(91, 1).unwrap_err();
    charge.refund(1);
    assert_eq!(account.usage().0, 10);
}
