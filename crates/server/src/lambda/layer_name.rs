//! Layers as clients name them: a name or an ARN, percent-encoded in paths, and the ARNs of versions.
//!
//! Patterns are the service model's.

use updraft_types::{AccountId, LayerId, LayerVersionId};

use super::{name, validate::Violations};
use crate::{error::Error, scope::Scope};

const NAME: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})";
/// The pattern of a version's ARN.
pub(super) const VERSION_ARN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)";

/// A version's ARN, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VersionArn<'a> {
    /// One that an account has published, in a region.
    Published { region: &'a str, id: LayerVersionId },
    /// One of AWS's own, or one whose name is longer than a layer's can be: nothing here has it.
    Nobodys,
}

/// Takes a version's ARN apart; `None` where it does not match the pattern.
pub(super) fn version_arn(text: &str) -> Option<VersionArn<'_>> {
    let parts: Vec<&str> = text.splitn(9, ':').collect();
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match parts[..] {
        ["arn", partition, "lambda", "", "", "awslayer", name] => {
            let is_partition = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (!partition.is_empty() && partition.bytes().all(is_partition) && is_name(name))
                .then_some(VersionArn::Nobodys)
        }
        ["arn", partition, "lambda", region, account, "layer", name, version] => {
            let is_arn = name::is_partition(partition) && name::is_region(region) && is_name(name);
            let account: AccountId = account.parse().ok().filter(|_| is_arn)?;
            if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let Ok(name) = name.parse() else { return Some(VersionArn::Nobodys) };
            let id = LayerVersionId { layer: LayerId { account, name }, version: version.parse().unwrap_or(u64::MAX) };
            Some(VersionArn::Published { region, id })
        }
        _ => None,
    }
}

/// The layer that a path names.
pub(super) fn layer(scope: &Scope<'_>, segment: &str) -> Result<LayerId, Error> {
    let text = name::decoded(segment);
    let plain = || Some(LayerId { account: scope.account().clone(), name: text.parse().ok()? });
    let (region, id) = match text.strip_prefix("arn:") {
        Some(_) => match version_arn(&format!("{text}:1")) {
            Some(VersionArn::Published { region, id }) => (Some(region.to_owned()), Some(id.layer)),
            _ => (None, None),
        },
        None => (None, plain()),
    };
    let Some(id) = id else {
        let mut violations = Violations::default();
        violations.pattern("layerName", &text, false, NAME);
        violations.check()?;
        return Err(Error::resource_does_not_exist());
    };
    match region {
        Some(region) if region != scope.node.region().as_str() => Err(Error::resource_does_not_exist()),
        _ => Ok(id),
    }
}

/// The layer version that a path names.
pub(super) fn version(scope: &Scope<'_>, layer: &str, version: &str) -> Result<LayerVersionId, Error> {
    let layer = self::layer(scope, layer)?;
    let text = name::decoded(version);
    let number: i64 = text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Error::serialization(format!("VersionNumber is not a number: {shown:?}"))
    })?;
    match u64::try_from(number) {
        Ok(version @ 1..) => Ok(LayerVersionId { layer, version }),
        _ => Err(Error::invalid_parameter("Layer Version Cannot be less than 1")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_arns_follow_the_pattern() {
        let layer = LayerId { account: "111111111111".parse().unwrap(), name: "tools".parse().unwrap() };
        let id = |version| LayerVersionId { layer: layer.clone(), version };
        let arn = "arn:aws:lambda:us-east-1:111111111111:layer:tools:3";
        assert_eq!(version_arn(arn), Some(VersionArn::Published { region: "us-east-1", id: id(3) }));
        let huge = format!("arn:aws:lambda:us-east-1:111111111111:layer:tools:{}", "9".repeat(30));
        assert_eq!(version_arn(&huge), Some(VersionArn::Published { region: "us-east-1", id: id(u64::MAX) }));
        assert_eq!(version_arn("arn:aws:lambda:::awslayer:AmazonLinux1803"), Some(VersionArn::Nobodys));
        for bad in [
            "tools:1",
            "arn:aws:lambda:us-east-1:111111111111:layer:tools",
            "arn:aws:lambda:us-east-1:111111111111:layer:tools:",
            "arn:aws:lambda:us-east-1:111111111111:layer:tools:-1",
            "arn:aws:lambda:us-east-1:111111111111:layer:to/ols:1",
            "arn:aws:lambda:us-east-1:1111:layer:tools:1",
            "arn:aws:lambda:us-east-1:111111111111:function:tools:1",
            "arn:aws:lambda:us-east-1:111111111111:layer:tools:1:2",
        ] {
            assert_eq!(version_arn(bad), None, "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn no_arn_is_too_odd(text in "(arn|aws|lambda|layer|awslayer|us-east-1|[0-9]{12}|[a-z.$:]|é){0,9}") {
            version_arn(&text);
        }
    }
}
