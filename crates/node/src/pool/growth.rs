//! How a pool grows: whether it wants one more instance, whether that may be started now, and who is asked for room.
//!
//! Invariant: while `is_blocked` somebody else (a claim for room, or the clerk) sees to it that the pool looks again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use updraft_engine::{
    placement::{self, Growth, NodeRoom, Processors, Surroundings},
    provision,
};
use updraft_types::Runtime;

use super::{Pool, State};
use crate::capacity::Reservation;

impl Pool {
    /// Starts what the waiting callers need and the limits allow.
    pub(crate) fn pump(self: &Arc<Self>) {
        loop {
            let instances = {
                let mut state = self.state.lock();
                if state.is_closed || state.is_blocked || !self.wants_one(&mut state) {
                    return;
                }
                state.running + state.starting
            };
            let around = self.look_around(instances);
            let mut state = self.state.lock();
            if state.is_closed || state.is_blocked || !self.wants_one(&mut state) {
                return;
            }
            if !self.is_provisioning(&state) && self.is_held_back(&mut state, around) {
                state.is_blocked = true;
                drop(state);
                self.shared.hold_back(Arc::downgrade(self));
                return;
            }
            let request = self.request();
            let Some(reservation) = self.shared.capacity.reserve(&request) else {
                let instances = placement::grow_by(self.view(&state), self.limits());
                state.is_blocked = true;
                drop(state);
                self.shared.capacity.wait(Arc::downgrade(self), request, instances);
                return;
            };
            state.begin_start();
            drop(state);
            self.spawn_start(reservation);
        }
    }

    /// Whether one more instance should be started, room and speed aside.
    fn wants_one(&self, state: &mut State) -> bool {
        state.waiting.retain(|waiter| !waiter.has_gone());
        // A function that may not run more calls than it does has no use for more instances.
        let is_cut_back = self.calls() >= self.calls_max.load(Ordering::Relaxed);
        // Who gets room on a full node is decided by its claim, not here.
        !is_cut_back && placement::grow(self.view(state), NodeRoom::Free, self.limits()) == Growth::Start
            || self.is_provisioning(state)
    }

    /// Whether instances are missing that are always to be there.
    fn is_provisioning(&self, state: &State) -> bool {
        let wanted = self.instances_min().min(self.limits().instances_max);
        let now = self.shared.began.elapsed();
        wanted > 0 && provision::missing(wanted, state.running + state.starting, state.failures, now) > 0
    }

    /// The processors, and whether other functions are active: looked at without the lock, since it touches other pools.
    /// Nothing for a small function, which is let grow whatever is seen, nor for components: they run on the platform's
    /// own threads and crowd nobody by their number.
    fn look_around(&self, instances: u32) -> Option<(Processors, bool)> {
        let is_process = self.function.configuration.runtime != Runtime::Wasm;
        let is_large = instances >= self.limits().busy_instances_max;
        (is_process && is_large).then(|| (self.shared.processors.look(), self.shared.has_company(self)))
    }

    /// Whether one more instance has to wait for a moment: it would crowd the processors, or come too fast.
    fn is_held_back(&self, state: &mut State, around: Option<(Processors, bool)>) -> bool {
        if let Some((processors, has_company)) = around {
            let surroundings = Surroundings { processors, has_company, pressing: pressing(state) };
            if placement::is_crowded(self.view(state), surroundings, self.limits()) {
                return true;
            }
        }
        let (now, burst) = (self.shared.began.elapsed(), self.shared.burst);
        state.burst.take(self.concurrency, now, burst).is_err()
    }

    /// Called with the room that this pool waited for.
    pub(crate) fn granted(self: &Arc<Self>, reservation: Reservation) {
        let mut state = self.state.lock();
        state.is_blocked = false;
        let is_wanted = !state.is_closed && self.wants_one(&mut state);
        if is_wanted {
            state.begin_start();
        }
        drop(state);
        if is_wanted {
            self.spawn_start(reservation);
        } else {
            drop(reservation);
        }
        self.pump();
    }

    /// Whether the room it waits for is still of use: its callers may have gone, or it was replaced.
    pub(crate) fn wants_room(&self) -> bool {
        let mut state = self.state.lock();
        !state.is_closed && self.wants_one(&mut state)
    }

    /// Called a moment after the pool was held back.
    pub(crate) fn look_again(self: &Arc<Self>) {
        self.state.lock().is_blocked = false;
        self.pump();
    }
}

/// How long a caller has been waiting without any start.
fn pressing(state: &State) -> Duration {
    let since_start = state.last_start.map_or(Duration::MAX, |at| at.elapsed());
    state.waiting.front().map_or(Duration::ZERO, |waiter| waiter.since.elapsed().min(since_start))
}
