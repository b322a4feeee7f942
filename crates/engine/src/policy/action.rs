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
}

impl Asked {
    /// Takes `action` apart. One without a colon belongs to no service and is matched by `*` alone.
    pub(super) fn new(action: &str) -> Self {
        let lower = action.to_ascii_lowercase();
        let colon = lower.find(':').unwrap_or(lower.len());
        Self { lower, colon }
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
