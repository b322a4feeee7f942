//! Decides how many calls of one function may run at once while it keeps the processors from the others.
//!
//! Memory is shared by reservations; processors are not, and a function that uses all of them makes every other one
//! wait behind its processes. So one that uses much of their time, while they have none to spare and others are active,
//! is cut back until some is to spare again, and let grow slowly after that: additive increase, multiplicative
//! decrease. What is cut off waits in the function's own queue.
//! Invariants: at least one call may always run; one who uses little is never cut back, whatever the others do; a
//! function that is alone is not held back at all.

/// Share of all processors' time from which a function counts as one that uses them up. Its callers and the platform
/// itself work for each of its calls, too, so it need not be half.
const DOMINANT_SHARE: f64 = 0.25;
/// Looks without a cut before the first increase after one. A cut soon after an increase doubles it.
const PATIENCE_MIN: u32 = 20;
/// The most looks.
const PATIENCE_MAX: u32 = 320;

/// What was seen since the last look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Whether the processors had nothing to spare.
    pub is_busy: bool,
    /// Whether other functions were active.
    pub has_company: bool,
    /// The function's share of all processors' time, 0 to 1.
    pub share: f64,
    /// Calls of it that run.
    pub running: u32,
}

/// How many calls of a function may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// `None` is as many as it has instances for.
    calls: Option<u32>,
    patience: u32,
    looks: u32,
    /// Whether the last change was an increase.
    has_grown: bool,
}

impl Allowance {
    /// The number; `None` is no limit.
    pub fn calls(self) -> Option<u32> {
        self.calls
    }

    /// The allowance after one more look.
    #[must_use]
    pub fn after(self, sample: Sample) -> Self {
        if !sample.has_company {
            return Self::default();
        }
        let running = sample.running.max(1);
        if sample.is_busy && sample.share >= DOMINANT_SHARE {
            let before = self.calls.unwrap_or(running).min(running);
            let is_soon = self.has_grown && self.looks <= PATIENCE_MIN;
            let patience = if is_soon { self.patience.saturating_mul(2) } else { self.patience };
            let calls = Some((before - before.div_ceil(3)).max(1));
            return Self { calls, patience: patience.clamp(PATIENCE_MIN, PATIENCE_MAX), looks: 0, has_grown: false };
        }
        let Some(calls) = self.calls else { return self };
        if sample.is_busy || self.looks < self.patience {
            return Self { looks: self.looks.saturating_add(1), ..self };
        }
        if calls > running.saturating_mul(2) {
            // It has long had more than it uses.
            return Self::default();
        }
        Self { calls: Some(calls + 1), looks: 0, has_grown: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOD: Sample = Sample { is_busy: true, has_company: true, share: 0.9, running: 8 };

    #[test]
    fn a_flood_is_cut_back_until_time_is_to_spare_and_grows_slowly() {
        let mut allowance = Allowance::default();
        let cut: Vec<_> = (0..5)
            .map(|_| {
                allowance = allowance.after(FLOOD);
                allowance.calls().unwrap()
            })
            .collect();
        assert_eq!(cut, [5, 3, 2, 1, 1]);
        let calm = Sample { is_busy: false, running: 1, ..FLOOD };
        let mut looks = 0;
        while allowance.calls() == Some(1) {
            allowance = allowance.after(calm);
            looks += 1;
        }
        assert!(looks > PATIENCE_MIN && allowance.calls() == Some(2), "after {looks} looks");
        let again = allowance.after(Sample { running: 2, ..FLOOD });
        assert_eq!(again.calls(), Some(1));
        assert!(again.patience > allowance.patience, "an increase that was too much is repeated later");
    }

    #[test]
    fn who_is_alone_or_uses_little_is_left_alone() {
        let none = Allowance::default();
        assert_eq!(none.after(Sample { has_company: false, ..FLOOD }).calls(), None);
        assert_eq!(none.after(Sample { share: 0.2, running: 500, ..FLOOD }).calls(), None);
        assert_eq!(none.after(Sample { is_busy: false, ..FLOOD }).calls(), None);
        assert_eq!(none.after(FLOOD).after(Sample { has_company: false, ..FLOOD }).calls(), None);
    }

    #[test]
    fn a_limit_that_limits_nothing_goes() {
        let mut allowance = Allowance::default().after(FLOOD);
        for _ in 0..100 * PATIENCE_MAX {
            allowance = allowance.after(Sample { is_busy: false, running: 2, share: 0.1, ..FLOOD });
        }
        assert_eq!(allowance, Allowance::default());
    }

    proptest! {
        #[test]
        fn one_call_may_always_run_and_changes_are_small(
            samples in proptest::collection::vec((any::<bool>(), any::<bool>(), 0.0..1.0_f64, 0..100_u32), 1..300),
        ) {
            let mut allowance = Allowance::default();
            for (is_busy, has_company, share, running) in samples {
                let before = allowance.calls();
                allowance = allowance.after(Sample { is_busy, has_company, share, running });
                match (before, allowance.calls()) {
                    (_, Some(0)) => prop_assert!(false, "nothing may run"),
                    (None, Some(calls)) => prop_assert!(calls <= running.max(1) && share >= DOMINANT_SHARE),
                    (Some(before), Some(calls)) => prop_assert!(calls <= before + 1),
                    (_, _) => {}
                }
            }
        }
    }
}
