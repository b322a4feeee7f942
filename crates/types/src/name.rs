//! Identifiers. Each is a newtype that can only be made by parsing, so holding one means it is valid.
//!
//! Patterns are those of AWS Lambda's service model (botocore 1.44.5, `lambda/2015-03-31/service-2`).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Text that is not a valid identifier; says which kind was wanted and what it must look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {kind}: {rule}")]
pub struct Invalid {
    kind: &'static str,
    rule: &'static str,
    value: String,
}

/// Declares a string newtype whose only constructor checks `valid`. Clones share one allocation.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(value: &str) -> Result<Self, Invalid> {
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.into()))
                } else {
                    Err(Invalid { kind: $kind, rule: $rule, value: value.chars().take(200).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(value: String) -> Result<Self, Invalid> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

identifier! {
    /// A function's name: 1 to 64 of `[a-zA-Z0-9-_]`.
    FunctionName, "function name", "1 to 64 letters, digits, hyphens and underscores",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

identifier! {
    /// An alias's name: 1 to 128 of `[a-zA-Z0-9-_]`, not digits alone, which would be a version.
    AliasName, "alias name", "1 to 128 letters, digits, hyphens and underscores, and not digits alone",
    |text| (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

identifier! {
    /// A layer's name: 1 to 140 of `[a-zA-Z0-9-_]`.
    LayerName, "layer name", "1 to 140 letters, digits, hyphens and underscores",
    |text| (1..=140).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

identifier! {
    /// An account: twelve digits. A tenant is an account.
    AccountId, "account id", "exactly 12 digits",
    |text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

identifier! {
    /// A region's name, such as `us-east-1`; it appears in ARNs and in function URL host names.
    Region, "region", "such as us-east-1: lower-case words and a number, joined by hyphens, 25 characters at most",
    |text| text.len() <= 25
        && text.split('-').count() >= 3
        && text.split('-').all(|part| !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

identifier! {
    /// Names one state of a function's code and configuration; a new one is made by each change (a UUID).
    RevisionId, "revision id", "1 to 64 hexadecimal digits and hyphens",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

impl RevisionId {
    /// A fresh random revision.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }
}

/// What identifies a function for good: the account that owns it and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionId {
    /// The owner.
    pub account: AccountId,
    /// The name, unique within the account.
    pub name: FunctionName,
}

impl FunctionId {
    /// The unqualified ARN: `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
    pub fn arn(&self, region: &Region) -> String {
        format!("arn:aws:lambda:{region}:{}:function:{}", self.account, self.name)
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.name)
    }
}

/// One invocation's id, shown to authors as the AWS request id (a UUID).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(uuid::Uuid);

impl RequestId {
    /// A fresh random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl FromStr for RequestId {
    type Err = Invalid;
    fn from_str(value: &str) -> Result<Self, Invalid> {
        uuid::Uuid::try_parse(value).map(Self).map_err(|_| Invalid {
            kind: "request id",
            rule: "a UUID",
            value: value.chars().take(200).collect(),
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One instance (sandbox or wasm store) of a function version: 32 hexadecimal digits, as in log stream names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(uuid::Uuid);

impl InstanceId {
    /// A fresh random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_names_keep_lambdas_rule() {
        for good in ["a", "hello", "Hello_World-2", &"x".repeat(64)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a.b", "ünï", "a/b", "a:b", &"x".repeat(65)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn accounts_regions_and_arns() {
        let id = FunctionId { account: "000000000000".parse().unwrap(), name: "hello".parse().unwrap() };
        let region: Region = "us-east-1".parse().unwrap();
        assert_eq!(id.arn(&region), "arn:aws:lambda:us-east-1:000000000000:function:hello");
        assert!("12345678901".parse::<AccountId>().is_err());
        assert!("us-gov-west-1".parse::<Region>().is_ok());
        assert!("useast".parse::<Region>().is_err());
    }

    #[test]
    fn a_stored_identifier_is_checked_when_it_is_read_back() {
        assert!(serde_json::from_str::<FunctionName>("\"a b\"").is_err());
    }
}
