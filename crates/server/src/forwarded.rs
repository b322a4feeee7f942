//! Whose request it is that a proxy passes on: `X-Forwarded-For`, believed from proxies that are known and from nobody else.
//!
//! Each proxy adds the address that it heard from at the end, so the list is read backwards: the first address that is no
//! trusted proxy's is the client's, and what stands before it is what that client claims. An entry that is no address ends
//! the reading at the proxy that passed it on.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use updraft_types::egress::Network;

use crate::connection::Peer;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most entries looked at; more proxies than that are in no row.
const HOPS_MAX: usize = 32;

/// The client behind a connection's peer, where that is a trusted proxy that names one.
pub(crate) fn client(peer: &Peer, headers: &HeaderMap, proxies: &[Network]) -> Option<Peer> {
    let is_trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address.to_canonical()));
    if proxies.is_empty() || peer.is_guest || !is_trusted(peer.address.ip()) {
        return None;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut found = None;
    for entry in entries.take(HOPS_MAX) {
        let Some(address) = std::str::from_utf8(entry).ok().and_then(address) else { break };
        found = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    found.map(|address| Peer::new(SocketAddr::new(address, 0), peer.scheme))
}

/// An address, with a port or without.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| entry.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn told(peer: &str, lines: &[&str]) -> Option<String> {
        let proxies = ["10.0.0.0/8", "fd00:1::/32", "127.0.0.1"].map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let peer = Peer::new(SocketAddr::new(peer.parse().unwrap(), 9), "https");
        client(&peer, &headers, &proxies).map(|peer| {
            assert_eq!(peer.forwarded_for, peer.address.ip().to_string());
            peer.address.ip().to_string()
        })
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &["203.0.113.7"][..], Some("203.0.113.7")),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.7"], Some("203.0.113.7")),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.7, 10.2.2.2"], Some("203.0.113.7")),
            ("10.0.0.1", &["1.2.3.4", "203.0.113.7", "10.2.2.2"], Some("203.0.113.7")),
            ("127.0.0.1", &["127.0.0.1, 203.0.113.7:4711"], Some("203.0.113.7")),
            ("fd00:1::9", &["[2001:db8::1]:443"], Some("2001:db8::1")),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.7"], Some("203.0.113.7")),
            // Nobody but proxies: the first of them.
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], Some("10.3.3.3")),
            // What is no address hides whatever stands before it.
            ("10.0.0.1", &["203.0.113.7, unknown"], None),
            ("10.0.0.1", &["203.0.113.7, _hidden, 10.2.2.2"], Some("10.2.2.2")),
            ("10.0.0.1", &[""], None),
            ("10.0.0.1", &[], None),
            // Whoever is no proxy may claim what it likes.
            ("198.51.100.1", &["203.0.113.7"], None),
        ] {
            assert_eq!(told(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_running_function_is_no_proxy() {
        let peer = Peer::guest("127.0.0.1:1".parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("203.0.113.7"));
        assert!(client(&peer, &headers, &["127.0.0.1".parse().unwrap()]).is_none());
    }
}
