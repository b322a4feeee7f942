//! The credentials of a running function: a session of its role.
//!
//! They are told to a guest once, in its environment, as AWS's SDKs read them, and cannot be told anew: whoever starts an
//! instance gives it credentials that outlast it, or ends it before they do.

use updraft_types::{Timestamp, iam::Secret};

/// Short-lived credentials.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`
    pub session_token: Secret,
    /// When they end.
    pub expires_at: Timestamp,
}

impl Credentials {
    /// The environment variables that SDKs read.
    pub fn variables(&self) -> [(String, String); 3] {
        [
            ("AWS_ACCESS_KEY_ID", self.access_key_id.as_str()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.expose()),
            ("AWS_SESSION_TOKEN", self.session_token.expose()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}
