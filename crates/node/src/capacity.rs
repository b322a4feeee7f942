//! The node's room for instances: memory and number. Who finds none waits here for a turn, as `engine::fair` orders.
//!
//! Performs nothing by itself: the clerk (`crate::clerk`) grants what comes free and has instances evicted for those who
//! wait. Invariants: reservations never exceed the limits; while anybody waits nobody else takes room; what comes
//! free wakes the clerk. What executors keep ready without a function takes no part: they are told what is free and fit
//! into it, or give up what they have.
//!
//! Locking: the lock here may be taken under a pool's, and takes no other.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use updraft_engine::fair::{self, Holding, Policy, Room, Standing};
use updraft_types::{AccountId, FunctionId};

use crate::pool::Pool;

/// What one node may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sum of the memory sizes of all instances, MB.
    pub memory_mb_max: u64,
    /// Instances at once.
    pub instances_max: u32,
}

impl Default for Limits {
    /// The host's memory, and 1,000 instances.
    fn default() -> Self {
        let total_kb = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        Self { memory_mb_max: total_kb.map_or(4_096, |kb| kb / 1024), instances_max: 1_000 }
    }
}

/// Every account weighs the same; there is nothing yet to set it otherwise.
const ACCOUNT_WEIGHT: u32 = 1;

/// Who asks for room, and how much.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) function: FunctionId,
    /// The function's weight beside the others of its account.
    pub(crate) weight: u32,
    pub(crate) memory_mb: u64,
}

/// The wish of a pool that found no room.
pub(crate) type Claim = fair::Claim<AccountId, FunctionId>;

/// The node's room.
pub(crate) struct Capacity {
    limits: Limits,
    policy: Policy,
    state: Mutex<State>,
    claims: AtomicUsize,
    /// What instances leave of the memory, MB, for whoever keeps something ready in it.
    free_mb: watch::Sender<u64>,
    /// Wakes the clerk: room came free, or somebody began to wait.
    pub(crate) changed: Notify,
}

struct State {
    free: Room,
    /// What is being ended and will be free soon.
    leaving: Room,
    of_account: HashMap<AccountId, u64>,
    of_function: HashMap<FunctionId, u64>,
    /// At most one for each pool.
    waiting: Vec<Waiting>,
}

struct Waiting {
    pool: Weak<Pool>,
    request: Request,
    /// How many instances there should be room made for, the first of which is granted next.
    instances: u32,
    since: Instant,
}

/// Most instances at once for which room is made, one for each pool that waits apart.
const AHEAD_MAX: usize = 64;

/// Room taken by one instance; dropping it gives the room back.
pub(crate) struct Reservation {
    capacity: Arc<Capacity>,
    request: Request,
    is_leaving: AtomicBool,
}

/// What the node holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Reserved by instances, MB.
    pub memory_mb: u64,
    /// May be reserved, MB.
    pub memory_mb_max: u64,
    /// Functions that wait for room.
    pub waiting: usize,
}

impl State {
    fn standing(&self, request: &Request) -> Standing<AccountId, FunctionId> {
        let Request { function, weight, .. } = request;
        let held = |memory_mb: Option<&u64>, weight| Holding { memory_mb: memory_mb.copied().unwrap_or(0), weight };
        Standing {
            account: function.account.clone(),
            function: function.clone(),
            of_account: held(self.of_account.get(&function.account), ACCOUNT_WEIGHT),
            of_function: held(self.of_function.get(function), *weight),
        }
    }

    fn claim(&self, waiting: &Waiting, now: Instant) -> Claim {
        Claim {
            standing: self.standing(&waiting.request),
            memory_mb: waiting.request.memory_mb,
            waited: now.saturating_duration_since(waiting.since),
        }
    }

    /// The next claim of each pool that waits.
    fn claims(&self) -> Vec<Claim> {
        let now = Instant::now();
        self.waiting.iter().map(|waiting| self.claim(waiting, now)).collect()
    }

