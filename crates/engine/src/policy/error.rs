//! Why a document is refused: IAM's own words, and beside them which element is meant.

/// A document that is no policy. `Display` is the text that IAM answers with; [`Error::detail`] says where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// IAM's `LimitExceeded`.
    #[error("Cannot exceed quota for PolicySize: {max}")]
    Size {
        /// The most characters that were allowed, white space not counted.
        max: usize,
    },
    /// IAM's `MalformedPolicyDocument`.
    #[error("{message}")]
    Malformed {
        /// In IAM's words.
        message: String,
        /// The element, by its path: `Statement[1].Condition.StringLike`.
        at: String,
        /// What is wrong with it, where the message does not say.
        reason: String,
    },
}

impl Error {
    /// The path of the element and what is wrong with it, for people; IAM itself keeps silent about both.
    pub fn detail(&self) -> String {
        match self {
            Self::Size { max } => format!("the policy has more than {max} characters, white space not counted"),
            Self::Malformed { at, reason, .. } if reason.is_empty() => at.clone(),
            Self::Malformed { at, reason, .. } if at.is_empty() => reason.clone(),
            Self::Malformed { at, reason, .. } => format!("{at}: {reason}"),
        }
    }

    /// A malformed document, in `message`'s words.
    pub(super) fn new(message: impl Into<String>, at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { message: message.into(), at: at.into(), reason: reason.into() }
    }

    /// What IAM says of everything that its grammar does not know.
    pub(super) fn syntax(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new("Syntax errors in policy.", at, reason)
    }
}
