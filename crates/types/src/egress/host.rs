//! What a connection is asked for by: a name or an address, each in one spelling only.
//!
//! Invariant: a [`HostName`] is never something that a resolver would read as an address (`127.1`, `0x7f000001`,
//! `2130706433`), so a number in disguise cannot pass for a name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use super::Invalid;

/// Longest name (RFC 1035), without the dot at its end.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host name: ASCII, lower case, without a dot at its end. What is not ASCII has to come as punycode.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `localhost` or below it, which leads nowhere else by definition (RFC 6761).
    pub fn is_localhost(&self) -> bool {
        self.as_str() == "localhost" || self.as_str().ends_with(".localhost")
    }

    /// Whether it ends in `parent` with at least one label before.
    pub fn is_below(&self, parent: &HostName) -> bool {
        self.0.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

impl FromStr for HostName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Err(Invalid::new(text, "a host name", why));
        let name = text.strip_suffix('.').unwrap_or(text);
        if !name.is_ascii() {
            return wrong("it is not ASCII; internationalised names are given as punycode, xn--…");
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return wrong("it has no or more than 253 characters");
        }
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(is_inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !name.split('.').all(is_label) {
            return wrong("its parts between dots are 1 to 63 letters, digits, hyphens and underscores");
        }
        // The rule by which URL parsers tell addresses from names (WHATWG URL, "ends in a number").
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_number {
            return wrong("it ends in a number, and is not an address in its usual form");
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Has to be looked up.
    Name(HostName),
    /// An IPv4-mapped IPv6 address is the IPv4 address it stands for.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = Invalid;
    /// Takes IPv6 addresses with and without brackets, and none with a zone.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bracketed.is_some() || text.contains(':') {
            let address: Result<Ipv6Addr, _> = bracketed.unwrap_or(text).parse();
            let address =
                address.map_err(|_| Invalid::new(text, "a host", "it looks like an IPv6 address and is none"));
            return Ok(Self::Address(IpAddr::V6(address?).to_canonical()));
        }
        if let Ok(address) = text.strip_suffix('.').unwrap_or(text).parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        text.parse().map(Self::Name)
    }
}

impl fmt::Display for Host {
    /// As in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => name.fmt(f),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Reads `HOST:PORT` as a CONNECT request has it.
///
/// # Errors
/// No port, port 0, or no host.
pub fn parse_authority(text: &str) -> Result<(Host, u16), Invalid> {
    let wrong = || Invalid::new(text, "a host and port", "expected HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_plain = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| is_plain && *port != 0).ok_or_else(wrong)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(wrong());
    }
    Ok((host.parse()?, port))
}
