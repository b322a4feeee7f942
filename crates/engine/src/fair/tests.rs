//! Cases, and a model of a whole node that is driven by random events.

use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy { patience: Duration::from_millis(100), idle_grace: Duration::from_secs(10) };

fn standing(account: u8, function: u8, of_account: u64, of_function: u64) -> Standing<u8, u8> {
    let holding = |memory_mb| Holding { memory_mb, weight: 1 };
    Standing { account, function, of_account: holding(of_account), of_function: holding(of_function) }
}

fn claim(standing: Standing<u8, u8>, memory_mb: u64, waited_ms: u64) -> Claim<u8, u8> {
    Claim { standing, memory_mb, waited: Duration::from_millis(waited_ms) }
}

fn room(memory_mb: u64, instances: u32) -> Room {
    Room { memory_mb, instances }
}

#[test]
fn who_holds_least_is_served_first_accounts_before_functions() {
    let rich = claim(standing(1, 1, 300, 0), 100, 90);
    let poor = claim(standing(2, 2, 200, 200), 100, 0);
    assert_eq!(grant(&[rich, poor], room(100, 9), POLICY), Some(1));
    let sibling = claim(standing(2, 3, 200, 0), 100, 0);
    assert_eq!(grant(&[rich, poor, sibling], room(100, 9), POLICY), Some(2));
    let earlier = claim(standing(2, 4, 200, 0), 100, 5);
    assert_eq!(grant(&[sibling, earlier], room(100, 9), POLICY), Some(1));
    assert_eq!(grant(&[earlier], room(99, 9), POLICY), None);
    assert_eq!(grant(&[earlier], room(100, 0), POLICY), None);
}

#[test]
fn a_function_that_wants_many_stands_further_back_with_each() {
    let many = claim(standing(1, 1, 500, 0), 100, 9);
    let held: Vec<_> = many.repeated(3).map(|claim| claim.standing.of_function.memory_mb).collect();
    assert_eq!(held, [0, 100, 200]);
    let one = claim(standing(1, 2, 500, 100), 100, 0);
    let claims: Vec<_> = many.repeated(3).chain([one]).collect();
    assert_eq!(uncovered(&claims, room(200, 9)), [1, 2], "the other's first comes before its second");
    // It takes until it would hold more than the other, and no more.
    let rich = standing(1, 3, 500, 300);
    let takes: Vec<_> = many.repeated(3).map(|claim| may_evict(&rich, 100, Duration::ZERO, &claim, POLICY)).collect();
    assert_eq!(takes, [true, true, false]);
}

#[test]
fn twice_the_weight_is_twice_the_share() {
    let mut heavy = claim(standing(1, 1, 300, 300), 100, 0);
    heavy.standing.of_account.weight = 2;
    let light = claim(standing(2, 2, 200, 200), 100, 0);
    assert_eq!(grant(&[light, heavy], room(100, 1), POLICY), Some(1));
}

#[test]
fn smaller_claims_pass_a_large_one_only_for_a_while() {
    let large = |waited| claim(standing(1, 1, 0, 0), 1_000, waited);
    let small = claim(standing(2, 2, 50, 50), 100, 0);
    assert_eq!(grant(&[large(99), small], room(500, 9), POLICY), Some(1));
    assert_eq!(grant(&[large(100), small], room(500, 9), POLICY), None);
    assert_eq!(uncovered(&[large(100), small], room(1_050, 9)), [1]);
    assert_eq!(uncovered(&[large(100), small], room(1_100, 9)), [0_usize; 0]);
    assert_eq!(uncovered(&[large(100), small], room(1_100, 1)), [1]);
}

#[test]
fn a_flood_gives_up_what_it_has_more_than_the_other() {
    let quiet = |held, waited| claim(standing(1, 2, 1_000, held), 100, waited);
    let flood = |held| standing(1, 1, 1_000, held);
    assert!(gives_up(&flood(1_000), 100, &quiet(0, 0), POLICY));
    assert!(gives_up(&flood(500), 100, &quiet(300, 0), POLICY));
    assert!(!gives_up(&flood(500), 100, &quiet(400, 9_999), POLICY), "it would only turn the tables");
    assert!(!gives_up(&flood(100), 100, &quiet(0, 99), POLICY));
    assert!(gives_up(&flood(100), 100, &quiet(0, 100), POLICY), "one who has nothing gets its turn");
    assert!(!gives_up(&flood(900), 100, &claim(flood(900), 100, 9_999), POLICY), "nobody gives to itself");
}

