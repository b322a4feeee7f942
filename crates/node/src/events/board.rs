//! What is pending and at work of each function, in counts, and the workers that are free.
//!
//! The store has the events; this has what decisions look at. A function is on the board as long as anything is pending or
//! at work. Invariant: a worker is free or in one [`Slot`], which gives it back when it is dropped.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use updraft_engine::events::{self, Candidate, Full, Held, Limits};
use updraft_types::{AccountId, FunctionId, Timestamp};

use super::Part;

/// The board. Clones share it.
#[derive(Clone)]
pub(crate) struct Board {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    wake: Notify,
    workers: u32,
}

struct State {
    free: u32,
    functions: HashMap<FunctionId, Load>,
    accounts: HashMap<AccountId, Load>,
}

/// What there is of a function's events, or of an account's.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    held: Held,
    in_flight: u32,
    /// Of a function: when the first event that is not at work is due.
    next_due: Option<Timestamp>,
}

impl Load {
    fn is_over(&self) -> bool {
        self.held == Held::default() && self.in_flight == 0
    }

    fn waiting(&self) -> u64 {
        self.held.events.saturating_sub(u64::from(self.in_flight))
    }
}

/// A function's events at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Those that wait or are at work.
    pub pending: u64,
    /// Those at work.
    pub in_flight: u32,
    /// What all of them take on disk, bytes.
    pub bytes: u64,
}

impl Now {
    pub(crate) fn add(&mut self, other: Self) {
        self.pending += other.pending;
        self.in_flight += other.in_flight;
        self.bytes += other.bytes;
    }
}

/// A worker at one event.
pub(super) struct Slot {
    board: Board,
    function: FunctionId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.board.inner.state.lock();
        state.free += 1;
        state.change(&self.function, |load| load.in_flight -= 1);
        drop(state);
        self.board.inner.wake.notify_one();
    }
}

impl State {
    /// Changes a function's counts and its account's alike.
    fn change(&mut self, function: &FunctionId, change: impl Fn(&mut Load)) {
        apply(self.functions.entry(function.clone()), &change);
        apply(self.accounts.entry(function.account.clone()), &change);
    }

    fn account(&self, id: &AccountId) -> Load {
        self.accounts.get(id).copied().unwrap_or_default()
    }
}

fn apply<K>(entry: Entry<'_, K, Load>, change: &impl Fn(&mut Load)) {
    let mut entry = match entry {
        Entry::Occupied(entry) => entry,
        Entry::Vacant(entry) => entry.insert_entry(Load::default()),
    };
    change(entry.get_mut());
    if entry.get().is_over() {
        entry.remove();
    }
}

