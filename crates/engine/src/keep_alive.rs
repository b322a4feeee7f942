//! Decides when an instance without work is worth its memory: how long it is kept, and when one is started ahead
//! of a call that is expected.
//!
//! A [`Record`] holds what a function's past idle times teach, a [`Plan`] what follows from it. Three policies:
//! a fixed window, the hybrid histogram policy of Shahrad et al. ([`histogram`]), and [`adaptive`], which buys
//! warm time where it prevents most cold starts. `docs/keep-alive.md` has them measured against each other.
//! Invariants: a plan depends on nothing but the idle times told, the policy and the function's memory; a record
//! never grows, whatever it is told.

pub mod adaptive;
pub mod histogram;
mod plan;
mod stored;

use std::time::Duration;

use crate::placement::{FunctionView, Limits};

pub use plan::{Plan, Verdict, WINDOWS_MAX, Window};
pub use stored::BYTES_MAX;

/// How instances without work are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    /// Ended after this long without work, whatever the function.
    Fixed(Duration),
    /// By percentiles of the function's idle times.
    Histogram(histogram::Settings),
    /// Where the chance of a call is worth the memory.
    Adaptive(adaptive::Settings),
}

impl Default for Policy {
    fn default() -> Self {
        Self::Adaptive(adaptive::Settings::default())
    }
}

/// Whether an instance of this function may be started for a call that has not come: only where none is there or under
/// way, nobody waits, and its limits allow one. Room on the node must be free: nothing is ended for a guess.
pub fn may_start_ahead(function: FunctionView, limits: Limits) -> bool {
    function.instances == 0 && function.starting == 0 && function.waiting == 0 && limits.instances_max > 0
}

/// What is known about when one function is called, and the plan that follows. Its size is bounded: see the
/// tests of each policy. A record belongs to one policy, and must be made anew when the policy changes.
#[derive(Debug, Clone)]
pub struct Record {
    history: History,
    plan: Option<Plan>,
    /// Observations since the plan was made.
    unplanned: u32,
}

#[derive(Debug, Clone)]
enum History {
    /// A fixed window learns nothing.
    None,
    Histogram(Box<histogram::History>),
    Adaptive(Box<adaptive::History>),
}

impl Record {
    /// A record of a function never seen.
    pub fn new(policy: &Policy) -> Self {
        let history = match policy {
            Policy::Fixed(_) => History::None,
            Policy::Histogram(settings) => History::Histogram(Box::new(histogram::History::new(settings))),
            Policy::Adaptive(_) => History::Adaptive(Box::default()),
        };
        Self { history, plan: None, unplanned: 0 }
    }

    /// Takes note of so many calls, each of which came after the function had been without work for `idle`.
    pub fn observe(&mut self, idle: Duration, times: u32) {
        match &mut self.history {
            History::None => return,
            History::Histogram(history) => history.observe(idle, times),
            History::Adaptive(history) => history.observe(idle, times),
        }
        self.unplanned = self.unplanned.saturating_add(times);
    }

    /// When to have an instance warm, counted from the moment the function has last had work. `memory_mb` is what
    /// one of its instances takes. Made anew when what was observed since could change it noticeably.
    pub fn plan(&mut self, policy: &Policy, memory_mb: u32) -> Plan {
        match self.plan {
            Some(plan) if self.unplanned == 0 || self.unplanned <= self.observations() / 16 => plan,
            _ => {
                let plan = self.plan_now(policy, memory_mb);
                self.plan = Some(plan);
                self.unplanned = 0;
                plan
            }
        }
    }

    fn plan_now(&self, policy: &Policy, memory_mb: u32) -> Plan {
        match (&self.history, policy) {
            (_, Policy::Fixed(window)) => Plan::keep(*window),
            (History::Histogram(history), Policy::Histogram(settings)) => history.plan(settings),
            (History::Adaptive(history), Policy::Adaptive(settings)) => history.plan(settings, memory_mb),
            // A record of another policy knows nothing that this one could use.
            (_, Policy::Histogram(settings)) => histogram::History::new(settings).plan(settings),
            (_, Policy::Adaptive(settings)) => adaptive::History::default().plan(settings, memory_mb),
        }
    }

