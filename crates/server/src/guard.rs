//! Keeps web pages out of doors that nobody has to sign for: all of them where authentication is off, and the figures
//! otherwise. A request that is signed may come from anywhere and under any name.
//!
//! A browser on this machine can reach loopback, so a page from anywhere could post to the control API: directly
//! (then it sends its `Origin`) or by rebinding its own name to 127.0.0.1 (then that name is the `Host`). Both are
//! refused, on every door but function URLs, whose own CORS rules decide.

use http::{HeaderMap, header};

use crate::route::without_port;

/// Whether a request may come in: its host, and its origin if it has one, are this machine's.
pub(crate) fn is_local(host: Option<&str>, headers: &HeaderMap) -> bool {
    let origin_is_local = match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => origin.to_str().ok().and_then(host_of_origin).is_some_and(is_loopback_name),
    };
    origin_is_local && host.is_none_or(|host| is_loopback_name(without_port(host)))
}

fn host_of_origin(origin: &str) -> Option<&str> {
    let (_, rest) = origin.split_once("://")?;
    Some(without_port(rest))
}

fn is_loopback_name(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<std::net::IpAddr>() {
        return address.is_loopback();
    }
    let is_below_localhost = name
        .len()
        .checked_sub(10)
        .and_then(|at| name.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(".localhost"));
    name.eq_ignore_ascii_case("localhost") || is_below_localhost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_gets_in() {
        let local = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            is_local(Some(host), &headers)
        };
        for host in ["localhost:4566", "127.0.0.1:4566", "127.0.0.1", "[::1]:4566", "lambda.localhost:1"] {
            assert!(local(host, None), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:4566", "notlocalhost", "10.0.0.1", ""] {
            assert!(!local(host, None), "{host}");
        }
        assert!(local("localhost", Some("http://localhost:3000")));
        assert!(!local("localhost", Some("https://evil.example")));
        assert!(!local("localhost", Some("null")));
    }
}
