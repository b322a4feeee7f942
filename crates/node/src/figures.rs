//! What the node has counted, as plain values, for doors to show.

use std::time::Duration;

use updraft_types::FunctionId;

use updraft_engine::events::Condition;

use crate::dispatch::Limit;
pub use crate::{capacity::Use as Memory, events::Now as EventsNow};

/// Phases of a cold start.
pub const PHASES: usize = 5;

/// Their names, in their order.
pub const PHASE_NAMES: [&str; PHASES] = ["place", "package", "sandbox", "runtime", "init"];

/// What a call waited for while the instance that served it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColdStart {
    /// From the caller's arrival until there was room and the start began.
    pub place: Duration,
    /// Until the package was laid out and prepared: next to nothing, unless nobody had done so before.
    pub package: Duration,
    /// Until the sandbox was made. Nothing for a component, which has none.
    pub sandbox: Duration,
    /// Until the runtime first spoke: from the start of the process to its first connection to the Runtime API.
    /// A runtime that first connects for its first event has its init in here, too.
    pub runtime: Duration,
    /// Until it was ready for its first event: loading the handler, or a component, or a server's start.
    pub init: Duration,
    /// Whether the instance is a copy of one that was initialised before: then `init` is what the function does when it is
    /// restored.
    pub is_restore: bool,
}

impl ColdStart {
    /// The phases in their order.
    pub fn phases(&self) -> [Duration; PHASES] {
        [self.place, self.package, self.sandbox, self.runtime, self.init]
    }
}

/// How often a time lay within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Counts by bucket, each its own; the last one is of all that is longer.
    pub counts: [u64; Histogram::BUCKETS],
    /// The sum of all times.
    pub sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS], sum: Duration::ZERO }
    }
}

impl Histogram {
    /// Buckets, the one of all longer times included.
    pub const BUCKETS: usize = 25;
    /// The first bucket holds what is shorter than two to this power, in microseconds; each further one twice as much.
    const FIRST_POWER: u32 = 6;

    pub(crate) fn bucket_of(us: u64) -> usize {
        let power = u64::BITS - us.leading_zeros();
        usize::try_from(power.saturating_sub(Self::FIRST_POWER)).map_or(0, |bucket| bucket.min(Self::BUCKETS - 1))
    }

    /// Times in this bucket are shorter than this; none for the last.
    pub fn bound(bucket: usize) -> Option<Duration> {
        let power = Self::FIRST_POWER + u32::try_from(bucket).ok()?;
        (bucket + 1 < Self::BUCKETS).then(|| Duration::from_micros(1 << power))
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their mean; `None` without any.
    pub fn mean(&self) -> Option<Duration> {
        let count = self.count();
        (count > 0).then(|| Duration::from_secs_f64(self.sum.as_secs_f64() / count as f64))
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, other)| *count += other);
        self.sum += other.sum;
    }
}

/// What was counted of a function, or of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Durations of all invocations that ended, however they did.
    pub durations: Histogram,
    /// Invocations that the function failed.
    pub errors: u64,
    /// Invocations that ran out of time.
    pub timeouts: u64,
    /// Invocations that the platform failed.
    pub platform_failures: u64,
    /// Invocations whose caller went away first.
    pub abandoned: u64,
    /// Invocations refused, by [`Limit`]; see [`Figures::throttled`].
    pub(crate) throttled: [u64; 3],
    /// How long callers that were served had to wait in the queue, those only that had to.
    pub waits: Histogram,
    /// Instances started.
    pub starts: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Phases of cold starts, in the order of [`PHASE_NAMES`]; each has one time for each cold start.
    pub phases: [Histogram; PHASES],
    /// Cold starts whose instance was a copy of one initialised before.
    pub restores: u64,
    /// The last cold start of one function; nothing in sums.
    pub last_cold: Option<ColdStart>,
    /// Asynchronous events.
    pub events: Events,
}

/// What was counted of asynchronous events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events {
    /// Accepted.
    pub accepted: u64,
    /// Done: the function returned.
    pub delivered: u64,
    /// Given up, by condition in the order of [`GIVEN_UP_NAMES`].
    pub given_up: [u64; GIVEN_UP],
    /// Dead letters: events given up, and records of others, that no destination was told of.
    pub buried: u64,
    /// From acceptance until the first try.
    pub waits: Histogram,
}

/// Conditions that events are given up on.
pub const GIVEN_UP: usize = Condition::ALL.len();

/// Their names, in their order.
pub const GIVEN_UP_NAMES: [&str; GIVEN_UP] =
    ["retries_exhausted", "event_age_exceeded", "zero_reserved_concurrency", "recursive_invocation"];

impl Events {
    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.given_up.iter_mut().zip(other.given_up).for_each(|(count, other)| *count += other);
        self.buried += other.buried;
        self.waits.add(&other.waits);
    }
}

impl Figures {
    /// Invocations that went well.
    pub fn successes(&self) -> u64 {
        let others = self.errors + self.timeouts + self.platform_failures + self.abandoned;
        // Counters are read one after the other while more is counted.
        self.durations.count().saturating_sub(others)
    }

    /// Invocations refused because this limit was reached.
    pub fn throttled(&self, limit: Limit) -> u64 {
        self.throttled[limit as usize]
    }

    /// Calls that were served by an instance started for them.
    pub fn cold_starts(&self) -> u64 {
        self.phases[0].count()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.durations.add(&other.durations);
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.platform_failures += other.platform_failures;
        self.abandoned += other.abandoned;
        self.throttled.iter_mut().zip(other.throttled).for_each(|(count, other)| *count += other);
        self.waits.add(&other.waits);
        self.starts += other.starts;
        self.failed_starts += other.failed_starts;
        self.phases.iter_mut().zip(&other.phases).for_each(|(phase, other)| phase.add(other));
        self.restores += other.restores;
        self.last_cold = None;
        self.events.add(&other.events);
    }
}

/// A function's instances and callers at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instances {
    /// Running, with or without calls.
    pub running: u32,
    /// Those of them without calls.
    pub idle: u32,
    /// Being started.
    pub starting: u32,
    /// Callers that wait for one.
    pub waiting: u32,
}

impl Instances {
    pub(crate) fn add(&mut self, other: Self) {
        self.running += other.running;
        self.idle += other.idle;
        self.starting += other.starting;
        self.waiting += other.waiting;
    }
}

/// One function, or the rest of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// What was counted.
    pub figures: Figures,
    /// What there is now.
    pub instances: Instances,
    /// Its asynchronous events now.
    pub events: EventsNow,
}

/// The whole node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Functions deployed.
    pub functions: usize,
    /// The first hundred functions invoked, each by itself.
    pub shown: Vec<(FunctionId, Row)>,
    /// The others in one, deleted ones among them.
    pub others: Row,
    /// All there ever were.
    pub all: Figures,
    /// The node's room.
    pub memory: Memory,
    /// What interpreters without a function take beside that, MB.
    pub spare_memory_mb: u64,
    /// Idle instances ended to make room.
    pub evictions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_below_its_buckets_bound_and_not_below_the_one_before() {
        for us in [0, 1, 63, 64, 65, 127, 128, 1_000, 1 << 28, (1 << 29) - 1, 1 << 29, u64::MAX] {
            let bucket = Histogram::bucket_of(us);
            let time = Duration::from_micros(us);
            assert!(Histogram::bound(bucket).is_none_or(|bound| time < bound), "{us}");
            assert!(bucket == 0 || Histogram::bound(bucket - 1).unwrap() <= time, "{us}");
        }
        assert_eq!(Histogram::bucket_of(u64::MAX), Histogram::BUCKETS - 1);
    }
}
