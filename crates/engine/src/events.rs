//! Decides about asynchronous events: whether one is taken in, when a failed one is tried again, and when it is given up.
//!
//! Lambda's rules (source: «Asynchronous invocation» of its documentation, and AWS's recorded destination records): a
//! function's own error is tried again after one minute, then after two; what keeps a function from running at all is
//! tried again with growing pauses until the event is too old. [`allot`] decides who is served next, [`recursion`] which
//! chains have gone on for too long.
//! Pure: time arrives as an argument. Invariants: an event is tried once more, or done, or given up, and nothing else; no
//! try is set for a time after its age; a function's errors are never more than its retries and one.

mod allot;
pub mod recursion;

use std::time::Duration;

use updraft_types::{Fault, Timestamp};

pub use allot::{Candidate, allot};

/// When failed events are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The pause after a function's first error, and after its second.
    pub retry_pauses: [Duration; 2],
    /// The pause after the function could not be run; it doubles each time in a row.
    pub backoff_first: Duration,
    /// The longest it grows to.
    pub backoff_max: Duration,
    /// The age at which an event is given up whose function has nothing configured.
    pub age_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retry_pauses: [Duration::from_secs(60), Duration::from_secs(120)],
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            age_max: Duration::from_secs(6 * 3600),
        }
    }
}

impl Policy {
    /// The same with another pause after a function's first error; the one after its second is twice as long.
    pub fn with_retry_pause(self, pause: Duration) -> Self {
        Self { retry_pauses: [pause, pause.saturating_mul(2)], ..self }
    }

    fn backoff(&self, refusals: u32) -> Duration {
        let grown = 2_u32.checked_pow(refusals).and_then(|factor| self.backoff_first.checked_mul(factor));
        grown.unwrap_or(self.backoff_max).min(self.backoff_max)
    }
}

/// Most tries after the first, of any function.
pub const RETRIES_MAX: u32 = 2;

/// What holds for an event: its function's configuration, or the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Tries after the first, 0 to [`RETRIES_MAX`].
    pub retries_max: u32,
    /// The age at which it is given up.
    pub age_max: Duration,
}

/// What has happened to an event so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How often the function ran.
    pub attempts: u32,
    /// How often in a row it could not be run.
    pub refusals: u32,
}

impl History {
    fn deadline(&self, rules: Rules) -> Timestamp {
        self.accepted_at.plus(rules.age_max)
    }
}

/// What came of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned.
    Succeeded,
    /// The function ran and failed.
    Failed,
    /// It did not run: limits, a platform failure, a version that is not there.
    Refused,
}

/// What a call that failed says of its function. `None` if it says nothing: the platform is stopping, and may have ended the
/// instance itself.
pub fn outcome(fault: &Fault, is_stopping: bool) -> Option<Outcome> {
    match fault {
        Fault::Platform { .. } => Some(Outcome::Refused),
        Fault::Exit(_) | Fault::Crash { .. } | Fault::Extension { .. } => (!is_stopping).then_some(Outcome::Failed),
        Fault::Handler { .. }
        | Fault::Init { .. }
        | Fault::Entrypoint { .. }
        | Fault::Timeout { .. }
        | Fault::OutOfMemory
        | Fault::ResponseTooLarge => Some(Outcome::Failed),
    }
}

/// Why an event is given up. The first two and the third are Lambda's names; the fourth is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The function failed as often as it may.
    RetriesExhausted,
    /// It is, or would be at the next try, too old.
    EventAgeExceeded,
    /// The function is stopped: its reserved concurrency is 0.
    ZeroReservedConcurrency,
    /// The function has called itself too often.
    RecursiveInvocation,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::RetriesExhausted, Self::EventAgeExceeded, Self::ZeroReservedConcurrency, Self::RecursiveInvocation];

    /// As records of destinations have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::ZeroReservedConcurrency => "ZeroReservedConcurrency",
            Self::RecursiveInvocation => "RecursiveInvocation",
        }
    }
}

/// What is to become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done {
        /// How often the function ran.
        attempts: u32,
    },
    /// It is tried again.
    Retry {
        /// Not before this.
        at: Timestamp,
        /// What has happened to it by then.
        history: History,
    },
    /// It is given up.
    GiveUp {
        /// Why.
        condition: Condition,
        /// How often the function ran.
        attempts: u32,
    },
}

