//! Session credentials: issued to who assumes a role, to users that ask for a session, and to running functions.
//!
//! Nothing is stored. The session token is the session itself, sealed for its access key's id (AES-256-GCM, a key of
//! its own under the platform's master key): whose it is, its secret, its end and its session policy. So tokens outlive
//! a restart, and no number of sessions takes memory. A session ends when it expires, and before that when its user, role
//! or account is deleted; made again under the same name, they are others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use updraft_store::Seal;
use updraft_types::{
    AccountId, Caller, Function, Principal, Timestamp,
    iam::{Account, Secret},
};

use super::{Identity, RoleEntry, Snapshot, ids};

/// How long a running function's credentials are valid. Its instances are replaced before.
pub const FUNCTION_SESSION: Duration = Duration::from_secs(12 * 3600);
/// What is left of a function's session at least when the last call that uses it ends: requests take time.
const FUNCTION_MARGIN: Duration = Duration::from_secs(300);
/// Characters of a token; no longer one is given out, or looked at.
const TOKEN_CHARS_MAX: usize = 16_384;

/// How long after it was given its credentials an instance may be given calls of that timeout: the last of them still
/// ends with credentials that are valid.
pub(crate) fn fit_for(timeout: Duration) -> Duration {
    FUNCTION_SESSION.saturating_sub(timeout + FUNCTION_MARGIN)
}

/// Credentials as they are handed out.
#[derive(Debug, Clone)]
pub struct Issued {
    /// `ASIA…`
    pub access_key_id: String,
    /// The secret access key.
    pub secret: Secret,
    /// The session token, which every request signed with the secret carries.
    pub token: String,
    /// When they end.
    pub expires_at: Timestamp,
    /// Who acts by them.
    pub caller: Caller,
}

/// What a session is made with, beside whose it is and how long it lasts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// A policy that bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The ARNs of managed policies that bound it, as they are at each request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_arns: Vec<String>,
    /// Its tags, which go before those of its role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The keys of tags that sessions have too which this one asks for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub transitive: BTreeSet<String>,
    /// Who is behind it, for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<String>,
}

/// What a token holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Session {
    account: AccountId,
    subject: Subject,
    pub(super) secret: String,
    /// That of a token from before this was noted is older than any other.
    #[serde(default)]
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    #[serde(flatten)]
    pub(super) terms: Terms,
}

/// Whose session it is.
#[derive(Debug, Serialize, Deserialize)]
enum Subject {
    /// The root user of the account made at `since`, or of the platform's own.
    Root {
        since: Option<Timestamp>,
    },
    User {
        name: String,
        id: String,
    },
    Role {
        name: String,
        id: String,
        session: String,
    },
}

/// Issues and opens tokens.
pub(super) struct Sessions {
    seal: Seal,
}

impl Sessions {
    pub(super) fn new(seal: Seal) -> Self {
        Self { seal }
    }

    /// The session in a token, if it is one and of this access key. Expired ones open too.
    pub(super) fn open(&self, access_key_id: &str, token: &str) -> Option<Session> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let sealed = BASE64.decode(token).ok()?;
        serde_json::from_slice(&self.seal.open(&sealed_for(access_key_id), &sealed).ok()?).ok()
    }

    fn issue(&self, session: Session, caller: Caller) -> Issued {
        let access_key_id = ids::access_key("ASIA", &session.account);
        let plain = serde_json::to_vec(&session).expect("a session has string keys and no failing parts");
        let token = BASE64.encode(self.seal.seal(&sealed_for(&access_key_id), &plain));
        let Session { secret, expires_at, .. } = session;
        Issued { access_key_id, secret: secret.into(), token, expires_at, caller }
    }
}

fn sealed_for(access_key_id: &str) -> String {
    format!("session:{access_key_id}")
}

