//! Decides how many interpreters to keep running without a function, ready to be given one.
//!
//! Interpreters are of kinds: those of one kind can serve the same functions. A kind that nobody starts costs nothing;
//! its first start is cold and fills its shelf. Invariants: never more than the policy allows, none of a kind that has
//! not been started for the window, none where the host is short of memory or instances need the node's room, and none
//! made while those who wait for a start can use the processors themselves.

use std::time::Duration;

/// How far back starts count towards how many will come at once.
pub const RECENT: Duration = Duration::from_secs(60);

/// How long no instance must have been starting before an interpreter is started ahead of need, so that a burst's
/// first calls have the processors.
pub const QUIET: Duration = Duration::from_millis(50);

/// How long that is waited for. Where starts keep coming more often, it would never be quiet, and each of them cold.
pub const PATIENCE: Duration = Duration::from_millis(250);

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

/// The host's memory, what the node leaves of its own, and what one interpreter of the kind takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// Available without swapping, the kept interpreters already taken off.
    pub available: u64,
    /// What instances and interpreters of other kinds leave of what the node may hold, those kept of this kind not
    /// taken off.
    pub room: u64,
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
    let fit = u32::try_from(spare.min(memory.room) / memory.each.max(1)).unwrap_or(u32::MAX);
    demand.starts_recent.max(1).min(policy.kept_max).min(fit)
}

/// What else the processors have to do, and how urgently an interpreter is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rush {
    /// Instances being started.
    pub starting: usize,
    /// Processors of the host.
    pub processors: usize,
    /// Since the last start ended.
    pub quiet: Duration,
    /// Since the kind has had fewer than are wanted.
    pub short: Duration,
}

/// How much longer to wait before making one; `None` for no longer. While starts can use most of the processors, the
/// end of a start is the moment to ask again. Otherwise it should be quiet first, but is not waited for for ever.
pub fn pause(rush: Rush) -> Option<Duration> {
    if rush.starting > 0 && rush.starting * 2 >= rush.processors {
        return Some(Duration::MAX);
    }
    let quiet = if rush.starting > 0 { QUIET } else { QUIET.saturating_sub(rush.quiet) };
    Some(quiet.min(PATIENCE.saturating_sub(rush.short))).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1 << 20;
    const PLENTY: Memory = Memory { total: 16_000 * MB, available: 8_000 * MB, room: u64::MAX, each: 20 * MB };

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
        let short = |available| Memory { total: 1_000 * MB, available, ..PLENTY };
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
    fn instances_have_the_nodes_room_first() {
        let kept = |room, kept| wanted(demand(0, 9), kept, Memory { room, ..PLENTY }, Policy::new(4));
        assert_eq!(
            [kept(0, 4), kept(19 * MB, 4), kept(20 * MB, 0), kept(65 * MB, 4), kept(900 * MB, 0)],
            [0, 0, 1, 3, 4]
        );
    }

    #[test]
    fn starts_have_the_processors_first() {
        let rush = Rush { starting: 0, processors: 2, quiet: Duration::ZERO, short: Duration::ZERO };
        let late = Rush { quiet: Duration::from_secs(9), short: Duration::from_secs(9), ..rush };
        for (starting, processors) in [(1, 1), (1, 2), (2, 4), (100, 64)] {
            assert_eq!(pause(Rush { starting, processors, ..late }), Some(Duration::MAX), "{starting} {processors}");
        }
        assert_eq!(pause(Rush { starting: 1, processors: 4, ..late }), None, "processors are left over");
        assert_eq!(pause(rush), Some(QUIET));
        assert_eq!(pause(Rush { quiet: QUIET, ..rush }), None);
    }

    #[test]
    fn it_is_made_although_it_is_never_quiet() {
        let starts_all_the_time = Rush { starting: 0, processors: 2, quiet: QUIET / 2, short: PATIENCE - QUIET / 4 };
        assert_eq!(pause(starts_all_the_time), Some(QUIET / 4));
        assert_eq!(pause(Rush { short: PATIENCE, ..starts_all_the_time }), None);
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_and_never_less_for_more_memory(
            idle_s in 0_u64..600, starts in 0_u32..20, kept in 0_u32..8, kept_max in 0_u32..8,
            total in 1_u64..64_000, available in 0_u64..64_000, more in 0_u64..64_000, each in 0_u64..200,
            room in 0_u64..64_000,
        ) {
            let policy = Policy::new(kept_max);
            let memory = |available: u64| {
                Memory { total: total * MB, available: available * MB, room: room * MB, each: each * MB }
            };
            let now = wanted(demand(idle_s, starts), kept, memory(available), policy);
            prop_assert!(now <= kept_max);
            prop_assert!(now <= starts.max(1));
            prop_assert!(now == 0 || idle_s < 300);
            prop_assert!(u64::from(now) * each <= room);
            prop_assert!(now <= wanted(demand(idle_s, starts), kept, memory(available + more), policy));
        }
    }
}
