//! Asynchronous invocations: takes events in, hands them to their functions, and settles what came of it.
//!
//! Performs what `engine::events` decides, on what `store::events` remembers. An event is acknowledged when it is on disk;
//! from there on a worker leases it, calls [`Handle::invoke`] like everybody else, and settles it in one transaction with
//! whatever follows from it. What is held in memory (`board`) are counts, made again from the store at the next start.
//!
//! Invariants: an acknowledged event is pending, done or a dead letter, whenever the platform is killed; at most one try of
//! an event is at work; no function and no account has all workers; an event that is too old is given up whether or not
//! anybody could try it; everything here is bounded by [`Config`].

mod ages;
mod attempt;
mod board;
mod destination;
mod record;

use std::time::Duration;

use tokio::task::JoinSet;
pub use updraft_engine::events::{Full, Limits, Policy};
pub use updraft_store::events::DeadLetter;
use updraft_store::events::{AcceptError, Backlog, Leased, Pick, Retention};
use updraft_types::{
    Event, FunctionId, Qualifier, Timestamp, Version,
    function::State,
    limits::{INIT_TIMEOUT_S, TIMEOUT_S},
};

pub(crate) use self::board::Board;
pub use self::board::Now;
use self::board::Slot;
pub use self::destination::Undeliverable;
use crate::{Handle, Refusal, pools::Wake};

/// How asynchronous events are treated.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// When failed ones are tried again.
    pub policy: Policy,
    /// How many are kept.
    pub limits: Limits,
    /// Most of them at work at once.
    pub in_flight_max: u32,
    /// Most dead letters kept of one function.
    pub letters_max: u32,
    /// Most bytes of dead letters kept of one function.
    pub letter_bytes_max: u64,
    /// How long dead letters are kept.
    pub letters_age_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            limits: Limits::default(),
            in_flight_max: 200,
            letters_max: 1_000,
            letter_bytes_max: 16 << 20,
            letters_age_max: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// Why an event was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The function could not be invoked either.
    #[error(transparent)]
    Invocation(#[from] Refusal),
    /// As much is pending as may be.
    #[error("too many events are pending")]
    Full(Full),
    /// There is no room on the disk.
    #[error("the disk is full")]
    DiskFull,
    /// The platform failed; the text is for the operator.
    #[error("the event was not accepted: {0}")]
    Internal(String),
}

/// Most bytes of events leased in one step.
const LEASE_BYTES_MAX: u64 = 32 << 20;
/// How often the workers look for what came due, or found room, without anybody saying so.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long to rest after the store has failed.
const STORE_REST: Duration = Duration::from_secs(1);
/// How often dead letters are looked through for old ones.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(3600);
/// What a try takes beside the waiting, starting and running that have limits of their own.
const LEASE_MARGIN: Duration = Duration::from_secs(60);

impl Handle {
    /// Accepts an event: when this returns it is on disk, and will be tried until it is done or given up. Goes on even if
    /// its caller goes away.
    pub async fn accept(&self, event: Event) -> Result<(), Refused> {
        let handle = self.clone();
        let accepting = tokio::spawn(async move { handle.accept_here(event).await });
        accepting.await.unwrap_or_else(|panic| Err(Refused::Internal(panic.to_string())))
    }

    async fn accept_here(&self, event: Event) -> Result<(), Refused> {
        self.check_invocable(&event)?;
        let board = &self.inner.board;
        board.admit(&event, self.inner.config.events.limits).map_err(Refused::Full)?;
        let now = Timestamp::now();
        // With a worker free and nobody before it, the event is leased in the step that accepts it.
        let until = self.lease_end(now);
        let slot = if board.has_line(&event.function, now) {
            None
        } else {
            board.take_slot(&event.function, self.room(&event.function, Wake::No), now)
        };
        let leased_until = slot.as_ref().map(|_| until);
        let accepted = self.inner.store.events().accept(event.clone(), leased_until).await;
        match accepted {
            Ok(lease) => {
                self.inner.pools.tally(&event.function).event_accepted();
                match slot {
                    Some(slot) => {
                        let leased = Leased { lease, progress: Default::default(), event };
                        tokio::spawn(self.clone().attempt(leased, slot, until));
                    }
                    None => board.due(&event.function, event.accepted_at),
                }
                Ok(())
            }
            Err(error) => {
                board.gone(&event.function, 1, event.size_bytes());
                Err(match error {
                    AcceptError::NotFound => Refusal::NotFound.into(),
                    AcceptError::Full => Refused::DiskFull,
                    AcceptError::Internal(text) => Refused::Internal(text),
                })
            }
        }
    }

