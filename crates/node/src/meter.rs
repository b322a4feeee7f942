//! Measures one attempt from the moment an instance has it to the end of its reply, and writes what the log
//! says of it. One [`Attempt`] is made per call and it ends exactly once, however the call ends.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;
use updraft_types::{
    Body, BoxError, Fault, Function, RequestId, Timestamp, body,
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

/// Until the next look at a reply whose time is up, if somebody was reading it at the last.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

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

/// The body of a reply, which ends its attempt when it ends, fails, runs out of time or is dropped.
///
/// One that is all there ends it at once, however slowly its reader takes it. Any other is watched: its time runs out
/// whether or not anybody reads it.
pub(crate) fn metered(inner: Body, attempt: Attempt, admitted: Admitted, deadline: Instant, limit_ms: u64) -> Body {
    let (mut running, time) = (Running { inner, attempt, _admitted: admitted }, Time { deadline, limit_ms });
    let mut ahead = None;
    if running.inner.size_hint().exact().is_some() {
        match Step::of(&mut running.inner, &mut Context::from_waker(Waker::noop())) {
            Step::Complete(last) => {
                running.end(Ending::Complete);
                return match last.map(Frame::into_data) {
                    None => body::empty(),
                    Some(Ok(data)) => body::full(data),
                    Some(Err(trailers)) => {
                        let frames = futures_util::stream::iter([Ok::<_, BoxError>(trailers)]);
                        BodyExt::boxed_unsync(StreamBody::new(frames))
                    }
                };
            }
            Step::Failed(fault) => {
                running.end(Ending::Failed(&fault));
                let frames = futures_util::stream::iter([Err::<Frame<Bytes>, BoxError>(fault.into())]);
                return BodyExt::boxed_unsync(StreamBody::new(frames));
            }
            Step::Frame(frame) => ahead = Some(frame),
            Step::Pending => {}
        }
    }
    let (watched, task) = Watched::begin(running, time);
    BodyExt::boxed_unsync(MeteredBody { ahead, watched, task, time })
}

/// A reply's body that is not all there yet.
struct MeteredBody {
    /// Taken out already.
    ahead: Option<Frame<Bytes>>,
    watched: Arc<Watched>,
    task: AbortHandle,
    time: Time,
}

struct Running {
    /// Declared first, so dropped first: an abandoned call is over before its instance is judged.
    inner: Body,
    attempt: Attempt,
    _admitted: Admitted,
}

#[derive(Clone, Copy)]
struct Time {
    deadline: Instant,
    limit_ms: u64,
}

#[derive(Default)]
struct Watched {
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    Running(Running, Option<Waker>),
    /// Its time was up; the reader has not been told yet.
    TimedOut,
    #[default]
    Over,
}

impl Running {
    fn end(self, ending: Ending<'_>) {
        let Self { inner, mut attempt, _admitted } = self;
        drop(inner);
        attempt.end(ending);
    }

    /// The reader went away. One may do so after the last byte of a reply of known length, without looking again.
    fn leave(self) {
        match self.inner.is_end_stream() {
            true => self.end(Ending::Complete),
            false => drop(self),
        }
    }
}

impl Time {
    fn fault(self) -> Fault {
        Fault::Timeout { limit_ms: self.limit_ms }
    }
}

/// What a look at a running reply came to.
enum Step {
    Frame(Frame<Bytes>),
    /// Over, with its last frame if that came now.
    Complete(Option<Frame<Bytes>>),
    Failed(Fault),
    Pending,
}

impl Step {
    fn of(inner: &mut Body, context: &mut Context<'_>) -> Self {
        match Pin::new(&mut *inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) if inner.is_end_stream() => Self::Complete(Some(frame)),
            Poll::Ready(Some(Ok(frame))) => Self::Frame(frame),
            Poll::Ready(Some(Err(error))) => Self::Failed(
                updraft_types::body::fault_of(error)
                    .unwrap_or_else(|error| Fault::Crash { reason: format!("the response broke off: {error}") }),
            ),
            Poll::Ready(None) => Self::Complete(None),
            Poll::Pending => Self::Pending,
        }
    }
}

impl Watched {
    /// Has the time of a reply run out where nobody reads it.
    fn begin(running: Running, time: Time) -> (Arc<Self>, AbortHandle) {
        let watched = Arc::new(Self { state: Mutex::new(State::Running(running, None)) });
        let watching = watched.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(time.deadline.into()).await;
            // A reader that is at it just now sees the clock itself, at its next look.
            while !watching.time_out(time) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        (watched, task.abort_handle())
    }

    /// Ends the reply for its time, if nobody is reading it at this moment; `false` if somebody is.
    fn time_out(&self, time: Time) -> bool {
        let Some(mut state) = self.state.try_lock() else { return false };
        let State::Running(running, waker) = std::mem::replace(&mut *state, State::TimedOut) else {
            *state = State::Over;
            return true;
        };
        drop(state);
        running.end(Ending::Failed(&time.fault()));
        waker.into_iter().for_each(Waker::wake);
        true
    }

    fn poll(&self, time: Time, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.state.lock();
        let (running, waker) = match &mut *state {
            State::Running(running, waker) => (running, waker),
            State::TimedOut => {
                *state = State::Over;
                return Poll::Ready(Some(Err(time.fault().into())));
            }
            State::Over => return Poll::Ready(None),
        };
        let step = match Instant::now() >= time.deadline {
            true => Step::Failed(time.fault()),
            false => Step::of(&mut running.inner, context),
        };
        match step {
            Step::Frame(frame) => Poll::Ready(Some(Ok(frame))),
            Step::Pending => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Step::Complete(last) => {
                Self::end(state, Ending::Complete);
                Poll::Ready(last.map(Ok))
            }
            Step::Failed(fault) => {
                Self::end(state, Ending::Failed(&fault));
                Poll::Ready(Some(Err(fault.into())))
            }
        }
    }

    /// Ends the attempt of a running reply.
    fn end(mut state: MutexGuard<'_, State>, ending: Ending<'_>) {
        let before = std::mem::take(&mut *state);
        drop(state);
        if let State::Running(running, _) = before {
            running.end(ending);
        }
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.ahead.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.watched.poll(self.time, context)
    }

    fn is_end_stream(&self) -> bool {
        // Even an exhausted inner body is polled to its end, so that its attempt ends as complete.
        self.ahead.is_none() && matches!(*self.watched.state.lock(), State::Over)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &*self.watched.state.lock() {
            State::Running(running, _) => running.inner.size_hint(),
            State::TimedOut => SizeHint::default(),
            State::Over => SizeHint::with_exact(0),
        };
        let ahead = self.ahead.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead),
            None => rest,
        }
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        self.task.abort();
        let before = std::mem::take(&mut *self.watched.state.lock());
        if let State::Running(running, _) = before {
            running.leave();
        }
    }
}
