//! Where a function says its image is: `ImageUri`.
//!
//! `NAME[:TAG]` and `NAME@DIGEST` are images that were pushed to the platform itself, of the caller's own account. So is
//! what AWS's own tools write: `ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG` (and its `-fips` and `.cn` forms), where
//! ACCOUNT is the caller's. Everything else that begins with a host is an image in that registry. No reference ever
//! names a path of the platform's host.
//!
//! Source: the grammar of `distribution/reference`; a first part is a host if it holds a dot or a colon, or is
//! `localhost`.

use std::{fmt, str::FromStr};

use updraft_types::AccountId;

use crate::Digest;

/// Longest reference, bytes.
const REFERENCE_BYTES_MAX: usize = 512;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 255;
/// Longest tag, bytes.
const TAG_BYTES_MAX: usize = 128;
/// The tag of a reference that has none.
const TAG_DEFAULT: &str = "latest";

/// A parsed `ImageUri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where the repository is.
    pub place: Place,
    /// The repository's name there.
    pub name: String,
    /// Which of its images.
    pub which: Which,
    /// The repository as it was written, for showing a resolved reference.
    repository: String,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The platform's own images; of this account where one is named, or else of the caller's.
    Own(Option<AccountId>),
    /// A registry: a host, with its port where one is written.
    Registry(String),
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one that has this tag now.
    Tag(String),
    /// The one with this manifest.
    Digest(Digest),
}

/// Text that is no reference; says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoReference(&'static str);

impl Reference {
    /// The same repository, `@` and a digest: Lambda's `ResolvedImageUri`.
    pub fn resolved(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.repository)
    }
}

impl FromStr for Reference {
    type Err = NoReference;
    fn from_str(text: &str) -> Result<Self, NoReference> {
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(NoReference("it is too long"));
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (
                named,
                Some(digest.parse::<Digest>().map_err(|_| NoReference("what follows the @ is not a sha256 digest"))?),
            ),
            None => (text, None),
        };
        let (repository, tag) = match named.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (named, None),
        };
        let which = match (digest, tag.unwrap_or(TAG_DEFAULT)) {
            (_, tag) if !is_tag(tag) => return Err(NoReference("its tag is not one")),
            (Some(digest), _) => Which::Digest(digest),
            (None, tag) => Which::Tag(tag.to_owned()),
        };
        let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (place, name) = match repository.split_once('/') {
            Some((host, name)) if is_host(host) => (place_of(host)?, name),
            _ => (Place::Own(None), repository),
        };
        if !is_name(name) {
            return Err(NoReference(
                "its repository is not of lower-case letters, digits, and '.', '_', '-', '/' between",
            ));
        }
        Ok(Self { place, name: name.to_owned(), which, repository: repository.to_owned() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Which::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// AWS's registries are the platform's own images; all others are themselves.
fn place_of(host: &str) -> Result<Place, NoReference> {
    if let Some((account, rest)) = host.split_once(".dkr.ecr")
        && rest.starts_with(['.', '-'])
        && (rest.ends_with(".amazonaws.com") || rest.ends_with(".amazonaws.com.cn"))
    {
        let account = account.parse::<AccountId>().map_err(|_| NoReference("its account is not 12 digits"))?;
        return Ok(Place::Own(Some(account)));
    }
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "443"));
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(plain)
    };
    if !name.split('.').all(is_label) || port.parse::<u16>().is_err() {
        return Err(NoReference("its host is not one"));
    }
    Ok(Place::Registry(host.to_ascii_lowercase()))
}

/// A repository's name: parts of lower-case letters and digits, single separators between them.
pub fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain);
        ends && part.bytes().all(|byte| plain(byte) || b"._-".contains(&byte))
    };
    name.len() <= NAME_BYTES_MAX && name.split('/').all(is_part)
}

/// A tag: letters, digits, `_`, `.` and `-`, the first neither `.` nor `-`.
pub fn is_tag(tag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TAG_BYTES_MAX).contains(&tag.len()) && !tag.starts_with(['.', '-']) && tag.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_the_platforms_own_and_hosts_are_registries() {
        let own = Place::Own(None);
        let tag = |tag: &str| Which::Tag(tag.into());
        for (text, place, name, which) in [
            ("hello", own.clone(), "hello", tag("latest")),
            ("team/hello:v1", own.clone(), "team/hello", tag("v1")),
            ("ghcr.io/x/y:1", Place::Registry("ghcr.io".into()), "x/y", tag("1")),
            ("localhost:5000/y", Place::Registry("localhost:5000".into()), "y", tag("latest")),
            ("localhost/y", Place::Registry("localhost".into()), "y", tag("latest")),
            (
                "111111111111.dkr.ecr.us-east-1.amazonaws.com/y:2",
                Place::Own(Some("111111111111".parse().unwrap())),
                "y",
                tag("2"),
            ),
        ] {
            let reference = read(text);
            assert_eq!((reference.place, reference.name.as_str(), reference.which), (place, name, which), "{text}");
        }
        let digest = Digest::of(b"x");
        let reference = read(&format!("hello:v1@{digest}"));
        assert_eq!(reference.which, Which::Digest(digest));
        assert_eq!(read("a.example/b:1").resolved(&digest), format!("a.example/b@{digest}"));
    }

    #[test]
    fn paths_of_the_host_and_other_text_are_no_references() {
        let long = "a".repeat(600);
        for text in [
            "",
            "/etc/passwd",
            "oci:/tmp/x",
            "docker-archive:/x.tar",
            "../x",
            "a/../b",
            "a//b",
            "Hello",
            "a:",
            "a:b c",
            "a@sha256:12",
            "file:///x",
            "http://x/y",
            "a/b/",
            "user@host/x",
            "localhost:x/y",
            "[::1]/y",
            "1.dkr.ecr.us-east-1.amazonaws.com/y",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
