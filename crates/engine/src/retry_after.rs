//! Decides when a caller that was turned away had better ask again.
//!
//! Those ahead of it take so many turns of so long: that is when its own would come. Invariant: a number of whole seconds
//! that HTTP's `Retry-After` can say, never 0 and never more than [`SECONDS_MAX`], for what is known of a queue is
//! soon out of date.

use std::time::Duration;

/// The longest anyone is sent away for.
pub const SECONDS_MAX: u32 = 60;

/// What is known of a function's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Calls of it that run or wait.
    pub ahead: u32,
    /// How many of them can run at once; with none nobody's turn ever comes.
    pub at_once: u32,
    /// What a call takes, as far as is known: nothing before the first has ended.
    pub each: Duration,
}

/// Seconds until there should be a turn for one more.
pub fn seconds(queue: Queue) -> u32 {
    if queue.at_once == 0 {
        return SECONDS_MAX;
    }
    let turns = queue.ahead.div_ceil(queue.at_once).max(1);
    let millis = queue.each.saturating_mul(turns).as_millis();
    u32::try_from(millis.div_ceil(1_000)).unwrap_or(u32::MAX).clamp(1, SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_caller_is_sent_away_for_as_long_as_those_ahead_take() {
        let asked = |ahead, at_once, each_ms| seconds(Queue { ahead, at_once, each: Duration::from_millis(each_ms) });
        assert_eq!(asked(1_000, 100, 5), 1, "soon, but not at once");
        assert_eq!(asked(10, 10, 2_000), 2, "when what runs has ended");
        assert_eq!(asked(110, 10, 300), 4, "after eleven turns");
        assert_eq!(asked(10, 10, 0), 1, "nothing has ended yet");
        assert_eq!(asked(0, 0, 5), SECONDS_MAX, "a stopped function");
        assert_eq!(asked(10_000, 1, 900_000), SECONDS_MAX);
    }

    proptest! {
        #[test]
        fn more_ahead_is_never_sooner(ahead: u32, more in 0_u32..1000, at_once: u32, each_ms: u64) {
            let asked = |ahead| seconds(Queue { ahead, at_once, each: Duration::from_millis(each_ms) });
            prop_assert!((1..=SECONDS_MAX).contains(&asked(ahead)));
            prop_assert!(asked(ahead) <= asked(ahead.saturating_add(more)));
        }
    }
}
