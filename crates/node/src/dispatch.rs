//! The one road: from an invocation to an instance and back.
//!
//! Every door's invocation passes here: one limit check, one placement, one meter. Nothing is written to the
//! store on the way.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use updraft_engine::{admission::Verdict, retry_after};
use updraft_executor::{Call, Reply};
use updraft_types::{Fault, Function, Invocation, RequestId, Timestamp};

use crate::{
    Handle,
    meter::{Attempt, Ending, metered},
    pool::{FailedStart, Lease, Miss, Pool},
    quota::Admitted,
};

/// What came of an invocation that ran.
pub struct Answer {
    /// The invocation's id.
    pub request: RequestId,
    /// The reply (its body still streaming), or why there is none. A later failure ends the body with a
    /// [`Fault`] as its error ([`updraft_types::body::fault_of`]).
    pub result: Result<Reply, Fault>,
    /// For callers that asked for [`updraft_types::invocation::LogTail::Tail`].
    pub log_tail: Option<LogTail>,
}

/// The last of an invocation's log.
pub struct LogTail {
    tail: Arc<OnceLock<Bytes>>,
}

impl LogTail {
    /// At most the last [`updraft_types::limits::LOG_TAIL_BYTES`]; whole once the reply's body has ended.
    pub fn read(self) -> Bytes {
        self.tail.get().cloned().unwrap_or_default()
    }
}

/// Why an invocation did not run at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The function's or the node's limit is reached and the queue is full (or the wait was too long).
    #[error("too many requests")]
    TooManyRequests(Throttle),
    /// The function is still being prepared.
    #[error("the function is pending")]
    Pending,
    /// The function's package could not be prepared; the text is for the author.
    #[error("the function failed: {0}")]
    Failed(String),
    /// The function was deleted meanwhile.
    #[error("there is no such function")]
    NotFound,
    /// The platform is stopping.
    #[error("the platform is stopping")]
    Stopping,
}

/// What a throttled caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The limit that was reached.
    pub limit: Limit,
    /// When to ask again, seconds from now, as far as the queue tells.
    pub retry_after_s: u32,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Limit {
    /// The function's reserved concurrency.
    Function,
    /// The account's concurrency.
    Account,
    /// The node's capacity.
    Node,
}

impl Handle {
    /// Runs one invocation. Returns when the reply begins; the reply's body runs on from there.
    pub async fn invoke(&self, invocation: Invocation) -> Result<Answer, Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let pool = self.pool_of(&invocation.function)?;
        let admitted = admit(&pool)?;
        match pool.try_lease() {
            Some(lease) => Ok(run(invocation, pool.function.clone(), lease, admitted).await),
            None => Box::pin(self.invoke_later(invocation, pool, admitted)).await,
        }
    }

    /// The road of an invocation that finds no free instance.
    async fn invoke_later(
        &self,
        invocation: Invocation,
        mut pool: Arc<Pool>,
        admitted: Admitted,
    ) -> Result<Answer, Refusal> {
        loop {
            match pool.lease().await {
                Ok(lease) => return Ok(run(invocation, pool.function.clone(), lease, admitted).await),
                Err(Miss::Refused) => {
                    return Err(throttled(&pool, Limit::Node));
                }
                Err(Miss::Moved) => pool = self.pool_of(&invocation.function)?,
                Err(Miss::Failed(failed)) => {
                    let (function, tally) = (&pool.function, pool.tally.clone());
                    let FailedStart { fault, sink, init } = *failed;
                    let mut attempt =
                        Attempt::failed_start(invocation.id, sink, tally, init, function, invocation.log_tail);
                    attempt.end(Ending::Failed(&fault));
                    return Ok(answer(invocation.id, Err(fault), &attempt));
                }
            }
        }
    }

    fn pool_of(&self, function: &Function) -> Result<Arc<Pool>, Refusal> {
        let id = function.version_id();
        if let Some(pool) = self.inner.pools.find(&id) {
            return Ok(pool);
        }
        self.inner.pools.find_or_open(&id, &self.inner.catalog)
    }
}

fn admit(pool: &Pool) -> Result<Admitted, Refusal> {
    pool.quota.admit(&pool.set_aside).map_err(|verdict| {
        let limit = if verdict == Verdict::ThrottleFunction { Limit::Function } else { Limit::Account };
        throttled(pool, limit)
    })
}

/// Counts a caller that is turned away, and tells it when to come again.
fn throttled(pool: &Pool, limit: Limit) -> Refusal {
    pool.tally.throttled(limit);
    Refusal::TooManyRequests(Throttle { limit, retry_after_s: retry_after::seconds(pool.queue()) })
}

/// Puts one invocation through a leased instance.
async fn run(invocation: Invocation, function: Arc<Function>, lease: Lease, admitted: Admitted) -> Answer {
    let Invocation { id, payload, context, log_tail, .. } = invocation;
    let configuration = &function.configuration;
    let timeout = Duration::from_secs(u64::from(configuration.timeout_s));
    let limit_ms = u64::from(configuration.timeout_s) * 1_000;
    let instance = lease.member.instance.clone();
    let mut attempt = Attempt::begin(id, lease, &function, log_tail);
    let deadline = Instant::now() + timeout;
    let call = Call { request: id, payload, context, deadline, deadline_at: Timestamp::now().plus(timeout) };
    let result = match tokio::time::timeout_at(deadline.into(), instance.call(call)).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Timeout { limit_ms }),
    };
    match result {
        Err(fault) => {
            attempt.end(Ending::Failed(&fault));
            answer(id, Err(fault), &attempt)
        }
        Ok(reply) => {
            let tail = attempt.tail();
            let meter = |body| metered(body, attempt, admitted, deadline, limit_ms);
            let reply = match reply {
                Reply::Event { framing, body } => Reply::Event { framing, body: meter(body) },
                Reply::Http(response) => Reply::Http(response.map(meter)),
            };
            Answer { request: id, result: Ok(reply), log_tail: tail.map(|tail| LogTail { tail }) }
        }
    }
}

fn answer(request: RequestId, result: Result<Reply, Fault>, attempt: &Attempt) -> Answer {
    Answer { request, result, log_tail: attempt.tail().map(|tail| LogTail { tail }) }
}