#[test]
fn accounts_are_weighed_before_their_functions() {
    // Account 2 has its share: its new function takes from its own account, not from the other.
    let new = claim(standing(2, 9, 500, 0), 100, 9_999);
    assert!(!gives_up(&standing(1, 1, 500, 500), 100, &new, POLICY));
    assert!(gives_up(&standing(2, 8, 500, 500), 100, &new, POLICY));
    assert!(gives_up(&standing(1, 1, 800, 100), 100, &new, POLICY));
}

#[test]
fn a_flood_takes_no_idle_instance_that_a_quiet_function_still_uses() {
    let flood = claim(standing(1, 1, 1_000, 900), 100, 9_999);
    let quiet = standing(1, 2, 1_000, 100);
    assert!(!may_evict(&quiet, 100, Duration::from_secs(9), &flood, POLICY));
    assert!(may_evict(&quiet, 100, Duration::from_secs(10), &flood, POLICY));
    let nothing = claim(standing(1, 3, 1_000, 0), 100, 0);
    assert!(may_evict(&quiet, 100, Duration::ZERO, &nothing, POLICY));
    assert!(may_evict(&standing(1, 1, 1_000, 900), 100, Duration::ZERO, &nothing, POLICY));
}

const FUNCTIONS: usize = 6;
const NODE: Room = Room { memory_mb: 1_200, instances: 10 };
/// Accounts of the functions, and the memory of an instance of each.
const ACCOUNTS: [u8; FUNCTIONS] = [1, 1, 1, 2, 2, 3];
const MEMORY_MB: [u64; FUNCTIONS] = [100, 100, 300, 100, 200, 500];
const STEP: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrive { function: usize, calls: u32 },
    Finish { function: usize },
    Pause,
}

fn event() -> impl Strategy<Value = Event> {
    let function = || 0..FUNCTIONS;
    prop_oneof![
        3 => (function(), 1..8_u32).prop_map(|(function, calls)| Event::Arrive { function, calls }),
        6 => function().prop_map(|function| Event::Finish { function }),
        2 => Just(Event::Pause),
    ]
}

/// One call an instance; starting takes no time.
#[derive(Debug, Clone, Default)]
struct Function {
    waiting: u32,
    busy: u32,
    /// Since when each idle instance is idle.
    idle: Vec<Duration>,
    claimed_at: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    functions: [Function; FUNCTIONS],
    now: Duration,
}

impl Model {
    fn held(&self, function: usize) -> u64 {
        let Function { busy, idle, .. } = &self.functions[function];
        (u64::from(*busy) + idle.len() as u64) * MEMORY_MB[function]
    }

    fn standing(&self, function: usize) -> Standing<u8, usize> {
        let account = ACCOUNTS[function];
        let of_account = (0..FUNCTIONS).filter(|other| ACCOUNTS[*other] == account).map(|other| self.held(other)).sum();
        Standing {
            account,
            function,
            of_account: Holding { memory_mb: of_account, weight: 1 },
            of_function: Holding { memory_mb: self.held(function), weight: 1 },
        }
    }

    fn free(&self) -> Room {
        let instances = self.functions.iter().map(|function| function.busy + function.idle.len() as u32).sum();
        let memory_mb = (0..FUNCTIONS).map(|function| self.held(function)).sum();
        assert!(memory_mb <= NODE.memory_mb && instances <= NODE.instances, "more is held than there is");
        NODE.less(Room { memory_mb, instances })
    }

    fn claims(&self) -> Vec<Claim<u8, usize>> {
        let claimed = |function: usize| {
            let waited = self.now - self.functions[function].claimed_at?;
            Some(Claim { standing: self.standing(function), memory_mb: MEMORY_MB[function], waited })
        };
        (0..FUNCTIONS).filter_map(claimed).collect()
    }

