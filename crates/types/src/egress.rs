//! Where a function may connect to: rules, and the decision about one connection.
//!
//! Pure, and in this crate because everybody needs the same answer: the doors that take rules, and the executors
//! (`process`, `wasm`) that ask at the moment of connecting. [`reach`] knows which addresses no rule opens,
//! [`decide`] puts a connection to the rules.
//!
//! Invariants: what no rule names is refused; an address that [`reach`] says is never reachable is refused
//! whatever the rules and whatever name led to it; a private address needs a rule that names it as an address.

pub mod decide;
mod host;
mod network;
pub mod reach;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

pub use self::{
    decide::{Denial, Policy, Why},
    host::{Host, HostName, parse_authority},
    network::Network,
};

/// Most rules of one function. Each may cost its sandbox a listening socket.
pub const RULES_MAX: usize = 40;

/// Text that is no rule, host or network; says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}: {why}")]
pub struct Invalid {
    text: String,
    wanted: &'static str,
    why: String,
}

impl Invalid {
    fn new(text: &str, wanted: &'static str, why: impl Into<String>) -> Self {
        Self { text: text.chars().take(200).collect(), wanted, why: why.into() }
    }
}

/// Everything a function may connect to. As JSON `"none"`, `"all"` or `{"allow": ["api.example.com:443", …]}`.
///
/// `all` is the one rule `*:*`: every public address at every port, and no private one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    rules: Vec<Rule>,
}

/// Rules that cannot be a function's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} rules are more than a function may have; {RULES_MAX} is the most")]
pub struct TooMany(usize);

impl Egress {
    /// Nowhere.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every public address.
    pub fn all() -> Self {
        Self { rules: vec![Rule::ANYWHERE] }
    }

    /// Where these rules lead, each kept once.
    ///
    /// # Errors
    /// More than [`RULES_MAX`].
    pub fn allow(rules: impl IntoIterator<Item = Rule>) -> Result<Self, TooMany> {
        let mut kept: Vec<Rule> = Vec::new();
        for rule in rules {
            if !kept.contains(&rule) {
                kept.push(rule);
            }
        }
        if kept.len() > RULES_MAX { Err(TooMany(kept.len())) } else { Ok(Self { rules: kept }) }
    }

    /// The rules, none for `none`.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there is nowhere to go.
    pub fn is_none(&self) -> bool {
        self.rules.is_empty()
    }

    fn is_all(&self) -> bool {
        self.rules == [Rule::ANYWHERE]
    }
}

impl fmt::Display for Egress {
    /// `none`, `all`, or the rules with commas between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("none");
        }
        if self.is_all() {
            return f.write_str("all");
        }
        for (index, rule) in self.rules.iter().enumerate() {
            write!(f, "{}{rule}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl FromStr for Egress {
    type Err = Invalid;
    /// Reads what [`Egress`] is displayed as.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim() {
            "none" => Ok(Self::none()),
            "all" => Ok(Self::all()),
            rules => {
                let rules = rules.split(',').map(|rule| rule.trim().parse()).collect::<Result<Vec<Rule>, _>>()?;
                Self::allow(rules).map_err(|error| Invalid::new(text, "egress", error.to_string()))
            }
        }
    }
}

impl Serialize for Egress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_none() || self.is_all() {
            return serializer.collect_str(self);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("allow", &self.rules)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Egress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Allow(Allow),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Allow {
            // Text first, so that a rule's own complaint is heard: an untagged enum swallows them.
            allow: Vec<String>,
        }
        const EXPECTED: &str = r#"egress is "none", "all" or {"allow": ["HOST:PORT", …]}"#;
        match Form::deserialize(deserializer).map_err(|_| D::Error::custom(EXPECTED))? {
            Form::Word(word) if word == "none" => Ok(Self::none()),
            Form::Word(word) if word == "all" => Ok(Self::all()),
            Form::Word(_) => Err(D::Error::custom(EXPECTED)),
            Form::Allow(Allow { allow }) => {
                let rules = allow.iter().map(|rule| rule.parse()).collect::<Result<Vec<Rule>, _>>();
                Self::allow(rules.map_err(D::Error::custom)?).map_err(D::Error::custom)
            }
        }
    }
}

/// One rule: what, and at which port. As text `HOST:PORT`, where the host is a name, `*.` and a name, an address
/// (IPv6 in brackets), a network in CIDR form, or `*`, and the port a number or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it opens.
    pub target: Target,
    /// At which port; `None` is any.
    pub port: Option<u16>,
}

/// What a rule opens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The name, as long as it leads to a public address.
    Name(HostName),
    /// Every name below this one, and not the name itself.
    Below(HostName),
    /// The addresses of a network; one inside a private range opens that range.
    Network(Network),
    /// Every name and every public address.
    Anywhere,
}

impl Rule {
    const ANYWHERE: Rule = Rule { target: Target::Anywhere, port: None };

    /// The rule for one host and port.
    pub fn exactly(host: &Host, port: u16) -> Self {
        let target = match host {
            Host::Name(name) => Target::Name(name.clone()),
            Host::Address(address) => Target::Network(Network::of_address(*address)),
        };
        Self { target, port: Some(port) }
    }
}

impl FromStr for Rule {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: String| Invalid::new(text, "a rule", why);
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| wrong("expected HOST:PORT, such as api.example.com:443".into()))?;
        let port = match port {
            "*" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
                Ok(0) | Err(_) => return Err(wrong(format!("{port:?} is not a port from 1 to 65535"))),
                Ok(port) => Some(port),
            },
            _ => return Err(wrong(format!("{port:?} is neither a port nor *"))),
        };
        let target = match host {
            "*" => Target::Anywhere,
            _ if host.starts_with("*.") => {
                Target::Below(host[2..].parse::<HostName>().map_err(|error| wrong(error.why))?)
            }
            _ if host.starts_with('[') => {
                let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                let inner = inner.ok_or_else(|| wrong("the bracket is not closed".into()))?;
                Target::Network(inner.parse::<Network>().map_err(|error| wrong(error.why))?)
            }
            _ if host.contains(':') => return Err(wrong("an IPv6 address or network goes in brackets".into())),
            _ if host.contains('/') => Target::Network(host.parse::<Network>().map_err(|error| wrong(error.why))?),
            _ => match host.parse::<Host>().map_err(|error| wrong(error.why))? {
                Host::Name(name) => Target::Name(name),
                Host::Address(address) => Target::Network(Network::of_address(address)),
            },
        };
        if let Target::Name(name) | Target::Below(name) = &target
            && name.is_localhost()
        {
            return Err(wrong("no rule can open it: it is the loopback".into()));
        }
        if let Target::Network(network) = &target
            && let Some(why) = reach::never_within(*network)
        {
            return Err(wrong(format!("no rule can open it: {why}")));
        }
        Ok(Self { target, port })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Name(name) => write!(f, "{name}")?,
            Target::Below(name) => write!(f, "*.{name}")?,
            Target::Network(network) if network.is_ipv6() => write!(f, "[{network}]")?,
            Target::Network(network) => write!(f, "{network}")?,
            Target::Anywhere => f.write_str("*")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
