//! Decides how many instances to start ahead of any caller, so that as many as were asked for are always there.
//!
//! Invariants: never more than are missing; a function whose starts fail is tried at growing intervals, not in a loop;
//! one success ends the growing.

use std::time::Duration;

/// First pause after a failed start; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What went wrong lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    in_a_row: u32,
    /// By the caller's clock.
    retry_at: Duration,
}

impl Failures {
    /// Whether the last start failed.
    pub fn has_any(self) -> bool {
        self.in_a_row > 0
    }

    /// After a failed start at the moment `now`.
    #[must_use]
    pub fn after_failure(self, now: Duration) -> Self {
        let pause = PAUSE_MIN.saturating_mul(1 << self.in_a_row.min(16)).min(PAUSE_MAX);
        Self { in_a_row: self.in_a_row.saturating_add(1), retry_at: now + pause }
    }

    /// After a start that went well.
    #[must_use]
    pub fn after_success(self) -> Self {
        Self::default()
    }
}

/// How many instances to start now: what is missing of `wanted`, once the pause after a failure is over; one at first.
pub fn missing(wanted: u32, instances: u32, failures: Failures, now: Duration) -> u32 {
    let missing = wanted.saturating_sub(instances);
    match failures.in_a_row {
        0 => missing,
        _ if now < failures.retry_at => 0,
        _ => missing.min(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_is_missing_is_started_and_failures_are_retried_ever_later() {
        let none = Failures::default();
        assert_eq!((missing(3, 1, none, at(0)), missing(3, 3, none, at(0)), missing(0, 2, none, at(0))), (2, 0, 0));
        let once = none.after_failure(at(1_000));
        assert_eq!((missing(3, 1, once, at(1_499)), missing(3, 1, once, at(1_500))), (0, 1));
        let twice = once.after_failure(at(2_000));
        assert_eq!((missing(3, 1, twice, at(2_999)), missing(3, 1, twice, at(3_000))), (0, 1));
        assert_eq!(missing(3, 1, twice.after_success(), at(2_000)), 2);
    }

    proptest! {
        #[test]
        fn pauses_grow_to_a_minute_and_no_further(failures in 1..200_u32) {
            let (mut state, mut before) = (Failures::default(), Duration::ZERO);
            for _ in 0..failures {
                state = state.after_failure(Duration::ZERO);
                prop_assert!(state.retry_at >= before && state.retry_at <= PAUSE_MAX);
                prop_assert_eq!(missing(5, 0, state, state.retry_at), 1);
                before = state.retry_at;
            }
        }
    }
}
