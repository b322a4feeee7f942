//! Cases of the retry rules, and their invariants.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { retries_max: 2, age_max: Duration::from_secs(6 * 3600) };

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(s * 1_000)
}

fn fresh() -> History {
    History { accepted_at: at(0), attempts: 0, refusals: 0 }
}

#[test]
fn a_functions_errors_are_tried_again_after_one_minute_and_then_two() {
    let policy = Policy::default();
    let Verdict::Retry { at: first, history } = after(fresh(), RULES, Outcome::Failed, at(10), policy) else {
        panic!()
    };
    assert_eq!((first, history.attempts), (at(70), 1));
    let Verdict::Retry { at: second, history } = after(history, RULES, Outcome::Failed, at(80), policy) else {
        panic!()
    };
    assert_eq!((second, history.attempts), (at(200), 2));
    let last = after(history, RULES, Outcome::Failed, at(210), policy);
    assert_eq!(last, Verdict::GiveUp { condition: Condition::RetriesExhausted, attempts: 3 });
    let none = after(fresh(), Rules { retries_max: 0, ..RULES }, Outcome::Failed, at(10), policy);
    assert_eq!(none, Verdict::GiveUp { condition: Condition::RetriesExhausted, attempts: 1 });
}

/// As recorded of AWS (`test_maxeventage`): of 60 seconds, the first retry would come too late.
#[test]
fn a_retry_that_would_come_too_late_is_none() {
    let rules = Rules { age_max: Duration::from_secs(60), ..RULES };
    let verdict = after(fresh(), rules, Outcome::Failed, at(1), Policy::default());
    assert_eq!(verdict, Verdict::GiveUp { condition: Condition::EventAgeExceeded, attempts: 1 });
}

