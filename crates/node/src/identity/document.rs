//! Policy documents, read once when they arrive and once when the platform starts; the language is `engine`'s.

use std::sync::Arc;

pub use updraft_engine::policy::{Document, Error, Kind, bytes_max, is_principal};
use updraft_types::iam::PrincipalIds;

/// More than any document is, since each was bounded when it was stored.
const STORED_CHARS_MAX: usize = 131_072;
/// What stands in for a document that cannot be read any more.
const DENY_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// Reads a document from the store. One that cannot be read any more denies everything, and the log names it.
pub(crate) fn stored(text: &str, kind: Kind, name: &str) -> Arc<Document> {
    Document::parse(text, kind, STORED_CHARS_MAX).map_or_else(
        |error| {
            tracing::error!(policy = name, %error, "a stored policy cannot be read, and denies everything");
            closed()
        },
        Arc::new,
    )
}

/// Reads a document with principals from the store, who are those of `ids`, statement by statement.
pub(crate) fn stored_for<'a>(
    text: &str,
    kind: Kind,
    name: &str,
    ids: impl IntoIterator<Item = Option<&'a PrincipalIds>>,
) -> Arc<Document> {
    let mut document = stored(text, kind, name);
    Arc::make_mut(&mut document).bind(ids);
    document
}

/// What denies everything to whom it is attached.
pub(super) fn closed() -> Arc<Document> {
    let read = Document::parse(DENY_ALL, Kind::Identity, STORED_CHARS_MAX);
    Arc::new(read.expect("it is written as a policy is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_document_that_cannot_be_read_denies() {
        let document = stored("{", Kind::Identity, "broken");
        assert!(document.to_json().to_string().contains(r#""Effect":"Deny""#));
    }
}