    /// Serves who can be served, grants what can be granted, evicts what may be evicted.
    fn settle(&mut self) {
        loop {
            for function in &mut self.functions {
                while function.waiting > 0 && function.idle.pop().is_some() {
                    function.waiting -= 1;
                    function.busy += 1;
                }
                if function.waiting == 0 {
                    function.claimed_at = None;
                } else {
                    function.claimed_at.get_or_insert(self.now);
                }
            }
            let claims = self.claims();
            if let Some(index) = grant(&claims, self.free(), POLICY) {
                let function = &mut self.functions[claims[index].standing.function];
                function.idle.push(self.now);
                function.claimed_at = None;
                continue;
            }
            let Some((owner, place)) = uncovered(&claims, self.free()).into_iter().find_map(|index| {
                (0..FUNCTIONS).find_map(|owner| {
                    let may = |idle: &Duration| {
                        let standing = self.standing(owner);
                        may_evict(&standing, MEMORY_MB[owner], self.now - *idle, &claims[index], POLICY)
                    };
                    Some((owner, self.functions[owner].idle.iter().position(may)?))
                })
            }) else {
                return;
            };
            self.functions[owner].idle.remove(place);
        }
    }

    fn finish(&mut self, function: usize) {
        if self.functions[function].busy == 0 {
            return;
        }
        let claims = self.claims();
        let holder = self.standing(function);
        let gives = self.functions[function].waiting > 0
            && uncovered(&claims, self.free())
                .into_iter()
                .any(|index| gives_up(&holder, MEMORY_MB[function], &claims[index], POLICY));
        let function = &mut self.functions[function];
        function.busy -= 1;
        if !gives {
            function.idle.push(self.now);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let free = self.free();
        let claims = self.claims();
        let is_gathering = claims.iter().any(|claim| claim.waited >= POLICY.patience);
        for claim in &claims {
            prop_assert!(is_gathering || !free.fits(claim.room()), "room is free and a claim that fits waits");
        }
        for function in &self.functions {
            prop_assert!(function.waiting == 0 || function.idle.is_empty(), "a caller waits beside an idle instance");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
    #[test]
    fn room_is_never_exceeded_never_wasted_and_nobody_starves(
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let mut model = Model::default();
        for event in events {
            model.now += STEP;
            match event {
                Event::Arrive { function, calls } => model.functions[function].waiting += calls,
                Event::Finish { function } => model.finish(function),
                Event::Pause => model.now += STEP * 10,
            }
            model.settle();
            model.check()?;
        }
        // A flood of one function never ends, yet everybody else's callers are served.
        let mut rounds = 0;
        while (1..FUNCTIONS).any(|function| model.functions[function].waiting > 0) {
            rounds += 1;
            prop_assert!(rounds < 10_000, "somebody starves: {model:?}");
            model.functions[0].waiting = 50;
            model.now += STEP;
            for function in 0..FUNCTIONS {
                model.finish(function);
            }
            model.settle();
            model.check()?;
        }
        // When it does end, nothing is left waiting or busy.
        for _ in 0..10_000 {
            model.now += STEP;
            for function in 0..FUNCTIONS {
                model.finish(function);
            }
            model.settle();
        }
        prop_assert!(model.functions.iter().all(|function| function.waiting == 0 && function.busy == 0));
    }

    #[test]
    fn two_floods_of_one_account_come_to_share_alike(head_start in 1..12_u32) {
        let mut model = Model::default();
        model.functions[0].waiting = head_start;
        for _ in 0..200 {
            model.now += STEP;
            for function in [0, 1] {
                model.functions[function].waiting = 50;
                model.finish(function);
            }
            model.settle();
        }
        let (one, other) = (model.held(0), model.held(1));
        prop_assert!(one.abs_diff(other) <= MEMORY_MB[0], "{one} and {other} MB");
        prop_assert_eq!(model.free().instances, 0, "both together use all there is");
    }
}
