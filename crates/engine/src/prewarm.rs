//! Decides how many interpreters to keep running without a function, ready to be given one.
//!
//! Interpreters are of kinds: those of one kind can serve the same functions. A kind that nobody starts costs nothing;
//! its first start is cold and fills its shelf. Invariants: never more than the policy allows, none of a kind that has
//! not been started for the window, none where the host is short of memory, and none made while somebody waits.

use std::time::Duration;

/// How far back starts count towards how many will come at once.
pub const RECENT: Duration = Duration::from_secs(60);

/// How long no instance must have been starting before an interpreter is started ahead of need.
pub const QUIET: Duration = Duration::from_millis(50);

/// The share of the host's memory that stays free of prewarmed interpreters, and how much of what is free beyond it
/// those of one kind may take; one part in so many.
const RESERVE: u64 = 10;
const SHARE: u64 = 4;

/// How interpreters are kept ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Most of one kind; 0 keeps none at all.
    pub kept_max: u32,
    /// A kind without a start for this long has none.
    pub window: Duration,
}

impl Policy {
    /// So many of one kind, for five minutes after its last start.
    pub fn new(kept_max: u32) -> Self {
        Self { kept_max, window: Duration::from_secs(300) }
    }
}

/// What is known of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Since its last start, cold or not.
    pub idle: Duration,
    /// Starts within [`RECENT`].
    pub starts_recent: u32,
}

/// The host's memory, and what one interpreter of the kind takes of it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// Available without swapping, the kept interpreters already taken off.
    pub available: u64,
    /// One interpreter.
    pub each: u64,
}

/// How many of a kind to keep that has `kept` now.
pub fn wanted(demand: Demand, kept: u32, memory: Memory, policy: Policy) -> u32 {
    if demand.idle >= policy.window {
        return 0;
    }
    let with_kept = memory.available.saturating_add(memory.each.saturating_mul(kept.into()));
    let spare = with_kept.saturating_sub(memory.total / RESERVE) / SHARE;
    let fit = u32::try_from(spare / memory.each.max(1)).unwrap_or(u32::MAX);
    demand.starts_recent.max(1).min(policy.kept_max).min(fit)
}

/// How much longer to wait before making one: `starting` instances are being started now, the last start ended `quiet`
/// ago. `None` for no longer. While instances start, the end of a start is the moment to ask again.
pub fn pause(starting: usize, quiet: Duration) -> Option<Duration> {
    if starting > 0 {
        return Some(Duration::MAX);
    }
    QUIET.checked_sub(quiet).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1 << 20;
    const PLENTY: Memory = Memory { total: 16_000 * MB, available: 8_000 * MB, each: 20 * MB };

    fn demand(idle_s: u64, starts_recent: u32) -> Demand {
        Demand { idle: Duration::from_secs(idle_s), starts_recent }
    }

    #[test]
    fn a_shelf_follows_demand_up_to_its_size_and_empties_when_there_is_none() {
        let policy = Policy { kept_max: 4, window: Duration::from_secs(300) };
        let cases =
            [((0, 1), 1), ((0, 3), 3), ((0, 50), 4), ((100, 0), 1), ((299, 0), 1), ((300, 0), 0), ((301, 9), 0)];
        for ((idle_s, starts), expected) in cases {
            assert_eq!(wanted(demand(idle_s, starts), 0, PLENTY, policy), expected, "{idle_s} {starts}");
        }
        assert_eq!(wanted(demand(0, 9), 0, PLENTY, Policy::new(0)), 0);
    }

    #[test]
    fn nothing_is_kept_in_the_last_tenth_of_memory() {
        let short = |available| Memory { total: 1_000 * MB, available, each: 20 * MB };
        let kept = |available, kept| wanted(demand(0, 9), kept, short(available), Policy::new(4));
        assert_eq!(kept(100 * MB, 0), 0);
        assert_eq!(kept(179 * MB, 0), 0);
        assert_eq!(kept(180 * MB, 0), 1);
        assert_eq!(kept(900 * MB, 0), 4);
        // What is kept does not count against itself.
        assert_eq!(kept(160 * MB, 1), 1);
        assert_eq!(kept(40 * MB, 4), 0);
    }

    #[test]
    fn none_is_made_while_somebody_waits() {
        assert_eq!(pause(1, Duration::from_secs(9)), Some(Duration::MAX));
        assert_eq!(pause(0, Duration::ZERO), Some(QUIET));
        assert_eq!(pause(0, QUIET), None);
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_and_never_less_for_more_memory(
            idle_s in 0_u64..600, starts in 0_u32..20, kept in 0_u32..8, kept_max in 0_u32..8,
            total in 1_u64..64_000, available in 0_u64..64_000, more in 0_u64..64_000, each in 0_u64..200,
        ) {
            let policy = Policy::new(kept_max);
            let memory = |available: u64| Memory { total: total * MB, available: available * MB, each: each * MB };
            let now = wanted(demand(idle_s, starts), kept, memory(available), policy);
            prop_assert!(now <= kept_max);
            prop_assert!(now <= starts.max(1));
            prop_assert!(now == 0 || idle_s < 300);
            prop_assert!(now <= wanted(demand(idle_s, starts), kept, memory(available + more), policy));
        }
    }
}