    /// Refuses what a synchronous invocation would be refused for, other than limits: those are waited for.
    fn check_invocable(&self, event: &Event) -> Result<(), Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let qualifier = event.qualifier.clone().unwrap_or(Qualifier::Version(Version::Latest));
        match self.catalog().find(&event.function, &qualifier).map(|function| &function.state) {
            None => Err(Refusal::NotFound),
            Some(State::Active) => Ok(()),
            Some(State::Pending) => Err(Refusal::Pending),
            Some(State::Failed { reason }) => Err(Refusal::Failed(reason.clone())),
        }
    }

    /// A function's dead letters, newest first.
    pub async fn dead_letters(&self, function: &FunctionId, count_max: u32) -> Result<Vec<DeadLetter>, String> {
        let read = self.inner.store.events().dead_letters(function.clone(), count_max).await;
        read.map_err(|error| error.to_string())
    }

    fn lease_end(&self, now: Timestamp) -> Timestamp {
        let run_max = u64::from(*TIMEOUT_S.end()) + INIT_TIMEOUT_S;
        now.plus(Duration::from_secs(run_max) + self.inner.config.wait_max + LEASE_MARGIN)
    }

    /// How many more events a function may be given now. One that is stopped takes them all, to be given up.
    fn room(&self, id: &FunctionId, wake: Wake) -> u32 {
        let catalog = self.inner.catalog.load();
        let Some(latest) = catalog.get(id) else { return 0 };
        if latest.scaling.reserved_concurrency == Some(0) {
            return u32::MAX;
        }
        let versions = catalog.versions(id).map(|version| version.version);
        updraft_engine::events::room(self.inner.pools.load(latest, versions, wake))
    }

    /// Hands out workers. Of functions that have no room the board is told when they may have some again.
    fn plan(&self, now: Timestamp) -> Vec<Part> {
        let room = |id: FunctionId| {
            let room = match self.room(&id, Wake::No) {
                0 => self.room(&id, Wake::WhenFreed),
                room => room,
            };
            (id, room)
        };
        let board = &self.inner.board;
        board.hand_out(now, board.due_functions(now).into_iter().map(room).collect())
    }

    fn retention(&self) -> Retention {
        let config = &self.inner.config.events;
        Retention { letters_max: config.letters_max, bytes_max: config.letter_bytes_max }
    }

    /// Takes up what earlier runs of the platform left, then works until it is aborted. Leases nothing once the node is
    /// stopping.
    pub(crate) async fn run_events(self) {
        let mut workers = JoinSet::new();
        loop {
            while workers.try_join_next().is_some() {}
            if self.is_stopping() {
                break;
            }
            let now = Timestamp::now();
            let plan = self.plan(now);
            if plan.is_empty() {
                self.rest_workers(now).await;
                continue;
            }
            let picks = plan.iter().map(|part| Pick { function: part.function.clone(), count: part.count() }).collect();
            let until = self.lease_end(now);
            let taken = self.inner.store.events().lease(picks, now, until, LEASE_BYTES_MAX).await;
            match taken {
                Ok(taken) => {
                    for (part, taken) in plan.into_iter().zip(taken) {
                        if let Some(due) = taken.next_due {
                            self.inner.board.due(&part.function, due);
                        }
                        // Slots of what was not there after all are given back.
                        for (leased, slot) in taken.leased.into_iter().zip(part.slots) {
                            workers.spawn(self.clone().attempt(leased, slot, until));
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "leasing events; they stay pending");
                    plan.iter().for_each(|part| self.inner.board.due(&part.function, now));
                    drop(plan);
                    tokio::time::sleep(STORE_REST).await;
                }
            }
        }
        // Those at work settle what they have; the node waits for them, within its time to drain.
        while workers.join_next().await.is_some() {}
    }

    /// Waits until there may be something to do.
    async fn rest_workers(&self, now: Timestamp) {
        let board = &self.inner.board;
        // What is due already waits for a worker or for room, and either wakes.
        let longest = board.next_due().filter(|due| *due > now).map_or(LOOK_INTERVAL, |due| due.since(now));
        // Whether it is woken or not, it looks.
        let _ = tokio::time::timeout(longest.min(LOOK_INTERVAL), board.wakes().notified()).await;
    }

    /// Removes dead letters that are old, from time to time.
    pub(crate) async fn run_letters(self) {
        loop {
            let age_max = self.inner.config.events.letters_age_max;
            match self.inner.store.events().expire_letters(Timestamp::now().minus(age_max)).await {
                Ok(0) => {}
                Ok(expired) => tracing::info!(expired, "dead letters were old and are removed"),
                Err(error) => tracing::error!(%error, "removing old dead letters"),
            }
            tokio::time::sleep(EXPIRE_INTERVAL).await;
        }
    }

    /// Whether every try has come to its end.
    pub(crate) fn is_done_with_events(&self) -> bool {
        self.inner.board.is_idle()
    }
}

/// The board of a store that has just been opened.
pub(crate) fn open(config: &Config, backlogs: Vec<Backlog>) -> Board {
    let board = Board::new(config.in_flight_max);
    backlogs.iter().for_each(|backlog| board.restore(backlog));
    board
}

/// Functions whose events are leased together, with the workers for them.
struct Part {
    function: FunctionId,
    slots: Vec<Slot>,
}

impl Part {
    fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }
}
