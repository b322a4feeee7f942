//! Which addresses no rule opens, which need a rule of their own, and which are simply public.
//!
//! Sources: IANA's special-purpose address registries; the cloud providers' pages on their metadata services.
//! What an IPv6 address embeds (NAT64, 6to4, Teredo, ISATAP) is judged with it, since a translator on the way may
//! deliver there. IPv6 outside what IANA has given out is never reachable: what it may come to mean is unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

/// How far an address is from a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On the Internet: any rule that matches opens it.
    Public,
    /// Somebody's own network: opened by a rule that names the address or a network inside the range.
    Private,
    /// Not for functions, ever; says what it is.
    Never(&'static str),
}

const METADATA: &str = "it belongs to the cloud's metadata service";

const NEVER_V4: [(Network, &str); 8] = [
    (v4([0, 0, 0, 0], 8), "it is the unspecified address or this network"),
    (v4([127, 0, 0, 0], 8), "it is the platform's own loopback"),
    (v4([169, 254, 0, 0], 16), "it is link-local, where clouds have their metadata service"),
    // Alibaba Cloud's metadata, Azure's wire server, and Oracle Cloud's among IANA's protocol assignments.
    (v4([100, 100, 100, 200], 32), METADATA),
    (v4([168, 63, 129, 16], 32), METADATA),
    (v4([192, 0, 0, 0], 24), "it is reserved for protocols and metadata services"),
    (v4([224, 0, 0, 0], 4), "it is a multicast address"),
    (v4([240, 0, 0, 0], 4), "it is reserved, or the broadcast address"),
];

const NEVER_V6: [(Network, &str); 7] = [
    // Amazon's, Google's, Oracle's and Scaleway's metadata and instance services.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), METADATA),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), METADATA),
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), METADATA),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "it is link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "it is site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "it is a multicast address"),
];

const PRIVATE: [Network; 11] = [
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([100, 64, 0, 0], 10),
    // Benchmarks and documentation: nobody's on the Internet, so whoever uses them uses them at home.
    v4([198, 18, 0, 0], 15),
    v4([192, 0, 2, 0], 24),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Global unicast, all that IANA gives out, and NAT64's well-known prefix in front of public IPv4.
const PUBLIC_V6: [Network; 2] = [v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), NAT64];
const NAT64: Network = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Network {
    Network::constant(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Network {
    Network::constant(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix)
}

/// How far an address is, by itself and by the strictest of what it embeds.
pub fn of(address: IpAddr) -> Reach {
    let address = address.to_canonical();
    let own = of_itself(address);
    embedded(address).into_iter().flatten().map(|inner| of_itself(IpAddr::V4(inner))).fold(own, stricter)
}

fn of_itself(address: IpAddr) -> Reach {
    let never = NEVER_V4.iter().chain(&NEVER_V6).find(|(network, _)| network.contains(address));
    if let Some((_, why)) = never {
        return Reach::Never(why);
    }
    if PRIVATE.iter().any(|network| network.contains(address)) {
        return Reach::Private;
    }
    if address.is_ipv4() || PUBLIC_V6.iter().any(|network| network.contains(address)) {
        return Reach::Public;
    }
    match address {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Reach::Never("it is the platform's own loopback"),
        _ => Reach::Never("it is outside the addresses in use"),
    }
}

fn stricter(left: Reach, right: Reach) -> Reach {
    match (left, right) {
        (Reach::Never(_), _) | (_, Reach::Public) => left,
        (_, Reach::Never(_)) | (Reach::Public, _) => right,
        _ => left,
    }
}

/// The IPv4 addresses that an IPv6 address carries, by the formats that translators and tunnels use.
pub fn embedded(address: IpAddr) -> [Option<Ipv4Addr>; 3] {
    let IpAddr::V6(address) = address else { return [None; 3] };
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    // ISATAP (RFC 5214) may follow any prefix; the bit left out says whether the address within is unique.
    let isatap = (s4 & !0x0200 == 0 && s5 == 0x5efe).then(|| join(s6, s7));
    match [s0, s1] {
        // 6to4 (RFC 3056).
        [0x2002, _] => [Some(join(s1, s2)), isatap, None],
        // Teredo (RFC 4380): the server, and the client with its bits inverted.
        [0x2001, 0] => [Some(join(s2, s3)), Some(join(!s6, !s7)), None],
        _ if NAT64.contains(IpAddr::V6(address)) => [Some(join(s6, s7)), None, None],
        _ => [None, isatap, None],
    }
}

/// Why all of a network is out of reach, if it is.
pub(super) fn never_within(network: Network) -> Option<&'static str> {
    let within = NEVER_V4.iter().chain(&NEVER_V6).find(|(never, _)| never.covers(network));
    let single = || match of(network.first()) {
        Reach::Never(why) if network.is_single() => Some(why),
        _ => None,
    };
    within.map(|(_, why)| *why).or_else(single)
}

/// Whether all of a network is in one private range.
pub(super) fn is_private(network: Network) -> bool {
    PRIVATE.iter().any(|private| private.covers(network))
}
