//! What an asynchronous invocation leaves behind: an event that a function is to be given, and nobody waits for.
//!
//! It is the same at every attempt: request id, trace header, client context and the name the function was called by. Which
//! version that name leads to is asked anew each time.

use bytes::Bytes;

use crate::{FunctionId, Qualifier, RequestId, Timestamp};

/// An event for a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Shown to the author as the AWS request id.
    pub request: RequestId,
    /// Whom it is for.
    pub function: FunctionId,
    /// What the caller named the version by, if it did.
    pub qualifier: Option<Qualifier>,
    /// `X-Amz-Client-Context`, decoded from base64.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id`.
    pub trace: String,
    /// A JSON document, at most [`crate::limits::EVENT_BYTES_MAX`].
    pub payload: Bytes,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl Event {
    /// What it takes to keep, bytes.
    pub fn size_bytes(&self) -> u64 {
        let context = self.client_context.as_ref().map_or(0, String::len);
        (self.payload.len() + context + self.trace.len()) as u64
    }

    /// The qualifier that its configuration and its records go by: `$LATEST` where the caller named none.
    pub fn qualifier_text(&self) -> String {
        self.qualifier.as_ref().map_or_else(|| "$LATEST".to_owned(), ToString::to_string)
    }
}
