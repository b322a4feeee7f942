//! Decides whether an invocation may enter at all, before any instance is considered.
//!
//! An account's concurrency is one number. A function may have part of it reserved: that part is kept for it and is
//! its limit, too; the rest is shared by the functions without a reservation. What is provisioned of a version of such a
//! function is set aside as well, for that version, which may go on above it with what is shared.
//! Invariants: never more invocations in flight than the account's limit, nor than a function's reservation; a
//! function below its reservation and a version below what is provisioned of it are never refused, whatever the others
//! do.

/// What bounds an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Invocations running or queued at once. Lambda's default account concurrency is 1,000.
    pub in_flight_max: u32,
    /// Zips of all its functions, their versions and its layers together, bytes. Lambda's default is 75 GB.
    pub code_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight_max: 1_000, code_bytes_max: 80_530_636_800 }
    }
}

/// What counts for one arriving invocation, without itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The function has a reservation.
    Reserved {
        /// The function's invocations in the platform.
        in_flight: u32,
        /// Its reservation.
        reserved: u32,
    },
    /// It has none, but concurrency is provisioned of the version, and set aside for it.
    Provisioned {
        /// The version's invocations that what is provisioned was used for.
        in_flight: u32,
        /// What is provisioned.
        provisioned: u32,
    },
    /// It has none, and nothing is provisioned of the version, or that is used up.
    Unreserved {
        /// Invocations of the account that nothing was set aside for.
        in_flight: u32,
        /// What the account's promises leave: [`unreserved`].
        unreserved: u32,
    },
}

/// The answer to one arriving invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on to placement.
    Admit,
    /// What is provisioned of the version is used up: what is shared decides.
    Share,
    /// The function's reservation is used up.
    ThrottleFunction,
    /// What the account leaves unreserved is used up.
    ThrottleAccount,
}

/// Decides for one more invocation.
pub fn decide(view: View) -> Verdict {
    match view {
        View::Reserved { in_flight, reserved } if in_flight >= reserved => Verdict::ThrottleFunction,
        View::Provisioned { in_flight, provisioned } if in_flight >= provisioned => Verdict::Share,
        View::Unreserved { in_flight, unreserved } if in_flight >= unreserved => Verdict::ThrottleAccount,
        View::Reserved { .. } | View::Provisioned { .. } | View::Unreserved { .. } => Verdict::Admit,
    }
}

/// How many more invocations would be let in against the same limit.
pub fn room(view: View) -> u32 {
    let (limit, in_flight) = match view {
        View::Reserved { in_flight, reserved } => (reserved, in_flight),
        View::Provisioned { in_flight, provisioned } => (provisioned, in_flight),
        View::Unreserved { in_flight, unreserved } => (unreserved, in_flight),
    };
    limit.saturating_sub(in_flight)
}

/// What an account's promises to single functions and versions, `committed` in sum, leave for everyone.
pub fn unreserved(limits: Limits, committed: u32) -> u32 {
    limits.in_flight_max.saturating_sub(committed)
}

