//! The instances of one version of a function as it was deployed, and the callers that wait for one.
//!
//! Performs what `engine::placement` decides. A change of code or configuration makes a new pool; the old one is
//! closed, lets running calls finish, and sends those who wait to the new one.
//!
//! Locking: `state` is never held across an await, nor while another pool or a waiting caller is touched.

mod growth;
mod seen;

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use updraft_engine::{
    burst::Bucket,
    contention::Allowance,
    eviction::{self, Clock, Worth},
    keep_alive,
    placement::{self, Arrival, FunctionView},
    provision::Failures,
};
use updraft_executor::{Credentials, Executor, Initialization, Instance, Start};
use updraft_types::{
    Fault, Function, InstanceId, Timestamp,
    function::{Configuration, Scaling},
    limits::INIT_TIMEOUT_S,
};

use crate::{
    capacity::{Request, Reservation},
    catalog,
    figures::ColdStart,
    habits::Habit,
    identity::sessions,
    logs::{self, Output, Sink},
    packages::Package,
    pools::Shared,
    quota,
    start::Starting,
    tally::Tally,
};

/// One function's instances.
pub(crate) struct Pool {
    /// The function as these instances run it.
    pub(crate) function: Arc<Function>,
    /// Counts its invocations against its limits.
    pub(crate) quota: Arc<quota::Function>,
    /// What is provisioned of this version, and set aside for it.
    pub(crate) set_aside: Arc<quota::Version>,
    /// Counts what becomes of them.
    pub(crate) tally: Arc<Tally>,
    executor: Arc<dyn Executor>,
    concurrency: u32,
    bounds: Bounds,
    /// Calls that run. Changed only under the lock.
    calls: AtomicU32,
    /// Calls that may run at once, as `crate::contention` has it.
    calls_max: AtomicU32,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

/// The author's bounds of the function's instances, which may change while it runs.
struct Bounds {
    instances_max: AtomicU32,
    instances_min: AtomicU32,
    /// How many instances are there because they are provisioned.
    provisioned: AtomicU32,
    weight: AtomicU32,
}

#[derive(Default)]
struct State {
    /// Instances with at least one free slot, the most recently used last.
    free: Vec<Arc<Member>>,
    /// Instances that run, free or not.
    running: u32,
    /// The same, for looking at; some may have ended.
    members: Vec<Weak<Member>>,
    allowance: Allowance,
    starting: u32,
    /// Those of them that are provisioned.
    starting_provisioned: u32,
    /// What is known about when the function is called; none once the pool is closed.
    habit: Option<Habit>,
    waiting: VecDeque<Waiter>,
    /// Somebody else looks after the next start: a claim for room waits, or the clerk looks again in a moment.
    is_blocked: bool,
    is_closed: bool,
    /// How fast it may grow.
    burst: Bucket,
    /// What a start takes, microseconds: a moving mean.
    start_us: u32,
    /// When the last start began.
    last_start: Option<Instant>,
    /// Starts that failed lately.
    failures: Failures,
}

/// A caller in the queue.
struct Waiter {
    sender: oneshot::Sender<Result<Lease, Miss>>,
    since: Instant,
}

impl Waiter {
    fn has_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Answers it. One that has just gone drops what it is given: a lease then comes back to its pool.
    fn answer(self, answer: Result<Lease, Miss>) {
        let _ = self.sender.send(answer);
    }
}

impl State {
    fn begin_start(&mut self) {
        self.starting += 1;
        self.last_start = Some(Instant::now());
    }

    fn end_start(&mut self, initialization: Initialization) {
        self.starting -= 1;
        self.starting_provisioned -= u32::from(initialization == Initialization::Provisioned);
    }

