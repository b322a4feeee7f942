//! Decides which versions' originals are kept for copying (SnapStart), and when one that could not be had is tried again.
//!
//! An original costs the memory of a whole instance and is of use only to its version. Invariants: never more than allowed,
//! those that are being made counted in; whoever was asked for longest ago gives way, and none that is still being made.

use std::time::Duration;

/// How long the first failure keeps a version from trying again, and the longest that failures do.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Whether one more may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Make,
    /// It may once this one of those that are kept has been let go.
    MakeInPlaceOf(usize),
    /// All there may be are being made at this moment.
    Refuse,
}

/// Answers for a version without an original, where others have been asked for so long ago (`idle`, one for each that is
/// kept) and `making` are being made.
pub fn admit(idle: &[Duration], making: usize, kept_max: usize) -> Admission {
    if idle.len() + making < kept_max {
        return Admission::Make;
    }
    let oldest = idle.iter().enumerate().max_by_key(|(_, idle)| **idle);
    oldest.map_or(Admission::Refuse, |(index, _)| Admission::MakeInPlaceOf(index))
}

/// How long to wait after so many failures in a row for which nothing is known to last: each wait is twice the one before.
pub fn pause(failures: u32) -> Duration {
    PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(all: &[u64]) -> Vec<Duration> {
        all.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn the_one_asked_for_longest_ago_gives_way() {
        assert_eq!(admit(&[], 0, 2), Admission::Make);
        assert_eq!(admit(&seconds(&[5]), 0, 2), Admission::Make);
        assert_eq!(admit(&seconds(&[5]), 1, 2), Admission::MakeInPlaceOf(0));
        assert_eq!(admit(&seconds(&[5, 9]), 0, 2), Admission::MakeInPlaceOf(1));
        assert_eq!(admit(&[], 2, 2), Admission::Refuse);
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        assert_eq!([1, 2, 3].map(|failures| pause(failures).as_secs()), [1, 2, 4]);
        assert_eq!([20, u32::MAX].map(pause), [PAUSE_MAX; 2]);
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_allowed(asked in proptest::collection::vec(0_u8..3, 0..60), kept_max in 1_usize..6) {
            let (mut kept, mut making, mut now) = (Vec::<u64>::new(), 0, 0_u64);
            for what in asked {
                now += 1;
                match what {
                    // Of those being made one is done, or has failed.
                    0 if making > 0 => { making -= 1; kept.push(now); }
                    1 if making > 0 => making -= 1,
                    _ => {
                        let idle: Vec<_> = kept.iter().map(|used| Duration::from_secs(now - used)).collect();
                        match admit(&idle, making, kept_max) {
                            Admission::Make => making += 1,
                            Admission::MakeInPlaceOf(index) => {
                                let gone = kept.remove(index);
                                prop_assert!(kept.iter().all(|used| *used >= gone));
                                making += 1;
                            }
                            Admission::Refuse => prop_assert_eq!(making, kept_max),
                        }
                    }
                }
                prop_assert!(kept.len() + making <= kept_max);
            }
        }
    }
}
