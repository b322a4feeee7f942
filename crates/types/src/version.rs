//! Versions of a function and the names that point at them.
//!
//! A published version never changes its code or configuration, and its number is never given to another. An alias
//! is a name for one version, or for two with a share of the calls each. Patterns and limits are those of AWS Lambda's
//! service model (botocore 1.44.5).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{AliasName, FunctionId, Region, RevisionId, Timestamp, function::FunctionUrl};

/// Which version of a function. The one that can be changed sorts before the published ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// The code and configuration as they are now: `$LATEST`.
    #[default]
    Latest,
    /// A published one; the first is 1.
    Number(u64),
}

/// Text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version is $LATEST or a number from 1")]
pub struct NoVersion;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("$LATEST"),
            Version::Number(number) => number.fmt(f),
        }
    }
}

impl FromStr for Version {
    type Err = NoVersion;
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        if text == "$LATEST" {
            return Ok(Version::Latest);
        }
        // Rust's numbers may have a sign, AWS's may not; one with leading zeros names no version.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|_| is_number);
        number.map(Version::Number).ok_or(NoVersion)
    }
}

impl TryFrom<String> for Version {
    type Error = NoVersion;
    fn try_from(text: String) -> Result<Self, NoVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

/// What identifies one version for good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId {
    /// The function.
    pub function: FunctionId,
    /// The version of it.
    pub version: Version,
}

impl VersionId {
    /// The version of `function` that can be changed.
    pub fn latest(function: FunctionId) -> Self {
        Self { function, version: Version::Latest }
    }

    /// The qualified ARN: `arn:aws:lambda:REGION:ACCOUNT:function:NAME:VERSION`.
    pub fn arn(&self, region: &Region) -> String {
        format!("{}:{}", self.function.arn(region), self.version)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function, self.version)
    }
}

/// How a caller says which version it means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// By the version itself.
    Version(Version),
    /// By an alias of it.
    Alias(AliasName),
}

impl FromStr for Qualifier {
    type Err = NoVersion;
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        match text.parse() {
            Ok(version) => Ok(Qualifier::Version(version)),
            Err(NoVersion) => text.parse().map(Qualifier::Alias).map_err(|_| NoVersion),
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Qualifier::Version(version) => version.fmt(f),
            Qualifier::Alias(name) => name.fmt(f),
        }
    }
}

/// A name for a version. Immutable once published in a catalog; a change makes a new one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// The function.
    pub function: FunctionId,
    /// The name, unique among the function's aliases.
    pub name: AliasName,
    /// The version it points at.
    pub version: Version,
    /// A second version and its share of the calls; only where `version` is a number.
    pub additional: Option<Additional>,
    /// Free text.
    pub description: String,
    /// Changes with every change of what is above.
    pub revision: RevisionId,
    /// Its function URL, if it has one.
    #[serde(default)]
    pub url: Option<FunctionUrl>,
    /// Instances kept ready for it.
    #[serde(default)]
    pub provisioned: Option<Provisioned>,
}

impl Alias {
    /// The alias's ARN: `arn:aws:lambda:REGION:ACCOUNT:function:NAME:ALIAS`.
    pub fn arn(&self, region: &Region) -> String {
        format!("{}:{}", self.function.arn(region), self.name)
    }

    /// Whether it points at this version, alone or with another.
    pub fn names(&self, version: Version) -> bool {
        self.version == version
            || self.additional.is_some_and(|additional| Version::Number(additional.version) == version)
    }
}

/// The second version of an alias.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Additional {
    /// Its number.
    pub version: u64,
    /// Its share of the calls, from 0 to 1.
    pub weight: f64,
}

/// Lambda's provisioned concurrency of a version or an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    /// Calls at once that are to find an instance ready; at least 1.
    pub requested: u32,
    /// When that was asked for.
    pub modified_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_latest_or_numbers_from_one() {
        for (text, version) in [("$LATEST", Version::Latest), ("1", Version::Number(1)), ("207", Version::Number(207))]
        {
            assert_eq!((text.parse(), version.to_string().as_str()), (Ok(version), text));
        }
        for bad in ["", "0", "01", "+1", "-1", "$latest", "1a", "99999999999999999999999"] {
            assert_eq!(bad.parse::<Version>(), Err(NoVersion), "{bad}");
        }
        assert!(Version::Latest < Version::Number(1));
        assert_eq!(serde_json::to_string(&Version::Number(3)).unwrap(), "\"3\"");
        assert!(serde_json::from_str::<Version>("\"x\"").is_err());
    }

    #[test]
    fn qualifiers_are_versions_or_aliases() {
        assert_eq!("12".parse(), Ok(Qualifier::Version(Version::Number(12))));
        assert_eq!("live".parse(), Ok(Qualifier::Alias("live".parse().unwrap())));
        assert_eq!("2024-01-02".parse::<Qualifier>().unwrap().to_string(), "2024-01-02");
        for bad in ["", "a.b", "$LATES", "0", "99999999999999999999999"] {
            assert_eq!(bad.parse::<Qualifier>(), Err(NoVersion), "{bad}");
        }
    }
}
