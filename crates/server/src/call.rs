//! Putting an invocation through to its end, for doors that answer with the whole reply.

use bytes::Bytes;
use http::Response;
use updraft_node::{Answer, Framing, Handle, Refusal, Reply};
use updraft_types::{Fault, Invocation, RequestId};

use crate::body::read_reply;

/// What came of an invocation.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its id.
    pub(crate) request: RequestId,
    /// The whole reply, or how the function failed.
    pub(crate) result: Result<Whole, Fault>,
    /// The end of the log, if it was asked for.
    pub(crate) log_tail: Option<Bytes>,
}

/// A reply, whole.
#[derive(Debug)]
pub(crate) enum Whole {
    /// A runtime's return value.
    Event {
        /// How to read it.
        framing: Framing,
        /// At most [`updraft_types::limits::PAYLOAD_BYTES_MAX`].
        bytes: Bytes,
    },
    /// An HTTP response.
    Http(Response<Bytes>),
}

/// Runs an invocation and reads its reply. It runs to its end even if the caller goes away, as Lambda's do; how
/// many do so at once is bounded by the node's own limits.
pub(crate) async fn to_end(node: &Handle, invocation: Invocation) -> Result<Finished, Refusal> {
    let (node, request) = (node.clone(), invocation.id);
    let running = tokio::spawn(async move {
        let answer = node.invoke(invocation).await?;
        Ok(finish(answer).await)
    });
    match running.await {
        Ok(finished) => finished,
        Err(panic) => {
            let fault = Fault::Platform { reason: panic.to_string() };
            Ok(Finished { request, result: Err(fault), log_tail: None })
        }
    }
}

async fn finish(answer: Answer) -> Finished {
    let Answer { request, result, log_tail } = answer;
    let result = match result {
        Err(fault) => Err(fault),
        Ok(Reply::Event { framing, body }) => read_reply(body).await.map(|bytes| Whole::Event { framing, bytes }),
        Ok(Reply::Http(response)) => {
            let (head, body) = response.into_parts();
            read_reply(body).await.map(|bytes| Whole::Http(Response::from_parts(head, bytes)))
        }
    };
    Finished { request, result, log_tail: log_tail.map(|tail| tail.read()) }
}
