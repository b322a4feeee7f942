//! From an access key id to what its signature is checked with and whom it stands for.

use std::sync::Arc;

use updraft_types::{
    Caller, Principal, Timestamp,
    iam::{KeyStatus, Secret},
};

use super::{
    Identity,
    document::{Document, Kind, closed, stored},
    sessions::Terms,
};

/// What an access key opens, if its signature is right.
#[derive(Debug, Clone)]
pub struct Credential {
    /// What signatures are made with.
    pub secret: Secret,
    /// Whom it stands for.
    pub caller: Caller,
    /// What else bounds a session; `None` for long-term keys.
    pub session: Option<SessionBounds>,
}

/// What bounds a session beside its principal's policies.
#[derive(Debug, Clone)]
pub struct SessionBounds {
    /// When it began.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The policies it was made with; one of them must allow, if there are any.
    pub policies: Vec<Arc<Document>>,
    /// All that it was made with.
    pub terms: Terms,
}

/// Why an access key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is no such key, or nobody any more whom it stands for.
    #[error("there is no such access key")]
    Unknown,
    /// It is disabled.
    #[error("the access key is inactive")]
    Inactive,
    /// A session's key came without its token, or another key with one, or with a token of something else.
    #[error("the session token is not this access key's")]
    Token,
    /// The session has ended.
    #[error("the session has expired")]
    Expired,
}

impl Identity {
    /// Looks up an access key, given the session token that came with it. Whoever calls checks the signature.
    pub fn credential(&self, id: &str, token: Option<&str>, now: Timestamp) -> Result<Credential, Unusable> {
        let snapshot = self.snapshot();
        if id.starts_with("ASIA") {
            let session = self.inner.sessions.open(id, token.ok_or(Unusable::Token)?).ok_or(Unusable::Token)?;
            if session.expires_at <= now {
                return Err(Unusable::Expired);
            }
            let caller = session.caller(&snapshot).ok_or(Unusable::Unknown)?;
            let (issued_at, expires_at, terms) = (session.issued_at, session.expires_at, session.terms);
            let own = terms.policy.iter().map(|text| stored(text, Kind::Identity, "a session policy"));
            // One that has been deleted since cannot be told from one that denies.
            let managed = |arn: &String| snapshot.managed(&caller.account, arn).unwrap_or_else(closed);
            let policies = own.chain(terms.policy_arns.iter().map(managed)).collect();
            let bounds = SessionBounds { issued_at, expires_at, policies, terms };
            return Ok(Credential { secret: session.secret.into(), caller, session: Some(bounds) });
        }
        let entry = snapshot.key(id).ok_or(Unusable::Unknown)?;
        if token.is_some() {
            return Err(Unusable::Token);
        }
        if entry.key.status == KeyStatus::Inactive {
            return Err(Unusable::Inactive);
        }
        let account = entry.key.account.clone();
        let principal = match &entry.key.user {
            None => Principal::Root,
            Some(name) => {
                let user = snapshot.members(&account).user(name).ok_or(Unusable::Unknown)?;
                Principal::User { path: user.path.clone(), name: user.name.clone(), id: user.id.clone() }
            }
        };
        Ok(Credential { secret: entry.secret.clone(), caller: Caller { account, principal }, session: None })
    }
}
