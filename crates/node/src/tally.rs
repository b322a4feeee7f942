//! Counts what became of invocations and starts, for each function.
//!
//! The warm path adds to two counters and takes no lock. Nothing is ever subtracted, so that whoever reads the counts at
//! intervals can take differences; what a deleted function counted stays in the sums.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use updraft_engine::events::Condition;
use updraft_types::{Fault, FunctionId};

use crate::{
    dispatch::Limit,
    figures::{ColdStart, Events, Figures, GIVEN_UP, Histogram, PHASES},
    meter::Ending,
};

/// Functions that are told one by one; the others are told in one sum. Series cost those who keep them.
pub(crate) const SHOWN_MAX: usize = 100;

/// A histogram that many may add to at once.
#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; Histogram::BUCKETS],
    sum_us: AtomicU64,
}

impl Counts {
    fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[Histogram::bucket_of(us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
            sum: Duration::from_micros(self.sum_us.load(Relaxed)),
        }
    }
}

/// What one function's invocations and starts came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Of all that ended, however they did.
    durations: Counts,
    errors: AtomicU64,
    timeouts: AtomicU64,
    platform_failures: AtomicU64,
    abandoned: AtomicU64,
    throttled: [AtomicU64; 3],
    waits: Counts,
    starts: AtomicU64,
    failed_starts: AtomicU64,
    phases: [Counts; PHASES],
    restores: AtomicU64,
    last_cold: Mutex<Option<ColdStart>>,
    events: EventCounts,
}

/// What was counted of asynchronous events.
#[derive(Debug, Default)]
struct EventCounts {
    accepted: AtomicU64,
    delivered: AtomicU64,
    given_up: [AtomicU64; GIVEN_UP],
    buried: AtomicU64,
    waits: Counts,
}

impl EventCounts {
    fn read(&self) -> Events {
        Events {
            accepted: self.accepted.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            given_up: std::array::from_fn(|condition| self.given_up[condition].load(Relaxed)),
            buried: self.buried.load(Relaxed),
            waits: self.waits.read(),
        }
    }
}

impl Tally {
    /// An attempt ended.
    pub(crate) fn ended(&self, ending: &Ending<'_>, duration: Duration) {
        self.durations.add(duration);
        match ending {
            Ending::Complete => {}
            Ending::Failed(Fault::Timeout { .. }) => drop(self.timeouts.fetch_add(1, Relaxed)),
            Ending::Failed(Fault::Platform { .. }) => drop(self.platform_failures.fetch_add(1, Relaxed)),
            Ending::Failed(_) => drop(self.errors.fetch_add(1, Relaxed)),
            Ending::Abandoned => drop(self.abandoned.fetch_add(1, Relaxed)),
        }
    }

    /// What an invocation takes, on the average of all that have ended; nothing before the first.
    pub(crate) fn mean_duration(&self) -> Duration {
        let ended: u64 = self.durations.buckets.iter().map(|count| count.load(Relaxed)).sum();
        Duration::from_micros(self.durations.sum_us.load(Relaxed).checked_div(ended).unwrap_or(0))
    }

    /// An invocation was refused.
    pub(crate) fn throttled(&self, limit: Limit) {
        self.throttled[limit as usize].fetch_add(1, Relaxed);
    }

    /// A caller had to wait in the queue until it was served.
    pub(crate) fn waited(&self, wait: Duration) {
        self.waits.add(wait);
    }

    /// An instance was started, for a caller or ahead of any.
    pub(crate) fn started(&self) {
        self.starts.fetch_add(1, Relaxed);
    }

    /// A start failed.
    pub(crate) fn start_failed(&self) {
        self.failed_starts.fetch_add(1, Relaxed);
    }

    /// A call was served by the instance that was started for it.
    pub(crate) fn cold(&self, cold: &ColdStart) {
        for (counts, time) in self.phases.iter().zip(cold.phases()) {
            counts.add(time);
        }
        self.restores.fetch_add(u64::from(cold.is_restore), Relaxed);
        *self.last_cold.lock() = Some(*cold);
    }

    /// An asynchronous event was accepted.
    pub(crate) fn event_accepted(&self) {
        self.events.accepted.fetch_add(1, Relaxed);
    }

    /// An asynchronous event is tried for the first time.
    pub(crate) fn event_waited(&self, wait: Duration) {
        self.events.waits.add(wait);
    }

    /// An asynchronous event is done.
    pub(crate) fn event_delivered(&self) {
        self.events.delivered.fetch_add(1, Relaxed);
    }

