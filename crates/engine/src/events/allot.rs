//! Decides which functions' events the free workers take up.
//!
//! Whoever has the fewest at work is served first, first between accounts, then between the functions of one. As a worker
//! cannot be taken back before its call ends, nobody gets them all: a function may have as many at work as are then still
//! free, an account three times as many (the dynamic thresholds of Choudhury and Hahne, 1998, for shared buffers). So one
//! function alone has half of all workers, one account three quarters, and whoever comes next finds some.
//! Invariants: no more is given than is free, waiting, or there is room for; a worker stays free only where the thresholds
//! keep it; of two functions of one account that want more, none is given one while it has more at work than the other.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// A function with events that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its account, by its index.
    pub account: usize,
    /// Its events at work.
    pub in_flight: u32,
    /// Its events that wait.
    pub waiting: u64,
    /// How many more calls it would be let do now.
    pub room: u32,
    /// Among equals, the lowest is served first.
    pub since: u64,
}

/// A function may have this many times the free workers, an account of functions this many.
const FUNCTION_SHARE: u64 = 1;
const ACCOUNT_SHARE: u64 = 3;

/// An account's candidates, the one to serve next on top: events at work, age, and its place among all.
type Functions = BinaryHeap<Reverse<(u64, u64, usize)>>;

/// How many more events each candidate is given. `accounts` are the events at work of each account.
pub fn allot(candidates: &[Candidate], accounts: &[u32], free: u32) -> Vec<u32> {
    let mut given = vec![0; candidates.len()];
    let mut free = u64::from(free);
    let mut of_account: BTreeMap<usize, Functions> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let place = Reverse((u64::from(candidate.in_flight), candidate.since, index));
        of_account.entry(candidate.account).or_default().push(place);
    }
    let at_work = |account: usize| u64::from(accounts.get(account).copied().unwrap_or(0));
    let mut order: BinaryHeap<_> = of_account.keys().map(|account| Reverse((at_work(*account), *account))).collect();
    // Thresholds only fall and counts only rise, so who is passed over once has had its turn.
    while free > 0 {
        let Some(Reverse((of_all, account))) = order.pop() else { break };
        if of_all >= ACCOUNT_SHARE * free {
            break;
        }
        let Some(functions) = of_account.get_mut(&account) else { continue };
        let Some(Reverse((in_flight, since, index))) = functions.pop() else { continue };
        if in_flight >= FUNCTION_SHARE * free {
            continue;
        }
        let candidate = &candidates[index];
        if u64::from(given[index]) < candidate.waiting.min(u64::from(candidate.room)) {
            given[index] += 1;
            free -= 1;
            functions.push(Reverse((in_flight + 1, since, index)));
            order.push(Reverse((of_all + 1, account)));
        } else {
            order.push(Reverse((of_all, account)));
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(account: usize, in_flight: u32, waiting: u64) -> Candidate {
        Candidate { account, in_flight, waiting, room: u32::MAX, since: 0 }
    }

    #[test]
    fn one_alone_has_half_and_leaves_the_rest() {
        assert_eq!(allot(&[of(0, 0, 1_000)], &[0], 8), [4]);
        assert_eq!(allot(&[of(0, 4, 1_000)], &[4], 4), [0]);
        assert_eq!(allot(&[of(0, 0, 1_000)], &[0], 1), [1]);
        assert_eq!(allot(&[of(0, 0, 3)], &[0], 8), [3]);
    }

    #[test]
    fn one_that_comes_finds_a_worker_beside_a_flood() {
        let flood = of(0, 4, 1_000);
        assert_eq!(allot(&[flood, of(1, 0, 5)], &[4, 0], 4), [0, 2]);
        // Within an account, too.
        assert_eq!(allot(&[flood, of(0, 0, 5)], &[4], 4), [0, 2]);
    }

    #[test]
    fn an_account_has_no_more_for_having_many_functions() {
        let many: Vec<Candidate> = (0..20).map(|_| of(0, 0, 100)).chain([of(1, 0, 100)]).collect();
        let given = allot(&many, &[0, 0], 10);
        // In turns, until the one function has as many as are left; the others go on to three times that.
        assert_eq!((given[..20].iter().sum::<u32>(), given[20]), (6, 3));
    }

    prop_compose! {
        fn candidate()(account in 0..3_usize, in_flight in 0..6_u32, waiting in 0..8_u64, room in 0..8_u32, since in 0..3_u64)
            -> Candidate {
            Candidate { account, in_flight, waiting, room, since }
        }
    }

    proptest! {
        #[test]
        fn what_is_given_is_free_wanted_and_fair(candidates in proptest::collection::vec(candidate(), 0..12), free in 0..20_u32) {
            let mut accounts = [0_u32; 3];
            candidates.iter().for_each(|candidate| accounts[candidate.account] += candidate.in_flight);
            let given = allot(&candidates, &accounts, free);
            let (given_after, sum): (&[u32], u32) = (&given, given.iter().sum());
            prop_assert!(sum <= free);
            let left = u64::from(free - sum);
            let mut after = accounts;
            given.iter().zip(&candidates).for_each(|(given, candidate)| after[candidate.account] += given);
            for (given, candidate) in given.iter().zip(&candidates) {
                let wants = candidate.waiting.min(u64::from(candidate.room));
                prop_assert!(u64::from(*given) <= wants);
                let (own, all) = (candidate.in_flight + given, after[candidate.account]);
                // Who could have more is kept from it by a threshold alone.
                if u64::from(*given) < wants && left > 0 {
                    let is_kept = u64::from(own) >= left || u64::from(all) >= ACCOUNT_SHARE * left;
                    prop_assert!(is_kept, "{candidate:?} was given {given} with {left} left");
                }
                // Whoever was given one had no more at work than those of its account that are still in want.
                for (other_given, other) in given_after.iter().zip(&candidates) {
                    let in_want = u64::from(*other_given) < other.waiting.min(u64::from(other.room));
                    if other.account == candidate.account && in_want && *given > 0 {
                        prop_assert!(own <= other.in_flight + other_given + 1);
                    }
                }
            }
        }
    }
}
