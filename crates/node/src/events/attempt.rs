//! One try of one event: the call, what becomes of the event after it, and the one transaction that settles both.
//!
//! Invariants: a try is settled once, by its lease, or not at all (then the event is tried again by another); what follows
//! from an event is accepted in the transaction that ends it.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use updraft_engine::events::{self, Condition, History, Outcome, Policy, RETRIES_MAX, Rules, Verdict, recursion};
use updraft_store::events::{Error, Lease, Leased, Progress, Retention, Settled, Settlement};
use updraft_types::{
    BoxError, Event, Fault, Invocation, Payload, Qualifier, RequestId, Timestamp, Version,
    body::fault_of,
    invocation::{Context, LogTail},
    limits::PAYLOAD_BYTES_MAX,
    settings::{EventInvoke, RecursiveLoop},
};

use super::{
    STORE_REST,
    board::Slot,
    destination::{Ended, Passed},
    record::Answered,
};
use crate::{Handle, Refusal, Reply};

/// What came of a call.
struct Tried {
    outcome: Outcome,
    /// What the function answered, if it ran.
    answered: Option<Answered>,
}

/// What is to be written, and counted once it is.
struct Decision {
    settlement: Settlement,
    /// How the event ended, if it did.
    ending: Option<Ending>,
    /// When it is tried again, if it is.
    due: Option<Timestamp>,
    /// What follows from it, counted already.
    following: Option<Event>,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Delivered,
    GivenUp(Condition),
}

/// A whole reply, and whether it is an error by what it says of itself.
type Whole = Result<(Bytes, bool), Fault>;

impl Handle {
    /// Tries an event and settles it, as a task of its own.
    pub(super) fn attempt(self, leased: Leased, slot: Slot) -> BoxFuture<'static, ()> {
        Box::pin(self.attempt_here(leased, slot))
    }

    async fn attempt_here(self, leased: Leased, slot: Slot) {
        let Leased { lease, progress, event } = leased;
        // Without a decision the function is gone, and its events with it.
        if let Some(decision) = self.clone().decide_event(event.clone(), progress).await {
            let settled = self.clone().settle_try(lease, event.request, decision.settlement.clone()).await;
            self.count_try(&event, decision, settled);
        }
        // Last of all, so that whoever sees every worker free finds everything counted.
        drop(slot);
    }

    async fn settle_try(self, lease: Lease, request: RequestId, settlement: Settlement) -> Settled {
        loop {
            let error = match self.settling(lease, settlement.clone()).await {
                Ok(Ok(settled)) => return settled,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic.to_string(),
            };
            if self.inner.is_stopping.load(Relaxed) {
                tracing::warn!(error, %request, "a try is not settled: the event is tried again");
                return Settled::Stale;
            }
            tracing::error!(error, %request, "settling a try, until it succeeds");
            tokio::time::sleep(STORE_REST).await;
        }
    }

    /// Settles a try, in a task of its own: what the store was told to do is done even if nobody waits for it.
    fn settling(&self, lease: Lease, settlement: Settlement) -> JoinHandle<Result<Settled, Error>> {
        let events = self.inner.store.events().clone();
        tokio::spawn(async move { events.settle(lease, settlement).await })
    }

    fn count_try(&self, event: &Event, decision: Decision, settled: Settled) {
        let Decision { settlement, ending, due, following } = decision;
        let (board, pools) = (&self.inner.board, &self.inner.pools);
        let has_followed = settled == Settled::Done { followed: true };
        match &following {
            Some(following) if has_followed => {
                pools.tally(&following.function).event_accepted();
                board.due(&following.function, following.accepted_at);
            }
            Some(following) => board.gone(&following.function, 1, following.size_bytes()),
            None => {}
        }
        if settled == Settled::Stale {
            return;
        }
        if let Some(due) = due {
            board.due(&event.function, due);
        }
        let Some(ending) = ending else { return };
        board.gone(&event.function, 1, event.size_bytes());
        let tally = pools.tally(&event.function);
        match ending {
            Ending::Delivered => tally.event_delivered(),
            Ending::GivenUp(condition) => tally.event_given_up(condition),
        }
        let is_buried = matches!(settlement, Settlement::End { letter: Some(_), .. });
        if is_buried || (following.is_some() && !has_followed) {
            tally.event_buried();
        }
    }

    /// Tries an event and decides what becomes of it; `None` if its function is gone.
    async fn decide_event(self, event: Event, progress: Progress) -> Option<Decision> {
        let latest = self.catalog().get(&event.function)?.clone();
        let policy = self.inner.config.events.policy;
        let rules = rules(latest.settings.event_invoke.get(&event.qualifier_text()), policy);
        let Progress { attempts, refusals } = progress;
        let history = History { accepted_at: event.accepted_at, attempts, refusals };

        let tag = recursion::tag(&event.function.arn(self.region()));
        let may_loop = latest.settings.recursion == Some(RecursiveLoop::Allow);
        let is_loop = !may_loop && recursion::count(&event.trace, &tag) >= recursion::COUNT_MAX;
        let is_stopped = latest.scaling.reserved_concurrency == Some(0);
        let trace = recursion::follow(&event.trace, &tag);
        let now = Timestamp::now();
        let (verdict, answered) = match events::before(history, rules, is_stopped, is_loop, now) {
            Some(condition) => (Verdict::GiveUp { condition, attempts }, None),
            None => {
                if history.attempts == 0 && history.refusals == 0 {
                    self.inner.pools.tally(&event.function).event_waited(now.since(event.accepted_at));
                }
                match self.clone().try_once(event.clone(), trace.clone()).await {
                    Some(Tried { outcome, answered }) => {
                        (events::after(history, rules, outcome, Timestamp::now(), policy), answered)
                    }
                    // The platform is stopping: it is as if the event had not been tried.
                    None => (Verdict::Retry { at: Timestamp::now(), history }, None),
                }
            }
        };
        let (ending, condition, attempts) = match verdict {
            Verdict::Retry { at, history } => return Some(again(at, history)),
            Verdict::Done => (Ending::Delivered, None, attempts.saturating_add(1)),
            Verdict::GiveUp { condition, attempts } => (Ending::GivenUp(condition), Some(condition), attempts),
        };
        // As it is configured by now.
        let passed = self.pass_on(&event, &Ended { condition, attempts, answered, trace });
        Some(ended(ending, passed, self.retention()))
    }

    /// Calls the function, in a task of its own, as other doors do.
    fn calling(&self, invocation: Invocation) -> JoinHandle<Result<Whole, Refusal>> {
        let handle = self.clone();
        tokio::spawn(async move {
            let answer = handle.invoke(invocation).await?;
            Ok(whole(answer.result).await)
        })
    }

    /// One call; `None` if the platform is stopping.
    async fn try_once(self, event: Event, trace: String) -> Option<Tried> {
        let qualifier = event.qualifier.clone().unwrap_or(Qualifier::Version(Version::Latest));
        let refused = Tried { outcome: Outcome::Refused, answered: None };
        // An alias may come back under its name.
        let Some(function) = self.route(&event.function, &qualifier) else { return Some(refused) };
        let version = function.version;
        let invocation = Invocation {
            id: event.request,
            payload: Payload::of_event(function.configuration.runtime, event.payload, &trace),
            function,
            context: Context { client_context: event.client_context, trace: Some(trace), qualifier: event.qualifier },
            log_tail: LogTail::None,
        };
        let called = match self.calling(invocation).await {
            Ok(called) => called,
            Err(panic) => Ok(Err(Fault::Platform { reason: panic.to_string() })),
        };
        let whole = match called {
            Ok(whole) => whole,
            Err(Refusal::Stopping) => return None,
            Err(_) => return Some(refused),
        };
        let answered = |payload, is_error| Some(Answered { version, payload, is_error });
        Some(match whole {
            Ok((payload, is_error)) => Tried {
                outcome: if is_error { Outcome::Failed } else { Outcome::Succeeded },
                answered: answered(payload, is_error),
            },
            Err(Fault::Platform { .. }) => refused,
            // Instances that are ended at a stop are no fault of the function's.
            Err(_) if self.inner.is_stopping.load(Relaxed) => return None,
            Err(fault) => Tried { outcome: Outcome::Failed, answered: answered(fault.to_json(event.request), true) },
        })
    }
}

