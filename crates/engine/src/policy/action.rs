//! `Action` and `NotAction`: `service:Name` with wildcards in the name, compared without regard to case
//! (source: IAM User Guide, «IAM JSON policy elements: Action»).

use super::{error::Error, pattern::TextPattern};

/// The element of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actions {
    /// `NotAction`.
    pub(super) is_negated: bool,
    /// As written, for messages and for writing the document again.
    pub(super) texts: Vec<String>,
    patterns: Box<[Action]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    /// In lower case; none for every service.
    service: Option<Box<str>>,
    /// In lower case.
    name: TextPattern,
}

/// The action of a request: `lambda:InvokeFunction`, in lower case and taken apart.
#[derive(Debug)]
pub(super) struct Asked {
    lower: String,
    colon: usize,
    services: Services,
}

/// A set of services that may hold more than were put in, never fewer: a bit for each, some share one. It tells without
/// a look at a statement that most are not about what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Services(u64);

impl Services {
    const ALL: Self = Self(u64::MAX);

    fn one(service: &str) -> Self {
        // FNV-1a, the same on every machine.
        let hash = service
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        Self(1 << (hash >> 58))
    }

    /// Whether the sets may have one in common.
    pub(super) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Asked {
    /// Takes `action` apart. One without a colon belongs to no service and is matched by `*` alone.
    pub(super) fn new(action: &str) -> Self {
        let lower = action.to_ascii_lowercase();
        let colon = lower.find(':').unwrap_or(lower.len());
        let services = Services::one(&lower[..colon]);
        Self { lower, colon, services }
    }

    /// The one service that is asked.
    pub(super) fn services(&self) -> Services {
        self.services
    }

    fn service(&self) -> &str {
        &self.lower[..self.colon]
    }

    fn name(&self) -> &str {
        self.lower.get(self.colon + 1..).unwrap_or_default()
    }
}

impl Actions {
    /// Compiles the element at path `at`. The messages are IAM's.
    pub(super) fn new(texts: Vec<String>, is_negated: bool, at: &str) -> Result<Self, Error> {
        let patterns = texts.iter().map(|text| Action::new(text, at)).collect::<Result<_, _>>()?;
        Ok(Self { is_negated, texts, patterns })
    }

    /// The services that the element may cover something of.
    pub(super) fn services(&self) -> Services {
        let each = self.patterns.iter().map(|action| action.service.as_deref().map_or(Services::ALL, Services::one));
        if self.is_negated { Services::ALL } else { Services(each.fold(0, |all, one| all | one.0)) }
    }

    /// Whether the element covers what was asked for.
    pub(super) fn cover(&self, asked: &Asked) -> bool {
        self.is_negated
            ^ self.patterns.iter().any(|action| {
                action.service.as_deref().is_none_or(|service| service == asked.service())
                    && action.name.matches(asked.name())
            })
    }
}

impl Action {
    fn new(text: &str, at: &str) -> Result<Self, Error> {
        let error = |message: String| Err(Error::new(message, at, format!("{text:?}")));
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self { service: None, name: TextPattern::new("*") });
        }
        let Some((service, name)) = lower.split_once(':') else {
            return error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.".into());
        };
        if name.contains(':') {
            return error("Actions/Condition can contain only one colon.".into());
        }
        if name.is_empty() {
            return Err(Error::syntax(at, format!("{text:?} names no action")));
        }
        let is_vendor = |service: &str| {
            !service.is_empty() && service.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        if service != "*" && !is_vendor(service) {
            let vendor = &text[..service.len()];
            return error(format!("Vendor {vendor} is not valid"));
        }
        Ok(Self { service: (service != "*").then(|| service.into()), name: TextPattern::new(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_statement_about_an_action_is_passed_over() {
        let actions =
            ["s3:GetObject", "S3:Get*", "*", "*:Get*", "lambda:*", "Lambda:InvokeFunction", "iam:PassRole", "sts:*"];
        let asked =
            ["s3:GetObject", "LAMBDA:invokefunction", "iam:PassRole", "sts:AssumeRole", "logs:PutLogEvents", "none"];
        for action in actions {
            for is_negated in [false, true] {
                let element = Actions::new(vec![action.to_owned()], is_negated, "Action").unwrap();
                for asked in asked.map(Asked::new) {
                    let is_seen = element.services().meet(asked.services());
                    assert!(is_seen || !element.cover(&asked), "{action} {asked:?}");
                }
            }
        }
        let other = Actions::new(vec!["s3:*".to_owned()], false, "Action").unwrap();
        assert!(!other.services().meet(Asked::new("lambda:InvokeFunction").services()));
    }
}
