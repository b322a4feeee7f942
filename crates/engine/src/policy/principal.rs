//! Who asks, and `Principal` and `NotPrincipal`: whom a resource's policy or a role's trust policy speaks of.
//!
//! Source: IAM User Guide, «AWS JSON policy elements: Principal» and «NotPrincipal».

use super::{Error, json::Json};

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The root user of an account (twelve digits).
    Root {
        /// The account.
        account: String,
    },
    /// An IAM user.
    User {
        /// The account.
        account: String,
        /// `arn:aws:iam::111122223333:user/path/name`
        arn: String,
    },
    /// A session of a role.
    Session {
        /// The account.
        account: String,
        /// `arn:aws:sts::111122223333:assumed-role/name/session`
        arn: String,
        /// `arn:aws:iam::111122223333:role/path/name`
        role_arn: String,
    },
    /// A service of the platform, acting for itself: `events.amazonaws.com`.
    Service(String),
    /// Nobody that is known.
    Anonymous,
}

impl Principal {
    /// The account it belongs to; services and the anonymous belong to none.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Root { account } | Self::User { account, .. } | Self::Session { account, .. } => Some(account),
            Self::Service(_) | Self::Anonymous => None,
        }
    }
}

/// How closely an element names a principal. What a resource's policy gives depends on it; see `evaluate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// By its account: the account may pass it on to whom it likes.
    Account,
    /// By the role that a session is of.
    Role,
    /// By itself, or as everybody.
    Itself,
}

/// The element of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principals {
    /// `NotPrincipal`.
    pub(super) is_negated: bool,
    /// Whom it names.
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Everybody,
    Account(String),
    /// The ARN of a user, a role or a session.
    Arn(String),
    Service(String),
    /// An identity provider: there is none here, so nobody is meant.
    Federated(String),
}

impl Principals {
    /// Reads the element at path `at`: `"*"`, or an object of kinds with one or more principals each.
    pub(super) fn parse(element: &Json, is_negated: bool, at: &str) -> Result<Self, Error> {
        let invalid = |what: &str| Err(Error::new(format!("Invalid principal in policy: {what}"), at, ""));
        let kinds = match element {
            Json::Text(text) if text == "*" => return Ok(Self { is_negated, entries: vec![Entry::Everybody] }),
            Json::Text(text) => return invalid(&format!("{text:?}")),
            Json::Object(kinds) => kinds,
            other => return Err(Error::syntax(at, format!("must be \"*\" or an object, not {}", other.kind()))),
        };
        let mut kinds: Vec<_> = kinds.iter().collect();
        kinds.sort_by_key(|(kind, _)| kind.as_str());
        let mut entries = Vec::new();
        for (kind, values) in kinds {
            let values = match values {
                Json::Text(value) => std::slice::from_ref(value).to_vec(),
                Json::List(values) => values
                    .iter()
                    .map(|value| match value {
                        Json::Text(value) => Ok(value.clone()),
                        other => Err(Error::syntax(format!("{at}.{kind}"), format!("holds {}", other.kind()))),
                    })
                    .collect::<Result<_, _>>()?,
                other => return Err(Error::syntax(format!("{at}.{kind}"), format!("is {}", other.kind()))),
            };
            for value in values {
                match Entry::parse(kind, &value) {
                    Some(entry) => entries.push(entry),
                    None => return invalid(&format!("{:?}:{value:?}", kind.to_uppercase())),
                }
            }
        }
        if entries.is_empty() {
            return Err(Error::new("Missing required field Principal cannot be empty!", at, ""));
        }
        Ok(Self { is_negated, entries })
    }

    /// How closely the element means `principal`, if it does.
    ///
    /// `NotPrincipal` means everybody whom it does not except. In a deny only he is excepted who is named in full, a user
    /// with his account, a session with its role and their account; in an allow, one of them is enough. So it errs to no
    /// in both (source: «NotPrincipal»: "you must also specify the account ARN of the not-denied principal").
    pub(super) fn means(&self, principal: &Principal, is_deny: bool) -> Option<Closeness> {
        if !self.is_negated {
            return self.entries.iter().filter_map(|entry| entry.means(principal)).max();
        }
        let names = |wanted: Closeness| self.entries.iter().any(|entry| entry.means(principal) == Some(wanted));
        let is_excepted = match principal {
            _ if self.entries.contains(&Entry::Everybody) => true,
            Principal::Session { .. } if is_deny => {
                names(Closeness::Itself) && names(Closeness::Role) && names(Closeness::Account)
            }
            Principal::User { .. } if is_deny => names(Closeness::Itself) && names(Closeness::Account),
            _ => self.entries.iter().any(|entry| entry.means(principal).is_some()),
        };
        (!is_excepted).then_some(Closeness::Itself)
    }
}

impl Entry {
    fn parse(kind: &str, value: &str) -> Option<Self> {
        match kind {
            "AWS" if value == "*" => Some(Self::Everybody),
            "AWS" if is_account(value) => Some(Self::Account(value.into())),
            "AWS" => Self::parse_arn(value),
            "Service" => (is_plain(value) && value.contains('.')).then(|| Self::Service(value.into())),
            "Federated" => is_plain(value).then(|| Self::Federated(value.into())),
            _ => None,
        }
    }

    fn parse_arn(value: &str) -> Option<Self> {
        let mut parts = value.splitn(6, ':');
        let (Some("arn"), Some(partition), Some(service), Some(""), Some(account), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let is_known = match service {
            "iam" if name == "root" => return (is_account(account)).then(|| Self::Account(account.into())),
            "iam" => name.starts_with("user/") || name.starts_with("role/"),
            "sts" => name.strip_prefix("assumed-role/").is_some_and(|session| session.contains('/')),
            _ => false,
        };
        let is_valid = partition.starts_with("aws") && is_account(account) && is_known && is_plain(value);
        (is_valid && !name.ends_with('/')).then(|| Self::Arn(value.into()))
    }

    /// How closely the entry names `principal`, if it does.
    fn means(&self, principal: &Principal) -> Option<Closeness> {
        match (self, principal) {
            (Self::Everybody, _) => Some(Closeness::Itself),
            (Self::Account(account), Principal::Root { account: own }) if account == own => Some(Closeness::Itself),
            (Self::Account(account), _) if principal.account() == Some(account) => Some(Closeness::Account),
            (Self::Arn(arn), Principal::User { arn: own, .. } | Principal::Session { arn: own, .. }) if arn == own => {
                Some(Closeness::Itself)
            }
            (Self::Arn(arn), Principal::Session { role_arn, .. }) if arn == role_arn => Some(Closeness::Role),
            (Self::Service(name), Principal::Service(own)) if name == own => Some(Closeness::Itself),
            _ => None,
        }
    }
}

/// Whether a `Principal` of this kind (`AWS`, `Service`, `Federated`) may have this value.
pub fn is_principal(kind: &str, value: &str) -> bool {
    Entry::parse(kind, value).is_some()
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` has something to say and no wildcard: principals take none but `*` alone.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?".contains(&byte))
}