/// Whether an event that is about to be tried is given up instead.
pub fn before(history: History, rules: Rules, is_stopped: bool, is_loop: bool, now: Timestamp) -> Option<Condition> {
    if is_stopped {
        Some(Condition::ZeroReservedConcurrency)
    } else if is_loop {
        Some(Condition::RecursiveInvocation)
    } else if now > history.deadline(rules) {
        Some(Condition::EventAgeExceeded)
    } else {
        None
    }
}

/// What was accepted before this is too old `now`, and given up even if nobody has a try for it.
pub fn too_old(rules: Rules, now: Timestamp) -> Timestamp {
    now.minus(rules.age_max)
}

/// What becomes of an event after a try that ended `now`.
pub fn after(history: History, rules: Rules, outcome: Outcome, now: Timestamp, policy: Policy) -> Verdict {
    let deadline = history.deadline(rules);
    match outcome {
        Outcome::Succeeded => Verdict::Done { attempts: history.attempts.saturating_add(1) },
        Outcome::Failed => {
            let attempts = history.attempts.saturating_add(1);
            if attempts > rules.retries_max.min(RETRIES_MAX) {
                return Verdict::GiveUp { condition: Condition::RetriesExhausted, attempts };
            }
            // Below the maximum of retries, and there is a pause for each.
            let pause = policy.retry_pauses[attempts as usize - 1];
            let at = now.plus(pause);
            if at > deadline {
                return Verdict::GiveUp { condition: Condition::EventAgeExceeded, attempts };
            }
            Verdict::Retry { at, history: History { attempts, refusals: 0, ..history } }
        }
        Outcome::Refused if now > deadline => {
            Verdict::GiveUp { condition: Condition::EventAgeExceeded, attempts: history.attempts }
        }
        Outcome::Refused => {
            // Never past its age, so that it is given up when it reaches that and not long after.
            let at = now.plus(policy.backoff(history.refusals)).min(deadline);
            let refusals = history.refusals.saturating_add(1);
            Verdict::Retry { at, history: History { refusals, ..history } }
        }
    }
}

/// How much is kept, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events of one function.
    pub function_events_max: u64,
    /// Events of all functions of an account.
    pub account_events_max: u64,
    /// Bytes of one account's events; one function may have half of them.
    pub account_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { function_events_max: 100_000, account_events_max: 500_000, account_bytes_max: 1 << 30 }
    }
}

/// Events that wait or are being tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub events: u64,
    /// What they take.
    pub bytes: u64,
}

/// Whose limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The function's.
    Function,
    /// The account's.
    Account,
}

/// Whether one more event of `bytes` is taken in.
pub fn admit(function: Held, account: Held, bytes: u64, limits: Limits) -> Result<(), Full> {
    if account.events >= limits.account_events_max || account.bytes.saturating_add(bytes) > limits.account_bytes_max {
        Err(Full::Account)
    } else if function.events >= limits.function_events_max
        || function.bytes.saturating_add(bytes) > limits.account_bytes_max / 2
    {
        Err(Full::Function)
    } else {
        Ok(())
    }
}

/// What a function's calls look like, of whatever kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How many more its limits of concurrency let in.
    pub admitted: u32,
    /// How many its instances can take at once when there are as many as there may be.
    pub capacity: u32,
    /// How many there are.
    pub in_flight: u32,
    /// Its instances.
    pub instances: u32,
    /// Those of its calls that wait for one.
    pub waiting: u32,
}

/// Calls that may wait for an instance however few of those there are: it is by their waiting that more are started.
const WAITING_MIN: u32 = 4;

/// How many more events a function is given. No more than could run; and of those that would have to wait, about as many as
/// there are instances: whoever calls the function and waits for its answer is not to find a backlog before itself.
pub fn room(load: Load) -> u32 {
    let unused = load.capacity.saturating_sub(load.in_flight);
    let idle_or_next = load.instances.max(WAITING_MIN).saturating_sub(load.waiting);
    load.admitted.min(unused).min(idle_or_next)
}

#[cfg(test)]
mod tests;
