//! What was given up of a function's asynchronous events, from the platform's admin door.

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Client, Error, segment};

/// One of them.
#[derive(Debug, Clone, Deserialize)]
pub struct DeadLetter {
    /// When it was buried, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The event's request id.
    pub request_id: String,
    /// Why.
    pub reason: String,
    /// The record that a destination would have been given.
    pub record: Value,
}

impl Client {
    /// The newest `limit` dead letters of a function, newest first, as the platform tells them.
    pub fn dead_letters(&self, name: &str, limit: u32) -> Result<Value, Error> {
        let target = format!("/_updraft/v1/functions/{}/dead-letters?limit={limit}", segment(name));
        let mut answer = self.call(Call::new("reading dead letters", Method::GET, target), &|_| ())?.json()?;
        Ok(answer["dead_letters"].take())
    }
}