    /// Takes the first caller that still waits; those before it have gone.
    fn next_waiting(&mut self) -> Option<Waiter> {
        loop {
            let waiter = self.waiting.pop_front()?;
            if !waiter.has_gone() {
                return Some(waiter);
            }
        }
    }
}

/// What an instance has mounted: its package and its layers. They stay where they are while they are held.
type Files = (Arc<Package>, Option<Arc<Package>>);

/// An instance that has started.
struct Started {
    instance: Arc<dyn Instance>,
    files: Files,
    fit_until: Option<Instant>,
}

/// One running instance.
pub(crate) struct Member {
    pub(crate) instance: Arc<dyn Instance>,
    pub(crate) sink: Arc<Sink>,
    /// Calls running on it. Changed only under the pool's lock.
    busy: AtomicU32,
    /// When it last became idle. Changed only under the pool's lock.
    idle_since: Mutex<Instant>,
    /// Processor time at the last look, nanoseconds.
    processor_ns: AtomicU64,
    /// Calls it was given. Changed only under the pool's lock.
    uses: AtomicU32,
    /// Where the clock of evictions stood when it last became idle, as bits.
    clock: AtomicU64,
    /// Until when it may be given calls: its credentials outlast each of them. `None`: for ever.
    fit_until: Option<Instant>,
    /// What its guest was told of why it is there.
    initialization: Initialization,
    _files: Files,
    reservation: Reservation,
}

impl Member {
    /// Whether it may be given another call.
    fn is_fit(&self) -> bool {
        self.instance.is_alive() && self.fit_until.is_none_or(|until| Instant::now() < until)
    }

    fn worth(&self, start_us: u32, memory_mb: u32) -> Worth {
        eviction::worth(eviction::Idle {
            used_at: Clock::from_bits(self.clock.load(Ordering::Relaxed)),
            uses: self.uses.load(Ordering::Relaxed),
            start_us,
            memory_mb,
        })
    }
}

/// The right to put one call through one instance; given back by dropping it.
pub(crate) struct Lease {
    pub(crate) member: Arc<Member>,
    /// How long the instance took to start, for the call it was started for.
    pub(crate) init: Option<Duration>,
    /// The same by phase.
    pub(crate) cold: Option<Box<ColdStart>>,
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
        asked: catalog::Bounds,
        executor: Arc<dyn Executor>,
        (quota, tally): (Arc<quota::Function>, Arc<Tally>),
        shared: Arc<Shared>,
    ) -> Self {
        let concurrency = concurrency(&function.configuration, &asked.scaling, &*executor);
        let unset = || AtomicU32::new(0);
        let bounds = Bounds { instances_max: unset(), instances_min: unset(), provisioned: unset(), weight: unset() };
        let state = State { habit: Some(shared.habits.take(&function.version_id())), ..State::default() };
        let pool = Self {
            function,
            quota,
            set_aside: Arc::default(),
            tally,
            executor,
            concurrency,
            bounds,
            calls: unset(),
            calls_max: AtomicU32::new(u32::MAX),
            shared,
            state: Mutex::new(state),
        };
        pool.set_bounds(asked);
        pool
    }

    /// Sets the author's bounds. What is above a new maximum goes when its calls have ended.
    pub(crate) fn set_bounds(&self, asked: catalog::Bounds) {
        let catalog::Bounds { scaling, provisioned } = asked;
        let ready = provisioned.div_ceil(self.concurrency);
        self.set_aside.set_provisioned(provisioned);
        let Bounds { instances_max, instances_min, provisioned, weight } = &self.bounds;
        provisioned.store(ready, Ordering::Relaxed);
        instances_max.store(scaling.instances_max.unwrap_or(u32::MAX), Ordering::Relaxed);
        instances_min.store(scaling.instances_min.max(ready), Ordering::Relaxed);
        weight.store(scaling.weight.unwrap_or(1), Ordering::Relaxed);
        let surplus = {
            let mut state = self.state.lock();
            let mut surplus = state.running.saturating_sub(self.limits().instances_max);
            self.remove_idle(&mut state, |_| {
                let is_surplus = surplus > 0;
                surplus = surplus.saturating_sub(1);
                is_surplus
            })
        };
        surplus.into_iter().for_each(retire);
        self.quota.freed();
    }

    fn limits(&self) -> placement::Limits {
        let limits = self.shared.placement;
        let own = self.bounds.instances_max.load(Ordering::Relaxed);
        placement::Limits { instances_max: limits.instances_max.min(own), ..limits }
    }

