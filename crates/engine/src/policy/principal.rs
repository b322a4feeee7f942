//! Who asks, and `Principal` and `NotPrincipal`: whom a resource's policy or a role's trust policy speaks of.
//!
//! Source: IAM User Guide, «AWS JSON policy elements: Principal» and «NotPrincipal».

use std::collections::BTreeMap;

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
        /// `AIDA…`: another, if the user was deleted and made again.
        id: String,
    },
    /// A session of a role.
    Session {
        /// The account.
        account: String,
        /// `arn:aws:sts::111122223333:assumed-role/name/session`
        arn: String,
        /// `arn:aws:iam::111122223333:role/path/name`
        role_arn: String,
        /// `AROA…`: another, if the role was deleted and made again.
        role_id: String,
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
    /// The ARN of a user, a role or a session, and whom it stands for.
    Arn(String, Whom),
    Service(String),
    /// An identity provider: there is none here, so nobody is meant.
    Federated(String),
}

/// Whom an ARN stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whom {
    /// Whoever has that name.
    Named,
    /// The user, or the role itself or of the session, with this unique id, whatever it is called now.
    Bound(String),
    /// Nobody: when the statement was stored, nobody had that name.
    Nobody,
}

impl Principals {
    /// Binds each ARN to the unique id that it has in `ids`; one that is not there stands for nobody.
    pub(super) fn bind(&mut self, ids: &BTreeMap<String, String>) {
        for entry in &mut self.entries {
            if let Entry::Arn(arn, whom) = entry {
                *whom = ids.get(arn).map_or(Whom::Nobody, |id| Whom::Bound(id.clone()));
            }
        }
    }

    /// The ARNs that it has.
    pub(super) fn arns(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Arn(arn, _) => Some(arn.as_str()),
            _ => None,
        })
    }

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
    ///
    /// For the same reason a principal that has the name of a bound one, and is another, is denied what that one is, and allowed
    /// nothing that it is.
    pub(super) fn means(&self, principal: &Principal, is_deny: bool) -> Option<Closeness> {
        // Where to be meant is to be told no.
        let by_name_too = is_deny != self.is_negated;
        let means = |entry: &Entry| entry.means(principal, by_name_too);
        if !self.is_negated {
            return self.entries.iter().filter_map(means).max();
        }
        let names = |wanted: Closeness| self.entries.iter().any(|entry| means(entry) == Some(wanted));
        let is_excepted = match principal {
            _ if self.entries.contains(&Entry::Everybody) => true,
            Principal::Session { .. } if is_deny => {
                names(Closeness::Itself) && names(Closeness::Role) && names(Closeness::Account)
            }
            Principal::User { .. } if is_deny => names(Closeness::Itself) && names(Closeness::Account),
            _ => self.entries.iter().any(|entry| means(entry).is_some()),
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
        (is_valid && !name.ends_with('/')).then(|| Self::Arn(value.into(), Whom::Named))
    }

    /// How closely the entry names `principal`, if it does; a bound one also by the name alone, where that counts.
    fn means(&self, principal: &Principal, by_name_too: bool) -> Option<Closeness> {
        match (self, principal) {
            (Self::Everybody, _) => Some(Closeness::Itself),
            (Self::Account(account), Principal::Root { account: own }) if account == own => Some(Closeness::Itself),
            (Self::Account(account), _) if principal.account() == Some(account) => Some(Closeness::Account),
            (Self::Arn(arn, whom), _) => whom.closeness(arn, principal, by_name_too),
            (Self::Service(name), Principal::Service(own)) if name == own => Some(Closeness::Itself),
            _ => None,
        }
    }
}

impl Whom {
    fn closeness(&self, arn: &str, principal: &Principal, by_name_too: bool) -> Option<Closeness> {
        // Users may get another name; a role has its own for life.
        let is_user_meant = |own: &str, id: &str| match self {
            Self::Bound(bound) => bound == id || (by_name_too && arn == own),
            Self::Named => arn == own,
            Self::Nobody => by_name_too && arn == own,
        };
        let is_role_meant = |own: &str, id: &str| arn == own && is_user_meant(own, id);
        match principal {
            Principal::User { arn, id, .. } if is_user_meant(arn, id) => Some(Closeness::Itself),
            Principal::Session { arn, role_id, .. } if is_role_meant(arn, role_id) => Some(Closeness::Itself),
            Principal::Session { role_arn, role_id, .. } if is_role_meant(role_arn, role_id) => Some(Closeness::Role),
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
