//! What is pending and at work of each function, in counts, and the workers that are free.
//!
//! The store has the events; this has what decisions look at. A function is on the board as long as anything is pending or
//! at work. Nothing else is touched under the board's lock. Invariants: a worker is free or in one [`Slot`], which gives it
//! back when it is dropped; of an event that waits, or whose try has died, it is known when it is due.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use updraft_engine::events::{self, Candidate, Full, Held, Limits};
use updraft_store::events::Backlog;
use updraft_types::{AccountId, Event, FunctionId, Timestamp};

use super::Part;

/// The board. Clones share it.
#[derive(Clone)]
pub(crate) struct Board {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    wakes: Arc<Notify>,
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
    /// No event of it was accepted before.
    oldest: Option<Timestamp>,
}

impl Load {
    fn is_over(&self) -> bool {
        self.held == Held::default() && self.in_flight == 0
    }

    fn waiting(&self) -> u64 {
        self.held.events.saturating_sub(u64::from(self.in_flight))
    }

    fn has_due(&self, now: Timestamp) -> bool {
        self.waiting() > 0 && self.next_due.is_some_and(|due| due <= now)
    }

    fn add(&mut self, events: u64, bytes: u64, oldest: Timestamp) {
        self.held.events += events;
        self.held.bytes += bytes;
        self.oldest = earlier(self.oldest, oldest);
    }
}

fn earlier(known: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(at, |known| known.min(at)))
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
    /// When the event's lease ends, while a try is under way.
    lease_ends: Option<Timestamp>,
}

impl Slot {
    /// A try begins, on a lease that ends then. Should it die, the event is due again.
    pub(super) fn begin(&mut self, lease_ends: Timestamp) {
        self.lease_ends = Some(lease_ends);
    }

    /// The try has come to its end, and what becomes of the event has been told.
    pub(super) fn end(mut self) {
        self.lease_ends = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.board.inner.state.lock();
        state.free += 1;
        state.change(&self.function, |load| load.in_flight -= 1);
        if let Some(at) = self.lease_ends {
            state.due(&self.function, at);
        }
        drop(state);
        self.board.inner.wakes.notify_one();
    }
}

impl State {
    /// Changes a function's counts and its account's alike.
    fn change(&mut self, function: &FunctionId, change: impl Fn(&mut Load)) {
        apply(self.functions.entry(function.clone()), &change);
        apply(self.accounts.entry(function.account.clone()), &change);
    }

    fn due(&mut self, function: &FunctionId, at: Timestamp) {
        // Of a function that was deleted meanwhile nothing is pending.
        if let Some(load) = self.functions.get_mut(function) {
            load.next_due = earlier(load.next_due, at);
        }
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
        Self { inner: Arc::new(Inner { state: Mutex::new(state), wakes: Arc::default(), workers }) }
    }

    /// Counts what the store has of a function when it is opened.
    pub(super) fn restore(&self, backlog: &Backlog) {
        let Backlog { function, events, bytes, next_due, oldest } = backlog;
        let mut state = self.inner.state.lock();
        state.change(function, |load| load.add(*events, *bytes, *oldest));
        state.due(function, *next_due);
    }

    /// Counts one more event, or says whose limit is reached.
    pub(super) fn admit(&self, event: &Event, limits: Limits) -> Result<(), Full> {
        let (function, bytes) = (&event.function, event.size_bytes());
        let mut state = self.inner.state.lock();
        let of_function = state.functions.get(function).copied().unwrap_or_default();
        events::admit(of_function.held, state.account(&function.account).held, bytes, limits)?;
        state.change(function, |load| load.add(1, bytes, event.accepted_at));
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
        self.inner.state.lock().due(function, at);
        self.inner.wakes.notify_one();
    }

    /// Whether events of the function are due and wait: whatever comes later is behind them.
    pub(super) fn has_line(&self, function: &FunctionId, now: Timestamp) -> bool {
        self.inner.state.lock().functions.get(function).is_some_and(|load| load.has_due(now))
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
        Slot { board: self.clone(), function: function.clone(), lease_ends: None }
    }

    /// Functions with events that are due; none while no worker is free.
    pub(super) fn due_functions(&self, now: Timestamp) -> Vec<FunctionId> {
        let state = self.inner.state.lock();
        if state.free == 0 {
            return Vec::new();
        }
        state.functions.iter().filter(|(_, load)| load.has_due(now)).map(|(id, _)| id.clone()).collect()
    }