    fn instances_min(&self) -> u32 {
        self.bounds.instances_min.load(Ordering::Relaxed)
    }

    /// What one more instance asks of the node.
    pub(crate) fn request(&self) -> Request {
        Request {
            function: self.function.id.clone(),
            weight: self.bounds.weight.load(Ordering::Relaxed),
            memory_mb: u64::from(self.function.configuration.memory_mb),
        }
    }

    /// A free slot at once, if there is one: the warm path.
    pub(crate) fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state.lock();
        let member = self.take_slot(&mut state)?;
        drop(state);
        Some(Lease { member, init: None, cold: None, pool: self.clone() })
    }

    /// A slot, waiting for one to come free or to be started.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, Miss> {
        if !self.shared.capacity.could_fit(self.function.configuration.memory_mb) {
            return Err(Miss::Refused);
        }
        let counted = self.shared.waiting.enter();
        let receiver = {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(Miss::Moved);
            }
            state.waiting.retain(|waiter| !waiter.has_gone());
            let member = self.take_slot(&mut state);
            let view = FunctionView { slots_free: u32::from(member.is_some()), ..self.view(&state) };
            match (placement::arrive(view, counted.others, self.limits()), member) {
                (Arrival::Run, Some(member)) => {
                    return Ok(Lease { member, init: None, cold: None, pool: self.clone() });
                }
                (Arrival::Refuse, _) => return Err(Miss::Refused),
                _ => {}
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(Waiter { sender, since: Instant::now() });
            receiver
        };
        self.pump();
        let since = Instant::now();
        match tokio::time::timeout(self.shared.wait_max, receiver).await {
            Ok(Ok(served)) => {
                if served.is_ok() {
                    self.tally.waited(since.elapsed());
                }
                served
            }
            Ok(Err(_)) => Err(Miss::Moved),
            Err(_) => Err(Miss::Refused),
        }
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
        self.shared.capacity.changed.notify_one();
        waiting.into_iter().for_each(|waiter| waiter.answer(Err(Miss::Moved)));
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

    /// The same as the store keeps it, if it has changed.
    pub(crate) fn changed_habit(&self, now: Instant, clock: Timestamp) -> Option<updraft_store::habits::Habit> {
        self.state.lock().habit.as_mut()?.changed(&self.function.version_id(), now, clock)
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
            self.remove_idle(&mut state, |member| !member.is_fit() || !judge.keeps(*member.idle_since.lock()))
        };
        reaped.into_iter().for_each(retire);
    }

    /// Starts an instance that nobody waits for, in free room and within the limits; false if that is not possible.
    pub(crate) fn start_ahead(self: &Arc<Self>) -> bool {
        // Whoever waits for room comes first.
        if self.shared.capacity.has_claims() {
            return false;
        }
        let mut state = self.state.lock();
        if state.is_closed || !keep_alive::may_start_ahead(self.view(&state), self.limits()) {
            return false;
        }
        let Some(reservation) = self.shared.capacity.reserve(&self.request()) else {
            return false;
        };
        state.begin_start();
        drop(state);
        self.spawn_start(reservation);
        true
    }

    /// What the least valuable idle instance is worth, of those that may go by when they became idle.
    pub(crate) fn least_valuable(&self, may_go: impl Fn(Instant) -> bool) -> Option<Worth> {
        let state = self.state.lock();
        self.least(&state, may_go).map(|(worth, _)| worth)
    }

    fn least(&self, state: &State, may_go: impl Fn(Instant) -> bool) -> Option<(Worth, Arc<Member>)> {
        if state.running <= self.instances_min() {
            return None;
        }
        let memory_mb = self.function.configuration.memory_mb;
        let are_kept = self.spare_provisioned(state) == 0;
        let stays = |member: &Member| member.initialization == Initialization::Provisioned && are_kept;
        let idle = state.free.iter().filter(|member| member.busy.load(Ordering::Relaxed) == 0 && !stays(member));
        idle.filter(|member| may_go(*member.idle_since.lock()))
            .map(|member| (member.worth(state.start_us, memory_mb), member.clone()))
            .min_by(|(one, _), (other, _)| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal))
    }

    /// Ends the least valuable idle instance of those that may go; false if there is none.
    pub(crate) fn evict(&self, may_go: impl Fn(Instant) -> bool) -> bool {
        let evicted = {
            let mut state = self.state.lock();
            let Some((_, least)) = self.least(&state, may_go) else { return false };
            self.remove_idle(&mut state, |member| std::ptr::eq(member, &*least))
        };
        let any = !evicted.is_empty();
        evicted.into_iter().for_each(retire);
        any
    }

    /// How many instances run and how many are being started.
    pub(crate) fn instances(&self) -> (u32, u32) {
        let state = self.state.lock();
        (state.running, state.starting)
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
        if self.calls() >= self.calls_max.load(Ordering::Relaxed) {
            return None;
        }
        while let Some(member) = state.free.last() {
            let busy = member.busy.load(Ordering::Relaxed);
            if !member.is_fit() {
                let dead = state.free.pop().expect("it was just seen");
                if busy == 0 {
                    state.running -= 1;
                    retire(dead);
                }
                continue;
            }
            member.busy.store(busy + 1, Ordering::Relaxed);
            self.calls.fetch_add(1, Ordering::Relaxed);
            member.uses.store(member.uses.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            if let Some(habit) = &mut state.habit {
                habit.began(Instant::now);
            }
            return if busy + 1 == self.concurrency { state.free.pop() } else { Some(member.clone()) };
        }
        None
    }

    /// Takes idle instances away, but leaves as many as are always to be there.
    fn remove_idle(&self, state: &mut State, mut is_chosen: impl FnMut(&Member) -> bool) -> Vec<Arc<Member>> {
        let least = if state.is_closed { 0 } else { self.instances_min() };
        let mut spare = state.running.saturating_sub(least);
        let mut spare_provisioned = self.spare_provisioned(state);
        let mut may_go = |member: &Member| {
            let is_provisioned = member.initialization == Initialization::Provisioned;
            let has_spare = spare > 0 && (spare_provisioned > 0 || !is_provisioned);
            let goes = is_chosen(member) && (has_spare || !member.is_fit());
            spare = spare.saturating_sub(u32::from(goes));
            spare_provisioned = spare_provisioned.saturating_sub(u32::from(goes && is_provisioned));
            goes
        };
        let chosen: Vec<_> =
            state.free.extract_if(.., |member| member.busy.load(Ordering::Relaxed) == 0 && may_go(member)).collect();
        state.running -= u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        chosen
    }

    /// How many of the provisioned instances may go.
    fn spare_provisioned(&self, state: &State) -> u32 {
        match self.bounds.provisioned.load(Ordering::Relaxed) {
            // Most functions are spared the counting.
            0 => u32::MAX,
            _ if state.is_closed => u32::MAX,
            wanted => self.provisioned(state).saturating_sub(wanted),
        }
    }

    /// How many instances run because they are provisioned.
    fn provisioned(&self, state: &State) -> u32 {
        let stays = |member: &Arc<Member>| {
            let is_provisioned = member.initialization == Initialization::Provisioned;
            is_provisioned && member.instance.is_alive() && !member.reservation.is_leaving()
        };
        u32::try_from(state.members.iter().filter_map(Weak::upgrade).filter(stays).count()).unwrap_or(u32::MAX)
    }

    /// Why the instance is started that is about to be, and counts it.
    fn initialization(&self) -> Initialization {
        let wanted = self.bounds.provisioned.load(Ordering::Relaxed);
        if wanted == 0 {
            return Initialization::OnDemand;
        }
        let mut state = self.state.lock();
        if self.provisioned(&state) + state.starting_provisioned >= wanted {
            return Initialization::OnDemand;
        }
        state.starting_provisioned += 1;
        Initialization::Provisioned
    }

    fn release(self: &Arc<Self>, member: &Arc<Member>) {
        let mut state = self.state.lock();
        let busy = member.busy.load(Ordering::Relaxed) - 1;
        member.busy.store(busy, Ordering::Relaxed);
        self.calls.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        if let Some(habit) = &mut state.habit {
            habit.ended(now);
        }
        if state.is_closed || !member.is_fit() || self.is_to_go(&state, member, busy) {
            state.free.retain(|free| !Arc::ptr_eq(free, member));
            if busy == 0 {
                state.running -= 1;
                drop(state);
                retire(member.clone());
            } else {
                drop(state);
            }
            // A function that is cut back may have had a free instance that nobody was allowed; now somebody is.
            self.serve_waiting();
            self.pump();
            return;
        }
        if busy + 1 == self.concurrency {
            state.free.push(member.clone());
        }
        if busy == 0 {
            *member.idle_since.lock() = now;
            member.clock.store(self.shared.desk.clock().to_bits(), Ordering::Relaxed);
        }
        let has_waiting = !state.waiting.is_empty();
        drop(state);
        if has_waiting {
            self.serve_waiting();
        } else if busy == 0 && self.shared.capacity.has_claims() {
            self.shared.capacity.changed.notify_one();
        }
    }

    /// Whether a living instance takes no further calls: there are too many, or somebody else should have its room.
    fn is_to_go(&self, state: &State, member: &Member, busy: u32) -> bool {
        let reservation = &member.reservation;
        if reservation.is_leaving() {
            return true;
        }
        if state.running > self.limits().instances_max {
            reservation.leave();
            return true;
        }
        // An idle one is the clerk's to evict; this is about those that would never become idle.
        let stays_busy = busy > 0 || !state.waiting.is_empty();
        stays_busy
            && self.shared.capacity.has_claims()
            && state.running > self.instances_min()
            && self.shared.capacity.give_up(reservation)
    }

    /// Hands free slots to waiting callers in their order.
    fn serve_waiting(self: &Arc<Self>) {
        while let Some((waiter, member)) = self.next_served() {
            waiter.answer(Ok(Lease { member, init: None, cold: None, pool: self.clone() }));
        }
        // There are more instances than there were, or fewer who wait for one.
        self.quota.freed();
    }

    fn next_served(&self) -> Option<(Waiter, Arc<Member>)> {
        let mut state = self.state.lock();
        let waiter = state.next_waiting()?;
        let Some(member) = self.take_slot(&mut state) else {
            state.waiting.push_front(waiter);
            return None;
        };
        Some((waiter, member))
    }

    fn spawn_start(self: &Arc<Self>, reservation: Reservation) {
        let (pool, initialization) = (self.clone(), self.initialization());
        tokio::spawn(async move {
            let id = InstanceId::random();
            let stream = logs::stream_name(pool.function.version, id, Timestamp::now());
            let logging = pool.function.configuration.logging;
            let sink = pool.shared.logs.sink((&*pool.function).into(), &stream, logging);
            let began = Instant::now();
            let starting = Arc::new(Starting::new(began, Output(sink.clone())));
            let start = AssertUnwindSafe(pool.start(id, stream, starting.clone(), initialization)).catch_unwind();
            let result =
                start.await.unwrap_or_else(|_| Err(Fault::Platform { reason: "starting an instance panicked".into() }));
            let init = began.elapsed();
            match result {
                Ok(Started { instance, files, fit_until }) => {
                    let member = Arc::new(Member {
                        instance,
                        sink,
                        busy: AtomicU32::new(0),
                        idle_since: Mutex::new(Instant::now()),
                        processor_ns: AtomicU64::new(0),
                        uses: AtomicU32::new(0),
                        clock: AtomicU64::new(pool.shared.desk.clock().to_bits()),
                        fit_until,
                        initialization,
                        _files: files,
                        reservation,
                    });
                    pool.joined(member, began, init, starting.phases(init));
                }
                Err(fault) => {
                    pool.start_failed(FailedStart { fault, sink, init }, initialization);
                    drop(reservation);
                }
            }
        });
    }

    async fn start(
        &self,
        id: InstanceId,
        log_stream: String,
        starting: Arc<Starting>,
        initialization: Initialization,
    ) -> Result<Started, Fault> {
        let timeout = Duration::from_secs(self.function.configuration.timeout_s.into());
        let limit = timeout.max(Duration::from_secs(INIT_TIMEOUT_S));
        let started = async {
            let package = self.shared.ready_package(&self.function, &*self.executor).await?;
            let layers = self.shared.ready_layers(&self.function, &*self.executor, &package).await?;
            starting.package_ready();
            let issued = self.shared.identity.issue_for_function(&self.function, Timestamp::now());
            let fit_until = issued.as_ref().map(|_| Instant::now() + sessions::fit_for(timeout));
            let start = Start {
                id,
                function: self.function.clone(),
                package: package.folder.clone(),
                layers: layers.as_ref().map(|layers| layers.folder.clone()),
                log_stream,
                guest: starting,
                concurrency: self.concurrency,
                initialization,
                credentials: issued.map(|issued| Credentials {
                    access_key_id: issued.access_key_id,
                    secret_access_key: issued.secret,
                    session_token: issued.token.into(),
                    expires_at: issued.expires_at,
                }),
            };
            Ok(Started { instance: self.executor.start(start).await?, files: (package, layers), fit_until })
        };
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(limit, started).await.unwrap_or(Err(Fault::Timeout { limit_ms }))
    }

    fn joined(self: &Arc<Self>, member: Arc<Member>, began: Instant, init: Duration, cold: ColdStart) {
        self.tally.started();
        let first = {
            let mut state = self.state.lock();
            state.end_start(member.initialization);
            state.failures = state.failures.after_success();
            if state.is_closed {
                None
            } else {
                state.running += 1;
                let took_us = u32::try_from(init.as_micros()).unwrap_or(u32::MAX);
                let before_us = if state.start_us == 0 { took_us } else { state.start_us };
                state.start_us = before_us / 4 * 3 + took_us / 4;
                let waiter = state.next_waiting();
                member.busy.store(u32::from(waiter.is_some()), Ordering::Relaxed);
                member.uses.store(u32::from(waiter.is_some()), Ordering::Relaxed);
                self.calls.fetch_add(u32::from(waiter.is_some()), Ordering::Relaxed);
                state.members.retain(|member| member.strong_count() > 0);
                state.members.push(Arc::downgrade(&member));
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
                let place = began.saturating_duration_since(waiter.since);
                let cold = Box::new(ColdStart { place, ..cold });
                self.tally.cold(&cold);
                waiter.answer(Ok(Lease { member, init: Some(init), cold: Some(cold), pool: self.clone() }));
            }
        }
        self.serve_waiting();
        if self.shared.capacity.has_claims() {
            self.shared.capacity.changed.notify_one();
        }
    }

    fn start_failed(self: &Arc<Self>, failed: FailedStart, initialization: Initialization) {
        self.tally.start_failed();
        let waiter = {
            let mut state = self.state.lock();
            state.end_start(initialization);
            state.failures = state.failures.after_failure(self.shared.began.elapsed());
            state.next_waiting()
        };
        if let Some(waiter) = waiter {
            waiter.answer(Err(Miss::Failed(Box::new(failed))));
        }
        self.pump();
    }
}

impl Lease {
    /// Where what becomes of the call is counted.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.pool.tally
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.member.instance.is_settled() {
            return self.pool.release(&self.member);
        }
        // The caller has its answer; extensions are still at work on the call, and the instance is theirs.
        let (pool, member) = (self.pool.clone(), self.member.clone());
        tokio::spawn(async move {
            member.instance.settled().await;
            pool.release(&member);
        });
    }
}

/// Calls that one instance of a function takes at once; at least 1.
pub(crate) fn concurrency(configuration: &Configuration, scaling: &Scaling, executor: &dyn Executor) -> u32 {
    let calls = match scaling.instance_concurrency {
        Some(asked) => asked.min(configuration.runtime.instance_concurrency_max()),
        None => executor.concurrency(configuration),
    };
    calls.max(1)
}

/// Ends an instance in the background; its room comes free when nothing of it is left.
fn retire(member: Arc<Member>) {
    member.reservation.leave();
    tokio::spawn(async move {
        member.instance.stop().await;
        drop(member);
    });
}
