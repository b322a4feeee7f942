//! Measures one attempt from the moment an instance has it to the end of its reply, and writes what the log
//! says of it. One [`Attempt`] is made per call and it ends exactly once, however the call ends.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use updraft_types::{
    Body, BoxError, Fault, Function, RequestId, Timestamp,
    invocation::{LogTail, Usage},
};

use crate::{
    figures::ColdStart,
    logs::Sink,
    platform_lines::{self, Report},
    pool::Lease,
    quota::Admitted,
    tally::Tally,
};

/// One call under way.
pub(crate) struct Attempt {
    request: RequestId,
    sink: Arc<Sink>,
    began: Instant,
    init: Option<Duration>,
    cold: Option<Box<ColdStart>>,
    tally: Arc<Tally>,
    memory_mb: u32,
    tail: Option<Arc<OnceLock<Bytes>>>,
    has_ended: bool,
    /// Given back when the attempt has ended.
    lease: Option<Lease>,
}

/// How an attempt ended.
pub(crate) enum Ending<'a> {
    /// The reply is complete.
    Complete,
    /// It failed.
    Failed(&'a Fault),
    /// The caller went away first.
    Abandoned,
}

impl Attempt {
    /// Begins an attempt on a leased instance.
    pub(crate) fn begin(request: RequestId, mut lease: Lease, function: &Function, tail: LogTail) -> Self {
        let sink = lease.member.sink.clone();
        let (init, cold, tally) = (lease.init, lease.cold.take(), lease.tally().clone());
        let mut attempt = Self::begin_on(request, sink, tally, init, function, tail, Some(lease));
        attempt.cold = cold;
        attempt
    }

    /// An attempt whose instance did not start: it begins and ends with the failure.
    pub(crate) fn failed_start(
        request: RequestId,
        sink: Arc<Sink>,
        tally: Arc<Tally>,
        init: Duration,
        function: &Function,
        tail: LogTail,
    ) -> Self {
        Self::begin_on(request, sink, tally, Some(init), function, tail, None)
    }

    fn begin_on(
        request: RequestId,
        sink: Arc<Sink>,
        tally: Arc<Tally>,
        init: Option<Duration>,
        function: &Function,
        tail: LogTail,
        lease: Option<Lease>,
    ) -> Self {
        let tail = (tail == LogTail::Tail).then(|| {
            sink.begin_tail();
            Arc::default()
        });
        platform_lines::start(&sink, Timestamp::now(), request, function.version);
        let memory_mb = function.configuration.memory_mb;
        Self { request, sink, began: Instant::now(), init, cold: None, tally, memory_mb, tail, has_ended: false, lease }
    }

    /// Where the end of the log will be once the attempt has ended, if the caller wants it.
    pub(crate) fn tail(&self) -> Option<Arc<OnceLock<Bytes>>> {
        self.tail.clone()
    }

    /// Ends the attempt: writes END and REPORT, gives the instance back.
    pub(crate) fn end(&mut self, ending: Ending<'_>) -> Usage {
        assert!(!self.has_ended, "an attempt ends once");
        self.has_ended = true;
        let memory_bytes_max = self.lease.as_ref().map_or(0, |lease| lease.member.instance.memory_bytes_max());
        let usage = Usage {
            duration: if self.lease.is_some() { self.began.elapsed() } else { Duration::ZERO },
            init: self.init,
            restore: self.cold.as_ref().filter(|cold| cold.is_restore).map(|cold| cold.init),
            memory_mb: self.memory_mb,
            memory_mb_max: u32::try_from(memory_bytes_max.div_ceil(1 << 20)).unwrap_or(u32::MAX),
        };
        self.tally.ended(&ending, usage.duration);
        self.write_report(&usage, &ending);
        if let Some(tail) = &self.tail {
            tail.get_or_init(|| self.sink.take_tail());
        }
        self.lease = None;
        usage
    }

    fn write_report(&self, usage: &Usage, ending: &Ending<'_>) {
        let (request, now) = (self.request, Timestamp::now());
        if let Ending::Failed(Fault::Platform { reason }) = ending {
            tracing::error!(%request, reason, "the platform could not run a function");
        }
        platform_lines::end(&self.sink, now, &Report { request, usage, ending, cold: self.cold.as_deref() });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(Ending::Abandoned);
        }
    }
}

/// A reply's body that ends its attempt when it ends, fails, runs out of time or is dropped.
pub(crate) struct MeteredBody {
    /// Declared first, so dropped first: an abandoned call is over before its instance is judged.
    inner: Option<Body>,
    attempt: Attempt,
    _admitted: Admitted,
    limit_ms: u64,
    deadline: Instant,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl MeteredBody {
    pub(crate) fn new(inner: Body, attempt: Attempt, admitted: Admitted, deadline: Instant, limit_ms: u64) -> Self {
        Self { inner: Some(inner), attempt, _admitted: admitted, limit_ms, deadline, timer: None }
    }

    fn fail(&mut self, fault: Fault) -> BoxError {
        self.inner = None;
        self.attempt.end(Ending::Failed(&fault));
        fault.into()
    }

    /// True once the time is up. The timer is only made for a body that was not ready at once.
    fn is_out_of_time(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().poll(context).is_ready()
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        match Pin::new(inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => {
                let fault = updraft_types::body::fault_of(error)
                    .unwrap_or_else(|error| Fault::Crash { reason: format!("the response broke off: {error}") });
                Poll::Ready(Some(Err(self.fail(fault))))
            }
            Poll::Ready(None) => {
                self.inner = None;
                self.attempt.end(Ending::Complete);
                Poll::Ready(None)
            }
            Poll::Pending if self.is_out_of_time(context) => {
                let limit_ms = self.limit_ms;
                Poll::Ready(Some(Err(self.fail(Fault::Timeout { limit_ms }))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        // Even an exhausted inner body is polled to its end, so that its attempt ends as complete.
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint())
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        // A body of known length may be dropped by its writer after the last byte, without being polled again.
        let is_complete = self.inner.take().is_some_and(|inner| inner.is_end_stream());
        if is_complete && !self.attempt.has_ended {
            self.attempt.end(Ending::Complete);
        }
    }
}
