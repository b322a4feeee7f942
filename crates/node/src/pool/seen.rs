//! What others may see of a pool, and what is noted of how its instances use the processors.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use updraft_engine::{contention::Sample, retry_after::Queue};

use super::Pool;
use crate::figures::Instances;

/// What of a pool is ready for calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    /// Calls at once that its running instances can take, running ones among them.
    pub(crate) slots: u32,
    /// Those that no call has taken.
    pub(crate) slots_free: u32,
    /// Whether the last start failed.
    pub(crate) has_failed: bool,
}

impl Pool {
    /// What of it is ready for calls.
    pub(crate) fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let slots_free = self.view(&state).slots_free;
        let slots = state.running.saturating_mul(self.concurrency);
        Readiness { slots, slots_free, has_failed: state.failures.has_any() }
    }

    /// Calls that run.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many may, if that is limited.
    pub(crate) fn allowance(&self) -> Option<u32> {
        Some(self.calls_max.load(Ordering::Relaxed)).filter(|calls| *calls != u32::MAX)
    }

    /// Whether a call runs, or ran not longer ago than this.
    pub(crate) fn is_active(&self, ago: Duration) -> bool {
        let last_used = || {
            let state = self.state.lock();
            state.free.last().is_some_and(|member| member.idle_since.lock().elapsed() < ago)
        };
        self.quota.in_flight() > 0 || last_used()
    }

    /// Processor time that its instances have used since this was last asked.
    pub(crate) fn processor_time_since_last_look(&self) -> Duration {
        let members = self.state.lock().members.clone();
        let used = members.iter().filter_map(Weak::upgrade).map(|member| {
            let now = member.instance.processor_time().unwrap_or_default();
            let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            match member.processor_ns.swap(now_ns, Ordering::Relaxed) {
                // What it used before the first look is nobody's measure.
                0 => 0,
                before_ns => now_ns.saturating_sub(before_ns),
            }
        });
        Duration::from_nanos(used.sum())
    }

    /// Takes note of how the processors are used: fewer calls may run, or more.
    pub(crate) fn look(self: &Arc<Self>, sample: Sample) {
        let mut state = self.state.lock();
        state.allowance = state.allowance.after(sample);
        let calls_max = state.allowance.calls().unwrap_or(u32::MAX);
        let is_more = calls_max > self.calls_max.swap(calls_max, Ordering::Relaxed);
        drop(state);
        if is_more {
            self.serve_waiting();
            self.pump();
        }
    }

    /// What its callers wait for. Takes no lock: in a flood everybody asks.
    pub(crate) fn queue(&self) -> Queue {
        let running = self.calls();
        // Those that were let in before it, wherever they are now; one whose caller has its answer may still run.
        let ahead = self.quota.in_flight().max(running);
        let at_once = if self.quota.is_stopped() { 0 } else { running.max(1) };
        Queue { ahead, at_once, each: self.tally.mean_duration() }
    }

    /// Its instances and callers now.
    pub(crate) fn now(&self) -> Instances {
        let state = self.state.lock();
        let idle = state.free.iter().filter(|member| member.busy.load(Ordering::Relaxed) == 0).count();
        let waiting = state.waiting.iter().filter(|waiter| !waiter.has_gone()).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Instances { running: state.running, idle: number(idle), starting: state.starting, waiting: number(waiting) }
    }
}
