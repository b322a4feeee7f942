//! Log groups: what log lines belong to. Each function writes to one, `/aws/lambda/NAME` unless configured otherwise.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{AccountId, Function, FunctionId};

/// Longest name, characters.
const NAME_CHARACTERS_MAX: usize = 512;

/// A log group's name (pattern and length are those of the CloudWatch Logs service model).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogGroupName(Arc<str>);

/// Text that is not a log group's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log group's name has 1 to 512 of the characters a-z A-Z 0-9 . - _ / #")]
pub struct Invalid;

/// What identifies a log group: the account that owns it and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogGroupId {
    /// The owner.
    pub account: AccountId,
    /// The name, unique within the account.
    pub name: LogGroupName,
}

impl LogGroupName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogGroupName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte);
        match text.len() {
            1..=NAME_CHARACTERS_MAX if text.bytes().all(is_valid) => Ok(Self(text.into())),
            _ => Err(Invalid),
        }
    }
}

impl fmt::Display for LogGroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&FunctionId> for LogGroupId {
    /// The group of a function that configures none.
    fn from(function: &FunctionId) -> Self {
        let name = LogGroupName(format!("/aws/lambda/{}", function.name).into());
        Self { account: function.account.clone(), name }
    }
}

impl From<&Function> for LogGroupId {
    /// The group a function writes to.
    fn from(function: &Function) -> Self {
        match function.configuration.log_group.as_deref().map(str::parse) {
            Some(Ok(name)) => Self { account: function.id.account.clone(), name },
            _ => Self::from(&function.id),
        }
    }
}

impl From<&LogGroupId> for LogGroupId {
    fn from(id: &LogGroupId) -> Self {
        id.clone()
    }
}

impl fmt::Display for LogGroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.account, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_model() {
        for name in ["/aws/lambda/hello", "a", "A.b-c_d/e#1", &"x".repeat(512)] {
            assert!(name.parse::<LogGroupName>().is_ok(), "{name}");
        }
        for name in ["", "a b", "a:b", "a*", "ü", &"x".repeat(513)] {
            assert!(name.parse::<LogGroupName>().is_err(), "{name}");
        }
        let function = FunctionId { account: "000000000000".parse().unwrap(), name: "f".parse().unwrap() };
        assert_eq!(LogGroupId::from(&function).to_string(), "000000000000:/aws/lambda/f");
    }
}
