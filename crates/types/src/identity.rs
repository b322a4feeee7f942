//! Who acts: an account, and the principal within it that signed a request or runs a function.
//!
//! A tenant is an account. Everything belongs to one, and a [`Caller`] sees its own account's things unless a policy
//! of the other account says otherwise.

use std::fmt;

use crate::AccountId;

/// A principal of an account, as a request was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account it belongs to.
    pub account: AccountId,
    /// Which of the account's principals it is.
    pub principal: Principal,
}

/// The kinds of principals (source: IAM's JSON policy elements, «Principal»).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The account's root user, who may do everything in it.
    Root,
    /// An IAM user.
    User {
        /// Begins and ends with a slash; `/` for most.
        path: String,
        /// Unique within the account.
        name: String,
        /// `AIDA…`
        id: String,
    },
    /// A session of a role: what `AssumeRole` and a running function's own credentials are.
    Session {
        /// The role's path, as a user's.
        role_path: String,
        /// The role's name, unique within the account.
        role: String,
        /// `AROA…`
        role_id: String,
        /// The session's name.
        session: String,
    },
    /// Nobody: a request without a signature.
    Anonymous,
}

impl Caller {
    /// An account's root user.
    pub fn root(account: AccountId) -> Self {
        Self { account, principal: Principal::Root }
    }

    /// The principal's ARN, as `GetCallerIdentity` shows it.
    pub fn arn(&self) -> String {
        let account = &self.account;
        match &self.principal {
            Principal::Root => format!("arn:aws:iam::{account}:root"),
            Principal::User { path, name, .. } => format!("arn:aws:iam::{account}:user{path}{name}"),
            Principal::Session { role, session, .. } => format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            Principal::Anonymous => "anonymous".to_owned(),
        }
    }

    /// What `aws:userid` holds.
    pub fn user_id(&self) -> String {
        match &self.principal {
            Principal::Root => self.account.to_string(),
            Principal::User { id, .. } => id.clone(),
            Principal::Session { role_id, session, .. } => format!("{role_id}:{session}"),
            Principal::Anonymous => "anonymous".to_owned(),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_iams() {
        let account: AccountId = "111111111111".parse().unwrap();
        let of = |principal| Caller { account: account.clone(), principal }.arn();
        assert_eq!(of(Principal::Root), "arn:aws:iam::111111111111:root");
        let user = Principal::User { path: "/team/".into(), name: "ada".into(), id: "AIDA1".into() };
        assert_eq!(of(user), "arn:aws:iam::111111111111:user/team/ada");
        let session = Principal::Session {
            role_path: "/service-role/".into(),
            role: "runner".into(),
            role_id: "AROA1".into(),
            session: "hello".into(),
        };
        assert_eq!(of(session.clone()), "arn:aws:sts::111111111111:assumed-role/runner/hello");
        assert_eq!(Caller { account: account.clone(), principal: session }.user_id(), "AROA1:hello");
        assert_eq!(Caller::root(account).user_id(), "111111111111");
    }
}
