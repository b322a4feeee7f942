//! Decides whether an invocation may enter at all, before any instance is considered.
//!
//! Invariant: never more invocations in flight for an account than its limit.

/// How many invocations an account may have running or queued at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lambda's default account concurrency is 1,000.
    pub in_flight_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight_max: 1_000 }
    }
}

/// The answer to one arriving invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on to placement.
    Admit,
    /// The account's limit is reached; the caller is told to come back later.
    Throttle,
}

/// Decides for one more invocation while `in_flight` others are in the platform.
pub fn decide(in_flight: u32, limits: Limits) -> Verdict {
    if in_flight < limits.in_flight_max { Verdict::Admit } else { Verdict::Throttle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_reachable_and_not_passed() {
        let limits = Limits { in_flight_max: 2 };
        assert_eq!(decide(0, limits), Verdict::Admit);
        assert_eq!(decide(1, limits), Verdict::Admit);
        assert_eq!(decide(2, limits), Verdict::Throttle);
        assert_eq!(decide(0, Limits { in_flight_max: 0 }), Verdict::Throttle);
    }
}
