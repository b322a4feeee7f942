//! What a request tells conditions and variables: keys with their values.
//!
//! No key is known specially. The door that builds a context bounds it: the global keys, those of the service, and at
//! most fifty tags each of request, resource and principal (the services' own limit).

use std::collections::BTreeMap;

/// The condition keys of one request. Keys are told apart without regard to case, as IAM does
/// (source: IAM User Guide, «Condition»: "condition key names are not case-sensitive").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// A context without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to one value: `aws:SourceIp` to `192.0.2.7`, `aws:CurrentTime` to an ISO 8601 instant.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, [value.into()]);
        self
    }

    /// Sets `key` to several values, as `aws:TagKeys` and `aws:CalledVia` have them. No values are as no key.
    pub fn set(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        self.values.insert(key.to_ascii_lowercase(), values.into_iter().collect());
    }

    /// The values of a key given in lower case; empty when the request does not have it.
    pub(super) fn of_lower(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// The one value of a key given in lower case. A key with several values has none that a variable could stand for.
    pub(super) fn single(&self, key: &str) -> Option<&str> {
        match self.of_lower(key) {
            [value] => Some(value),
            _ => None,
        }
    }
}