    /// Idle times it remembers, those that have faded left out.
    pub fn observations(&self) -> u32 {
        match &self.history {
            History::None => 0,
            History::Histogram(history) => history.observations(),
            History::Adaptive(history) => history.observations(),
        }
    }

    /// Bytes it takes, those on the heap included.
    pub fn bytes(&self) -> usize {
        let heap = match &self.history {
            History::None => 0,
            History::Histogram(history) => size_of_val(&**history) + history.heap_bytes(),
            History::Adaptive(history) => size_of_val(&**history),
        };
        size_of_val(self) + heap
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u32 = 170;

    fn policies() -> [Policy; 3] {
        let window = Duration::from_secs(600);
        [Policy::Fixed(window), Policy::Histogram(histogram::Settings::default()), Policy::default()]
    }

    #[test]
    fn a_record_has_the_size_that_is_documented() {
        let bytes = |policy: &Policy| Record::new(policy).bytes();
        let [fixed, histogram, adaptive] = policies();
        assert!(bytes(&fixed) <= 64, "{}", bytes(&fixed));
        assert!(bytes(&histogram) <= 620, "{}", bytes(&histogram));
        assert!(bytes(&adaptive) <= 500, "{}", bytes(&adaptive));
    }

    #[test]
    fn a_plan_is_made_anew_when_it_could_have_changed() {
        let policy = Policy::default();
        let mut record = Record::new(&policy);
        let unknown = record.plan(&policy, MB);
        (0..20).for_each(|_| record.observe(Duration::from_secs(3_600), 1));
        let known = record.plan(&policy, MB);
        assert_ne!(unknown, known);
        record.observe(Duration::from_secs(3_600), 1);
        assert_eq!(record.plan(&policy, MB), known, "one in twenty changes little");
    }

    #[test]
    fn a_record_of_another_policy_is_as_good_as_none() {
        let [fixed, histogram, adaptive] = policies();
        let mut record = Record::new(&histogram);
        (0..20).for_each(|_| record.observe(Duration::from_secs(3_600), 1));
        assert_eq!(record.plan(&adaptive, MB), Record::new(&adaptive).plan(&adaptive, MB));
        assert_eq!(Record::new(&histogram).plan(&fixed, MB), Plan::keep(Duration::from_secs(600)));
    }

    #[test]
    fn nothing_is_started_ahead_beside_another_or_beyond_a_limit() {
        let (limits, none) = (Limits::default(), FunctionView { concurrency: 1, ..FunctionView::default() });
        assert!(may_start_ahead(none, limits));
        assert!(!may_start_ahead(FunctionView { instances: 1, ..none }, limits));
        assert!(!may_start_ahead(FunctionView { instances: 1, starting: 1, ..none }, limits));
        assert!(!may_start_ahead(FunctionView { waiting: 1, ..none }, limits));
        assert!(!may_start_ahead(none, Limits { instances_max: 0, ..limits }));
    }

    proptest! {
        #[test]
        fn instances_return_to_zero_when_calls_stop(
            idle_times_s in proptest::collection::vec(0u64..2_000_000, 0..100),
            memory_mb in 0u32..12_000,
        ) {
            for policy in policies() {
                let mut record = Record::new(&policy);
                let bytes = record.bytes();
                idle_times_s.iter().for_each(|seconds| record.observe(Duration::from_secs(*seconds), 1));
                prop_assert_eq!(record.bytes(), bytes);
                let plan = record.plan(&policy, memory_mb);
                let month = Duration::from_secs(30 * 86_400);
                prop_assert_eq!(plan.at(month), Verdict::Reap);
                prop_assert_eq!(plan.upcoming(month), None);
            }
        }
    }
}
