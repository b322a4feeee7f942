//! A connection whose client must ask: one that takes too long over a request's head, or until its next request, is
//! given up.
//!
//! hyper's own limit makes and cancels a timer for every request, which a profile of short requests shows. Here a
//! request looks at a clock, and one timer a connection sleeps for as long as nothing can be due.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use updraft_types::{Body, BoxError};

/// One connection's.
#[derive(Debug)]
pub(crate) struct Patience {
    max: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    serving: usize,
    idle_since: Instant,
}

impl Patience {
    /// For a connection that has just come, whose client may take so long.
    pub(crate) fn new(max: Duration) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::new(State { serving: 0, idle_since: Instant::now() }) })
    }

    /// A request's head has come; it is served until what this returns is dropped.
    pub(crate) fn serving(self: &Arc<Self>) -> Serving {
        self.state.lock().serving += 1;
        Serving(self.clone())
    }

    /// Returns when the client has taken too long.
    pub(crate) async fn ended(&self) {
        while let Some(left) = self.left() {
            tokio::time::sleep(left).await;
        }
    }

    fn left(&self) -> Option<Duration> {
        let state = self.state.lock();
        let idle = if state.serving > 0 { Duration::ZERO } else { state.idle_since.elapsed() };
        self.max.checked_sub(idle).filter(|left| !left.is_zero())
    }
}

/// A request being served: nothing is expected of the client meanwhile.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Patience>);

impl Drop for Serving {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.serving -= 1;
        state.idle_since = Instant::now();
    }
}

/// A response's body; its request is served until it is dropped.
pub(crate) struct Served {
    pub(crate) body: Body,
    pub(crate) _serving: Serving,
}

impl HttpBody for Served {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_client_is_waited_for_only_so_long_and_not_while_it_is_served() {
        let patience = Patience::new(Duration::from_millis(5));
        patience.ended().await;
        let (first, second) = (patience.serving(), patience.serving());
        drop(first);
        let mut ended = Box::pin(patience.ended());
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!((&mut ended).now_or_never().is_none(), "it ended while a request was served");
        }
        drop(second);
        ended.await;
    }
}
