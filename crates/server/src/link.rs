//! Links to code packages, as `GetFunction` hands them out: whoever holds one may fetch that package for ten minutes,
//! without credentials, as AWS's presigned links to S3 work.
//!
//! A link carries its account, its end and an HMAC over these and its path, by a key that lives as long as the process:
//! a link made before a restart is void.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use http::{Method, request::Parts};
use sha2::Sha256;
use updraft_types::{AccountId, Timestamp};
use uuid::Uuid;

/// How long a link counts, milliseconds. AWS's count ten minutes.
const LIFE_MS: u64 = 10 * 60 * 1_000;

/// What links are signed with.
pub(crate) struct Links(Hmac<Sha256>);

impl Default for Links {
    fn default() -> Self {
        let mut key = [0; 64];
        for part in key.chunks_exact_mut(16) {
            part.copy_from_slice(Uuid::new_v4().as_bytes());
        }
        Self(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"))
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links")
    }
}

impl Links {
    /// Path and query under which an account's package `target` (`/_updraft/v1/code/NAME?sha256=…`) may be fetched.
    pub(crate) fn make(&self, account: &AccountId, target: &str, now: Timestamp) -> String {
        let signed = format!("{target}&account={account}&until_ms={}", now.as_ms() + LIFE_MS);
        let tag = self.0.clone().chain_update(signed.as_bytes()).finalize().into_bytes();
        let mut link = format!("{signed}&link=");
        tag.iter().for_each(|byte| link.push_str(&format!("{byte:02x}")));
        link
    }
}

/// The account whose package a request fetches by a link that still counts.
pub(crate) fn follow(links: &Links, head: &Parts, now: Timestamp) -> Option<AccountId> {
    let path = head.uri.path();
    let is_package = path.starts_with("/_updraft/v1/code/") || path.starts_with("/_updraft/v1/layers/");
    if head.method != Method::GET || !is_package {
        return None;
    }
    let (signed, tag) = head.uri.path_and_query()?.as_str().rsplit_once("&link=")?;
    let (rest, until_ms) = signed.rsplit_once("&until_ms=")?;
    let (_, account) = rest.rsplit_once("&account=")?;
    let mut bytes = [0; 32];
    if tag.len() != 64 || !tag.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&tag[at..at + 2], 16).ok()?;
    }
    links.0.clone().chain_update(signed.as_bytes()).verify_slice(&bytes).ok()?;
    let is_over = now.as_ms() > until_ms.parse().ok()?;
    if is_over { None } else { account.parse().ok() }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_link_opens_one_package_for_a_while() {
        let (links, now) = (Links::default(), Timestamp::from_ms(1_000_000));
        let account: AccountId = "111111111111".parse().unwrap();
        let link = links.make(&account, "/_updraft/v1/code/f?sha256=ab%2Bc", now);
        let followed = |links: &Links, method: &str, target: &str, now: u64| {
            let head = Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0;
            follow(links, &head, Timestamp::from_ms(now))
        };
        assert_eq!(followed(&links, "GET", &link, 1_000_000), Some(account.clone()));
        assert_eq!(followed(&links, "GET", &link, 1_000_000 + LIFE_MS), Some(account));
        assert_eq!(followed(&links, "GET", &link, 1_000_001 + LIFE_MS), None);
        assert_eq!(followed(&links, "PUT", &link, 1_000_000), None);
        assert_eq!(followed(&Links::default(), "GET", &link, 1_000_000), None);
        for (from, to) in
            [("/f?", "/g?"), ("ab%", "ac%"), ("111111111111", "222222222222"), ("until_ms=1", "until_ms=2")]
        {
            assert_eq!(followed(&links, "GET", &link.replacen(from, to, 1), 1_000_000), None, "{from}");
        }
        for target in ["/_updraft/v1/code/f?sha256=a", "/_updraft/v1/code/f?a&account=1&until_ms=1&link=zz", "/x&link="]
        {
            assert_eq!(followed(&links, "GET", target, 0), None);
        }
    }
}
