//! The instances of one function as it was deployed, and the callers that wait for one.
//!
//! Performs what `engine::placement` decides. A change of code or configuration makes a new pool; the old one is
//! closed, lets running calls finish, and sends those who wait to the new one.
//!
//! Locking: `state` is never held across an await, nor while another pool or a waiting caller is touched.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use updraft_engine::{
    keep_alive,
    placement::{self, Arrival, FunctionView, Growth, NodeRoom},
};
use updraft_executor::{Executor, Instance, Start};
use updraft_types::{Fault, Function, InstanceId, Timestamp, limits::INIT_TIMEOUT_S};

use crate::{
    capacity::Reservation,
    habits::Habit,
    logs::{self, Output, Sink},
    packages::Package,
    pools::Shared,
};

/// One function's instances.
pub(crate) struct Pool {
    /// The function as these instances run it.
    pub(crate) function: Arc<Function>,
    /// Invocations of the account now in the platform.
    pub(crate) account_in_flight: Arc<AtomicU32>,
    executor: Arc<dyn Executor>,
    concurrency: u32,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Instances with at least one free slot, the most recently used last.
    free: Vec<Arc<Member>>,
    /// Instances that run, free or not.
    running: u32,
    starting: u32,
    /// What is known about when the function is called; none once the pool is closed.
    habit: Option<Habit>,
    waiting: VecDeque<oneshot::Sender<Result<Lease, Miss>>>,
    is_blocked: bool,
    is_closed: bool,
}

impl State {
    /// Takes the first caller that still waits; those before it have gone.
    fn next_waiting(&mut self) -> Option<oneshot::Sender<Result<Lease, Miss>>> {
        loop {
            let waiter = self.waiting.pop_front()?;
            if !waiter.is_closed() {
                return Some(waiter);
            }
        }
    }
}

/// One running instance.
pub(crate) struct Member {
    pub(crate) instance: Arc<dyn Instance>,
    pub(crate) sink: Arc<Sink>,
    /// Calls running on it. Changed only under the pool's lock.
    busy: AtomicU32,
    /// When it last became idle. Changed only under the pool's lock.
    idle_since: Mutex<Instant>,
    _package: Arc<Package>,
    _reservation: Reservation,
}

/// The right to put one call through one instance; given back by dropping it.
pub(crate) struct Lease {
    pub(crate) member: Arc<Member>,
    /// How long the instance took to start, for the call it was started for.
    pub(crate) init: Option<Duration>,
    pool: Arc<Pool>,
}

/// Why no lease was had.
pub(crate) enum Miss {
    /// The pool was replaced: look the function up again.
    Moved,
    /// The queue is full, or the wait was too long.
    Refused,
    /// An instance was started for this caller and failed.
    Failed(Box<FailedStart>),
}

/// A start that failed.
pub(crate) struct FailedStart {
    pub(crate) fault: Fault,
    pub(crate) sink: Arc<Sink>,
    pub(crate) init: Duration,
}

impl Pool {
    pub(crate) fn new(
        function: Arc<Function>,
        executor: Arc<dyn Executor>,
        account_in_flight: Arc<AtomicU32>,
        shared: Arc<Shared>,
    ) -> Self {
        let concurrency = executor.concurrency(&function.configuration).max(1);
        let state = Mutex::new(State { habit: Some(shared.habits.take(&function.id)), ..State::default() });
        Self { function, account_in_flight, executor, concurrency, shared, state }
    }

