//! Decides where a registry may send the platform: by a redirect, or by the realm of its token service.
//!
//! Pure. A registry was allowed by its name, and whatever it answers is a stranger's wish. Invariants: a credential goes
//! to the registry itself and nobody else; nothing but the registry itself is asked over plain HTTP; an address that is not
//! public is asked only if the operator named its host.

use std::net::IpAddr;

use reqwest::Url;
use updraft_types::egress::reach::{self, Reach};

use super::{Allowed, Why};

/// What the platform is on its way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// A manifest or an index. Only registries have those.
    Manifest,
    /// A configuration or a layer: often in a store that the registry sends everybody to.
    Blob,
    /// A token, of the service that the registry names.
    Token,
}

/// Whom an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// The registry itself.
    Registry,
    /// Another host that the operator allows, at whatever address it has.
    Named,
    /// Somebody on the Internet: at a public address, which whoever connects has to see to.
    Elsewhere,
}

/// Whose `target` is, if `registry` may send the platform there.
pub(super) fn whose(target: &Url, to: To, registry: &Allowed, allowed: &[Allowed]) -> Result<Lead, Why> {
    let astray = |reason| Err(Why::Astray { host: shown(target), reason });
    if !target.username().is_empty() || target.password().is_some() {
        return astray("with a name and a password");
    }
    if target.origin() == registry.root.origin() {
        return Ok(Lead::Registry);
    }
    if target.scheme() != "https" {
        return astray("which is not https");
    }
    if allowed.iter().any(|named| named.root.origin() == target.origin()) {
        return Ok(Lead::Named);
    }
    if to == To::Manifest {
        return astray("and image_registries does not list that");
    }
    let address = target.host_str().unwrap_or_default().trim_matches(['[', ']']).parse::<IpAddr>();
    match address {
        Ok(address) if !is_public(address) => astray(NOT_PUBLIC),
        _ => Ok(Lead::Elsewhere),
    }
}

/// Why an address that is not public is not asked.
pub(super) const NOT_PUBLIC: &str = "which is not on the public Internet, and image_registries does not list it";

/// Whether an address may be asked that nobody named.
pub(super) fn is_public(address: IpAddr) -> bool {
    reach::of(address) == Reach::Public
}

/// An address's host as an author is shown it.
pub(super) fn shown(target: &Url) -> String {
    target.host_str().unwrap_or("nowhere").chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_leads_to_itself_to_what_is_listed_and_for_blobs_and_tokens_to_the_public_internet() {
        let allowed: Vec<Allowed> = ["registry.example", "http://127.0.0.1:5000", "10.1.2.3:8443", "localhost:6000"]
            .map(|text| text.parse().unwrap())
            .into();
        let lead = |at: usize, target: &str, to| whose(&Url::parse(target).unwrap(), to, &allowed[at], &allowed);
        for to in [To::Manifest, To::Blob, To::Token] {
            for (at, target, expected) in [
                (0, "https://registry.example/v2/x", Lead::Registry),
                (0, "https://REGISTRY.example:443/v2/x", Lead::Registry),
                (1, "http://127.0.0.1:5000/other", Lead::Registry),
                (1, "https://registry.example/", Lead::Named),
                (0, "https://10.1.2.3:8443/", Lead::Named),
                (0, "https://localhost:6000/", Lead::Named),
            ] {
                assert_eq!(lead(at, target, to), Ok(expected), "{target} {to:?}");
            }
            for (at, target) in [
                // Plain HTTP, even to one that is listed so.
                (0, "http://registry.example/"),
                (0, "http://127.0.0.1:5000/"),
                (0, "http://cdn.example/"),
                (1, "http://127.0.0.1:5001/"),
                (0, "ftp://cdn.example/"),
                (0, "file:///etc/passwd"),
                (0, "https://name@registry.example/"),
                (0, "https://:password@cdn.example/"),
                // Addresses that are not public, however they are written.
                (0, "https://127.0.0.1/"),
                (0, "https://0x7f.1/"),
                (0, "https://169.254.169.254/latest"),
                (0, "https://10.1.2.3/"),
                (0, "https://[::1]/"),
                (0, "https://[::ffff:10.0.0.1]/"),
                (0, "https://[64:ff9b::a9fe:a9fe]/"),
                (0, "https://[fd00:ec2::254]/"),
            ] {
                assert!(matches!(lead(at, target, to), Err(Why::Astray { .. })), "{target} {to:?}");
            }
        }
        for target in ["https://cdn.example/x", "https://1.1.1.1/", "https://cdn.example:8443/"] {
            assert_eq!(lead(0, target, To::Blob), Ok(Lead::Elsewhere));
            assert_eq!(lead(0, target, To::Token), Ok(Lead::Elsewhere));
            assert!(lead(0, target, To::Manifest).is_err(), "manifests are registries' own");
        }
    }
}
