//! What a request tells conditions and variables: keys with their values.
//!
//! No key is known specially. The door that builds a context bounds it: the global keys, those of the service, and at
//! most fifty tags each of request, resource and principal (the services' own limit).

/// The condition keys of one request. Keys are told apart without regard to case, as IAM does
/// (source: IAM User Guide, «Condition»: "condition key names are not case-sensitive").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// In order of the keys, each there once.
    values: Vec<(String, Vec<String>)>,
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
        let (key, values) = (key.to_ascii_lowercase(), values.into_iter().collect());
        match self.place(&key) {
            Ok(found) => self.values[found].1 = values,
            Err(free) => self.values.insert(free, (key, values)),
        }
    }

    /// The values of a key given in lower case; empty when the request does not have it.
    pub(super) fn of_lower(&self, key: &str) -> &[String] {
        self.place(key).map_or(&[], |found| self.values[found].1.as_slice())
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.values.binary_search_by(|(known, _)| known.as_str().cmp(key))
    }

    /// The one value of a key given in lower case. A key with several values has none that a variable could stand for.
    pub(super) fn single(&self, key: &str) -> Option<&str> {
        match self.of_lower(key) {
            [value] => Some(value),
            _ => None,
        }
    }
}