    /// The claims that neither what is free nor what is being ended will serve, in order, those that follow a pool's next
    /// one among them.
    fn uncovered(&self) -> Vec<Claim> {
        let (now, mut claims) = (Instant::now(), Vec::with_capacity(self.waiting.len()));
        let each_max = u32::try_from(AHEAD_MAX / self.waiting.len().max(1)).unwrap_or(u32::MAX).max(1);
        for waiting in &self.waiting {
            claims.extend(self.claim(waiting, now).repeated(waiting.instances.min(each_max)));
        }
        let coming = Room {
            memory_mb: self.free.memory_mb + self.leaving.memory_mb,
            instances: self.free.instances + self.leaving.instances,
        };
        let uncovered = fair::uncovered(&claims, coming);
        let mut claims: Vec<_> = claims.into_iter().map(Some).collect();
        uncovered.into_iter().filter_map(|index| claims[index].take()).collect()
    }

    fn take(&mut self, request: &Request) {
        self.free.instances -= 1;
        self.free.memory_mb -= request.memory_mb;
        *self.of_account.entry(request.function.account.clone()).or_default() += request.memory_mb;
        *self.of_function.entry(request.function.clone()).or_default() += request.memory_mb;
    }
}

impl Capacity {
    pub(crate) fn new(limits: Limits, policy: Policy) -> Self {
        let state = State {
            free: Room { memory_mb: limits.memory_mb_max, instances: limits.instances_max },
            leaving: Room::default(),
            of_account: HashMap::new(),
            of_function: HashMap::new(),
            waiting: Vec::new(),
        };
        Self {
            limits,
            policy,
            state: Mutex::new(state),
            claims: AtomicUsize::new(0),
            free_mb: watch::Sender::new(limits.memory_mb_max),
            changed: Notify::new(),
        }
    }

    /// Whether functions of an account have instances, of deleted ones too.
    pub(crate) fn is_held_by(&self, account: &AccountId) -> bool {
        self.state.lock().of_account.contains_key(account)
    }

    /// Where to read what instances leave of the memory, MB.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.free_mb.subscribe()
    }

    /// Whether nothing is reserved.
    pub(crate) fn is_unused(&self) -> bool {
        self.state.lock().free.instances == self.limits.instances_max
    }

    /// Whether an instance of this size would fit if the node were empty.
    pub(crate) fn could_fit(&self, memory_mb: u32) -> bool {
        self.limits.instances_max > 0 && u64::from(memory_mb) <= self.limits.memory_mb_max
    }

    /// What is held now.
    pub(crate) fn in_use(&self) -> Use {
        let state = self.state.lock();
        Use {
            memory_mb: self.limits.memory_mb_max - state.free.memory_mb,
            memory_mb_max: self.limits.memory_mb_max,
            waiting: state.waiting.len(),
        }
    }

    /// Takes room for one instance, if there is any and nobody waits for it.
    pub(crate) fn reserve(self: &Arc<Self>, request: &Request) -> Option<Reservation> {
        let mut state = self.state.lock();
        let has_room = state.free.instances > 0 && state.free.memory_mb >= request.memory_mb;
        (has_room && state.waiting.is_empty()).then(|| self.taken(&mut state, request.clone()))
    }

    fn taken(self: &Arc<Self>, state: &mut State, request: Request) -> Reservation {
        state.take(&request);
        self.free_mb.send_replace(state.free.memory_mb);
        Reservation { capacity: self.clone(), request, is_leaving: AtomicBool::new(false) }
    }

    /// Queues a pool that found no room for so many instances. It queues itself at most once at a time, and anew when it
    /// has been granted the first.
    pub(crate) fn wait(&self, pool: Weak<Pool>, request: Request, instances: u32) {
        let mut state = self.state.lock();
        state.waiting.push(Waiting { pool, request, instances, since: Instant::now() });
        self.claims.store(state.waiting.len(), Ordering::Release);
        drop(state);
        self.changed.notify_one();
    }

    /// Those who wait for room.
    pub(crate) fn waiting(&self) -> Vec<Arc<Pool>> {
        self.state.lock().waiting.iter().filter_map(|waiting| waiting.pool.upgrade()).collect()
    }

    /// Forgets that a pool waits.
    pub(crate) fn withdraw(&self, pool: &Arc<Pool>) {
        let mut state = self.state.lock();
        state.waiting.retain(|waiting| !std::ptr::eq(waiting.pool.as_ptr(), Arc::as_ptr(pool)));
        self.claims.store(state.waiting.len(), Ordering::Release);
    }

    /// Whether any pool waits for room. Cheap enough for every release.
    pub(crate) fn has_claims(&self) -> bool {
        self.claims.load(Ordering::Acquire) > 0
    }

    /// Room for the pool whose turn it is, if there is any.
    pub(crate) fn grant(self: &Arc<Self>) -> Option<(Weak<Pool>, Reservation)> {
        let mut state = self.state.lock();
        state.waiting.retain(|waiting| waiting.pool.strong_count() > 0);
        let chosen = fair::grant(&state.claims(), state.free, self.policy);
        let chosen = chosen.map(|index| state.waiting.remove(index));
        self.claims.store(state.waiting.len(), Ordering::Release);
        let Waiting { pool, request, .. } = chosen?;
        Some((pool, self.taken(&mut state, request)))
    }

    /// The claims that neither what is free nor what is being ended will serve, in order.
    pub(crate) fn uncovered(&self) -> Vec<Claim> {
        self.state.lock().uncovered()
    }

    /// Whether a claim may take an instance from its owner that has been idle for so long.
    pub(crate) fn may_evict(&self, owner: &Request, idle: Duration, claim: &Claim) -> bool {
        let standing = self.state.lock().standing(owner);
        fair::may_evict(&standing, owner.memory_mb, idle, claim, self.policy)
    }

    /// Gives an instance up, if somebody who waits should have it rather than its own function's next caller. Counts it
    /// as leaving then: it is to be ended as soon as it has no calls.
    pub(crate) fn give_up(&self, reservation: &Reservation) -> bool {
        let mut state = self.state.lock();
        let holder = state.standing(&reservation.request);
        let gives = |claim: &Claim| fair::gives_up(&holder, reservation.request.memory_mb, claim, self.policy);
        let gives_up = state.uncovered().iter().any(gives);
        if gives_up {
            reservation.count_leaving(&mut state);
        }
        gives_up
    }
}