/// Whether a function may have `asked` reserved while the account's other functions have `others` in sum.
/// Lambda keeps `unreserved_min` unreserved; a reservation of 0 takes nothing and is always had.
pub fn may_reserve(asked: u32, others: u32, limits: Limits, unreserved_min: u32) -> bool {
    let all = u64::from(asked) + u64::from(others) + u64::from(unreserved_min);
    asked == 0 || all <= u64::from(limits.in_flight_max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { in_flight_max: 300, code_bytes_max: 0 };

    #[test]
    fn the_limit_itself_is_reachable_and_not_passed() {
        let account = |in_flight| decide(View::Unreserved { in_flight, unreserved: 2 });
        assert_eq!([account(0), account(1), account(2)], [Verdict::Admit, Verdict::Admit, Verdict::ThrottleAccount]);
        let function = |in_flight, reserved| decide(View::Reserved { in_flight, reserved });
        assert_eq!((function(1, 2), function(2, 2)), (Verdict::Admit, Verdict::ThrottleFunction));
        assert_eq!(function(0, 0), Verdict::ThrottleFunction, "a reservation of 0 stops a function");
        let version = |in_flight| decide(View::Provisioned { in_flight, provisioned: 2 });
        assert_eq!([version(0), version(1), version(2)], [Verdict::Admit, Verdict::Admit, Verdict::Share]);
    }

    #[test]
    fn there_is_room_for_as_many_as_are_admitted_one_after_the_other() {
        for limit in 0..4 {
            let views: [fn(u32, u32) -> View; 3] = [
                |in_flight, reserved| View::Reserved { in_flight, reserved },
                |in_flight, provisioned| View::Provisioned { in_flight, provisioned },
                |in_flight, unreserved| View::Unreserved { in_flight, unreserved },
            ];
            for view in views {
                // A limit may have been lowered meanwhile.
                for in_flight in 0..6 {
                    let admitted = (in_flight..9).take_while(|now| decide(view(*now, limit)) == Verdict::Admit);
                    assert_eq!(room(view(in_flight, limit)) as usize, admitted.count());
                }
            }
        }
    }

    #[test]
    fn a_part_of_the_account_stays_unreserved() {
        assert!(may_reserve(200, 0, LIMITS, 100));
        assert!(!may_reserve(201, 0, LIMITS, 100));
        assert!(may_reserve(100, 100, LIMITS, 100) && !may_reserve(101, 100, LIMITS, 100));
        assert!(may_reserve(0, 300, LIMITS, 100) && !may_reserve(u32::MAX, u32::MAX, LIMITS, 100));
        assert_eq!((unreserved(LIMITS, 100), unreserved(LIMITS, 400)), (200, 0));
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Reserve { function: usize, asked: u32 },
        Free { function: usize },
        Arrive { function: usize },
        Finish { function: usize },
    }

    const FUNCTIONS: usize = 4;

    fn event() -> impl Strategy<Value = Event> {
        let function = || 0..FUNCTIONS;
        prop_oneof![
            1 => (function(), 0..12_u32).prop_map(|(function, asked)| Event::Reserve { function, asked }),
            1 => function().prop_map(|function| Event::Free { function }),
            8 => function().prop_map(|function| Event::Arrive { function }),
            5 => function().prop_map(|function| Event::Finish { function }),
        ]
    }

    proptest! {
        #[test]
        fn limits_hold_and_reservations_are_kept(events in proptest::collection::vec(event(), 1..300)) {
            let limits = Limits { in_flight_max: 20, ..Limits::default() };
            // Each call in flight remembers whether it was admitted against a reservation.
            let mut in_flight: [Vec<bool>; FUNCTIONS] = Default::default();
            let mut reserved: [Option<u32>; FUNCTIONS] = Default::default();
            for event in events {
                let sum: u32 = reserved.iter().flatten().sum();
                match event {
                    Event::Reserve { function, asked } => {
                        let others = sum - reserved[function].unwrap_or(0);
                        if may_reserve(asked, others, limits, 5) {
                            reserved[function] = Some(asked);
                        }
                    }
                    Event::Free { function } => reserved[function] = None,
                    Event::Finish { function } => drop(in_flight[function].pop()),
                    Event::Arrive { function } => {
                        let all = u32::try_from(in_flight[function].len()).unwrap();
                        let shared = in_flight.iter().flatten().filter(|is_reserved| !**is_reserved).count();
                        let shared = u32::try_from(shared).unwrap();
                        let verdict = match reserved[function] {
                            Some(reserved) => decide(View::Reserved { in_flight: all, reserved }),
                            None => decide(View::Unreserved { in_flight: shared, unreserved: unreserved(limits, sum) }),
                        };
                        match (verdict, reserved[function]) {
                            (Verdict::Admit, of) => in_flight[function].push(of.is_some()),
                            (Verdict::ThrottleFunction, Some(reserved)) => prop_assert!(all >= reserved),
                            (Verdict::ThrottleAccount, None) => prop_assert!(shared >= unreserved(limits, sum)),
                            (verdict, _) => prop_assert!(false, "{verdict:?}"),
                        }
                        if let (Verdict::Admit, Some(reserved)) = (verdict, reserved[function]) {
                            prop_assert!(in_flight[function].len() <= reserved as usize);
                        }
                    }
                }
                prop_assert!(reserved.iter().flatten().sum::<u32>() <= limits.in_flight_max - 5);
            }
        }
    }
}