impl Session {
    /// Who acts by it, as long as there is such a principal.
    pub(super) fn caller(&self, snapshot: &Snapshot) -> Option<Caller> {
        let members = snapshot.members(&self.account);
        let principal = match &self.subject {
            Subject::Root { since: None } => Principal::Root,
            Subject::Root { since: Some(since) } => {
                let account = snapshot.account(&self.account)?;
                (account.created_at == *since).then_some(Principal::Root)?
            }
            // Ids stay with a user that gets another name.
            Subject::User { name, id } => {
                let named = members.user(name).filter(|user| user.id == *id);
                let user = named.or_else(|| members.users().find(|user| user.id == *id))?;
                Principal::User { path: user.path.clone(), name: user.name.clone(), id: id.clone() }
            }
            Subject::Role { name, id, session } => {
                let role = members.role(name).filter(|role| role.id == *id)?;
                session_of(role, session)
            }
        };
        Some(Caller { account: self.account.clone(), principal })
    }
}

fn session_of(role: &RoleEntry, session: &str) -> Principal {
    Principal::Session {
        role_path: role.path.clone(),
        role: role.name.clone(),
        role_id: role.id.clone(),
        session: session.to_owned(),
    }
}

impl Identity {
    /// A session of a role. Whether the one who asks may have it was decided before. `None` if its terms are too long for a
    /// token.
    pub fn issue_for_role(
        &self,
        role: &RoleEntry,
        session: &str,
        terms: Terms,
        now: Timestamp,
        lifetime: Duration,
    ) -> Option<Issued> {
        let subject = Subject::Role { name: role.name.clone(), id: role.id.clone(), session: session.to_owned() };
        let caller = Caller { account: role.account.clone(), principal: session_of(role, session) };
        let account = role.account.clone();
        let secret = ids::secret().expose().to_owned();
        let session = Session { account, subject, secret, issued_at: now, expires_at: now.plus(lifetime), terms };
        let issued = self.inner.sessions.issue(session, caller);
        (issued.token.len() <= TOKEN_CHARS_MAX).then_some(issued)
    }

    /// A session of a user or of an account's root user; `None` for who has none to give.
    pub fn issue_for_caller(&self, caller: &Caller, now: Timestamp, lifetime: Duration) -> Option<Issued> {
        let subject = match &caller.principal {
            Principal::Root => {
                let account = self.snapshot().account(&caller.account).cloned();
                Subject::Root { since: account.map(|account: std::sync::Arc<Account>| account.created_at) }
            }
            Principal::User { name, id, .. } => Subject::User { name: name.clone(), id: id.clone() },
            Principal::Session { .. } | Principal::Anonymous => return None,
        };
        let account = caller.account.clone();
        let secret = ids::secret().expose().to_owned();
        let (issued_at, expires_at, terms) = (now, now.plus(lifetime), Terms::default());
        let session = Session { account, subject, secret, issued_at, expires_at, terms };
        Some(self.inner.sessions.issue(session, caller.clone()))
    }

    /// The credentials of a running function: a session of its role, named after it, until [`FUNCTION_SESSION`] from
    /// `now`. `None` if its role is not one of its account's, or does not trust `lambda.amazonaws.com`: it then runs
    /// without any.
    pub fn issue_for_function(&self, function: &Function, now: Timestamp) -> Option<Issued> {
        let snapshot = self.snapshot();
        let role = snapshot.role_by_arn(&function.configuration.role)?;
        let is_own = role.account == function.id.account;
        if !is_own || !Snapshot::service_may_assume("lambda.amazonaws.com", role) {
            return None;
        }
        self.issue_for_role(role, function.id.name.as_str(), Terms::default(), now, FUNCTION_SESSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_call_ends_before_the_credentials_do() {
        for timeout in [3, 900, 50_000].map(Duration::from_secs) {
            let fit = fit_for(timeout);
            assert!(fit.is_zero() || fit + timeout < FUNCTION_SESSION, "{timeout:?}");
        }
        assert!(fit_for(Duration::from_secs(900)) > FUNCTION_SESSION / 2);
    }
}