impl Reservation {
    /// Says that the instance is being ended.
    pub(crate) fn leave(&self) {
        self.count_leaving(&mut self.capacity.state.lock());
    }

    /// Whether the instance is to be ended.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    fn count_leaving(&self, state: &mut State) {
        if !self.is_leaving.swap(true, Ordering::Relaxed) {
            state.leaving.memory_mb += self.request.memory_mb;
            state.leaving.instances += 1;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Request { function, memory_mb, .. } = &self.request;
        let has_claims = {
            let mut state = self.capacity.state.lock();
            state.free.memory_mb += memory_mb;
            state.free.instances += 1;
            if *self.is_leaving.get_mut() {
                state.leaving.memory_mb -= memory_mb;
                state.leaving.instances -= 1;
            }
            self.capacity.free_mb.send_replace(state.free.memory_mb);
            give_back(&mut state.of_account, &function.account, *memory_mb);
            give_back(&mut state.of_function, function, *memory_mb);
            !state.waiting.is_empty()
        };
        if has_claims {
            self.capacity.changed.notify_one();
        }
    }
}

fn give_back<K: std::hash::Hash + Eq>(held: &mut HashMap<K, u64>, key: &K, memory_mb: u64) {
    if let Some(held_mb) = held.get_mut(key) {
        *held_mb -= memory_mb;
        if *held_mb == 0 {
            held.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> Request {
        let account: AccountId = "000000000000".parse().unwrap();
        Request { function: FunctionId { account, name: name.parse().unwrap() }, weight: 1, memory_mb: 100 }
    }

    /// A node all of whose memory one instance has.
    fn full() -> (Arc<Capacity>, Reservation) {
        let limits = Limits { memory_mb_max: 100, instances_max: 10_000 };
        let capacity = Arc::new(Capacity::new(limits, Policy::default()));
        let held = capacity.reserve(&request("holder")).unwrap();
        (capacity, held)
    }

    #[test]
    fn room_is_made_for_all_that_a_pool_wants_and_granted_one_by_one() {
        let (capacity, _held) = full();
        capacity.wait(Weak::new(), request("burst"), 3);
        let held: Vec<_> = capacity.uncovered().iter().map(|claim| claim.standing.of_function.memory_mb).collect();
        assert_eq!(held, [0, 100, 200]);
        assert_eq!(capacity.state.lock().claims().len(), 1);
    }

    #[test]
    fn what_many_pools_want_at_once_is_bounded() {
        let (capacity, _held) = full();
        for number in 0..100 {
            capacity.wait(Weak::new(), request(&format!("burst-{number}")), 1_000);
            let wanted = capacity.uncovered().len();
            assert!(wanted <= AHEAD_MAX.max(number + 1) && wanted > number, "{wanted} of {} pools", number + 1);
        }
    }
}
