//! A block of addresses in CIDR form.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Invalid;

/// A block of IPv4 or IPv6 addresses: `10.0.0.0/8`, `fd00::/8`, or a single address. IPv4-mapped IPv6 addresses
/// are the IPv4 addresses they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// A network in a table of this crate; the caller sees to it that no bit is set beyond the prefix.
    pub(super) const fn constant(first: IpAddr, prefix: u8) -> Self {
        Self { first, prefix }
    }

    /// One address.
    pub fn of_address(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix: bits_of(first) }
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// How many leading bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.first.is_ipv6()
    }

    /// Whether it is one address.
    pub fn is_single(&self) -> bool {
        self.prefix == bits_of(self.first)
    }

    /// Whether the address is one of it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && (number(address) ^ number(self.first)) & mask(*self) == 0
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: Network) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address's bits, those of IPv4 at the upper end.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(network: Network) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(network.prefix)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Invalid::new(text, "a network", why);
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong("its address cannot be read"))?;
        let Some(prefix) = prefix else { return Ok(Self::of_address(address)) };
        let plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| plain).ok_or_else(|| wrong("the part after / is no number"))?;
        if prefix > bits_of(address) {
            return Err(wrong("the part after / is larger than the address is long"));
        }
        if address.to_canonical() != address {
            return Err(wrong("an IPv4-mapped network is written as IPv4"));
        }
        let network = Self { first: address, prefix };
        if number(address) & !mask(network) != 0 {
            return Err(wrong("bits are set beyond the part that / says all its addresses share"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    /// A single address without `/32` or `/128`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.is_single() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
