//! Policy documents, read once when they arrive and once when the platform starts.
//!
//! [`Document::parse`] is the one place where a document's text becomes something to be used.

use std::sync::Arc;

/// Bytes of a document as it is sent, white space included (source: IAM's service model, `policyDocumentType`).
const BYTES_MAX: usize = 131_072;
/// What stands in for a document that cannot be read any more.
const DENY_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// What a document is attached to, which decides what it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user or role; also session policies.
    Identity,
    /// A role, to say who may assume it.
    Trust,
}

/// Why a text is no policy document; the texts are IAM's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is too long.
    #[error("Cannot exceed quota for PolicySize: {max}")]
    Size {
        /// The most characters allowed, white space not counted.
        max: usize,
    },
    /// It is not written as a policy is.
    #[error("{0}")]
    Malformed(String),
}

/// A valid document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    kind: Kind,
    value: serde_json::Value,
}

impl Document {
    /// Reads a document of at most `chars_max` characters, white space not counted.
    pub fn parse(text: &str, kind: Kind, chars_max: usize) -> Result<Self, Error> {
        if text.len() > BYTES_MAX || updraft_types::iam::document_chars(text) > chars_max {
            return Err(Error::Size { max: chars_max });
        }
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| Error::Malformed("This policy contains invalid Json".to_owned()))?;
        let statements = match &value["Statement"] {
            serde_json::Value::Array(statements) => statements.as_slice(),
            one @ serde_json::Value::Object(_) => std::slice::from_ref(one),
            _ => return Err(syntax()),
        };
        for statement in statements {
            let has = |name: &str| statement.get(name).is_some();
            let is_effect = matches!(statement["Effect"].as_str(), Some("Allow" | "Deny"));
            if !is_effect || !(has("Action") || has("NotAction")) {
                return Err(syntax());
            }
            match kind {
                Kind::Identity if has("Principal") || has("NotPrincipal") => {
                    return Err(Error::Malformed("Policy document should not specify a principal.".to_owned()));
                }
                Kind::Identity if !(has("Resource") || has("NotResource")) => {
                    return Err(Error::Malformed("Policy statement must contain resources.".to_owned()));
                }
                Kind::Trust if has("Resource") || has("NotResource") => {
                    return Err(Error::Malformed("Has prohibited field Resource".to_owned()));
                }
                Kind::Trust if !(has("Principal") || has("NotPrincipal")) => {
                    return Err(Error::Malformed("Missing required field Principal".to_owned()));
                }
                Kind::Identity | Kind::Trust => {}
            }
        }
        Ok(Self { kind, value })
    }

    /// What the document is attached to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its statements.
    pub(super) fn statements(&self) -> &[serde_json::Value] {
        match &self.value["Statement"] {
            serde_json::Value::Array(statements) => statements,
            one => std::slice::from_ref(one),
        }
    }

    /// A stored document. One that cannot be read any more is replaced by one that denies everything, for what it
    /// denied is not known.
    pub(super) fn stored(text: &str, kind: Kind, name: &str) -> Arc<Self> {
        let read = Self::parse(text, kind, BYTES_MAX).unwrap_or_else(|error| {
            tracing::error!(policy = name, %error, "a stored policy cannot be read, and denies everything");
            Self::parse(DENY_ALL, Kind::Identity, BYTES_MAX).expect("it is written as a policy is")
        });
        Arc::new(read)
    }
}

fn syntax() -> Error {
    Error::Malformed("Syntax errors in policy.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_policy_is_refused_in_iams_words() {
        let told = |text: &str, kind| Document::parse(text, kind, 200).map(|_| ()).map_err(|error| error.to_string());
        let identity = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        let trust = r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}]}"#;
        assert_eq!(told(identity, Kind::Identity), Ok(()));
        assert_eq!(told(trust, Kind::Trust), Ok(()));
        let refused = |text, kind, expected: &str| assert_eq!(told(text, kind), Err(expected.to_owned()), "{text}");
        refused("{", Kind::Identity, "This policy contains invalid Json");
        for bad in ["{}", "[]", "3", r#"{"Statement":[3]}"#, r#"{"Statement":[{"Effect":"allow","Action":"*"}]}"#] {
            refused(bad, Kind::Identity, "Syntax errors in policy.");
        }
        refused(trust, Kind::Identity, "Policy document should not specify a principal.");
        refused(identity, Kind::Trust, "Has prohibited field Resource");
        refused(&format!("{{\"a\":\"{}\"}}", "x".repeat(200)), Kind::Trust, "Cannot exceed quota for PolicySize: 200");
    }

    #[test]
    fn a_stored_document_that_cannot_be_read_denies() {
        let document = Document::stored("{", Kind::Identity, "broken");
        assert_eq!(document.statements()[0]["Effect"], "Deny");
    }
}
