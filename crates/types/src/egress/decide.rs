//! Puts one connection to the rules, twice: by what it asks for, and by the address that turned out to be.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{Egress, Host, Network, Rule, Target, reach, reach::Reach};

/// A function's rules and what the operator denies besides. Clones share both.
#[derive(Debug, Clone)]
pub struct Policy {
    egress: Arc<Egress>,
    denied: Arc<[Network]>,
}

/// Why a connection is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What was asked for.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// What the name led to, if it came to that.
    pub address: Option<IpAddr>,
    /// Why not.
    pub why: Why,
}

/// What stands against a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No rule names it.
    NotAllowed,
    /// It is a private address, and no rule names the address.
    Private,
    /// No rule opens it; says what it is.
    Never(&'static str),
    /// It is an address of the platform's own host.
    OwnHost,
    /// The operator denies it.
    Operator,
}

impl Policy {
    /// Puts connections to `egress`, and denies `denied` whatever it says.
    pub fn new(egress: Egress, denied: Arc<[Network]>) -> Self {
        Self { egress: Arc::new(egress), denied }
    }

    /// The rules.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Whether a connection may be tried at all. Asked before a name is looked up, so that a name no rule names
    /// is not even heard of outside.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(&self, host: &Host, port: u16) -> Result<(), Denial> {
        match host {
            Host::Name(name) => {
                let named = self.at(port).any(|rule| match &rule.target {
                    Target::Name(target) => target == name,
                    Target::Below(parent) => name.is_below(parent),
                    Target::Anywhere => true,
                    Target::Network(_) => false,
                });
                if named { Ok(()) } else { Err(deny(host, port, None, Why::NotAllowed)) }
            }
            Host::Address(address) => self.judge(host, port, *address),
        }
    }

    /// Whether a connection asked for by `host` may be made to `address`, which is what `host` is or leads to.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, host: &Host, port: u16, address: IpAddr) -> Result<(), Denial> {
        let address = address.to_canonical();
        let refuse = |why| Err(deny(host, port, Some(address), why));
        let reach = reach::of(address);
        if let Reach::Never(why) = reach {
            return refuse(Why::Never(why));
        }
        let embedded = reach::embedded(address).into_iter().flatten().map(IpAddr::V4);
        if embedded.chain([address]).any(|address| self.denied.iter().any(|network| network.contains(address))) {
            return refuse(Why::Operator);
        }
        let asked_for = match host {
            Host::Name(_) => self.admit(host, port).is_ok(),
            Host::Address(asked) => *asked == address && self.at(port).any(|rule| opens(rule, address)),
        };
        if !asked_for {
            return refuse(Why::NotAllowed);
        }
        if reach == Reach::Private && !self.at(port).any(|rule| opens_private(rule, address)) {
            return refuse(Why::Private);
        }
        Ok(())
    }

    fn at(&self, port: u16) -> impl Iterator<Item = &Rule> {
        self.egress.rules().iter().filter(move |rule| rule.port.is_none_or(|at| at == port))
    }
}

fn opens(rule: &Rule, address: IpAddr) -> bool {
    match &rule.target {
        Target::Network(network) => network.contains(address),
        Target::Anywhere => true,
        Target::Name(_) | Target::Below(_) => false,
    }
}

/// A network that merely includes a private range, such as `0.0.0.0/0`, means the Internet and not the range.
fn opens_private(rule: &Rule, address: IpAddr) -> bool {
    matches!(rule.target, Target::Network(network) if network.contains(address) && reach::is_private(network))
}

fn deny(host: &Host, port: u16, address: Option<IpAddr>, why: Why) -> Denial {
    Denial { host: host.clone(), port, address, why }
}

impl Denial {
    /// The rule that would allow it, if there is one.
    pub fn remedy(&self) -> Option<Rule> {
        match self.why {
            Why::NotAllowed => Some(Rule::exactly(&self.host, self.port)),
            Why::Private => {
                let rule = Rule::exactly(&Host::Address(self.address?), self.port);
                matches!(&rule.target, Target::Network(network) if reach::is_private(*network)).then_some(rule)
            }
            Why::Never(_) | Why::OwnHost | Why::Operator => None,
        }
    }
}

impl fmt::Display for Denial {
    /// One line for the function's author: what, why, and the rule that would help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        match (&self.host, self.address) {
            (Host::Name(_), Some(address)) => write!(f, " leads to {address}: ")?,
            _ => f.write_str(": ")?,
        }
        match self.why {
            Why::NotAllowed => f.write_str("no egress rule of this function allows it")?,
            Why::Private => f.write_str("it is a private address, which a rule has to name as such")?,
            Why::Never(why) => write!(f, "{why}, and never reachable")?,
            Why::OwnHost => f.write_str("it is the platform's own host, and never reachable")?,
            Why::Operator => f.write_str("the platform's operator denies it")?,
        }
        match self.remedy() {
            Some(rule) => write!(f, "; the rule \"{rule}\" would"),
            None => Ok(()),
        }
    }
}