    /// An asynchronous event was given up.
    pub(crate) fn event_given_up(&self, condition: Condition) {
        let mut counts = Condition::ALL.iter().zip(&self.events.given_up);
        if let Some((_, count)) = counts.find(|(of, _)| **of == condition) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A dead letter was left.
    pub(crate) fn event_buried(&self) {
        self.events.buried.fetch_add(1, Relaxed);
    }

    /// What has been counted so far.
    pub(crate) fn read(&self) -> Figures {
        Figures {
            durations: self.durations.read(),
            errors: self.errors.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            platform_failures: self.platform_failures.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            throttled: std::array::from_fn(|limit| self.throttled[limit].load(Relaxed)),
            waits: self.waits.read(),
            starts: self.starts.load(Relaxed),
            failed_starts: self.failed_starts.load(Relaxed),
            phases: std::array::from_fn(|phase| self.phases[phase].read()),
            restores: self.restores.load(Relaxed),
            last_cold: *self.last_cold.lock(),
            events: self.events.read(),
        }
    }
}

/// The tallies of all functions that have been invoked.
#[derive(Default)]
pub(crate) struct Tallies {
    living: HashMap<FunctionId, Counted>,
    shown: usize,
    /// What functions that are no more have counted: all of them, and those among them that were not shown.
    gone: Figures,
    gone_unshown: Figures,
}

struct Counted {
    tally: Arc<Tally>,
    is_shown: bool,
}

impl Tallies {
    /// A function's tally, begun if it has none.
    pub(crate) fn of(&mut self, function: &FunctionId) -> Arc<Tally> {
        if let Some(counted) = self.living.get(function) {
            return counted.tally.clone();
        }
        let is_shown = self.shown < SHOWN_MAX;
        self.shown += usize::from(is_shown);
        let tally = Arc::<Tally>::default();
        self.living.insert(function.clone(), Counted { tally: tally.clone(), is_shown });
        tally
    }

    /// A function's tally, if it has been invoked.
    pub(crate) fn find(&self, function: &FunctionId) -> Option<&Arc<Tally>> {
        Some(&self.living.get(function)?.tally)
    }

    /// Ends a function's tally; its counts stay in the sums.
    pub(crate) fn close(&mut self, function: &FunctionId) {
        let Some(counted) = self.living.remove(function) else { return };
        let figures = counted.tally.read();
        self.gone.add(&figures);
        if counted.is_shown {
            self.shown -= 1;
        } else {
            self.gone_unshown.add(&figures);
        }
    }

    /// Those functions that are shown, by themselves; the others in one sum; all there ever were in another.
    pub(crate) fn read(&self) -> (Vec<(FunctionId, Figures)>, Figures, Figures) {
        let (mut shown, mut others, mut all) = (Vec::new(), self.gone_unshown.clone(), self.gone.clone());
        for (function, counted) in &self.living {
            let figures = counted.tally.read();
            all.add(&figures);
            if counted.is_shown {
                shown.push((function.clone(), figures));
            } else {
                others.add(&figures);
            }
        }
        shown.sort_by(|(one, _), (other, _)| one.cmp(other));
        (shown, others, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> FunctionId {
        FunctionId { account: "000000000000".parse().unwrap(), name: format!("f{number}").parse().unwrap() }
    }

    #[test]
    fn sums_never_shrink_and_series_are_bounded() {
        let mut tallies = Tallies::default();
        for number in 0..SHOWN_MAX + 20 {
            tallies.of(&id(number)).ended(&Ending::Complete, Duration::from_millis(1));
        }
        let counts = |tallies: &Tallies| {
            let (shown, others, all) = tallies.read();
            (shown.len(), others.durations.count(), all.durations.count())
        };
        assert_eq!(counts(&tallies), (100, 20, 120));
        tallies.close(&id(SHOWN_MAX + 1));
        tallies.close(&id(1));
        assert_eq!(counts(&tallies), (99, 20, 120));
        tallies.of(&id(1)).ended(&Ending::Abandoned, Duration::ZERO);
        assert_eq!(counts(&tallies), (100, 20, 121));
        assert_eq!(tallies.find(&id(1)).unwrap().read().abandoned, 1, "one of the same name begins anew");
    }

    #[test]
    fn endings_are_told_apart() {
        let tally = Tally::default();
        let handler = Fault::Handler { error_type: "E".into(), body: Default::default() };
        let (timeout, platform) = (Fault::Timeout { limit_ms: 1 }, Fault::Platform { reason: "r".into() });
        for fault in [&handler, &timeout, &platform] {
            tally.ended(&Ending::Failed(fault), Duration::from_secs(1));
        }
        tally.ended(&Ending::Complete, Duration::from_secs(1));
        tally.throttled(Limit::Account);
        let figures = tally.read();
        assert_eq!((figures.errors, figures.timeouts, figures.platform_failures, figures.successes()), (1, 1, 1, 1));
        assert_eq!(figures.throttled(Limit::Account), 1);
        assert_eq!(figures.durations.sum, Duration::from_secs(4));
    }
}