    /// A free slot at once, if there is one: the warm path.
    pub(crate) fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state.lock();
        let member = self.take_slot(&mut state)?;
        drop(state);
        Some(Lease { member, init: None, pool: self.clone() })
    }

    /// A slot, waiting for one to come free or to be started.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, Miss> {
        let receiver = {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(Miss::Moved);
            }
            state.waiting.retain(|waiter| !waiter.is_closed());
            let member = self.take_slot(&mut state);
            let view = FunctionView { slots_free: u32::from(member.is_some()), ..self.view(&state) };
            match (placement::arrive(view, self.shared.placement), member) {
                (Arrival::Run, Some(member)) => return Ok(Lease { member, init: None, pool: self.clone() }),
                (Arrival::Refuse, _) => return Err(Miss::Refused),
                _ => {}
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            receiver
        };
        self.pump();
        match tokio::time::timeout(self.shared.wait_max, receiver).await {
            Ok(Ok(served)) => served,
            Ok(Err(_)) => Err(Miss::Moved),
            Err(_) => Err(Miss::Refused),
        }
    }

    /// Starts what the waiting callers need and the limits allow.
    pub(crate) fn pump(self: &Arc<Self>) {
        loop {
            let memory_mb = self.function.configuration.memory_mb;
            let room = self.room(memory_mb);
            let mut state = self.state.lock();
            if state.is_closed {
                return;
            }
            state.waiting.retain(|waiter| !waiter.is_closed());
            match placement::grow(self.view(&state), room, self.shared.placement) {
                Growth::Enough | Growth::AtLimit => return,
                Growth::Start => {
                    // Another function may have taken the room since it was looked at: then look again.
                    let Some(reservation) = self.shared.capacity.reserve(memory_mb) else { continue };
                    state.starting += 1;
                    drop(state);
                    self.spawn_start(reservation);
                }
                Growth::Reclaim | Growth::Blocked => {
                    let newly_blocked = !std::mem::replace(&mut state.is_blocked, true);
                    drop(state);
                    if newly_blocked {
                        self.shared.capacity.block(Arc::downgrade(self));
                    }
                    let reclaimed = room == NodeRoom::Reclaimable && self.shared.reclaim_one();
                    // Room that came between looking and queueing would have woken nobody: look once more.
                    if reclaimed || !self.shared.capacity.fits(memory_mb) {
                        return;
                    }
                    self.state.lock().is_blocked = false;
                }
            }
        }
    }

    /// Called when room may have come.
    pub(crate) fn unblock(self: &Arc<Self>) {
        self.state.lock().is_blocked = false;
        let pool = self.clone();
        // Not on the caller's stack: it may be the end of another pool's instance.
        tokio::spawn(async move { pool.pump() });
    }

    /// Lets running calls finish, ends idle instances, sends waiting callers elsewhere.
    pub(crate) fn close(self: &Arc<Self>) {
        let (idle, waiting) = {
            let mut state = self.state.lock();
            state.is_closed = true;
            let idle = self.remove_idle(&mut state, |_| true);
            state.free.clear();
            (idle, std::mem::take(&mut state.waiting))
        };
        idle.into_iter().for_each(retire);
        for waiter in waiting {
            // An error means that the caller has gone.
            let _ = waiter.send(Err(Miss::Moved));
        }
    }

    /// Closes the pool if it has nothing left; true if it did.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut state = self.state.lock();
        let is_empty = state.running == 0 && state.starting == 0 && state.waiting.is_empty();
        state.is_closed |= is_empty;
        is_empty
    }

    /// What is known about when the function is called, for whoever keeps it after this pool.
    pub(crate) fn take_habit(&self) -> Option<Habit> {
        self.state.lock().habit.take()
    }

    #[cfg(test)]
    pub(crate) fn put_habit(&self, habit: Habit) {
        self.state.lock().habit = Some(habit);
    }

    /// Ends instances whose keep-alive has passed, and those that died idle.
    pub(crate) fn reap(&self, now: Instant) {
        let memory_mb = self.function.configuration.memory_mb;
        let reaped = {
            let mut state = self.state.lock();
            let Some(habit) = &mut state.habit else { return };
            let judge = habit.judge(now, self.shared.habits.policy(), memory_mb);
            self.remove_idle(&mut state, |member| {
                !member.instance.is_alive() || !judge.keeps(*member.idle_since.lock())
            })
        };
        reaped.into_iter().for_each(retire);
    }

    /// Starts an instance that nobody waits for, in free room and within the limits; false if that is not possible.
    pub(crate) fn start_ahead(self: &Arc<Self>) -> bool {
        // Whoever waits for room comes first.
        if self.shared.capacity.has_blocked() {
            return false;
        }
        let mut state = self.state.lock();
        if state.is_closed || !keep_alive::may_start_ahead(self.view(&state), self.shared.placement) {
            return false;
        }
        let Some(reservation) = self.shared.capacity.reserve(self.function.configuration.memory_mb) else {
            return false;
        };
        state.starting += 1;
        drop(state);
        self.spawn_start(reservation);
        true
    }

    /// Since when the longest idle instance has been idle.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        let idle = state.free.iter().filter(|member| member.busy.load(Ordering::Relaxed) == 0);
        idle.map(|member| *member.idle_since.lock()).min()
    }

    /// Ends the instance idle longest; false if none is idle.
    pub(crate) fn reclaim(&self) -> bool {
        let Some(oldest) = self.idle_since() else { return false };
        let reclaimed = {
            let mut state = self.state.lock();
            let mut found = false;
            self.remove_idle(&mut state, |member| {
                !found && *member.idle_since.lock() <= oldest && {
                    found = true;
                    true
                }
            })
        };
        let any = !reclaimed.is_empty();
        reclaimed.into_iter().for_each(retire);
        any
    }

    /// How many instances run and how many are being started.
    pub(crate) fn instances(&self) -> (u32, u32) {
        let state = self.state.lock();
        (state.running, state.starting)
    }

    fn room(&self, memory_mb: u32) -> NodeRoom {
        if self.shared.capacity.fits(memory_mb) {
            NodeRoom::Free
        } else if self.shared.has_idle() {
            NodeRoom::Reclaimable
        } else {
            NodeRoom::Full
        }
    }

    fn view(&self, state: &State) -> FunctionView {
        let slots_free = state.free.iter().map(|member| self.concurrency - member.busy.load(Ordering::Relaxed)).sum();
        FunctionView {
            slots_free,
            starting: state.starting,
            instances: state.running + state.starting,
            concurrency: self.concurrency,
            waiting: u32::try_from(state.waiting.len()).unwrap_or(u32::MAX),
        }
    }

    /// Takes a slot of the most recently used free instance, so that the others can grow old and go.
    fn take_slot(&self, state: &mut State) -> Option<Arc<Member>> {
        while let Some(member) = state.free.last() {
            let busy = member.busy.load(Ordering::Relaxed);
            if !member.instance.is_alive() {
                let dead = state.free.pop().expect("it was just seen");
                if busy == 0 {
                    state.running -= 1;
                    retire(dead);
                }
                continue;
            }
            member.busy.store(busy + 1, Ordering::Relaxed);
            if let Some(habit) = &mut state.habit {
                habit.began(Instant::now);
            }
            return if busy + 1 == self.concurrency { state.free.pop() } else { Some(member.clone()) };
        }
        None
    }

    fn remove_idle(&self, state: &mut State, mut is_chosen: impl FnMut(&Member) -> bool) -> Vec<Arc<Member>> {
        let chosen: Vec<_> =
            state.free.extract_if(.., |member| member.busy.load(Ordering::Relaxed) == 0 && is_chosen(member)).collect();
        state.running -= u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        chosen
    }

    fn release(self: &Arc<Self>, member: &Arc<Member>) {
        let mut state = self.state.lock();
        let busy = member.busy.load(Ordering::Relaxed) - 1;
        member.busy.store(busy, Ordering::Relaxed);
        let now = Instant::now();
        if let Some(habit) = &mut state.habit {
            habit.ended(now);
        }
        let is_alive = member.instance.is_alive();
        if state.is_closed || !is_alive {
            state.free.retain(|free| !Arc::ptr_eq(free, member));
            if busy == 0 {
                state.running -= 1;
                drop(state);
                retire(member.clone());
                self.pump();
            }
            return;
        }
        if busy + 1 == self.concurrency {
            state.free.push(member.clone());
        }
        if busy == 0 {
            *member.idle_since.lock() = now;
        }
        let has_waiting = !state.waiting.is_empty();
        drop(state);
        if has_waiting {
            self.serve_waiting();
        } else if busy == 0 && self.shared.capacity.has_blocked() {
            self.shared.capacity.wake();
        }
    }

    /// Hands free slots to waiting callers in their order.
    fn serve_waiting(self: &Arc<Self>) {
        loop {
            let (waiter, member) = {
                let mut state = self.state.lock();
                let Some(waiter) = state.next_waiting() else { return };
                let Some(member) = self.take_slot(&mut state) else {
                    state.waiting.push_front(waiter);
                    return;
                };
                (waiter, member)
            };
            // A caller that has just gone drops the lease, which comes back here.
            let _ = waiter.send(Ok(Lease { member, init: None, pool: self.clone() }));
        }
    }

    fn spawn_start(self: &Arc<Self>, reservation: Reservation) {
        let pool = self.clone();
        tokio::spawn(async move {
            let id = InstanceId::random();
            let stream = logs::stream_name(id, Timestamp::now());
            let sink = pool.shared.logs.sink(pool.function.id.clone(), &stream);
            let began = Instant::now();
            let start = AssertUnwindSafe(pool.start(id, stream, sink.clone())).catch_unwind();
            let result =
                start.await.unwrap_or_else(|_| Err(Fault::Platform { reason: "starting an instance panicked".into() }));
            let init = began.elapsed();
            match result {
                Ok((instance, package)) => {
                    let member = Arc::new(Member {
                        instance,
                        sink,
                        busy: AtomicU32::new(0),
                        idle_since: Mutex::new(Instant::now()),
                        _package: package,
                        _reservation: reservation,
                    });
                    pool.joined(member, init);
                }
                Err(fault) => {
                    pool.start_failed(FailedStart { fault, sink, init });
                    drop(reservation);
                }
            }
        });
    }

    async fn start(
        &self,
        id: InstanceId,
        log_stream: String,
        sink: Arc<Sink>,
    ) -> Result<(Arc<dyn Instance>, Arc<Package>), Fault> {
        let limit = Duration::from_secs(INIT_TIMEOUT_S.max(u64::from(self.function.configuration.timeout_s)));
        let started = async {
            let package = self.shared.ready_package(&self.function, &*self.executor).await?;
            let start = Start {
                id,
                function: self.function.clone(),
                package: package.folder.clone(),
                log_stream,
                guest: Arc::new(Output(sink)),
            };
            Ok((self.executor.start(start).await?, package))
        };
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(limit, started).await.unwrap_or(Err(Fault::Timeout { limit_ms }))
    }

    fn joined(self: &Arc<Self>, member: Arc<Member>, init: Duration) {
        let first = {
            let mut state = self.state.lock();
            state.starting -= 1;
            if state.is_closed {
                None
            } else {
                state.running += 1;
                let waiter = state.next_waiting();
                member.busy.store(u32::from(waiter.is_some()), Ordering::Relaxed);
                if let (Some(_), Some(habit)) = (&waiter, &mut state.habit) {
                    habit.began(Instant::now);
                }
                if waiter.is_none() || self.concurrency > 1 {
                    state.free.push(member.clone());
                }
                Some(waiter)
            }
        };
        match first {
            None => retire(member),
            Some(None) => {}
            Some(Some(waiter)) => {
                // A caller that has just gone drops the lease, which releases the slot.
                let _ = waiter.send(Ok(Lease { member, init: Some(init), pool: self.clone() }));
            }
        }
        self.serve_waiting();
        if self.shared.capacity.has_blocked() {
            self.shared.capacity.wake();
        }
    }

    fn start_failed(self: &Arc<Self>, failed: FailedStart) {
        let waiter = {
            let mut state = self.state.lock();
            state.starting -= 1;
            state.next_waiting()
        };
        if let Some(waiter) = waiter {
            // An error means that the caller has gone; the log has the failure.
            let _ = waiter.send(Err(Miss::Failed(Box::new(failed))));
        }
        self.pump();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(&self.member);
    }
}

/// Ends an instance in the background; its room comes free when nothing of it is left.
fn retire(member: Arc<Member>) {
    tokio::spawn(async move {
        member.instance.stop().await;
        drop(member);
    });
}
