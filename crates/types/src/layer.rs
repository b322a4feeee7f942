//! Layers: packages of their own that functions have at `/opt`, published in versions that never change.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, LayerName, Region, Timestamp,
    function::{Architecture, Code},
};

/// What identifies a layer for good: the account that owns it and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerId {
    /// The owner.
    pub account: AccountId,
    /// The name, unique within the account.
    pub name: LayerName,
}

impl LayerId {
    /// The ARN without a version: `arn:aws:lambda:REGION:ACCOUNT:layer:NAME`.
    pub fn arn(&self, region: &Region) -> String {
        format!("arn:aws:lambda:{region}:{}:layer:{}", self.account, self.name)
    }
}

/// One version of a layer. Versions count from 1, and no number is ever used again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerVersionId {
    /// Whose version.
    pub layer: LayerId,
    /// At least 1.
    pub version: u64,
}

impl LayerVersionId {
    /// The ARN: `arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION`.
    pub fn arn(&self, region: &Region) -> String {
        format!("{}:{}", self.layer.arn(region), self.version)
    }
}

impl fmt::Display for LayerVersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.layer.account, self.layer.name, self.version)
    }
}

/// Everything its author said of a layer version, and its content. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerVersion {
    /// Layer and version.
    pub id: LayerVersionId,
    /// Its zip.
    pub code: Code,
    /// What the zip unpacks to, bytes.
    pub unzipped_bytes: u64,
    /// Free text.
    pub description: String,
    /// A licence, or where to find one.
    pub license: Option<String>,
    /// Runtimes it is said to be for, as they were given; `None` where nothing was. Shown and searched, not enforced.
    pub runtimes: Option<Vec<String>>,
    /// The same for architectures.
    pub architectures: Option<Vec<Architecture>>,
    /// When it was published.
    pub created_at: Timestamp,
}

/// A layer version as a function has it. It needs nothing of the layer version to go on: one that is deleted keeps
/// working for the functions that have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerUse {
    /// Layer and version.
    pub id: LayerVersionId,
    /// Its zip.
    pub code: Code,
    /// What the zip unpacks to, bytes.
    pub unzipped_bytes: u64,
}

impl From<LayerVersion> for LayerUse {
    fn from(version: LayerVersion) -> Self {
        Self { id: version.id, code: version.code, unzipped_bytes: version.unzipped_bytes }
    }
}

/// A permission to read a layer version, and so to have it in functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStatement {
    /// Its name, unique within the version's policy.
    pub sid: String,
    /// `*`, an account id, or `arn:aws:iam::ACCOUNT:root`.
    pub principal: String,
    /// Grants to the accounts of this organization only; goes with the principal `*`.
    pub organization: Option<String>,
}

/// Whether `caller` may read a layer's version with this policy, and have it in its functions: the owner always, others
/// as far as a statement says. No account here belongs to an organization, so a statement for one grants nothing.
pub fn may_use_layer(caller: &AccountId, layer: &LayerId, policy: &[LayerStatement]) -> bool {
    let grants = |statement: &LayerStatement| {
        let principal = statement.principal.as_str();
        let account = principal.split_once(":iam::").and_then(|(_, rest)| rest.strip_suffix(":root"));
        statement.organization.is_none() && (principal == "*" || account.unwrap_or(principal) == caller.as_str())
    };
    *caller == layer.account || policy.iter().any(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_its_owners_and_whose_a_statement_names() {
        let account = |text: &str| text.parse::<AccountId>().unwrap();
        let layer = LayerId { account: account("111111111111"), name: "l".parse().unwrap() };
        let may = |caller: &str, principal: &str, organization: Option<&str>| {
            let organization = organization.map(str::to_owned);
            let statement = LayerStatement { sid: "s".into(), principal: principal.into(), organization };
            may_use_layer(&account(caller), &layer, &[statement])
        };
        assert!(may_use_layer(&account("111111111111"), &layer, &[]));
        assert!(!may_use_layer(&account("222222222222"), &layer, &[]));
        assert!(may("222222222222", "*", None));
        assert!(may("222222222222", "222222222222", None));
        assert!(may("222222222222", "arn:aws:iam::222222222222:root", None));
        assert!(!may("222222222222", "333333333333", None));
        assert!(!may("222222222222", "arn:aws:iam::333333333333:root", None));
        assert!(!may("222222222222", "*", Some("o-0123456789")));
    }

    #[test]
    fn arns_are_awss() {
        let layer = LayerId { account: "111111111111".parse().unwrap(), name: "tools_1".parse().unwrap() };
        let version = LayerVersionId { layer, version: 7 };
        let region = "us-east-1".parse().unwrap();
        assert_eq!(version.arn(&region), "arn:aws:lambda:us-east-1:111111111111:layer:tools_1:7");
    }
}
