//! Decides how long an instance without work is kept.
//!
//! A fixed window for now: the baseline against which a learned policy has to prove itself.

use std::time::Duration;

/// How instances without work are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// An instance idle for this long is ended.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { window: Duration::from_secs(600) }
    }
}

/// The answer for one idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it; ask again no sooner than after this long.
    Keep(Duration),
    /// End it.
    Reap,
}

/// Decides for an instance that has been without work for `idle`.
pub fn decide(idle: Duration, policy: Policy) -> Verdict {
    match policy.window.checked_sub(idle) {
        Some(left) if !left.is_zero() => Verdict::Keep(left),
        _ => Verdict::Reap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaped_exactly_when_the_window_has_passed() {
        let policy = Policy { window: Duration::from_secs(10) };
        assert_eq!(decide(Duration::ZERO, policy), Verdict::Keep(Duration::from_secs(10)));
        assert_eq!(decide(Duration::from_secs(4), policy), Verdict::Keep(Duration::from_secs(6)));
        assert_eq!(decide(Duration::from_secs(10), policy), Verdict::Reap);
        assert_eq!(decide(Duration::from_secs(11), policy), Verdict::Reap);
    }

    #[test]
    fn an_empty_window_keeps_nothing() {
        assert_eq!(decide(Duration::ZERO, Policy { window: Duration::ZERO }), Verdict::Reap);
    }
}