    /// Hands the free workers to those of these functions, each with the room it has, whose events are due. When the next
    /// are due of those that get some is forgotten: whoever leases says it.
    pub(super) fn hand_out(&self, now: Timestamp, rooms: Vec<(FunctionId, u32)>) -> Vec<Part> {
        let mut state = self.inner.state.lock();
        let mut accounts: HashMap<&AccountId, usize> = HashMap::new();
        let mut in_flight = Vec::new();
        let mut candidates = Vec::with_capacity(rooms.len());
        for (id, room) in &rooms {
            // It may have changed since it was looked up.
            let load = state.functions.get(id).filter(|load| load.has_due(now)).copied().unwrap_or_default();
            let account = *accounts.entry(&id.account).or_insert_with(|| {
                in_flight.push(state.account(&id.account).in_flight);
                in_flight.len() - 1
            });
            candidates.push(Candidate {
                account,
                in_flight: load.in_flight,
                waiting: load.waiting(),
                room: *room,
                since: load.next_due.map_or(0, Timestamp::as_ms),
            });
        }
        drop(accounts);
        let given = events::allot(&candidates, &in_flight, state.free);
        let mut parts = Vec::new();
        for ((function, _), count) in rooms.into_iter().zip(given).filter(|(_, count)| *count > 0) {
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

    /// Functions with events that wait, and when the oldest of each was accepted, or later.
    pub(super) fn oldest(&self) -> Vec<(FunctionId, Timestamp)> {
        let state = self.inner.state.lock();
        let waiting = state.functions.iter().filter(|(_, load)| load.waiting() > 0);
        waiting.filter_map(|(id, load)| Some((id.clone(), load.oldest?))).collect()
    }

    /// No event of the function was accepted before this.
    pub(super) fn set_oldest(&self, function: &FunctionId, oldest: Timestamp) {
        if let Some(load) = self.inner.state.lock().functions.get_mut(function) {
            load.oldest = Some(oldest);
        }
    }

    /// What wakes whoever hands out work: there may be some, or somebody for it.
    pub(crate) fn wakes(&self) -> Arc<Notify> {
        self.inner.wakes.clone()
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
    use updraft_types::RequestId;

    use super::*;

    fn id(name: &str) -> FunctionId {
        FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn backlog(name: &str, events: u64, bytes: u64, due: u64) -> Backlog {
        Backlog { function: id(name), events, bytes, next_due: at(due), oldest: at(due) }
    }

    fn event(name: &str, accepted_at: u64) -> Event {
        Event {
            request: RequestId::random(),
            function: id(name),
            qualifier: None,
            client_context: None,
            trace: String::new(),
            payload: Default::default(),
            accepted_at: at(accepted_at),
        }
    }

    fn plan(board: &Board, now: u64, room: u32) -> Vec<Part> {
        let due = board.due_functions(at(now));
        board.hand_out(at(now), due.into_iter().map(|id| (id, room)).collect())
    }

    fn taken(board: &Board, now: u64) -> Vec<(String, u32)> {
        let mut plan = plan(board, now, u32::MAX);
        plan.sort_by(|one, other| one.function.cmp(&other.function));
        plan.iter().map(|part| (part.function.name.to_string(), part.count())).collect()
    }

    #[test]
    fn workers_go_to_what_is_due_and_come_back() {
        let board = Board::new(8);
        board.restore(&backlog("early", 100, 1_000, 5));
        board.restore(&backlog("late", 1, 10, 50));
        assert_eq!(taken(&board, 4), []);
        let plan = plan(&board, 5, u32::MAX);
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
        board.admit(&event("f", 1), limits).unwrap();
        assert!(board.take_slot(&id("f"), 0, at(1)).is_none(), "there is no room");
        let slot = board.take_slot(&id("f"), 1, at(1)).unwrap();
        board.admit(&event("f", 1), limits).unwrap();
        assert_eq!(board.admit(&event("f", 1), limits), Err(Full::Function));
        assert!(!board.has_line(&id("f"), at(1)));
        board.due(&id("f"), at(1));
        assert!(board.has_line(&id("f"), at(1)));
        assert!(board.take_slot(&id("f"), 1, at(1)).is_none(), "one is waiting already");
        assert!(plan(&board, 1, 0).is_empty());
        assert_eq!(board.next_due(), Some(at(1)), "it is still due");
        drop(slot);
        assert_eq!(board.now_of(&id("f")).in_flight, 0);
    }

    #[test]
    fn a_try_that_dies_leaves_its_event_due() {
        let board = Board::new(8);
        for _ in 0..2 {
            board.admit(&event("f", 1), Limits::default()).unwrap();
        }
        let mut dies = board.take_slot(&id("f"), 1, at(1)).unwrap();
        dies.begin(at(900));
        let mut ends = board.take_slot(&id("f"), 1, at(1)).unwrap();
        ends.begin(at(800));
        ends.end();
        assert_eq!(board.next_due(), None);
        drop(dies);
        assert_eq!((board.next_due(), board.is_idle()), (Some(at(900)), true));
        assert_eq!(taken(&board, 900), [("f".to_owned(), 2)]);
    }

    #[test]
    fn the_oldest_is_known_of_those_that_wait() {
        let board = Board::new(8);
        board.restore(&backlog("f", 2, 10, 7));
        board.admit(&event("g", 3), Limits::default()).unwrap();
        let slot = board.take_slot(&id("g"), 1, at(3)).unwrap();
        assert_eq!(board.oldest(), [(id("f"), at(7))]);
        drop(slot);
        board.admit(&event("f", 5), Limits::default()).unwrap();
        board.admit(&event("g", 9), Limits::default()).unwrap();
        let sorted = || {
            let mut oldest = board.oldest();
            oldest.sort();
            oldest
        };
        assert_eq!(sorted(), [(id("f"), at(5)), (id("g"), at(3))]);
        board.set_oldest(&id("g"), at(8));
        assert_eq!(sorted()[1].1, at(8));
        board.gone(&id("g"), 2, 2 * event("g", 3).size_bytes());
        board.set_oldest(&id("g"), at(9));
        assert_eq!(board.oldest().len(), 1, "what is over is forgotten");
    }
}