fn ended(ending: Ending, passed: Passed, retention: Retention) -> Decision {
    let (follow, letter, following) = match passed {
        Passed::Nothing => (None, None, None),
        Passed::Buried(letter) => (None, Some(letter), None),
        Passed::Follows(follow) => {
            let event = follow.0.clone();
            (Some(follow), None, Some(event))
        }
    };
    let settlement = Settlement::End { follow, letter, retention };
    Decision { settlement, ending: Some(ending), due: None, following }
}

fn again(at: Timestamp, history: History) -> Decision {
    let progress = Progress { attempts: history.attempts, refusals: history.refusals };
    Decision { settlement: Settlement::Again { due: at, progress }, ending: None, due: Some(at), following: None }
}

fn rules(config: Option<&EventInvoke>, policy: Policy) -> Rules {
    let retries = config.and_then(|config| config.retries_max);
    let age_s = config.and_then(|config| config.age_s_max);
    Rules {
        retries_max: retries.unwrap_or(RETRIES_MAX),
        age_max: age_s.map_or(policy.age_max, |age_s| Duration::from_secs(u64::from(age_s))),
    }
}

/// The whole reply, and whether it says of itself that it is an error: an HTTP function's status of 400 or more.
async fn whole(result: Result<Reply, Fault>) -> Whole {
    let (body, is_error) = match result? {
        Reply::Event { body, .. } => (body, false),
        Reply::Http(response) => {
            let status = response.status();
            (response.into_body(), status.is_client_error() || status.is_server_error())
        }
    };
    Ok((collect(body).await?, is_error))
}

async fn collect<B>(mut body: B) -> Result<Bytes, Fault>
where
    B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let broken_off = |error| Fault::Crash { reason: format!("the response broke off: {error}") };
            fault_of(error).unwrap_or_else(broken_off)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > PAYLOAD_BYTES_MAX {
            return Err(Fault::ResponseTooLarge);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}