#[test]
fn what_could_not_run_is_tried_again_until_its_age() {
    let (policy, mut history, mut now, mut pauses) = (Policy::default(), fresh(), at(0), Vec::new());
    let rules = Rules { age_max: Duration::from_secs(2_000), ..RULES };
    loop {
        match after(history, rules, Outcome::Refused, now, policy) {
            Verdict::Retry { at, history: next } => {
                pauses.push((at.as_ms() - now.as_ms()) / 1_000);
                (now, history) = (at, next);
            }
            verdict => panic!("{verdict:?} at {now}"),
        }
        if before(history, rules, false, false, now.plus(Duration::from_millis(1))).is_some() {
            break;
        }
    }
    assert_eq!(&pauses[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!((now, history.attempts), (at(2_000), 0));
    let late = after(history, rules, Outcome::Refused, at(2_001), policy);
    assert_eq!(late, Verdict::GiveUp { condition: Condition::EventAgeExceeded, attempts: 0 });
}

#[test]
fn a_stopped_function_and_a_loop_are_given_up_before_they_run() {
    assert_eq!(before(fresh(), RULES, true, true, at(1)), Some(Condition::ZeroReservedConcurrency));
    assert_eq!(before(fresh(), RULES, false, true, at(1)), Some(Condition::RecursiveInvocation));
    assert_eq!(before(fresh(), RULES, false, false, at(6 * 3600)), None);
    assert_eq!(before(fresh(), RULES, false, false, at(6 * 3600 + 1)), Some(Condition::EventAgeExceeded));
}

#[test]
fn what_is_too_old_is_given_up_before_a_try() {
    for (age_s, now_s) in [(60, 59), (60, 60), (60, 61), (60, 1_000), (21_600, 7)] {
        let rules = Rules { age_max: Duration::from_secs(age_s), ..RULES };
        for accepted_s in [0, 1, 400, 939, 940, 941] {
            let history = History { accepted_at: at(accepted_s), ..fresh() };
            let is_given_up = before(history, rules, false, false, at(now_s)) == Some(Condition::EventAgeExceeded);
            assert_eq!(at(accepted_s) < too_old(rules, at(now_s)), is_given_up, "{accepted_s} {age_s} {now_s}");
        }
    }
}

#[test]
fn a_functions_own_error_counts_even_while_the_platform_stops() {
    let own = [
        Fault::Handler { error_type: "E".into(), body: Default::default() },
        Fault::Timeout { limit_ms: 1 },
        Fault::OutOfMemory,
        Fault::ResponseTooLarge,
    ];
    for fault in own {
        assert_eq!([false, true].map(|is_stopping| outcome(&fault, is_stopping)), [Some(Outcome::Failed); 2]);
    }
    let ended = Fault::Crash { reason: "it is gone".into() };
    assert_eq!([false, true].map(|is_stopping| outcome(&ended, is_stopping)), [Some(Outcome::Failed), None]);
    let platform = Fault::Platform { reason: "it failed".into() };
    assert_eq!([false, true].map(|is_stopping| outcome(&platform, is_stopping)), [Some(Outcome::Refused); 2]);
}

#[test]
fn limits_can_be_reached_and_not_passed() {
    let limits = Limits { function_events_max: 2, account_events_max: 3, account_bytes_max: 100 };
    let held = |events, bytes| Held { events, bytes };
    assert_eq!(admit(held(1, 40), held(2, 90), 10, limits), Ok(()));
    assert_eq!(admit(held(2, 0), held(2, 0), 1, limits), Err(Full::Function));
    assert_eq!(admit(held(1, 45), held(1, 45), 6, limits), Err(Full::Function), "half of the account's bytes");
    assert_eq!(admit(held(0, 0), held(3, 0), 1, limits), Err(Full::Account));
    assert_eq!(admit(held(0, 0), held(1, 95), 6, limits), Err(Full::Account));
    assert_eq!(admit(held(0, 0), held(0, 0), u64::MAX, limits), Err(Full::Account));
}

#[test]
fn a_function_is_given_what_it_can_take_and_no_long_line() {
    let load = Load { admitted: 900, capacity: 1_000, in_flight: 0, instances: 0, waiting: 0 };
    assert_eq!(room(load), 4, "from nothing it begins with a few");
    assert_eq!(room(Load { waiting: 4, in_flight: 4, ..load }), 0);
    assert_eq!(room(Load { instances: 50, in_flight: 50, waiting: 20, ..load }), 30);
    assert_eq!(room(Load { instances: 50, capacity: 52, in_flight: 50, ..load }), 2);
    assert_eq!(room(Load { instances: 50, admitted: 1, in_flight: 50, ..load }), 1);
    assert_eq!(room(Load { admitted: 0, ..load }), 0);
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![1 => Just(Outcome::Succeeded), 4 => Just(Outcome::Failed), 6 => Just(Outcome::Refused)]
}

proptest! {
    /// Every life of an event ends; until then each try is later than the one before and none later than its age; it is
    /// run at most once more than it may be tried again.
    #[test]
    fn every_event_comes_to_an_end(
        retries_max in 0..=2_u32,
        age_s in 60..=21_600_u64,
        pause_ms in 0..200_000_u64,
        tries in proptest::collection::vec((any_outcome(), 0..900_000_u64, 0..5_000_u64), 1..60),
    ) {
        let rules = Rules { retries_max, age_max: Duration::from_secs(age_s) };
        let policy = Policy::default().with_retry_pause(Duration::from_millis(pause_ms));
        let deadline = at(age_s);
        let (mut history, mut now, mut runs) = (fresh(), at(0), 0);
        for (outcome, took_ms, late_ms) in tries {
            if let Some(condition) = before(history, rules, false, false, now) {
                prop_assert_eq!(condition, Condition::EventAgeExceeded);
                prop_assert!(now > deadline);
                return Ok(());
            }
            runs += u32::from(outcome != Outcome::Refused);
            now = now.plus(Duration::from_millis(took_ms));
            match after(history, rules, outcome, now, policy) {
                Verdict::Done { attempts } => {
                    prop_assert_eq!((outcome, attempts), (Outcome::Succeeded, runs));
                    return Ok(());
                }
                Verdict::GiveUp { condition, attempts } => {
                    prop_assert_eq!(attempts, runs);
                    prop_assert!(runs <= retries_max + 1);
                    prop_assert_eq!(condition == Condition::RetriesExhausted, runs == retries_max + 1 && outcome == Outcome::Failed);
                    return Ok(());
                }
                Verdict::Retry { at, history: next } => {
                    prop_assert!(outcome != Outcome::Succeeded && at >= now && at <= deadline);
                    prop_assert_eq!(next.attempts, runs);
                    prop_assert!(runs <= retries_max);
                    (now, history) = (at.plus(Duration::from_millis(late_ms)), next);
                }
            }
        }
    }
}
