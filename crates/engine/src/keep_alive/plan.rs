//! What a policy answers: the stretches of idle time in which an instance should be warm.
//!
//! Invariants: windows are in order, apart from each other, not empty, and at most [`WINDOWS_MAX`].

use std::time::Duration;

/// Most windows in one plan.
pub const WINDOWS_MAX: usize = 3;

/// A stretch of time, in milliseconds after the function last had work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Its first millisecond; 0 keeps the instance that did the work.
    pub from_ms: u32,
    /// The first millisecond after it.
    pub until_ms: u32,
}

/// When to have an instance warm, counted from the moment the function last had work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    windows: [Window; WINDOWS_MAX],
    count: u8,
}

/// The answer for one idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it; ask again no sooner than after this long.
    Keep(Duration),
    /// End it.
    Reap,
}

impl Plan {
    /// Keeps the instance for `window`, and starts none ahead.
    pub fn keep(window: Duration) -> Self {
        Self::of(&[Window { from_ms: 0, until_ms: millis(window) }])
    }

    /// The plan of these windows, which must be in order. Empty ones are left out, those that touch are joined, and
    /// those past the first [`WINDOWS_MAX`] as well.
    pub fn of(windows: &[Window]) -> Self {
        let mut plan = Self::default();
        for window in windows.iter().filter(|window| window.from_ms < window.until_ms) {
            let count = usize::from(plan.count);
            match plan.windows[..count].last_mut() {
                Some(last) if window.from_ms <= last.until_ms => last.until_ms = last.until_ms.max(window.until_ms),
                _ if count == WINDOWS_MAX => break,
                _ => {
                    plan.windows[count] = *window;
                    plan.count += 1;
                }
            }
        }
        plan
    }

    /// The windows, in order.
    pub fn windows(&self) -> &[Window] {
        &self.windows[..usize::from(self.count)]
    }

    /// Decides for an instance of a function that has been without work for `idle`.
    pub fn at(&self, idle: Duration) -> Verdict {
        let idle_ms = millis(idle);
        match self.windows().iter().find(|window| idle_ms < window.until_ms) {
            Some(window) if window.from_ms <= idle_ms => {
                Verdict::Keep(Duration::from_millis(u64::from(window.until_ms - idle_ms)))
            }
            _ => Verdict::Reap,
        }
    }

    /// The window in which, or before which, a function stands that has been without work for `idle`; none when
    /// nothing is expected of it any more. An instance is to be started ahead when it begins.
    pub fn upcoming(&self, idle: Duration) -> Option<Window> {
        let idle_ms = millis(idle);
        self.windows().iter().copied().find(|window| idle_ms < window.until_ms)
    }
}

/// Whole milliseconds; what does not fit (49 days) is as good as for ever.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn reaped_exactly_when_the_window_has_passed() {
        let plan = Plan::keep(10 * SECOND);
        assert_eq!(plan.at(Duration::ZERO), Verdict::Keep(10 * SECOND));
        assert_eq!(plan.at(4 * SECOND), Verdict::Keep(6 * SECOND));
        assert_eq!(plan.at(10 * SECOND), Verdict::Reap);
        assert_eq!(plan.at(11 * SECOND), Verdict::Reap);
        assert_eq!(plan.upcoming(11 * SECOND), None);
    }

    #[test]
    fn an_empty_window_keeps_nothing() {
        assert_eq!(Plan::keep(Duration::ZERO).at(Duration::ZERO), Verdict::Reap);
        assert_eq!(Plan::keep(Duration::ZERO).windows(), []);
    }

    #[test]
    fn between_windows_nothing_is_kept_and_the_next_is_awaited() {
        let late = Window { from_ms: 5_000, until_ms: 7_000 };
        let plan = Plan::of(&[Window { from_ms: 0, until_ms: 1_000 }, late]);
        assert_eq!(plan.at(2 * SECOND), Verdict::Reap);
        assert_eq!(plan.upcoming(2 * SECOND), Some(late));
        assert_eq!(plan.at(5 * SECOND), Verdict::Keep(2 * SECOND));
        assert_eq!(plan.upcoming(7 * SECOND), None);
    }

    proptest! {
        #[test]
        fn any_windows_make_a_plan_that_keeps_its_invariants(
            mut bounds in proptest::collection::vec(0u32..100_000, 0..20),
            idle in 0u64..120_000,
        ) {
            bounds.sort_unstable();
            let windows: Vec<_> =
                bounds.chunks_exact(2).map(|pair| Window { from_ms: pair[0], until_ms: pair[1] }).collect();
            let plan = Plan::of(&windows);
            prop_assert!(plan.windows().len() <= WINDOWS_MAX);
            prop_assert!(plan.windows().iter().all(|window| window.from_ms < window.until_ms));
            prop_assert!(plan.windows().windows(2).all(|pair| pair[0].until_ms < pair[1].from_ms));
            let idle = Duration::from_millis(idle);
            match plan.at(idle) {
                Verdict::Keep(left) => {
                    prop_assert!(!left.is_zero());
                    prop_assert_eq!(plan.at(idle + left), Verdict::Reap, "windows do not touch");
                }
                Verdict::Reap => {
                    let next = plan.upcoming(idle);
                    prop_assert!(next.is_none_or(|next| u128::from(next.from_ms) > idle.as_millis()));
                }
            }
        }
    }
}
