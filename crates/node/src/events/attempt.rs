//! One try of one event: the call, what becomes of the event after it, and the one transaction that settles both.
//!
//! Invariants: a try is settled once, by its lease, or not at all (then the event is tried again by another); what follows
//! from an event is accepted in the transaction that ends it.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use updraft_engine::events::{self, Condition, History, Outcome, Policy, RETRIES_MAX, Rules, Verdict, recursion};
use updraft_store::events::{Error, Lease, Leased, Progress, Settled, Settlement};
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

/// How an event stands before a try.
struct Standing {
    rules: Rules,
    history: History,
    /// Why it is given up instead, if it is.
    condition: Option<Condition>,
    /// The trace header of its calls.
    trace: String,
}

/// What is to be written, and counted once it is. An event that follows is counted on the board already.
struct Decision {
    settlement: Arc<Settlement>,
    /// How the event ended, if it did.
    ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Delivered,
    GivenUp(Condition),
}

/// A whole reply, and whether it is an error by what it says of itself.
type Whole = Result<(Bytes, bool), Fault>;

impl Handle {
    /// Tries an event and settles it, as a task of its own. Its lease ends then.
    pub(super) fn attempt(self, leased: Leased, mut slot: Slot, lease_ends: Timestamp) -> BoxFuture<'static, ()> {
        slot.begin(lease_ends);
        Box::pin(self.attempt_here(leased, slot))
    }

    async fn attempt_here(self, leased: Leased, slot: Slot) {
        let Leased { lease, progress, event } = leased;
        // Without a decision the function is gone, and its events with it.
        if let Some(decision) = self.clone().decide_event(event.clone(), progress).await {
            self.settle_event(lease, &event, decision).await;
        }
        // Last of all, so that whoever sees every worker free finds everything counted.
        slot.end();
    }

    /// Gives up an event that has become too old, without a try.
    pub(super) fn give_up(self, leased: Leased) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Leased { lease, progress, event } = leased;
            let now = Timestamp::now();
            let Some(Standing { history, condition, trace, .. }) = self.standing(&event, progress, now) else { return };
            let verdict = match condition {
                Some(condition) => Verdict::GiveUp { condition, attempts: history.attempts },
                // It may become older, by now.
                None => Verdict::Retry { at: now, history },
            };
            let decision = self.conclude(&event, verdict, None, trace);
            self.settle_event(lease, &event, decision).await;
        })
    }

    async fn settle_event(&self, lease: Lease, event: &Event, decision: Decision) {
        let settled = self.clone().settle_try(lease, event.request, decision.settlement.clone()).await;
        self.count_try(event, &decision, settled);
    }

    async fn settle_try(self, lease: Lease, request: RequestId, settlement: Arc<Settlement>) -> Settled {
        loop {
            let error = match self.settling(lease, settlement.clone()).await {
                Ok(Ok(settled)) => return settled,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic.to_string(),
            };
            if self.is_stopping() {
                tracing::warn!(error, %request, "a try is not settled: the event is tried again");
                return Settled::Stale;
            }
            tracing::error!(error, %request, "settling a try, until it succeeds");
            tokio::time::sleep(STORE_REST).await;
        }
    }

    /// Settles a try, in a task of its own: what the store was told to do is done even if nobody waits for it.
    fn settling(&self, lease: Lease, settlement: Arc<Settlement>) -> JoinHandle<Result<Settled, Error>> {
        let events = self.inner.store.events().clone();
        tokio::spawn(async move { events.settle(lease, settlement).await })
    }

    fn count_try(&self, event: &Event, decision: &Decision, settled: Settled) {
        let (board, pools) = (&self.inner.board, &self.inner.pools);
        let has_followed = settled == Settled::Done { followed: true };
        let (follow, letter) = match &*decision.settlement {
            Settlement::Again { due, .. } if settled != Settled::Stale => return board.due(&event.function, *due),
            Settlement::Again { .. } => return,
            Settlement::End { follow, letter, .. } => (follow.as_deref(), letter.as_ref()),
        };
        match follow.map(|follow| &follow.event) {
            Some(following) if has_followed => {
                pools.tally(&following.function).event_accepted();
                board.due(&following.function, following.accepted_at);
            }
            Some(following) => board.gone(&following.function, 1, following.size_bytes()),
            None => {}
        }
        let (Settled::Done { .. }, Some(ending)) = (settled, decision.ending) else { return };
        board.gone(&event.function, 1, event.size_bytes());
        let tally = pools.tally(&event.function);
        match ending {
            Ending::Delivered => tally.event_delivered(),
            Ending::GivenUp(condition) => tally.event_given_up(condition),
        }
        if letter.is_some() || (follow.is_some() && !has_followed) {
            tally.event_buried();
        }
    }

    /// How an event stands `now`; `None` if its function is gone.
    fn standing(&self, event: &Event, progress: Progress, now: Timestamp) -> Option<Standing> {
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
        let condition = events::before(history, rules, is_stopped, is_loop, now);
        Some(Standing { rules, history, condition, trace })
    }

    /// Tries an event and decides what becomes of it; `None` if its function is gone.
    async fn decide_event(self, event: Event, progress: Progress) -> Option<Decision> {
        let now = Timestamp::now();
        let Standing { rules, history, condition, trace } = self.standing(&event, progress, now)?;
        let (verdict, answered) = match condition {
            Some(condition) => (Verdict::GiveUp { condition, attempts: history.attempts }, None),
            None => {
                if history.attempts == 0 && history.refusals == 0 {
                    self.inner.pools.tally(&event.function).event_waited(now.since(event.accepted_at));
                }
                match self.clone().try_once(event.clone(), trace.clone()).await {
                    Some(Tried { outcome, answered }) => {
                        let policy = self.inner.config.events.policy;
                        (events::after(history, rules, outcome, Timestamp::now(), policy), answered)
                    }
                    // The platform is stopping: it is as if the event had not been tried.
                    None => (Verdict::Retry { at: Timestamp::now(), history }, None),
                }
            }
        };
        Some(self.conclude(&event, verdict, answered, trace))
    }

    /// What is to be written of a verdict, and what follows from it as things are configured by now.
    fn conclude(&self, event: &Event, verdict: Verdict, answered: Option<Answered>, trace: String) -> Decision {
        let (ending, condition, attempts) = match verdict {
            Verdict::Retry { at, history: History { attempts, refusals, .. } } => {
                let settlement = Settlement::Again { due: at, progress: Progress { attempts, refusals } };
                return Decision { settlement: Arc::new(settlement), ending: None };
            }
            Verdict::Done { attempts } => (Ending::Delivered, None, attempts),
            Verdict::GiveUp { condition, attempts } => (Ending::GivenUp(condition), Some(condition), attempts),
        };
        let (follow, letter) = match self.pass_on(event, &Ended { condition, attempts, answered, trace }) {
            Passed::Nothing => (None, None),
            Passed::Buried(letter) => (None, Some(letter)),
            Passed::Follows(follow) => (Some(follow), None),
        };
        let settlement = Settlement::End { follow, letter, retention: self.retention() };
        Decision { settlement: Arc::new(settlement), ending: Some(ending) }
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
            Err(fault) => match events::outcome(&fault, self.is_stopping())? {
                Outcome::Failed => {
                    Tried { outcome: Outcome::Failed, answered: answered(fault.to_json(event.request), true) }
                }
                outcome => Tried { outcome, answered: None },
            },
        })
    }
}

pub(super) fn rules(config: Option<&EventInvoke>, policy: Policy) -> Rules {
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