impl Board {
    pub(super) fn new(workers: u32) -> Self {
        let state = State { free: workers, functions: HashMap::new(), accounts: HashMap::new() };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), wake: Notify::new(), workers }) }
    }

    /// Counts what the store has of a function when it is opened.
    pub(super) fn restore(&self, function: &FunctionId, events: u64, bytes: u64, due: Timestamp) {
        self.inner.state.lock().change(function, |load| {
            load.held.events += events;
            load.held.bytes += bytes;
        });
        self.due(function, due);
    }

    /// Counts one more event, or says whose limit is reached.
    pub(super) fn admit(&self, function: &FunctionId, bytes: u64, limits: Limits) -> Result<(), Full> {
        let mut state = self.inner.state.lock();
        let of_function = state.functions.get(function).copied().unwrap_or_default();
        events::admit(of_function.held, state.account(&function.account).held, bytes, limits)?;
        state.change(function, |load| {
            load.held.events += 1;
            load.held.bytes += bytes;
        });
        Ok(())
    }

    /// Events are no longer pending: done, given up, not accepted after all, or deleted with their function.
    pub(crate) fn gone(&self, function: &FunctionId, events: u64, bytes: u64) {
        self.inner.state.lock().change(function, |load| {
            load.held.events = load.held.events.saturating_sub(events);
            load.held.bytes = load.held.bytes.saturating_sub(bytes);
        });
    }

    /// An event of a function will be due.
    pub(super) fn due(&self, function: &FunctionId, at: Timestamp) {
        let mut state = self.inner.state.lock();
        // Of a function that was deleted meanwhile nothing is pending.
        let Some(load) = state.functions.get_mut(function) else { return };
        load.next_due = Some(load.next_due.map_or(at, |due| due.min(at)));
        drop(state);
        self.inner.wake.notify_one();
    }

    /// A worker for an event of the function that is just being accepted, if one may have it before all that wait.
    pub(super) fn take_slot(&self, function: &FunctionId, room: u32, now: Timestamp) -> Option<Slot> {
        let mut state = self.inner.state.lock();
        let load = state.functions.get(function).copied().unwrap_or_default();
        if load.next_due.is_some_and(|due| due <= now) {
            return None;
        }
        let candidate = Candidate { account: 0, in_flight: load.in_flight, waiting: 1, room, since: 0 };
        let of_account = state.account(&function.account).in_flight;
        let may = events::allot(&[candidate], &[of_account], state.free) == [1];
        may.then(|| self.slot(&mut state, function))
    }

    fn slot(&self, state: &mut State, function: &FunctionId) -> Slot {
        state.free -= 1;
        state.change(function, |load| load.in_flight += 1);
        Slot { board: self.clone(), function: function.clone() }
    }

    /// Hands the free workers to functions with events that are due. When those functions' next events are due is
    /// forgotten: whoever leases says it.
    pub(super) fn plan(&self, now: Timestamp, room: impl Fn(&FunctionId) -> u32) -> Vec<Part> {
        let mut state = self.inner.state.lock();
        let is_due = |load: &Load| load.next_due.is_some_and(|due| due <= now);
        let due: Vec<(FunctionId, Load)> = state
            .functions
            .iter()
            .filter(|(_, load)| is_due(load) && load.waiting() > 0)
            .map(|(id, load)| (id.clone(), *load))
            .collect();
        if due.is_empty() || state.free == 0 {
            return Vec::new();
        }
        let mut accounts: HashMap<&AccountId, usize> = HashMap::new();
        let mut in_flight = Vec::new();
        let mut candidates = Vec::with_capacity(due.len());
        for (id, load) in &due {
            let account = *accounts.entry(&id.account).or_insert_with(|| {
                in_flight.push(state.account(&id.account).in_flight);
                in_flight.len() - 1
            });
            candidates.push(Candidate {
                account,
                in_flight: load.in_flight,
                waiting: load.waiting(),
                room: room(id),
                since: load.next_due.map_or(0, Timestamp::as_ms),
            });
        }
        drop(accounts);
        let given = events::allot(&candidates, &in_flight, state.free);
        let mut parts = Vec::new();
        for ((function, _), count) in due.into_iter().zip(given).filter(|(_, count)| *count > 0) {
            let slots = (0..count).map(|_| self.slot(&mut state, &function)).collect();
            if let Some(load) = state.functions.get_mut(&function) {
                load.next_due = None;
            }
            parts.push(Part { function, slots });
        }
        parts
    }

    /// When the first event is due that is not at work; that may have been some time ago.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let state = self.inner.state.lock();
        state.functions.values().filter(|load| load.waiting() > 0).filter_map(|load| load.next_due).min()
    }

    /// Waits until something was counted that may be of interest to whoever hands out work.
    pub(super) async fn woken(&self) {
        self.inner.wake.notified().await;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.inner.state.lock().free == self.inner.workers
    }

    /// What there is of each function.
    pub(crate) fn now(&self) -> HashMap<FunctionId, Now> {
        let state = self.inner.state.lock();
        state.functions.iter().map(|(id, load)| (id.clone(), shown(load))).collect()
    }

    /// What there is of one function.
    pub(crate) fn now_of(&self, id: &FunctionId) -> Now {
        self.inner.state.lock().functions.get(id).map(shown).unwrap_or_default()
    }
}

fn shown(load: &Load) -> Now {
    Now { pending: load.held.events, in_flight: load.in_flight, bytes: load.held.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> FunctionId {
        FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn taken(board: &Board, now: u64) -> Vec<(String, u32)> {
        let mut plan = board.plan(at(now), |_| u32::MAX);
        plan.sort_by(|one, other| one.function.cmp(&other.function));
        plan.iter().map(|part| (part.function.name.to_string(), part.count())).collect()
    }

    #[test]
    fn workers_go_to_what_is_due_and_come_back() {
        let board = Board::new(8);
        board.restore(&id("early"), 100, 1_000, at(5));
        board.restore(&id("late"), 1, 10, at(50));
        assert_eq!(taken(&board, 4), []);
        let plan = board.plan(at(5), |_| u32::MAX);
        assert_eq!((plan.len(), plan[0].count()), (1, 4));
        assert_eq!(board.now_of(&id("early")), Now { pending: 100, in_flight: 4, bytes: 1_000 });
        assert_eq!(board.next_due(), Some(at(50)), "whoever leases says when the next is due");
        board.due(&id("early"), at(7));
        assert_eq!(taken(&board, 50), [("late".to_owned(), 1)]);
        drop(plan);
        assert!(board.is_idle());
        board.gone(&id("early"), 100, 1_000);
        board.gone(&id("late"), 1, 10);
        assert!(board.now().is_empty(), "what is over is forgotten");
        board.due(&id("early"), at(1));
        assert_eq!(board.next_due(), None);
    }

    #[test]
    fn room_and_the_line_are_kept() {
        let board = Board::new(8);
        let limits = Limits { function_events_max: 2, ..Limits::default() };
        board.admit(&id("f"), 10, limits).unwrap();
        assert!(board.take_slot(&id("f"), 0, at(1)).is_none(), "there is no room");
        let slot = board.take_slot(&id("f"), 1, at(1)).unwrap();
        board.admit(&id("f"), 10, limits).unwrap();
        assert_eq!(board.admit(&id("f"), 10, limits), Err(Full::Function));
        board.due(&id("f"), at(1));
        assert!(board.take_slot(&id("f"), 1, at(1)).is_none(), "one is waiting already");
        assert!(board.plan(at(1), |_| 0).is_empty());
        assert_eq!(board.next_due(), Some(at(1)), "it is still due");
        drop(slot);
        assert_eq!(board.now_of(&id("f")).in_flight, 0);
    }
}
